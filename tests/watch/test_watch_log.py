"""Lines of a log, counted through growth, rotation, truncation and absence."""

from __future__ import annotations

import os
import re
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgate.watch.log import LINE_MOST, Lines, LogCommand, LogFile, Tally
from loadgate.watch.parse import NoReading, Reason
from loadgate.watch.probes import Value


def readings(log: LogFile | LogCommand, limit: float = 5.0) -> dict[str, float | None]:
    """Look once, and return the values by name."""
    log.look(limit)
    return {item.reading: item.value for item in log.take()}


def counts(matches: int, lines: int, total: int) -> dict[str, float | None]:
    """Return what a reading should be."""
    return {"matches": float(matches), "lines": float(lines), "total": float(total)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A log with two lines from before the run, one of which matches."""
    found = tmp_path / "service.log"
    found.write_text("started\nERROR from yesterday\n")
    return found


@pytest.fixture
def log(path: Path) -> LogFile:
    """A log that is followed from the end of that file."""
    found = LogFile(path, "ERROR")
    found.baseline()
    return found


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def test_lines_count_from_the_start_of_the_run(path, log):
    """What was there before is not the run's; then each reading has what came since the last one."""
    assert readings(log) == counts(0, 0, 0)
    append(path, "fine\nERROR one\nERROR two\n")
    assert readings(log) == counts(2, 3, 2)
    append(path, "fine\n")
    assert readings(log) == counts(0, 1, 2)


def test_a_file_that_is_not_there_yet_counts_from_its_start(tmp_path):
    """Until then there is no reading; all of it was written during the run."""
    path = tmp_path / "late.log"
    log = LogFile(path, "ERROR")
    log.baseline()
    with pytest.raises(NoReading) as caught:
        log.look(5.0)
    assert caught.value.reason is Reason.NO_FILE
    assert str(path) in caught.value.text
    path.write_text("ERROR\n")
    assert readings(log) == counts(1, 1, 1)


def test_a_renamed_file_is_read_to_its_end_and_the_new_one_from_its_start(path, log, tmp_path):
    """Rotation between two readings loses nothing."""
    append(path, "ERROR before\n")
    path.rename(tmp_path / "service.log.1")
    path.write_text("ERROR after\nfine\n")
    assert readings(log) == counts(2, 3, 2)


def test_a_writer_that_goes_on_with_the_renamed_file_is_heard(path, log, tmp_path):
    """It writes there until it opens the new one, which may be after our reading."""
    old = tmp_path / "service.log.1"
    with path.open("a") as writer:
        path.rename(old)
        path.write_text("")
        assert readings(log) == counts(0, 0, 0)
        writer.write("ERROR late\n")
        writer.flush()
        assert readings(log) == counts(1, 1, 1)


def test_a_missing_file_gives_no_reading_and_loses_nothing(path, log, tmp_path):
    """What the removed file held is part of the next reading."""
    append(path, "ERROR\n")
    path.rename(tmp_path / "away")
    with pytest.raises(NoReading):
        log.look(5.0)
    path.write_text("fine\n")
    assert readings(log) == counts(1, 2, 1)


def test_a_truncated_file_is_read_from_its_start(path, log):
    """As copytruncate leaves it."""
    append(path, "fine\n")
    readings(log)
    path.write_text("ERROR\n")
    assert readings(log) == counts(1, 1, 1)


def test_a_file_written_anew_and_longer_is_read_from_its_start(path, log):
    """Its size alone would not show it: what stood before the place is another text."""
    append(path, "fine\n")
    readings(log)
    path.write_text("ERROR\n" * 20)
    assert readings(log) == counts(20, 20, 20)


def test_an_unfinished_line_counts_once_when_it_matches(path, log):
    """The last words of a service that died have no end; a line that goes on later is the same line."""
    append(path, "ERROR half")
    assert readings(log) == counts(1, 0, 1)
    assert readings(log) == counts(0, 0, 1)
    append(path, " and the rest\n")
    assert readings(log) == counts(0, 1, 1)
    append(path, "ER")
    assert readings(log) == counts(0, 0, 1)
    append(path, "ROR\n")
    assert readings(log) == counts(1, 1, 2)


def test_more_than_is_searched_at_once_is_no_reading_and_no_total(path):
    """A 0 would say that there was no such line; the next reading is good again, the total is not."""
    log = LogFile(path, "ERROR", most=100)
    log.baseline()
    append(path, "fine\n" * 30)
    with pytest.raises(NoReading) as caught:
        log.look(5.0)
    assert caught.value.reason is Reason.TOO_LARGE
    append(path, "ERROR\n")
    log.look(5.0)
    matches, lines, total = log.take()
    assert (matches, lines) == (Value("matches", 1.0), Value("lines", 1.0))
    assert total.value is None
    assert total.error.startswith("answer too large: 150 bytes of service.log were new at once")


def test_a_look_that_takes_too_long_goes_on_where_it_ended(path):
    """Each piece of 256 KiB takes a second by this clock: two fit into the limit, and nothing is lost."""
    ticks = iter(range(100))
    log = LogFile(path, "ERROR", clock=lambda: float(next(ticks)))
    log.baseline()
    append(path, ("x" * 1023 + "\n") * 1024 + "ERROR\n")
    with pytest.raises(NoReading) as caught:
        log.look(2.5)
    assert caught.value.reason is Reason.TIMEOUT
    assert readings(log, 50.0) == counts(1, 1025, 1)


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_what_is_no_regular_file_is_refused_and_blocks_nothing(tmp_path, kind):
    """Opening a pipe for reading would wait for its writer."""
    path = tmp_path / "log"
    path.mkdir() if kind == "folder" else os.mkfifo(path)
    log = LogFile(path, "ERROR")
    log.baseline()
    with pytest.raises(NoReading) as caught:
        log.look(1.0)
    assert caught.value.reason is Reason.NO_FILE


def test_a_stopped_log_ends_its_look(path, log):
    """So that a run does not wait for it."""
    append(path, "fine\n")
    log.stop()
    with pytest.raises(NoReading):
        log.look(5.0)
    log.close()
    log.close()


def test_bytes_that_are_no_text_are_searched_as_well(path, log):
    """Logs hold anything."""
    with path.open("ab") as file:
        file.write(b"\xff\xfe ERROR \x00\n")
    assert readings(log) == counts(1, 1, 1)


@given(
    st.lists(st.sampled_from(["ERROR", "E", "RROR", "fine", "\n", "\n\n", " "]), max_size=30),
    st.lists(st.integers(0, 60), max_size=8),
)
def test_cutting_a_text_into_pieces_changes_no_count(words, cuts):
    """Matches and lines are those of the whole text, wherever it is cut, and looked at in between."""
    text = "".join(words)
    places = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    tally = Tally("ERROR")
    lines = Lines(tally)
    for start, end in pairwise(places):
        lines.add(text[start:end].encode())
        lines.settle()
    lines.end()
    *whole, rest = text.split("\n")
    expected = whole + ([rest] if rest else [])
    assert tally.lines == len(expected)
    assert tally.matches == sum("ERROR" in line for line in expected)


def test_an_endless_line_is_bounded():
    """Its beginning is searched, memory holds no more than that, and the total is not known from then on."""
    tally = Tally("ERROR")
    lines = Lines(tally)
    for _ in range(10):
        lines.add(b"x" * LINE_MOST)
    assert len(lines._rest) == LINE_MOST
    lines.add(b"ERROR\n")
    assert (tally.lines, tally.matches) == (1, 0)
    assert tally.take()[2].value is None


# -- commands --


def script(code: str) -> list[str]:
    return [sys.executable, "-c", code]


@pytest.mark.system
def test_a_command_is_asked_from_the_last_reading_on():
    """{since} and {epoch} are whole seconds, rounded down: nothing is missed. It printed an hour's lines."""
    times = iter([1_000_000.9, 1_000_030.5, 1_000_060.2, 1_000_090.0])
    code = "import sys; print('ERROR', *sys.argv[1:]); print('fine', file=sys.stderr)"
    log = LogCommand(
        [*script(code), "{since}", "@{epoch}"],
        "ERROR 1970-01-12T13:46:40Z @1000000$",
        wall=lambda: next(times),
    )
    assert readings(log) == counts(1, 2, 1)
    assert readings(log) == counts(0, 2, 1)
    assert log._words()[-2:] == ["1970-01-12T13:47:40Z", "@1000060"]


@pytest.mark.system
def test_a_command_that_failed_is_asked_again_from_the_same_moment():
    """Its lines are part of the next reading."""
    times = iter([100.0, 130.0, 160.0])
    log = LogCommand(
        [*script("import sys; print('no such unit'); sys.exit(3)"), "{epoch}"],
        "ERROR",
        wall=lambda: next(times),
    )
    with pytest.raises(NoReading) as caught:
        log.look(5.0)
    assert caught.value.text == "ended with: exit status 3: no such unit"
    assert log._words()[-1] == "100"


@pytest.mark.system
def test_a_command_that_prints_too_much_has_no_total_from_then_on():
    """What it printed was not searched."""
    log = LogCommand([*script("print('x' * 5000)"), "{epoch}"], "ERROR", most=1000)
    with pytest.raises(NoReading) as caught:
        log.look(5.0)
    assert caught.value.reason is Reason.TOO_LARGE
    values = {item.reading: item for item in log.take()}
    assert values["total"].value is None
    assert re.match("answer too large", values["total"].error)
