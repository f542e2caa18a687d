"""What the verdicts of one run say together: the worst counts, and only its own table shows anything good.

`loadgate verdict RUN --sla FILE` judges by any table. So a verdict by another table can be bad and
never good. Pure functions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from loadgate.judge.campaign_facts import WORST_FIRST, RowFacts

Content = Mapping[str, Any]

_REASONS: Final = 5
_SAME: Final = ("name", "metric", "endpoint", "statistic", "every", "for")
_LIMITS: Final = ("target", "alert")


@dataclass(frozen=True, slots=True)
class Said:
    """What was judged of a run; `verdict` is None where nothing that counts was."""

    verdict: str | None = None
    reasons: tuple[str, ...] = ()
    rows: tuple[RowFacts, ...] = ()
    steady_seconds: float = 0.0


def said(verdicts: Sequence[Content], plan: Content) -> Said:
    """Put the verdicts of a run together, in their order, by its plan's snapshot.

    Without one by the run's own table only a FAIL counts, and the rows of that table are not judged.
    """
    own = [content for content in verdicts if is_by_own_table(content, plan)]
    failed = [content for content in verdicts if content["verdict"] == "FAIL"]
    counting = verdicts if own else failed
    if not counting:
        return Said()
    worst = min(counting, key=_rank)
    if own:
        rows = {row.name: row for row in _rows(min(own, key=_rank))}
    else:
        rows = {
            name: RowFacts(name, "INVALID", "not judged", str(row["target"]["text"]))
            for name, row in _planned(plan).items()
        }
    for content in failed:
        rows |= {row.name: row for row in _rows(content) if row.verdict == "FAIL"}
    return Said(
        WORST_FIRST[_rank(worst)],
        tuple(worst["reasons"][:_REASONS]),
        tuple(rows.values()),
        float(worst["steady_seconds"]),
    )


def is_by_own_table(content: Content, plan: Content) -> bool:
    """Tell whether a verdict has the rows of the run's plan, all of them as they are there, and no other.

    The plan holds what is judged: what the scenario leaves out is not in it.
    """
    planned, rows = _planned(plan), content["objectives"]
    optional = (plan.get("scenario", {}).get("verdict") or {}).get("optional") or ()
    return sorted(row["name"] for row in rows) == sorted(planned) and all(
        _is_same(row, planned[row["name"]], optional) for row in rows
    )


def _planned(plan: Content) -> dict[str, Content]:
    return {str(row["name"]): row for row in plan.get("objectives") or ()}


def _is_same(row: Content, planned: Content, optional: Sequence[str]) -> bool:
    limits = {key: None if planned.get(key) is None else planned[key]["text"] for key in _LIMITS}
    return (
        all(row.get(key) == planned.get(key) for key in _SAME)
        and all(row.get(key) == limit for key, limit in limits.items())
        # Of a row that is no latency the verdict says nothing here.
        and row.get("latency_on") in (None, planned.get("latency_on"))
        and bool(row.get("optional")) == any(planned.get(key) in optional for key in ("name", "metric"))
    )


def _rows(content: Content) -> list[RowFacts]:
    return [
        RowFacts(row["name"], row["verdict"], row["value_text"], row["target"])
        for row in content["objectives"]
    ]


def _rank(content: Content) -> int:
    verdict = content.get("verdict")
    return WORST_FIRST.index(verdict) if verdict in WORST_FIRST else WORST_FIRST.index("INVALID")
