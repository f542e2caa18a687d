"""Calibration: what A-A runs show of the noise here, and how long one has to look because of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Final

from loadgate.judge.effects import Floors, NoiseTable, is_share
from loadgate.judge.figures import NEEDED, STATISTICS, Figure, RunFigures
from loadgate.judge.noise import (
    Interleaving,
    Noise,
    Repetition,
    estimate,
    interleaving_for,
    repetition_for,
)

DETECTED: Final = 0.2
"""The change of p95 that the recommended comparison detects: +20 %."""
POWER: Final = 0.95
"""With which probability."""
RECOMMENDED_FOR: Final = "p95"


@dataclass(frozen=True, slots=True)
class Recommendation:
    """How to detect +20 % in the p95 of an endpoint; `reason` says why where a way is None."""

    interleaving: Interleaving | None
    repetition: Repetition | None
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values; seconds."""
        one, other = self.interleaving, self.repetition
        return {
            "interleave": one and {"blocks": one.blocks, "seconds": one.seconds},
            "stored": other and {"baseline_runs": other.runs, "seconds": other.seconds},
            "reason": self.reason,
        }


def noise_of(runs: Sequence[RunFigures]) -> dict[str, dict[str, Noise]]:
    """Estimate the noise of each endpoint and statistic over like runs, at least two.

    Statistics that a run cannot support, and those without a finite value in every run, are left out.
    """
    seconds = fmean(run.seconds for run in runs)
    table: dict[str, dict[str, Noise]] = {}
    for endpoint in sorted(set.intersection(*(set(run.endpoints) for run in runs))):
        for statistic in STATISTICS:
            figures = [run.endpoints[endpoint][statistic] for run in runs]
            noise = _noise(statistic, figures, seconds)
            if noise is not None:
                table.setdefault(endpoint, {})[statistic] = noise
    return table


def _noise(statistic: str, figures: Sequence[Figure], seconds: float) -> Noise | None:
    if any(figure.n < NEEDED[statistic] or figure.value is None for figure in figures):
        return None
    values = [float(figure.value or 0.0) if is_share(statistic) else figure.log for figure in figures]
    if not all(math.isfinite(value) for value in values):
        return None
    level = fmean(values) if is_share(statistic) else math.exp(fmean(values))
    return estimate(values, [figure.within for figure in figures], seconds, level)


def recommendations(table: NoiseTable, floors: Floors) -> dict[str, Recommendation]:
    """Say for each endpoint how to detect +20 % in p95 with 95 % probability, all rows being looked at."""
    rows = sum(len(row) for row in table.values())
    return {
        endpoint: recommend(row[RECOMMENDED_FOR], floors, rows)
        for endpoint, row in table.items()
        if RECOMMENDED_FOR in row
    }


def recommend(noise: Noise, floors: Floors, rows: int) -> Recommendation:
    """Say how to detect +20 % in a latency of this noise, among so many rows."""
    effect = math.log1p(DETECTED)
    practical = max(math.log1p(floors.relative), math.log1p(floors.seconds / noise.level))
    if practical >= effect:
        return Recommendation(None, None, "20 % of it is less than the practical floor; lower the floor")
    interleaving = interleaving_for(noise, practical, rows, effect, POWER)
    repetition = repetition_for(noise, practical, rows, effect, POWER)
    reason = (
        ""
        if interleaving
        else "no number of blocks that anybody would wait for is enough: use a quieter machine"
    )
    return Recommendation(interleaving, repetition, reason)


def noise_to_dict(table: NoiseTable) -> dict[str, dict[str, dict[str, float | int | None]]]:
    """Return a table of noise as plain values; standard deviations on the log scale (error rate: shares)."""
    return {
        endpoint: {
            statistic: {
                "total": noise.total,
                "df": noise.df,
                "within": noise.within,
                "between": noise.between,
                "floor": noise.floor(),
                "seconds": noise.seconds,
                "level": noise.level,
            }
            for statistic, noise in row.items()
        }
        for endpoint, row in table.items()
    }


def noise_from_dict(data: Mapping[str, Any]) -> dict[str, dict[str, Noise]]:
    """Read what `noise_to_dict` returned; KeyError, TypeError or ValueError for anything else."""
    return {
        str(endpoint): {str(statistic): _noise_from(one) for statistic, one in row.items()}
        for endpoint, row in data.items()
    }


def _noise_from(data: Mapping[str, Any]) -> Noise:
    within = data["within"]
    noise = Noise(
        float(data["total"]),
        int(data["df"]),
        None if within is None else float(within),
        float(data["seconds"]),
        float(data["level"]),
    )
    if not (math.isfinite(noise.total) and noise.total >= 0 and noise.df >= 1 and noise.seconds > 0):
        raise ValueError("a noise makes no sense")
    return noise


def slowest(found: Mapping[str, Recommendation]) -> Interleaving | None:
    """Return the interleaving that is enough for every endpoint; None where one has none."""
    plans = [one.interleaving for one in found.values()]
    known = [plan for plan in plans if plan is not None]
    if not known or len(known) < len(plans):
        return None
    return Interleaving(max(plan.blocks for plan in known), max(plan.seconds for plan in known))
