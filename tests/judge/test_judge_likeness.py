"""Runs are alike when what was offered, from where and by what was the same; nothing else is compared."""

from __future__ import annotations

from typing import Any

import pytest

from loadgate.judge.likeness import LOAD_SHAPE, conditions, unknown, unlike, unlike_runs, unusable
from loadgate.store.kept import KeptRun

VERDICT = {
    "verdict": "PASS",
    "void": False,
    "running": False,
    "ended": "planned",
    "reasons": [],
    "steady_seconds": 60.0,
    "steady_seconds_planned": 60.0,
    "steady": [{"start": 5.0, "end": 65.0}],
}
VALUES = {
    "model": "open",
    "mode": "distributed",
    "workers_expected": 2,
    "versions": {"loadgate": "0.1.0"},
    "machine": {"node": "one", "system": "Linux", "cores": 2},
    "fingerprint": {"files": {"corpora/emotion.jsonl": "c" * 64}},
    "host": "http://127.0.0.1:3000",
}


def plan(**changes: Any) -> dict[str, Any]:
    """Return a stored plan: 5 s of ramp to 1100/s, a minute steady; `changes` are of its traffic."""
    traffic = {
        "model": "open",
        "arrivals": "poisson",
        "users": 200,
        "seed": 1,
        "mix": {"emotion": 5.0, "creative": 2.0, "reasoning": 3.0},
        "wait": [0.0, 0.0],
        "source_addresses": [],
        "stages": [{"rate": 1100.0, "ramp": 5.0, "hold": 60.0, "phase": "steady"}],
        **changes,
    }
    return {
        "files": {"/a/staging.py": "a" * 64, "/a/gate.toml": "b" * 64},
        "scenario": {
            "locustfile": "/a/staging.py",
            "traffic": traffic,
            "http": {"connect_timeout": 2.0, "timeout": 30.0, "headers": {"Authorization": "env:TOKEN"}},
        },
    }


def run(stored: Any = None, *, values: dict[str, Any] | None = None, **verdict: Any) -> KeptRun:
    """Return a run of the usual plan, with what a test changes in it."""
    content = {**VERDICT, **verdict}
    return KeptRun("r", content, plan() if stored is None else stored, {**VALUES, **(values or {})})


def what(one: KeptRun, other: KeptRun) -> list[str]:
    """Return the names of the conditions in which two runs differ."""
    return [difference.what for difference in unlike(conditions(one), conditions(other))]


def test_a_run_is_like_itself() -> None:
    """No condition differs."""
    assert what(run(), run()) == []


def stages(**changes: Any) -> list[dict[str, Any]]:
    """Return the usual stage with a change."""
    return [{"rate": 1100.0, "ramp": 5.0, "hold": 60.0, "phase": "steady", **changes}]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"arrivals": "constant"}, "arrivals"),
        ({"mix": {"emotion": 5.0, "creative": 3.0, "reasoning": 3.0}}, "mix"),
        ({"stages": stages(rate=1000.0)}, "level"),
        ({"stages": stages(ramp=10.0)}, "approach"),
        ({"users": 100}, "users"),
        ({"wait": [1.0, 1.0]}, "wait"),
        ({"source_addresses": ["127.0.0.2", "127.0.0.3"]}, "source addresses"),
    ],
)
def test_another_load_is_unlike(change: dict[str, Any], expected: str) -> None:
    """Each part of the traffic by itself; the difference names it."""
    assert expected in what(run(), run(plan(**change)))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"model": "closed"}, "model"),
        ({"mode": "standalone"}, "mode"),
        ({"workers_expected": 4}, "workers"),
        ({"versions": {"loadgate": "0.2.0"}}, "loadgate"),
        ({"machine": {"node": "one", "system": "Linux", "cores": 4}}, "machine"),
        ({"fingerprint": {"files": {"corpora/emotion.jsonl": "d" * 64}}}, "traffic files"),
    ],
)
def test_another_generator_is_unlike(change: dict[str, Any], expected: str) -> None:
    """Model, shape, version, machine class and the files of the traffic."""
    assert what(run(), run(values=change)) == [expected]


def test_what_only_one_run_recorded_is_a_difference() -> None:
    """Nobody can tell that it was the same."""
    assert what(run(), run(values={"fingerprint": None})) == ["traffic files"]


def test_what_neither_run_recorded_is_told() -> None:
    """It is no difference, and no likeness either."""
    bare = run(values={"fingerprint": None})
    assert what(bare, bare) == []
    (note,) = unknown(conditions(bare), conditions(bare))
    assert note.startswith("traffic files: recorded by neither run")


def test_address_name_and_seed_do_not_matter() -> None:
    """Another port, another machine of the class, other draws, another place of the same files."""
    other = plan(seed=2)
    other["files"] = {"/b/staging.py": "a" * 64}
    other["scenario"]["locustfile"] = "/b/staging.py"
    values = {"host": "http://127.0.0.1:4000", "machine": {"node": "two", "system": "Linux", "cores": 2}}
    assert what(run(), run(other, values=values)) == []


def test_another_locustfile_is_unlike() -> None:
    """By what it holds."""
    other = plan()
    other["files"]["/a/staging.py"] = "f" * 64
    assert what(run(), run(other)) == ["locustfile"]


def test_weights_count_as_shares() -> None:
    """5:2:3 is 50:20:30."""
    assert what(run(), run(plan(mix={"emotion": 50.0, "creative": 20.0, "reasoning": 30.0}))) == []


@pytest.mark.parametrize(("seconds", "alike"), [(48.0, True), (75.0, True), (47.0, False), (76.0, False)])
def test_lengths_of_one_class_are_alike(seconds: float, alike: bool) -> None:
    """Up to a factor of 1.25 either way of 60 s."""
    other = run(plan(stages=stages(hold=seconds)), steady_seconds_planned=seconds)
    assert (what(run(), other) == []) is alike


def test_a_block_is_like_its_scenario_but_for_its_shape() -> None:
    """Warm-up and length may be left out; the level may not."""
    block = run(plan(stages=stages(ramp=0.0, hold=5.0)), steady_seconds_planned=5.0)
    assert unlike(conditions(run()), conditions(block), LOAD_SHAPE) == ()
    slower = run(plan(stages=stages(rate=500.0)), steady_seconds_planned=5.0)
    assert [one.what for one in unlike(conditions(run()), conditions(slower), LOAD_SHAPE)] == ["level"]


def test_a_run_without_a_plan_is_unlike_one_with() -> None:
    """What it was offered is not known."""
    stock = KeptRun("r", VERDICT, None, VALUES)
    assert "plan" in what(run(), stock)


def test_a_set_is_held_against_its_first_run() -> None:
    """Each difference once."""
    odd = run(values={"workers_expected": 4})
    assert [one.what for one in unlike_runs([run(), odd, odd])] == ["workers"]


def test_differences_are_told_in_words() -> None:
    """With both sides."""
    (one,) = unlike(conditions(run()), conditions(run(values={"workers_expected": 4})))
    assert one.line() == "workers: 2 in the baseline, 4 in the candidate"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"void": True, "reasons": ["the run is void: no lag"]}, "r is void (no lag)"),
        ({"running": True}, "r still goes on"),
        ({"ended": "interrupted"}, "r was cut short (interrupted; 1m of 1m steady load)"),
        ({"steady_seconds": 59.0}, "r was cut short (planned; 59s of 1m steady load)"),
        (
            {"steady_seconds": 30.0, "decided": {"after": 30.0}},
            "r ended early, since its verdict was certain (30s of 1m steady load): runs to compare are as "
            "long as planned, without stop_when_certain",
        ),
        ({"steady_seconds": 0.0, "steady_seconds_planned": 0.0}, "r has no steady load"),
    ],
)
def test_a_run_that_is_not_whole_cannot_be_compared(change: dict[str, Any], reason: str) -> None:
    """Void, growing, cut short, or without any steady load: it says which."""
    assert unusable(run(**change)) == reason


@pytest.mark.parametrize("verdict", ["PASS", "WARN", "FAIL", "INVALID"])
def test_what_its_rows_say_does_not_matter(verdict: str) -> None:
    """A slow run is just what a comparison is to find."""
    assert unusable(run(verdict=verdict)) == ""


def test_a_stock_run_may_be_stopped_at_any_time() -> None:
    """Nobody planned its end."""
    assert unusable(KeptRun("r", {**VERDICT, "ended": "stopped"}, None, VALUES)) == ""
