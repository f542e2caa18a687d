"""Rows of probes: how many readings it takes, and what each metric makes of them."""

from __future__ import annotations

from typing import Any

import pytest

from loadgate.judge.objectives import evaluate
from loadgate.judge.readings import scheduled_in
from loadgate.judge.results import Grade
from loadgate.judge.slots import Interval
from loadgate.store.database import Event

MB = 1e6


@pytest.mark.parametrize(
    ("steady", "every", "number"),
    [
        ([(10, 40)], 5, 6),
        ([(10, 40)], 7, 4),
        ([(10, 40)], 60, 0),
        ([(0, 10), (20, 31)], 5, 4),
        ([(0, 0.3)], 0.1, 3),
    ],
)
def test_scheduled_are_those_that_are_sure_to_fall_into_the_phase(
    make: Any, steady: list[tuple[float, float]], every: float, number: int
) -> None:
    """In 30 s a reading every 7 s falls 4 times wherever the first one lands (a fifth may)."""
    assert scheduled_in([Interval(*part) for part in steady], make.probe("process", every)) == number


@pytest.mark.parametrize(
    ("values", "grade"),
    [
        ([400 * MB] * 30, Grade.PASS),
        ([400 * MB] * 29 + [None], Grade.PASS),
        ([400 * MB] * 28 + [None, None], Grade.INVALID),
        ([600 * MB] * 30, Grade.WARN),
        ([1100 * MB] * 30, Grade.FAIL),
        ([0.0] * 15 + [900 * MB] * 15, Grade.PASS),
    ],
)
def test_memory_is_the_mean_and_takes_95_percent_of_the_readings(
    make: Any, values: list[float | None], grade: Grade
) -> None:
    """29 of 30 are 96.7 %, 28 of 30 are 93.3 %; the mean of 0 and 900 MB is 450 MB."""
    row = make.objective("memory", "< 500MB", alert="> 1GB")
    found = make.evidence(
        row,
        probes=[make.probe("process", process="listening")],
        readings=make.readings("process", "memory", values),
    )
    assert evaluate(row, found).verdict is grade


def test_too_few_readings_say_how_many_of_how_many_and_why(make: Any) -> None:
    """The reason carries the last error of the probe."""
    row = make.objective("memory", "< 500MB")
    found = make.evidence(
        row,
        probes=[make.probe("process", process="listening")],
        readings=make.readings("process", "memory", [1.0] * 20 + [None] * 10),
    )
    result = evaluate(row, found)
    assert "20 of 30 scheduled readings of process.memory" in result.reason
    assert "timed out" in result.reason
    assert (result.value, result.n) == (None, 20)


def test_fewer_than_five_scheduled_readings_are_never_enough(make: Any) -> None:
    """Four of four readings are not five, and the reason says to read more often."""
    row = make.objective("memory", "< 500MB")
    found = make.evidence(
        row,
        probes=[make.probe("process", 7.0, process="listening")],
        readings=make.readings("process", "memory", [1.0] * 4, every=7.0),
    )
    result = evaluate(row, found)
    assert result.verdict is Grade.INVALID
    assert "at least 5" in result.reason


def test_only_readings_of_the_steady_phase_count(make: Any) -> None:
    """Of thirty readings from run time -15 on, five lie in the phase that begins at 10."""
    row = make.objective("memory", "< 500MB")
    found = make.evidence(
        row,
        probes=[make.probe("process", process="listening")],
        readings=make.readings("process", "memory", [1.0] * 30, start=-15.0),
    )
    assert "5 of 30" in evaluate(row, found).reason


def test_the_worst_window_of_a_level_is_its_highest_reading(make: Any) -> None:
    """A peak of 90 % in 20..30 is the window's value, though the mean of the phase is 42 %."""
    row = make.objective("cpu", "< 50%", alert="> 80%")
    values = [0.4] * 10 + [0.4] * 9 + [0.9] + [0.425] * 10
    found = make.evidence(
        row,
        probes=[make.probe("process", process="listening")],
        readings=make.readings("process", "cpu", values),
    )
    result = evaluate(row, found)
    assert (result.verdict, result.value) == (Grade.PASS, pytest.approx(0.425))
    assert result.worst_window is not None
    assert (result.worst_window.start, result.worst_window.value, result.worst_window.n) == (20, 0.9, 10)


@pytest.mark.parametrize(
    ("values", "grade", "value"),
    [
        ([1.0] * 30, Grade.PASS, 1.0),
        ([1.0] * 29 + [0.0], Grade.WARN, 29 / 30),
        ([1.0] * 29 + [None], Grade.WARN, 29 / 30),
        ([1.0] * 28 + [None, 0.0], Grade.FAIL, 28 / 30),
        ([None] * 30, Grade.FAIL, 0.0),
    ],
)
def test_uptime_counts_a_failed_attempt_as_a_bad_reading(
    make: Any, values: list[float | None], grade: Grade, value: float
) -> None:
    """A dead target has an uptime of 0, not an INVALID row: 29 of 30 are 96.7 %, 28 of 30 are 93.3 %."""
    row = make.objective("uptime", ">= 99%", alert="< 95%")
    found = make.evidence(
        row, probes=[make.probe("health", http="/health")], readings=make.readings("health", "up", values)
    )
    result = evaluate(row, found)
    assert (result.verdict, result.value) == (grade, pytest.approx(value))


@pytest.mark.parametrize(
    ("good", "bad", "grade"),
    [
        (29, 0, Grade.WARN),
        (28, 0, Grade.INVALID),
        (20, 1, Grade.INVALID),
        (18, 2, Grade.FAIL),
        (0, 0, Grade.INVALID),
    ],
)
def test_uptime_readings_that_were_never_tried_are_missing(
    make: Any, good: int, bad: int, grade: Grade
) -> None:
    """Of 30 scheduled, 28 tried are too few, unless the bad ones alone fail: 2 of 30 leave 93.3 % at best."""
    row = make.objective("uptime", ">= 99%", alert="< 95%")
    found = make.evidence(
        row,
        probes=[make.probe("health", http="/health")],
        readings=make.readings("health", "up", [1.0] * good + [0.0] * bad),
    )
    assert evaluate(row, found).verdict is grade


@pytest.mark.parametrize("metric", ["cpu", "memory", "uptime", "queue.depth"])
def test_a_row_without_its_probe_is_invalid_and_says_which(make: Any, metric: str) -> None:
    """No probe, no data, and the reason is a line to add."""
    row = make.objective(metric, {"memory": "< 5MB", "queue.depth": "< 5"}.get(metric, "< 50%"))
    result = evaluate(row, make.evidence(row))
    assert result.verdict is Grade.INVALID
    assert "[[probes]]" in result.reason


def test_any_reading_of_a_probe_can_be_judged(make: Any) -> None:
    """A bare number needs no unit."""
    row = make.objective("queue.depth", "< 40")
    probe = make.probe("queue", kind="json", http="/q", values={"depth": "depth"})
    found = make.evidence(row, probes=[probe], readings=make.readings("queue", "depth", [10.0, 30.0] * 15))
    result = evaluate(row, found)
    assert (result.verdict, result.value) == (Grade.PASS, 20)


@pytest.mark.parametrize(("cores", "grade"), [([4.0] * 30, Grade.PASS), ([], Grade.INVALID)])
def test_cpu_of_the_machine_is_divided_by_the_cores_it_may_use(
    make: Any, cores: list[float], grade: Grade
) -> None:
    """1.6 cores of 4 are 40 %; without the number of cores the row cannot be judged."""
    from loadgate.plan.scenario import VerdictPolicy

    row = make.objective("cpu", "< 50%")
    readings = make.readings("process", "cpu", [1.6] * 30) + make.readings("process", "cores", cores)
    found = make.evidence(
        row,
        probes=[make.probe("process", process="listening")],
        readings=readings,
        policy=VerdictPolicy(cpu_of="machine"),
    )
    result = evaluate(row, found)
    assert result.verdict is grade
    assert result.value == (pytest.approx(0.4) if cores else None)


WATCHED_ROWS = [
    ("uptime", ">= 99%", "health", "up", 1.0),
    ("memory", "< 500MB", "process", "memory", 400 * MB),
]


@pytest.mark.parametrize("row_of", WATCHED_ROWS)
@pytest.mark.parametrize(
    ("gap", "missing", "grade"), [(1.5, 1, Grade.PASS), (1.6, 1, Grade.INVALID), (1.5, 2, Grade.INVALID)]
)
def test_what_nobody_could_read_is_not_bad_and_no_evidence(
    make: Any, row_of: tuple[str, str, str, str, float], gap: float, missing: int, grade: Grade
) -> None:
    """Of 30 s at most 1.5 s may go unwatched, and of 30 readings 29 must be there; a note tells of it."""
    metric, target, probe, reading, value = row_of
    row = make.objective(metric, target)
    kind = {"http": "/health"} if probe == "health" else {"process": "listening"}
    result = evaluate(
        row,
        make.evidence(
            row,
            probes=[make.probe(probe, **kind)],
            readings=make.readings(probe, reading, [value] * (30 - missing), start=10.0 + missing),
            control_gaps=((5.0, 10.0 + gap),),
        ),
    )
    assert result.verdict is grade
    (note,) = result.notes
    assert f"the target was watched for {30 - gap:g}s of 30s" in note
    if grade is Grade.PASS:
        assert result.value == value
    if gap > 1.5:
        assert "nobody watched the target for 1.6s of 30s" in result.reason


def test_a_third_of_the_phase_unwatched_is_no_evidence(make: Any) -> None:
    """20 good readings of 30, and nobody there for the other ten: INVALID, whatever they say."""
    row = make.objective("uptime", ">= 99%")
    changes = {
        "probes": [make.probe("health", http="/health")],
        "readings": make.readings("health", "up", [1.0] * 20, start=20.0),
    }
    result = evaluate(row, make.evidence(row, control_gaps=((5.0, 20.0),), **changes))
    assert result.verdict is Grade.INVALID
    assert "nobody watched the target for 10s of 30s" in result.reason


def test_bad_readings_alone_fail_a_row_that_was_not_watched(make: Any) -> None:
    """20 of 30 read and 12 bad: at the best 60 % of 30 were good, which is past 90 %."""
    row = make.objective("uptime", ">= 99%", alert="< 90%")
    changes = {
        "probes": [make.probe("health", http="/health")],
        "readings": make.readings("health", "up", [1.0] * 8 + [0.0] * 12, start=20.0),
    }
    result = evaluate(row, make.evidence(row, control_gaps=((5.0, 20.0),), **changes))
    assert result.verdict is Grade.FAIL


def test_a_reading_that_failed_counts_whatever_the_generator_did(make: Any) -> None:
    """The generator was away from 20 to 30, and the target down: its uptime says so."""
    row = make.objective("uptime", ">= 99%", alert="< 90%")
    values = [1.0 if not 10 <= index < 20 else 0.0 for index in range(30)]
    gap = Event(30.0, "not_measured", {"from": 20, "to": 30, "cause": "the master died"})
    changes = {
        "probes": [make.probe("health", http="/health")],
        "readings": make.readings("health", "up", values),
    }
    result = evaluate(row, make.evidence(row, events=[gap], **changes))
    assert result.value == pytest.approx(20 / 30)
