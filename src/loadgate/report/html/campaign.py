"""A campaign as one self-contained HTML page, for the go/no-go meeting; it is whole without its script."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import floor
from typing import Any, Final

from loadgate.exit_codes import ExitCode
from loadgate.judge.campaign import CampaignState
from loadgate.judge.campaign_gather import Found
from loadgate.judge.campaign_lines import ORDER, Standing
from loadgate.judge.decision import Decision
from loadgate.report.campaign_overview import minute, overview
from loadgate.report.html.campaign_strip import strip_of
from loadgate.report.html.page import render as render_page
from loadgate.report.text import SYMBOLS, counted

LOOKS: Final = {
    Standing.MET: ("pass", "✓"),
    Standing.NOT_MET: ("fail", "✗"),
    Standing.MISSING: ("inconclusive", "?"),
    Standing.WAIVED: ("warn", "!"),
}
"""The colour and the symbol of each standing."""
MOST_REASONS: Final = 8
"""Reasons that the first screen shows at once; the others are behind a click, and all at their items."""


@dataclass(frozen=True)
class Group:
    """A part of the decision: its items, and how many of them stand in nobody's way."""

    id: str
    title: str
    items: tuple[dict[str, Any], ...]
    good: int

    @property
    def look(self) -> str:
        """Return its colour: that of its worst item."""
        found = {item["standing"] for item in self.items}
        return next(LOOKS[one][0] for one in ORDER if one.value in found)


def no_link(_evidence: str) -> str:
    """Link to nothing."""
    return ""


def render(
    decision: Decision, state: CampaignState, found: Found, link: Callable[[str], str] = no_link
) -> str:
    """Return the page; everything that others wrote is escaped.

    `link` says where a file of the results folder is as seen from the page, "" for what is not there.
    """
    content = overview(decision, state, found)
    reasons = content["decision"]["reasons"]
    by_day = [
        {"day": day["day"], "found": {row["name"]: row for row in day["rows"]}} for day in content["by_day"]
    ]
    missing = not decision.go and decision.exit_code is ExitCode.INVALID
    return render_page(
        "campaign.html",
        style="campaign.css",
        **content,
        word=decision.word,
        state="evidence is missing" if missing else "",
        look="pass" if decision.go else "inconclusive" if missing else "fail",
        first_reasons=reasons[:MOST_REASONS],
        more_reasons=reasons[MOST_REASONS:],
        more_heading=counted(max(0, len(reasons) - MOST_REASONS), "more reason"),
        groups=list(_groups(content["decision"]["items"])),
        days_judged=by_day,
        objectives=list(dict.fromkeys(name for day in by_day for name in day["found"])),
        strip=strip_of(content),
        meters=_meters(content["clock"]),
        looks={standing.value: look for standing, look in LOOKS.items()},
        symbols=SYMBOLS,
        minute=minute,
        link=link,
    )


def _groups(items: Sequence[dict[str, Any]]) -> Iterator[Group]:
    for number, (title, found) in enumerate(groupby(items, key=lambda item: item["group"])):
        chosen = tuple(found)
        good = sum(item["standing"] in (Standing.MET, Standing.WAIVED) for item in chosen)
        yield Group(f"group-{number}", str(title).capitalize(), chosen, good)


@dataclass(frozen=True)
class Meter:
    """A bar of the clock, in hundredths: what it has, and what it needs."""

    name: str
    share: float
    needed: float


def _meters(clock: dict[str, Any]) -> list[Meter]:
    shares = (
        ("stable", clock["elapsed"] / clock["needed"], 1.0),
        ("watched", clock["observed"], clock["observed_needed"]),
    )
    return [
        # Rounded down: a bar must not be full before the clock is.
        Meter(name, floor(1000 * min(1.0, max(0.0, share))) / 10, round(100 * needed, 1))
        for name, share, needed in shares
    ]
