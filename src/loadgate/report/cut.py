"""Long lists of rows, cut for people: the worst come first, and what is left out is told by its verdicts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

from loadgate.report.snapshot import WAITING
from loadgate.report.text import counted

ORDER: Final = ("FAIL", "INVALID", "INCONCLUSIVE", "WARN", WAITING, "PASS")
"""The verdicts and the states of a live view, from the worst on; any other word comes before all of them."""

Row = TypeVar("Row")


def rank(verdict: str) -> int:
    """Return the place of a verdict among all, 0 for the worst; -1 where the word is none of them."""
    return ORDER.index(verdict) if verdict in ORDER else -1


def worst_first(rows: Iterable[Row], verdict: Callable[[Row], str]) -> list[Row]:
    """Return rows by their verdict, the worst first; equals stay in the order of the table."""
    return sorted(rows, key=lambda row: rank(verdict(row)))


def verdict_of(row: Mapping[str, Any]) -> str:
    """Return the verdict of a row of verdict.json or comparison.json."""
    return str(row["verdict"])


def left_out(verdicts: Sequence[str], passing: str = "") -> str:
    """Say how many rows are left out, and what they are: "and 3 more rows: 1 FAIL, 2 PASS"; "" of none.

    `passing` is what is said instead where all of them pass: "none of them worse", say.
    """
    if not verdicts:
        return ""
    told, found = f"and {counted(len(verdicts), 'more row')}", Counter(verdicts)
    if passing and set(found) == {"PASS"}:
        return f"{told}, {passing}"
    return f"{told}: {', '.join(f'{found[word]} {word}' for word in sorted(found, key=rank))}"
