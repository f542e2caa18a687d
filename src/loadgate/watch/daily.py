"""The daily summary: when one is to be sent, and how it reads as Markdown and in Slack's markup."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Self

from loadgate.plan.daily import Daily

PREFIX: Final = "daily:"
"""What the transition of a summary's entry begins with; the day follows."""
LINES_MOST: Final = 20
"""Lines of one section."""


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and its lines, as plain text."""

    title: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run came to on a day, in plain text."""

    title: str
    sections: tuple[Section, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        parts = [{"title": part.title, "lines": list(part.lines)} for part in self.sections]
        return {"title": self.title, "sections": parts}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the summary that `to_dict` gave; KeyError or TypeError for anything else."""
        parts = (Section(str(one["title"]), tuple(map(str, one["lines"]))) for one in values["sections"])
        return cls(str(values["title"]), tuple(parts))


def to_send(daily: Daily, began: datetime, now: datetime, told: Collection[str]) -> str | None:
    """Return the day (ISO) of the summary that is to be sent now; None where there is none.

    It is that of the last moment that is not after `now`, late or not, unless it was told or lies before the
    run began. Of several that were missed only the last is sent: it says what the others would have.
    """
    day, moment = daily.latest(now)
    return day.isoformat() if moment >= began and day.isoformat() not in told else None


def shown(lines: Sequence[str]) -> list[str]:
    """Return the lines of a section that are shown: the first ones, and how many more there are."""
    more = len(lines) - LINES_MOST
    return [*lines[:LINES_MOST], *([f"and {more} more: see `loadgate status --json`"] if more > 0 else [])]
