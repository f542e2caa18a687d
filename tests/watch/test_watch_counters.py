"""Differences of counters, over restarts."""

from __future__ import annotations

from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from loadgate.store.watch import Reading
from loadgate.watch.counters import Growth, Rates, Reset, growth, hit_rate, rows_of
from loadgate.watch.probes import Value


def test_without_a_restart_the_difference_is_last_minus_first():
    """100 to 160 over three readings is 60."""
    assert growth([(1.0, [100]), (2.0, [120]), (3.0, [160])]) == Growth(1.0, 3.0, (60.0,), (), 3)


def test_after_a_restart_counting_begins_at_0():
    """100, 120, then 7 and 10 after a restart: 20 + 7 + 3 = 30."""
    grown = growth([(1.0, [100]), (2.0, [120]), (3.0, [7]), (4.0, [10])])
    assert grown is not None
    assert grown.totals == (30.0,)
    assert grown.resets == (Reset(3.0, (120,), (7,)),)


def test_counters_of_one_process_restart_together():
    """Hits went down, misses are past their old value: both count from 0, so misses grew by 5 + 30."""
    grown = growth([(1.0, (50, 10)), (2.0, (60, 15)), (3.0, (4, 30))])
    assert grown is not None
    assert grown.totals == (14.0, 35.0)
    assert [reset.at for reset in grown.resets] == [3.0]


def test_a_missing_reading_is_passed_over():
    """The difference spans the gap; a row that lacks one of its values is missing as a whole."""
    grown = growth([(1.0, (1, 1)), (2.0, (None, 5)), (3.0, (None, None)), (4.0, (11, 3))])
    assert grown == Growth(1.0, 4.0, (10.0, 2.0), (), 2)


def test_there_is_no_difference_without_two_readings():
    """One reading, or none, is no evidence: not 0."""
    assert growth([]) is None
    assert growth([(1.0, [5]), (2.0, [None])]) is None


def reading(at: float, name: str, value: float | None, probe: str = "cache") -> Reading:
    """Return a reading of a cache probe."""
    return Reading(at, probe, name, value, "" if value is not None else "gone", 0.001)


def test_readings_of_one_attempt_make_one_row():
    """They share their time; other probes and readings stay out."""
    readings = [
        reading(5.0, "misses", 1.0),
        reading(0.0, "hits", 10.0),
        reading(0.0, "misses", None),
        reading(0.0, "hits", 99.0, probe="other"),
        reading(5.0, "entries", 3.0),
        reading(5.0, "hits", 20.0),
    ]
    assert rows_of(readings, "cache", ("hits", "misses")) == [(0.0, (10.0, None)), (5.0, (20.0, 1.0))]


def test_the_hit_rate_of_a_run_is_of_differences():
    """Hits 100 to 190, misses 60 to 70: 90 of 100, whatever the rate since the server's start."""
    readings = [
        reading(at, name, value)
        for at, hits, misses in ((0.0, 100.0, 60.0), (5.0, 190.0, 70.0))
        for name, value in (("hits", hits), ("misses", misses))
    ]
    rate, grown = hit_rate(readings, "cache")
    assert rate == 0.9
    assert grown is not None
    assert grown.totals == (90.0, 10.0)


def test_there_is_no_hit_rate_when_nothing_was_asked():
    """Counters that stand still give no rate, and neither does a single reading."""
    still = [reading(at, name, 5.0) for at in (0.0, 1.0) for name in ("hits", "misses")]
    assert hit_rate(still, "cache")[0] is None
    assert hit_rate(still[:2], "cache") == (None, None)


@given(st.lists(st.integers(0, 1000), min_size=2, max_size=20), st.data())
def test_differences_add_up_over_any_split(values, data):
    """Two parts that share a reading have together the difference and the restarts of the whole."""
    rows = [(float(at), (value,)) for at, value in enumerate(values)]
    cut = data.draw(st.integers(0, len(rows) - 1))
    whole = growth(rows)
    parts = [part for part in (growth(rows[: cut + 1]), growth(rows[cut:])) if part is not None]
    assert whole is not None
    assert sum(part.totals[0] for part in parts) == whole.totals[0]
    assert [reset for part in parts for reset in part.resets] == list(whole.resets)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=6), st.lists(st.integers(0, 9), max_size=6))
def test_a_restart_that_shows_costs_nothing_of_what_was_read(first, second):
    """The first life ends above 100, the second begins again: all its counts and the first's later ones."""
    before = [100 + value for value in accumulate(first)]
    after = list(accumulate(second))
    grown = growth([(float(at), (value,)) for at, value in enumerate(before + after)])
    assert (grown.totals[0] if grown else 0) == sum(first[1:]) + sum(second)


def jobs(*values: float | None) -> list[Value]:
    """Make readings of the counters `jobs` and `errors`."""
    return [
        Value(name, value, "" if value is not None else "gone")
        for name, value in zip(("jobs", "errors"), values, strict=True)
    ]


def test_a_rate_is_the_growth_per_second():
    """From one attempt to the next; the first has nothing to compare with."""
    rates = Rates(("jobs", "errors"))
    first = rates.add(0.0, jobs(100.0, 1.0))
    assert [item.value for item in first] == [None, None]
    assert first[0].error.startswith("no baseline")
    assert rates.add(10.0, jobs(150.0, 1.0)) == (Value("jobs_rate", 5.0), Value("errors_rate", 0.0))


def test_counters_that_were_set_back_count_from_0():
    """All of them: they live in the same process, and one of them may have passed its old value already."""
    rates = Rates(("jobs", "errors"))
    rates.add(0.0, jobs(100.0, 1.0))
    assert rates.add(10.0, jobs(20.0, 4.0)) == (Value("jobs_rate", 2.0), Value("errors_rate", 0.4))


def test_an_attempt_without_values_is_spanned_by_the_next():
    """It has no rate itself, with its own reason."""
    rates = Rates(("jobs", "errors"))
    rates.add(0.0, jobs(100.0, 1.0))
    assert rates.add(10.0, jobs(110.0, None)) == (
        Value("jobs_rate", None, "gone"),
        Value("errors_rate", None, "gone"),
    )
    assert rates.add(20.0, jobs(140.0, 3.0)) == (Value("jobs_rate", 2.0), Value("errors_rate", 0.1))


def test_an_attempt_that_comes_too_soon_has_no_rate():
    """The growth of 20 ms says nothing; it is part of the next one's."""
    rates = Rates(("jobs", "errors"))
    rates.add(-0.02, jobs(100.0, 1.0))
    soon = rates.add(0.0, jobs(101.0, 1.0))
    assert [item.value for item in soon] == [None, None]
    assert soon[0].error == "too soon: 0.02 s"
    assert rates.add(1.98, jobs(110.0, 3.0)) == (Value("jobs_rate", 5.0), Value("errors_rate", 1.0))


@given(st.lists(st.floats(0, 1e9), min_size=2, max_size=20))
def test_no_rate_is_ever_below_0(values):
    """Whatever a counter does."""
    rates = Rates(("jobs",))
    found = [item for at, value in enumerate(values) for item in rates.add(float(at), [Value("jobs", value)])]
    assert all(item.value is None or item.value >= 0 for item in found)
    assert sum(item.value is None for item in found) == 1


def test_a_probe_without_counters_has_no_rates():
    """Nothing is added to its readings."""
    assert Rates(()).add(0.0, jobs(1.0, 2.0)) == ()
