"""When each kind of failure came: exact counts, in seconds that grow longer as they grow old."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st

from loadgate.measure.delta import Delta, Failure, FleetRow
from loadgate.store.database import RunReader, open_writer
from loadgate.store.failure_times import MOST_TIMED


def delta(sequence: int, *failures: tuple[str, float, int], newest: int = 0) -> Delta:
    """Return a report of failures (message, run time, number), and of a worker's second if told."""
    found = [Failure("e", "failed", "status", text, n, at, at, []) for text, at, n in failures]
    fleet = [FleetRow(newest, "w", 1, 1, 1, 0, 1, 0.1, 1, 0.0, 0.0, 0.0)] if newest else []
    return Delta("r", "w", 1, sequence, [], found, fleet)


def times(database: Path) -> list[tuple[int, int, str, int]]:
    """Read second, span, message and number of each row."""
    with RunReader(database) as reader:
        return [(one.second, one.span, one.message, one.number) for one in reader.failure_times()]


def test_failures_are_counted_in_their_second(database: Path) -> None:
    """3.2 and 3.9 are both of second 3, in one report or in two."""
    with open_writer(database) as writer:
        writer.commit([delta(1, ("a", 3.2, 2), ("b", 3.5, 1))])
        writer.commit([delta(2, ("a", 3.9, 1), ("a", 7.0, 4))])
    assert times(database) == [(3, 1, "a", 3), (3, 1, "b", 1), (7, 1, "a", 4)]


def test_a_report_that_comes_again_is_counted_once(database: Path) -> None:
    """As everything else in a report is."""
    with open_writer(database) as writer:
        writer.commit([delta(1, ("a", 3.0, 2))])
        writer.commit([delta(1, ("a", 3.0, 2))])
    assert times(database) == [(3, 1, "a", 2)]


def test_old_seconds_are_put_together(database: Path) -> None:
    """At 3701 s what is before 100 s is by ten seconds, at 90,000 s what is before 3600 s by minutes."""
    with open_writer(database) as writer:
        writer.commit([delta(1, ("a", 5.0, 1), ("a", 7.0, 1), ("a", 12.0, 1), ("a", 100.0, 1))])
        writer.commit([delta(2, newest=3700)])
    assert times(database) == [(0, 10, "a", 2), (10, 10, "a", 1), (100, 1, "a", 1)]
    with open_writer(database) as writer:
        writer.commit([delta(3, newest=89_999)])
    assert times(database) == [(0, 60, "a", 3), (60, 60, "a", 1)]


def test_what_comes_late_joins_what_is_there(database: Path) -> None:
    """A report of second 5 that comes at 4400 s is put with the others of its ten seconds."""
    with open_writer(database) as writer:
        writer.commit([delta(1, ("a", 5.0, 1))])
        writer.commit([delta(2, newest=3700)])
        writer.commit([delta(3, ("a", 6.0, 4), newest=4400)])
    assert times(database) == [(0, 10, "a", 5)]


def test_only_the_first_kinds_have_times(database: Path) -> None:
    """Of the 21st kind there is a count, and no time."""
    kinds = [(f"k{number:02}", 1.0, 1) for number in range(MOST_TIMED + 1)]
    with open_writer(database) as writer:
        writer.commit([delta(1, *kinds)])
    assert [message for _, _, message, _ in times(database)] == [kind for kind, _, _ in kinds[:-1]]
    with RunReader(database) as reader:
        assert len(reader.failures()) == MOST_TIMED + 1


REPORTS = st.lists(
    st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 100_000), st.integers(1, 9)), max_size=4),
    max_size=12,
)


@given(REPORTS, st.integers(0, 12))
def test_times_add_up_to_the_counts(reports: list[list[tuple[str, float, int]]], reopened: int) -> None:
    """A law: however reports come and get old, each kind has as many failures by time as altogether."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "run.db"
        for part, start in ((reports[:reopened], 1), (reports[reopened:], 1 + len(reports[:reopened]))):
            with open_writer(path) as writer:
                for number, failures in enumerate(part, start):
                    newest = int(max((at for _, at, _ in failures), default=0))
                    writer.commit([delta(number, *failures, newest=newest)])
        by_time = Counter[str]()
        for _, _, message, number in times(path):
            by_time[message] += number
        with RunReader(path) as reader:
            assert by_time == {one.message: one.count for one in reader.failures()}
