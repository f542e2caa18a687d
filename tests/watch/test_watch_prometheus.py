"""Instant queries: exactly one number, or a named failure."""

from __future__ import annotations

import json

import pytest

from loadgate.watch.parse import NoReading, Reason
from loadgate.watch.probes import Answer
from loadgate.watch.prometheus import query_url, sample


def answer(result: object, kind: str = "vector") -> Answer:
    """Answer as Prometheus does."""
    body = {"status": "success", "data": {"resultType": kind, "result": result}}
    return Answer(200, json.dumps(body).encode())


def vector(*values: object) -> Answer:
    """Answer with samples of these values."""
    return answer(
        [{"metric": {"job": str(index)}, "value": [1.5, value]} for index, value in enumerate(values)]
    )


@pytest.mark.parametrize(
    ("server", "url"),
    [
        ("http://p:9090", "http://p:9090/api/v1/query?query=up%7Ba%3D%22b%20%2B%20c%22%7D"),
        ("http://p:9090/", "http://p:9090/api/v1/query?query=up%7Ba%3D%22b%20%2B%20c%22%7D"),
        ("http://p/prom", "http://p/prom/api/v1/query?query=up%7Ba%3D%22b%20%2B%20c%22%7D"),
        ("http://p/api/v1/query", "http://p/api/v1/query?query=up%7Ba%3D%22b%20%2B%20c%22%7D"),
        ("http://p?x=1", "http://p/api/v1/query?x=1&query=up%7Ba%3D%22b%20%2B%20c%22%7D"),
    ],
)
def test_a_query_is_put_into_the_url_whole(server, url):
    """Below the server's own path, with every special character escaped."""
    assert query_url(server, 'up{a="b + c"}') == url


def test_one_sample_is_the_reading():
    """Its value is text."""
    assert sample(vector("512.5")) == 512.5


def test_a_scalar_is_one_number():
    """As scalar(...) gives it."""
    assert sample(answer([1.5, "3"], "scalar")) == 3.0


@pytest.mark.parametrize(
    ("found", "reason", "words"),
    [
        (vector(), Reason.NO_SAMPLE, "the query finds nothing"),
        (vector("1", "2"), Reason.SEVERAL, "the query finds 2"),
        (vector("NaN"), Reason.NOT_A_NUMBER, "NaN"),
        (vector("+Inf"), Reason.NOT_A_NUMBER, "Inf"),
        (vector(7), Reason.NOT_A_NUMBER, "is text"),
        (answer([{"metric": {}, "values": [[1, "2"]]}], "matrix"), Reason.NOT_A_NUMBER, "is a matrix"),
        (answer([1, "text"], "string"), Reason.NOT_A_NUMBER, "is a string"),
        (answer([{"metric": {}}]), Reason.NO_FIELD, "value"),
        (answer([{"metric": {}, "value": []}]), Reason.NO_ITEM, "[1]"),
        (Answer(200, b'{"status":"error","error":"x"}'), Reason.STATUS, "error"),
        (Answer(200, b"{}"), Reason.NO_FIELD, "status"),
        (Answer(200, b"<html>"), Reason.NOT_JSON, "<html>"),
        (Answer(200, b""), Reason.NOT_JSON, ""),
        (Answer(502, b"<html>bad gateway"), Reason.STATUS, "502"),
    ],
)
def test_anything_else_is_a_named_failure(found, reason, words):
    """Never a 0."""
    with pytest.raises(NoReading) as caught:
        sample(found)
    assert caught.value.reason is reason
    assert words in caught.value.text


def test_a_wrong_query_is_told_in_the_servers_words():
    """Prometheus answers 400 and says where the query is wrong."""
    body = b'{"status":"error","errorType":"bad_data","error":"1:3: parse error: unexpected end of input"}'
    with pytest.raises(NoReading) as caught:
        sample(Answer(400, body))
    assert caught.value.text == "answered: 400 1:3: parse error: unexpected end of input"
