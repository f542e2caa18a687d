"""What moved first is told by time alone, and only where something moved."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from loadgate.judge.attribution import coincidences, moves, onset
from loadgate.judge.evidence import Digest
from loadgate.judge.objectives import evaluate_all
from loadgate.measure.part import Part, PartColumns
from loadgate.measure.parts import definition

SLOW_FROM = 25


def slow(make: Any, begins: int = SLOW_FROM) -> list[Any]:
    """Return 30 s of 100 requests a second: 20 ms each at first, 300 ms from a second on."""
    return [make.window(s, {20: 100} if s < begins else {300: 100}, over_ms=[50, 200]) for s in range(10, 40)]


def rows(make: Any) -> list[Any]:
    cpu = make.objective("cpu", "< 50%", alert="> 80%")
    return [make.objective(statistic="p95", alert="> 200ms", every=5.0, **{"for": 10.0}), cpu]


def told(make: Any, cpu: list[float | None], **changes: Any) -> list[str]:
    """Return the sentences of a slow run with one reading of CPU a second from second 10 on."""
    values = {"windows": slow(make), **changes}
    evidence = make.evidence(
        *rows(make),
        readings=make.readings("process", "cpu", cpu),
        probes=[make.probe("process", process="listening")],
        **values,
    )
    return [text for _, text, _ in coincidences(evidence, evaluate_all(evidence))]


def test_cpu_that_was_full_eight_seconds_before(make: Any) -> None:
    """CPU 20 %, from second 17 on 97 %; p95 is past 200 ms from 25 on: 8 s later."""
    (text,) = told(make, [0.2] * 7 + [0.97] * 23)
    assert "began to break its limit at 25s, 8s after process.cpu passed 80% (97%)" in text
    assert "coincidence in time, which need not be the cause" in text


@pytest.mark.parametrize(
    "cpu",
    [
        [0.2] * 30,  # never moved
        [0.2] * 20 + [0.97] * 10,  # moved at 30, after the breach began
        [0.97] * 30,  # was there from the beginning
        [0.2] * 5 + [0.97] * 3 + [0.2] * 22,  # had come back before the breach
        [None] * 30,  # could not be read
    ],
)
def test_what_did_not_move_before_is_not_told(make: Any, cpu: list[float | None]) -> None:
    """A reading tells nothing that never moved, moved later, was high all the time, or was calm again."""
    assert told(make, cpu) == []


def test_a_breach_from_the_first_second_on_has_no_before(make: Any) -> None:
    """Nothing can have moved first."""
    assert told(make, [0.2] * 7 + [0.97] * 23, windows=slow(make, 10)) == []


def test_a_lone_slow_second_is_no_onset(make: Any) -> None:
    """Three of five seconds must be past the limit: second 12 alone is noise, 25 begins the breach."""
    windows = slow(make)
    windows[2] = make.window(12, {300: 100}, over_ms=[50, 200])
    evidence = make.evidence(*rows(make), windows=windows)
    assert onset(evidence, evidence.objectives[0]) == 25.0


def test_a_reading_without_a_row_moves_when_it_leaves_its_range(make: Any) -> None:
    """Heap of 100 ± 1 for five readings; 200 at second 20 is over 125, the mean and a quarter of it."""
    values = [99.0, 100.0, 101.0, 100.0, 100.0, 101.0, 99.0, 100.0, 100.0, 100.0, *[200.0] * 5]
    evidence = make.evidence(readings=make.readings("runtime", "heap", values))
    (move,) = moves(evidence, 25.0)
    assert (move.reading, move.at, move.past, move.value) == ("runtime.heap", 20.0, "125", "200")


def test_errors_are_attributed_too(make: Any) -> None:
    """A fifth of the answers are errors from second 25 on; the CPU had been full for 5 s."""
    windows = [
        make.window(s, {20: 80}, failed=20) if s >= 25 else make.window(s, {20: 100}) for s in range(10, 40)
    ]
    row = make.objective("error_rate", "< 1%", alert="> 5%")
    evidence = make.evidence(
        row,
        make.objective("cpu", "< 50%", alert="> 80%"),
        windows=windows,
        readings=make.readings("process", "cpu", [0.2] * 10 + [0.9] * 20),
        probes=[make.probe("process", process="listening")],
    )
    (found,) = coincidences(evidence, evaluate_all(evidence))
    assert found[0] == "coincidence"
    assert (found[2]["began"], found[2]["moved"]) == (25.0, 20.0)


def test_a_long_run_tells_the_window_in_which_a_breach_began(make: Any) -> None:
    """Of merged seconds the windows of 5 s are there: that from 25 on is the first of three past."""
    row = make.objective(statistic="p95", alert="> 200ms", every=5.0, **{"for": 10.0})
    calm, late = Part(0.02, 500, 0, 0), Part(0.3, 500, 500, 500, 500)
    digest = Digest(5.0, {definition(row): PartColumns.of([calm] * 3 + [late] * 3)})
    evidence = make.evidence(
        row,
        make.objective("cpu", "< 50%", alert="> 80%"),
        windows=slow(make),
        readings=make.readings("process", "cpu", [0.2] * 7 + [0.97] * 23),
        probes=[make.probe("process", process="listening")],
        digest=digest,
    )
    assert onset(evidence, row) == 25.0
    rows = evaluate_all(replace(evidence, digest=None))
    ((_, text, _),) = coincidences(evidence, rows)
    assert (
        "began to break its limit in the 5s from 25s on, at least 8s after process.cpu passed 80% (97%)"
        in text
    )
    empty = replace(evidence, digest=Digest(5.0))
    assert onset(empty, row) is None
