"""The objectives of a stretch of a run alone, and the daily summary."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from loadgate.judge.slots import Interval
from loadgate.plan.probe import Probe
from loadgate.report.daily import summarise
from loadgate.report.last_day import last_day, values_of
from loadgate.report.standing import Hand, ObjectiveNow, Status
from loadgate.store.watch import Reading, WatchWriter

Make = Callable[..., Any]


@pytest.mark.parametrize(
    ("now", "start"), [(30.0, 0.0), (86_400.0, 0.0), (86_430.0, 0.0), (86_475.0, 60.0), (172_799.0, 86_340.0)]
)
def test_the_last_day_begins_at_a_whole_minute(now: float, start: float) -> None:
    """Since old rows are minutes; it is up to 59 s longer than a day."""
    assert last_day(now) == Interval(start, now)


def test_a_stretch_has_its_own_values(
    run: Any, make_plan: Make, make_objective: Make, make_window: Make
) -> None:
    """Of ten seconds of 300 ms and ten of 10 ms each stretch has its own; half the readings are good."""
    rows = (
        make_objective(alert="> 200ms"),
        make_objective(metric="error_rate", endpoint=None, statistic=None, target="< 1%", alert=None),
        make_objective(metric="throughput", endpoint=None, statistic=None, target=">= 5/s", alert=None),
        make_objective(metric="uptime", endpoint=None, statistic=None, target=">= 99%", alert=None),
    )
    made = make_plan(*rows)
    health = Probe(name="health", http="/health", every=1.0)
    made = made.model_copy(update={"scenario": made.scenario.model_copy(update={"probes": (health,)})})
    run.writer.commit(run_values={"plan": json.loads(made.to_json()), "ended": None})
    for second in range(5, 25):
        run.second(second, "w1", make_window(second, {300 if second < 15 else 10: 10}))
    with WatchWriter(run.folder.watch_database) as writer:
        writer.readings([Reading(float(at), "health", "up", float(at >= 10), "", 0.1) for at in range(5, 15)])
    (part,) = made.timeline.steady
    assert part[0] <= 5.0
    slow = values_of(run.folder, made, Interval(5.0, 15.0))
    fast = values_of(run.folder, made, Interval(15.0, 25.0))
    latency = rows[0].name
    # A percentile is the highest value of its counter: of 300 ms one of 128 µs, of 10 ms one of 8 µs.
    assert (slow[latency], fast[latency]) == ("300.031ms", "10.007ms")
    assert (slow["error_rate"], slow["throughput"]) == ("0%", "10 req/s")
    assert slow["uptime"] == "50%"
    assert "uptime" not in fast


def status(**more: Any) -> Status:
    """Return the status of a run on its second day."""
    row = ObjectiveNow(
        "emotion.response_time", "p95", "< 50ms", "> 200ms", "PASS", "31ms", 9, "", "holds", "30ms",
        last_breach=(60.0, 90.0),
    )  # fmt: skip
    known = Status(
        "soak-1", "/r", "running", "", "soak", elapsed=100_000.0, planned=604_800.0, remaining=504_800.0,
        writers=(Hand("generator", True, 1, True, 0.1),), so_far="PASS", objectives=(row,), coverage=1.0,
        disk={"used": 10**8, "free": 10**10, "budget": 4 * 10**8},
    )  # fmt: skip
    return replace(known, **more)


def section(title: str, **more: Any) -> tuple[str, ...] | None:
    """Return the lines of one section of a summary."""
    found = summarise(status(**more), Interval(13_560.0, 100_000.0), {"emotion.response_time": "40ms"})
    return next((part.lines for part in found.sections if part.title == title), None)


def test_it_says_how_the_run_stands() -> None:
    """In one line: how old it is, of how much, and what its worst row is worth."""
    title = summarise(status(), Interval(0.0, 1.0), {}).title
    assert title == "soak: 1d3h46m40s of 7d, worst row so far PASS (run soak-1)"


def test_an_objective_has_both_values() -> None:
    """Of the day, and of the run so far, and when it was last past its limit."""
    assert section("Objectives") == (
        "PASS emotion.response_time p95 < 50ms: last day 40ms, run so far 31ms, last past its limit at 1m30s",
    )


def test_only_what_is_of_the_day_is_told() -> None:
    """Alerts that were over before it, and restarts and notes of before, are not; one that is on is."""
    alert = {"rule": "slow", "severity": "high", "fired_at": 50.0, "text": "x", "flapped": False}
    alerts = (
        {**alert, "rule": "old", "resolved_at": 60.0},
        {**alert, "rule": "on", "resolved_at": None},
        {**alert, "rule": "new", "fired_at": 20_000.0, "resolved_at": 20_060.0},
    )
    lines = section("Alerts of the day", alerts=alerts)
    assert lines is not None
    assert [line.split()[0] for line in lines] == ["on", "new"]
    restarts = tuple({"at": at, "probe": "health", "sign": "uptime went back"} for at in (10.0, 20_000.0))
    assert section("Restarts of the target", restarts=restarts) == ("at 5h33m20s: uptime went back (health)",)
    notes = ({"at": 30_000.0, "kind": "deployment", "text": "1.4.2", "wall": ""},)
    assert section("Notes of the day", annotations=notes) == ("at 8h20m: deployment: 1.4.2",)


def test_what_there_is_nothing_of_is_left_out_or_said() -> None:
    """No alert and no restart is worth a word; no drift rules are not."""
    assert section("Alerts of the day") == ("none fired",)
    assert section("Restarts of the target") == ("none seen",)
    assert section("Drift so far") is None
    assert section("Drift so far", drift=("WARN memory +3.1 MB/h",)) == ("WARN memory +3.1 MB/h",)
    assert section("Disk") == ("100MB used of a budget of about 400MB, 10GB free",)
