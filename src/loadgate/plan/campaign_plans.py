"""Tell the plans of a campaign's runs apart: a soak of one request a second is not the one meant."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson

from loadgate.plan.campaign import Campaign


def likeness(plan: Mapping[str, Any]) -> str:
    """Return a SHA-256 of what a plan's snapshot asks for: its load, its objectives, which of them decide.

    Workers, probes, headers and receivers may differ; the target is compared by itself.
    """
    scenario = plan.get("scenario", {})
    asked = [scenario.get("traffic"), scenario.get("verdict"), plan.get("objectives")]
    return hashlib.sha256(orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)).hexdigest()


def likenesses(campaign: Campaign) -> dict[str, str]:
    """Return that of each scenario of the calendar, by its name; PlanError when one is not usable."""
    # Only a start and a restart read plans, which takes longer than all that other commands do.
    from loadgate.plan.plan import load_plan

    found = {}
    for path in dict.fromkeys(run.scenario for phase in campaign.phase for run in phase.run):
        plan = load_plan(path, host=campaign.host)
        found[plan.scenario.name] = likeness(orjson.loads(plan.to_json()))
    return found
