"""Annotations: appended by any process, read whole or left out and told."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgate.errors import UsageError
from loadgate.store.annotations import (
    LONGEST_TEXT,
    MOST_BYTES,
    Annotation,
    annotate,
    annotations_of,
    annotations_path,
    read_annotations,
)
from loadgate.store.folder import RunFolder

WALL = "2026-11-24T10:15:00.000+00:00"
TEXTS = st.text(min_size=1, max_size=LONGEST_TEXT).filter(
    lambda text: text.isprintable() and text.strip() != ""
)
ANNOTATIONS = st.builds(
    Annotation,
    at=st.none() | st.floats(-1e6, 1e6),
    wall=st.datetimes(timezones=st.just(UTC)).map(datetime.isoformat),
    kind=st.sampled_from(["note", "deployment"]),
    text=TEXTS,
)


def note(at: float | None, text: str = "deployed") -> Annotation:
    return Annotation(at, WALL, "note", text)


@given(entries=st.lists(ANNOTATIONS, max_size=6))
def test_what_was_annotated_is_read(
    tmp_path_factory: pytest.TempPathFactory, entries: list[Annotation]
) -> None:
    """Every annotation comes back as it was, in order of run time; those before the begin come first."""
    run = RunFolder(tmp_path_factory.mktemp("run"))
    for entry in entries:
        annotate(run, entry)
    before = [entry for entry in entries if entry.at is None]
    others = sorted((entry for entry in entries if entry.at is not None), key=lambda entry: entry.at or 0.0)
    assert annotations_of(run) == [*before, *others]
    assert read_annotations(run).faults == ()


@given(cut=st.integers(0, 400))
def test_a_torn_end_costs_one_line(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    """Cut off anywhere, all whole lines are read, and what is left of the next one is told."""
    run = RunFolder(tmp_path_factory.mktemp("run"))
    for number in range(3):
        annotate(run, note(float(number)))
    whole = annotations_path(run).read_bytes()
    raw = whole[:cut]
    annotations_path(run).write_bytes(raw)
    lines = whole.split(b"\n")[:3]
    found = read_annotations(run)
    complete = sum(raw.startswith(b"\n".join(lines[:count])) for count in (1, 2, 3))
    assert [entry.at for entry in found.entries] == [float(number) for number in range(complete)]
    rest = raw.rsplit(b"\n", 1)[-1]
    assert len(found.faults) == (1 if rest and rest not in lines else 0)


def test_a_line_after_a_torn_one_is_kept(tmp_path: Path) -> None:
    """What a crash left without its end does not swallow the next annotation."""
    run = RunFolder(tmp_path)
    annotations_path(run).write_bytes(b'{"at": 1.0, "wall": "20')
    annotate(run, note(2.0))
    found = read_annotations(run)
    assert [entry.at for entry in found.entries] == [2.0]
    assert len(found.faults) == 1
    assert "line 1" in found.faults[0]


@pytest.mark.parametrize(
    "change",
    [
        {"at": "soon"},
        {"at": True},
        {"kind": "release"},
        {"text": ""},
        {"text": "a\x1b[2Jb"},
        {"text": "x" * (LONGEST_TEXT + 1)},
        {"wall": "yesterday"},
        {"wall": "2026-11-24T10:15:00"},
        {"text": 7},
    ],
)
def test_a_line_that_is_no_annotation_is_left_out_and_told(tmp_path: Path, change: dict[str, object]) -> None:
    """What others wrote into the file is checked like any input, and what is right beside it stays."""
    run = RunFolder(tmp_path)
    annotate(run, note(1.0))
    with annotations_path(run).open("a") as file:
        file.write(json.dumps({**note(2.0).to_dict(), **change}) + "\n[]\n")
    annotate(run, note(3.0))
    found = read_annotations(run)
    assert [entry.at for entry in found.entries] == [1.0, 3.0]
    assert len(found.faults) == 2


@pytest.mark.parametrize("text", ["", "   ", "two\nlines", "x" * (LONGEST_TEXT + 1)])
def test_what_could_not_be_read_again_is_refused(tmp_path: Path, text: str) -> None:
    """Nothing is written that the reader would leave out."""
    run = RunFolder(tmp_path)
    with pytest.raises(UsageError):
        annotate(run, note(1.0, text))
    assert not annotations_path(run).exists()


def test_many_may_annotate_at_once(tmp_path: Path) -> None:
    """Lines never mix: all of 200 from eight threads are there, once each."""
    run = RunFolder(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: annotate(run, note(float(number), f"n{number}" * 40)), range(200)))
    assert [entry.text for entry in annotations_of(run)] == [f"n{number}" * 40 for number in range(200)]


def test_the_file_is_bounded(tmp_path: Path) -> None:
    """A full file takes no more, and what lies beyond the bound is told, not read."""
    run = RunFolder(tmp_path)
    annotate(run, note(1.0))
    with annotations_path(run).open("ab") as file:
        file.truncate(MOST_BYTES)
    with pytest.raises(UsageError, match="full"):
        annotate(run, note(2.0))
    with annotations_path(run).open("ab") as file:
        file.write(b"\nmore")
    assert any("larger than" in fault for fault in read_annotations(run).faults)


def test_a_run_without_annotations_has_none(tmp_path: Path) -> None:
    """No file is no fault."""
    assert read_annotations(RunFolder(tmp_path)).entries == ()
