"""The service's own books balance."""

from __future__ import annotations

from loadgate.staging.books import Books


def test_received_is_answered_plus_unanswered_plus_in_progress():
    """Four received: two 200 (one cut), one abandoned, one still open."""
    books = Books()
    for _ in range(4):
        books.receive("emotion", "127.0.0.2")
    books.answer("emotion", 200, 0.010)
    books.answer("emotion", 200, 0.030, "truncate")
    books.abandon("emotion")
    assert books.counts()["routes"]["emotion"] == {
        "received": 4,
        "statuses": {"200": 2, "unanswered": 1},
        "in_progress": 1,
        "damaged": {"truncate": 1},
    }
    assert books.counts()["sources"] == {"127.0.0.2": 4}


def test_health_metrics_count_errors_by_code_and_the_mean_of_answers():
    """Latencies of 10, 20 and 30 ms have a mean of 20 ms."""
    books = Books()
    for status, seconds in ((200, 0.010), (500, 0.020), (429, 0.030)):
        books.receive("emotion", "127.0.0.1")
        books.answer("emotion", status, seconds)
    assert books.health_metrics() == {
        "requests": 3,
        "successfulRequests": 1,
        "errors": 2,
        "avgLatency": 20.0,
        "errorsByCode": {"429": 1, "500": 1},
    }


def test_metrics_of_a_new_service_are_the_observed_zeros():
    """As captured: nothing yet."""
    assert Books().health_metrics() == {
        "requests": 0,
        "successfulRequests": 0,
        "errors": 0,
        "avgLatency": 0,
        "errorsByCode": {},
    }
