"""Likeness: whether two runs were made under conditions that let a difference be the target's.

Two runs are alike when what was offered, from where and by what was the same. The address of the target is
no part of it (a service under test has a new port every time), nor is the seed: other draws of the same
traffic are what runs may differ by. What a run did not record cannot be compared; that is said, and where
only one of two runs recorded it, they are unlike.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Final

import orjson

from loadgate.plan.units import format_duration, format_number
from loadgate.store.kept import KeptRun

LONGEST_OVER_SHORTEST: Final = 1.25
"""Steady lengths of one class: the longer is at most this times the shorter, so that their noise is alike."""
LOAD_SHAPE: Final = ("approach", "duration")
"""What the blocks of an interleaved comparison change of their scenario."""

_NOT_RECORDED = "not recorded"
_SHORT = 12
_VOID = "the run is void: "


@dataclass(frozen=True, slots=True)
class Difference:
    """One condition in which a candidate differs from its baseline, as texts for people."""

    what: str
    baseline: str
    candidate: str

    def line(self) -> str:
        """Write it on one line."""
        return f"{self.what}: {self.baseline} in the baseline, {self.candidate} in the candidate"

    def to_dict(self) -> dict[str, str]:
        """Return it as plain values."""
        return {"what": self.what, "baseline": self.baseline, "candidate": self.candidate}


def conditions(run: KeptRun) -> dict[str, Any]:
    """Return the conditions of a run that have to be alike, as plain values; None where one is not known."""
    values = run.values
    return {
        **_of_plan(run.plan),
        "duration": float(run.verdict["steady_seconds_planned"]),
        "model": values.get("model"),
        "mode": values.get("mode"),
        "workers": values.get("workers_expected"),
        "loadgate": (values.get("versions") or {}).get("loadgate"),
        "machine": _machine(values.get("machine")),
        "traffic files": _digest((values.get("fingerprint") or {}).get("files")),
    }


def unlike(
    baseline: Mapping[str, Any], candidate: Mapping[str, Any], leave_out: Collection[str] = ()
) -> tuple[Difference, ...]:
    """List the conditions in which two runs differ, but for those of `leave_out`; symmetric."""
    found = []
    for what in sorted({*baseline, *candidate} - set(leave_out)):
        one, other = baseline.get(what), candidate.get(what)
        same = _same_length(one, other) if what == "duration" else one == other
        if not same:
            found.append(Difference(what, _shown(what, one), _shown(what, other)))
    return tuple(found)


def unlike_runs(runs: Sequence[KeptRun]) -> tuple[Difference, ...]:
    """List in what any run of a set differs from the first one."""
    first, *others = [conditions(run) for run in runs]
    found: dict[Difference, None] = {}
    for other in others:
        found.update(dict.fromkeys(unlike(first, other)))
    return tuple(found)


def unknown(baseline: Mapping[str, Any], candidate: Mapping[str, Any]) -> tuple[str, ...]:
    """Say which conditions neither run recorded, so that nobody can tell whether they were alike."""
    return tuple(
        f"{what}: recorded by neither run, so not shown to be alike"
        for what in sorted({*baseline, *candidate})
        if baseline.get(what) is None and candidate.get(what) is None and what not in _MAY_LACK
    )


_MAY_LACK: Final = ("trace",)
"""What a plan need not have."""


def _of_plan(plan: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what the plan says. It is read as it was stored: another version's may have other keys."""
    scenario = (plan or {}).get("scenario") or {}
    traffic, http = scenario.get("traffic") or {}, scenario.get("http") or {}
    files = (plan or {}).get("files") or {}
    stages = traffic.get("stages")
    steady = [stage for stage in stages or () if stage.get("phase") == "steady" and stage.get("hold")]
    return {
        "plan": None if plan is None else "a scenario",
        "arrivals": traffic.get("arrivals"),
        "level": None if stages is None else [_level(stage) for stage in steady],
        "approach": None if stages is None else [_approach(stage) for stage in stages],
        "mix": _shares(traffic.get("mix")),
        "users": traffic.get("users"),
        "wait": traffic.get("wait"),
        "source addresses": len(traffic.get("source_addresses") or ()) if traffic else None,
        "timeouts": [http.get("connect_timeout"), http.get("timeout")] if http else None,
        "headers": sorted(http.get("headers") or ()) if http else None,
        "locustfile": _file(files, scenario.get("locustfile")),
        "trace": _file(files, traffic.get("trace")),
    }


def _level(stage: Mapping[str, Any]) -> Any:
    rate = stage.get("rate")
    return rate if rate is not None else stage.get("users")


def _approach(stage: Mapping[str, Any]) -> list[Any]:
    """Return a stage without the length of its steady hold, which the duration compares."""
    hold = None if stage.get("phase") == "steady" else stage.get("hold")
    return [_level(stage), stage.get("ramp"), stage.get("phase"), hold]


def _shares(mix: Mapping[str, float] | None) -> dict[str, float] | None:
    """Return the weights as shares, so that 5:2:3 is 50:20:30."""
    whole = sum((mix or {}).values())
    return {name: round(weight / whole, 9) for name, weight in sorted((mix or {}).items())} if whole else None


def _file(files: Mapping[str, str], path: str | None) -> str | None:
    """Return the SHA-256 of a file of the plan, wherever it lay."""
    if path is None:
        return None
    return files.get(path) or next(
        (sha for name, sha in sorted(files.items()) if PurePath(name).name == PurePath(path).name), None
    )


def _machine(machine: Mapping[str, Any] | None) -> str | None:
    """Return the class of the machine that made the load: its system and cores, not its name."""
    if not machine:
        return None
    return f"{machine.get('system')}, {machine.get('cores')} cores"


def _digest(files: Mapping[str, str] | None) -> str | None:
    if not files:
        return None
    return hashlib.sha256(orjson.dumps(files, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _same_length(one: float | None, other: float | None) -> bool:
    """Tell whether two steady lengths (s) are of one class."""
    if not one or not other:
        return one == other
    return max(one, other) <= min(one, other) * LONGEST_OVER_SHORTEST


def _shown(what: str, value: Any) -> str:
    if value is None:
        return _NOT_RECORDED
    if what == "duration":
        return f"{format_duration(value)} steady"
    if what in ("locustfile", "trace", "traffic files"):
        return f"SHA-256 {value[:_SHORT]}"
    if isinstance(value, dict):
        return ", ".join(f"{name} {format_number(share * 100)}%" for name, share in value.items())
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def unusable(run: KeptRun) -> str:
    """Say why a run cannot be compared, by its verdict; empty where it can.

    Void and growing runs, and those that did not come to their planned end, say nothing or not enough. What
    its rows say does not matter: a slow run is just what a comparison is to find.
    """
    verdict = run.verdict
    if verdict["running"]:
        return f"{run.id} still goes on"
    if verdict["void"]:
        reasons = [str(one).removeprefix(_VOID) for one in verdict.get("reasons", ())]
        return f"{run.id} is void ({reasons[0] if reasons else 'see its verdict'})"
    as_meant = verdict["ended"] == "planned" or (verdict["ended"] == "stopped" and run.plan is None)
    planned = float(verdict["steady_seconds_planned"])
    if not as_meant or run.seconds < planned - 1e-3:
        part = f"{format_duration(run.seconds)} of {format_duration(planned)} steady load"
        if verdict.get("decided"):
            return (
                f"{run.id} ended early, since its verdict was certain ({part}): "
                "runs to compare are as long as planned, without stop_when_certain"
            )
        return f"{run.id} was cut short ({verdict['ended']}; {part})"
    if run.seconds <= 0:
        return f"{run.id} has no steady load"
    return ""
