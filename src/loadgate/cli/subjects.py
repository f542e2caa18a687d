"""What a comparison is between: find stored runs and baselines by what the command line calls them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from loadgate.errors import StoreError, UsageError
from loadgate.judge.calibration import noise_from_dict
from loadgate.judge.effects import Floors, NoiseTable
from loadgate.judge.gather import gather
from loadgate.judge.likeness import Difference, unlike
from loadgate.judge.stored import believable_verdict
from loadgate.judge.verdict import judge
from loadgate.plan.units import UnitError, parse_duration, parse_share
from loadgate.store.baselines import Baseline, Baselines
from loadgate.store.folder import RunFolder, find_run
from loadgate.store.kept import KeptRun, keep

_GENERATION = re.compile(r"(.+)@(\d{1,9})")


@dataclass(frozen=True)
class Subject:
    """One side of a comparison: its runs, and the baseline or the run's folder that they are from."""

    label: str
    runs: tuple[KeptRun, ...]
    baseline: Baseline | None = None
    folder: RunFolder | None = None


def named(name: str) -> tuple[str, int | None]:
    """Split "main@2" into a name and a generation; None is the newest."""
    match = _GENERATION.fullmatch(name)
    return (match[1], int(match[2])) if match else (name, None)


def find_subject(name: str, root: Path, baselines: Baselines) -> Subject:
    """Find a baseline ("main", "main@2") or a run (an id, a path, "latest").

    Raises UsageError where it could be either, StoreError where it is neither.
    """
    stem, generation = named(name)
    is_baseline = bool(baselines.generations(stem))
    try:
        folder = find_run(root, name)
    except StoreError as error:
        if is_baseline:
            kept = baselines.load(stem, generation)
            return Subject(kept.label, kept.runs, baseline=kept)
        known = baselines.names()
        there = f"baselines: {', '.join(known)}" if known else f"there are no baselines in {baselines.root}"
        raise StoreError(
            f"{name!r} is neither a baseline nor a run: {error.message}",
            hint=f"{error.hint}\n{there}".strip(),
        ) from error
    if is_baseline:
        raise UsageError(
            f"{name!r} is a baseline and a run",
            hint=f"say {stem}@{baselines.generations(stem)[-1]}, or the run's path",
        )
    return Subject(folder.id, (read_run(folder),), folder=folder)


def read_run(folder: RunFolder) -> KeptRun:
    """Read what a comparison needs of a stored run. StoreError when it cannot be read."""
    return keep(folder, verdict_of(folder))


def verdict_of(folder: RunFolder) -> Mapping[str, Any]:
    """Return a run's newest verdict; a run without one is judged, and nothing is written.

    Raises StoreError for one that cannot be read, or not believed.
    """
    if not folder.newest_verdict():
        return judge(gather(folder), now=datetime.now(UTC)).to_dict()
    return believable_verdict(folder)[1]


def refuse_unlike(
    baseline: Sequence[Mapping[str, Any]],
    candidate: Sequence[Mapping[str, Any]],
    *,
    force: bool,
) -> tuple[Difference, ...]:
    """Return the differences between the conditions of two sides; UsageError unless overruled by force."""
    found: dict[Difference, None] = {}
    for one in baseline:
        for other in candidate:
            found.update(dict.fromkeys(unlike(one, other)))
    if found and not force:
        lines = "\n".join(difference.line() for difference in found)
        raise UsageError(
            "the runs are not alike, so a difference between them says nothing of the target",
            hint=f"{lines}\ncompare runs of one kind, or overrule this with --force (it is recorded)",
        )
    return tuple(found)


@dataclass(frozen=True)
class Calibrated:
    """The noise of this machine for a kind of run, and the file that it is from."""

    path: Path
    noise: NoiseTable
    content: Mapping[str, Any]


def find_calibration(
    baselines: Baselines, conditions: Mapping[str, Any], leave_out: Sequence[str] = ()
) -> Calibrated | None:
    """Find the newest calibration of runs of these conditions; None where there is none."""
    for path, content in baselines.calibrations():
        try:
            if unlike(content["conditions"], conditions, leave_out):
                continue
            return Calibrated(path, noise_from_dict(content["noise"]), content)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise StoreError(
                f"{path} is damaged: {error!r}", hint="remove it, and calibrate again"
            ) from error
    return None


def read_floors(relative: str, latency: str, errors: str) -> Floors:
    """Read the practical floors as written on the command line; UsageError for what is none."""
    try:
        floors = Floors(parse_share(relative), parse_duration(latency), parse_share(errors))
    except UnitError as error:
        raise UsageError(f"a floor {error.message}", hint=error.hint) from error
    return floors
