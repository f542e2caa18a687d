"""A campaign as one self-contained HTML page, for the go/no-go meeting: no script, nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from itertools import groupby
from typing import Any

from jinja2 import Environment, StrictUndefined, Template

from loadgate.judge.campaign import CampaignState
from loadgate.judge.campaign_gather import Found
from loadgate.judge.decision import Decision
from loadgate.report.campaign_overview import overview


def render(decision: Decision, state: CampaignState, found: Found) -> str:
    """Return the page; everything that others wrote is escaped."""
    content = overview(decision, state, found)
    by_day = [
        {"day": day["day"], "found": {row["name"]: row for row in day["rows"]}} for day in content["by_day"]
    ]
    objectives = list(dict.fromkeys(name for day in by_day for name in day["found"]))
    phases = [
        {**shown, "weight": max(1, round(phase.length / 3600))}
        for shown, phase in zip(content["phases"], state.plan.phase, strict=True)
    ]
    return _template().render({**content, "by_day": by_day, "objectives": objectives, "phases": phases})


@cache
def _template() -> Template:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["minute"] = lambda text: str(text)[:16].replace("T", " ")
    environment.filters["groupby_in_order"] = _groups
    source = files("loadgate.report").joinpath("campaign_page.html").read_text(encoding="utf-8")
    return environment.from_string(source)


def _groups(items: Sequence[dict[str, Any]], key: str) -> list[tuple[str, list[dict[str, Any]]]]:
    return [(str(name), list(found)) for name, found in groupby(items, key=lambda item: item[key])]
