"""What a gate does about a baseline: refuse an unlike one before any load, compare, and join both verdicts.

The baseline is read once, before the load: what happens to its files meanwhile changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import orjson

import loadgate
from loadgate.cli.compare import compared, floor_facts, write
from loadgate.cli.control_room import Judged
from loadgate.cli.subjects import Subject, find_calibration, named, read_run
from loadgate.errors import LoadgateError, UsageError
from loadgate.exit_codes import ExitCode
from loadgate.judge.comparison import Comparison
from loadgate.judge.effects import Floors
from loadgate.judge.likeness import Difference, conditions, unlike, unusable
from loadgate.judge.results import Grade, worst
from loadgate.plan.plan import Plan
from loadgate.store.baselines import Baselines, baselines_root
from loadgate.store.kept import KeptRun
from loadgate.swarm.past import this_machine

WORST_FIRST: Final = (
    ExitCode.INTERRUPTED,
    ExitCode.FAIL,
    ExitCode.INVALID,
    ExitCode.INCONCLUSIVE,
    ExitCode.INTERNAL,
    ExitCode.UNREACHABLE,
    ExitCode.USAGE,
    ExitCode.WARN,
    ExitCode.PASS,
)
"""Exit codes of a run and of its comparison, from the worst. What could not be compared is no warning."""

_KNOWN_LATER: Final = ("traffic files",)
"""Conditions that nobody knows before the locustfile is loaded; they are looked at after the run."""


@dataclass(frozen=True)
class Compared:
    """A comparison of a gate's run: its content, and where it was stored; None where there was none."""

    content: dict[str, Any]
    path: Path | None
    awaiting: bool
    """Whether a row awaits a confirming rerun, and nothing else stands in its way."""


@dataclass(frozen=True)
class Against:
    """What was asked for: a baseline, where it is kept, what counts as a change, and whether to rerun."""

    name: str
    folder: str | None
    floors: Floors
    statistics: tuple[str, ...] | None
    rerun: bool

    def prepare(self, plan: Plan, root: Path, *, strict: bool) -> Regression:
        """Read the baseline, and make sure before any load that a run of `plan` can be compared with it.

        `root` is the results root. Raises StoreError when the baseline is missing, damaged or of another
        format's version, UsageError when its runs are unusable or a run of the plan would not be like them.
        """
        baselines = Baselines(baselines_root(self.folder, root))
        kept = baselines.load(*named(self.name))
        spoilt = next((why for run in kept.runs if (why := unusable(run))), "")
        promote = f"loadgate baseline promote RUN... --name {kept.name}"
        if spoilt:
            raise UsageError(
                f"nothing can be compared with {kept.label}: {spoilt}", hint=f"promote whole runs: {promote}"
            )
        subject = Subject(kept.label, kept.runs, baseline=kept)
        found = Regression(subject, baselines, self.floors, self.statistics, strict)
        differences = found.unlike(conditions_of(plan), _KNOWN_LATER)
        if differences:
            raise UsageError(
                f"a run of this plan would not be like {kept.label}, "
                "and a difference between them would say nothing of the target",
                hint="\n".join(
                    [
                        *(difference.line() for difference in differences),
                        f"compare runs of one kind, or promote runs of this plan: {promote}",
                    ]
                ),
            )
        # A damaged calibration would be found after the run as well, for nothing.
        find_calibration(baselines, conditions(kept.runs[0]))
        return found


@dataclass(frozen=True)
class Regression:
    """The baseline that a gate compares its run with, and what counts as a change."""

    baseline: Subject
    baselines: Baselines
    floors: Floors
    statistics: tuple[str, ...] | None
    strict: bool

    def compare(
        self, first: Judged, again: Judged | None = None, *, cut: str = "", interrupted: bool = False
    ) -> Compared:
        """Compare the run just made, with its confirming rerun where there is one; store it beside the run.

        `cut` says why there is no rerun where one was awaited. What cannot be compared is INVALID, with the
        exit code of the reason, and stored nowhere, as with `loadgate compare`.
        """
        now = datetime.now(UTC)
        try:
            comparison = replace(self._comparison(first, again), cut=cut, interrupted=interrupted)
        except LoadgateError as error:
            content = self._refused(first, error).to_dict(strict=self.strict, now=now)
            return Compared(content | {"exit_code": int(error.exit_code)}, None, awaiting=False)
        content = comparison.to_dict(strict=self.strict, now=now)
        path = write(first.folder.path, content)
        return Compared(content, path, bool(comparison.awaiting) and not (comparison.faults or cut))

    def _comparison(self, first: Judged, again: Judged | None) -> Comparison:
        candidate = _subject(first)
        rerun = _subject(again) if again is not None else None
        for side in (candidate, rerun):
            found = self.unlike(conditions(side.runs[0])) if side is not None else ()
            if found:
                raise UsageError(
                    f"the run is not like {self.baseline.label}",
                    hint="\n".join(difference.line() for difference in found),
                )
        return compared(self.baseline, candidate, rerun, self.baselines, self.floors, self.statistics)

    def _refused(self, first: Judged, error: LoadgateError) -> Comparison:
        """Make a comparison of what cannot be compared, and says so."""
        return Comparison(
            how="stored",
            baseline=self.baseline.label,
            candidate=first.folder.id,
            rows=(),
            baseline_runs=tuple(run.id for run in self.baseline.runs),
            candidate_runs=(first.folder.id,),
            faults=(error.message, *error.hint.splitlines()),
            facts={"baseline": None, "calibration": None} | floor_facts(self.floors, self.statistics),
        )

    def unlike(self, other: Mapping[str, Any], leave_out: tuple[str, ...] = ()) -> tuple[Difference, ...]:
        """List in what conditions differ from those of any run of the baseline, but for `leave_out`."""
        found: dict[Difference, None] = {}
        for run in self.baseline.runs:
            found.update(dict.fromkeys(unlike(conditions(run), other, leave_out)))
        return tuple(found)


def conditions_of(plan: Plan) -> dict[str, Any]:
    """Return the conditions of the run that a plan is about to make on this machine; see `conditions`."""
    values = {
        "model": plan.scenario.traffic.model,
        "mode": "distributed",
        "workers_expected": plan.scenario.generator.workers,
        "versions": {"loadgate": loadgate.__version__},
        "machine": this_machine(),
    }
    steady = math.fsum(end - start for start, end in plan.timeline.steady)
    return conditions(KeptRun("", {"steady_seconds_planned": steady}, orjson.loads(plan.to_json()), values))


def joined(
    content: Mapping[str, Any], comparison: Mapping[str, Any], again: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return what a gate says: a run's verdict and its comparison in one, with the worse of both.

    `content` is that of verdict.json, `comparison` that of comparison.json, `again` the verdict of the
    confirming rerun: a target that fails there has failed.
    """
    sides = [content, comparison, *([again] if again is not None and again["verdict"] == Grade.FAIL else [])]
    verdict = worst(Grade(side["verdict"]) for side in sides)
    code = min((ExitCode(side["exit_code"]) for side in sides), key=WORST_FIRST.index)
    told = [
        f"regression: {comparison['verdict']} against {comparison['baseline']}: {comparison['reasons'][0]}"
    ]
    if len(sides) > 2 and again is not None:
        told.append(f"the confirming rerun {again['run']} is FAIL: {again['reasons'][0]}")
    reasons = list(content["reasons"])
    decides = verdict.value != content["verdict"] or code != content["exit_code"]
    reasons = [*told, *reasons] if decides else [*reasons, *told]
    return {
        **content,
        "verdict": verdict.value,
        "exit_code": int(code),
        "reasons": reasons,
        "comparison": dict(comparison),
    }


def _subject(judged: Judged) -> Subject:
    return Subject(judged.folder.id, (read_run(judged.folder),), folder=judged.folder)
