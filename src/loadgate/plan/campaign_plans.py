"""Tell the plans of a campaign's runs apart: a soak of one request a second is not the one meant."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import orjson

from loadgate.plan.campaign import Campaign

CONDITION: Final = (
    *("subject", "limit", "clear", "burn", "for", "every"),
    *("keep_firing_for", "at_least", "no_data", "phases", "excluded"),
)
"""What of an alert rule decides when it fires, and when it is over."""


def likeness(plan: Mapping[str, Any]) -> str:
    """Return a SHA-256 of what a plan's snapshot asks for: its load, its objectives, what else decides.

    That is also its drift rules, whether it counts for stability, what the locustfile and a trace hold, how
    long a request may take, whether a run outlives the loss of a worker, and what watches: probes and alert
    rules. The number of workers, headers and receivers may differ; the target is compared by itself.
    """
    scenario = plan.get("scenario", {})
    asked = [scenario.get(key) for key in ("traffic", "verdict", "drift", "stability")]
    # By what it holds, not by where it lies: another machine has it elsewhere.
    files, traffic = plan.get("files") or {}, scenario.get("traffic") or {}
    asked += [plan.get("objectives"), files.get(scenario.get("locustfile")), files.get(traffic.get("trace"))]
    http, generator = scenario.get("http") or {}, scenario.get("generator") or {}
    asked += [http.get("timeout"), http.get("connect_timeout"), generator.get("on_worker_loss")]
    rules = [[rule.get(key) for key in ("name", "severity", *CONDITION)] for rule in plan.get("alerts", ())]
    asked += [scenario.get("probes"), rules]
    return hashlib.sha256(orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)).hexdigest()


def calendar_facts(campaign: Campaign) -> dict[str, Any]:
    """Return what a start or a restart writes down of the calendar's scenarios, for the book.

    `scenarios` has the likeness of each by its name, `stable` names those that count for stability, `smokes`
    those of which smoke checks are made. PlanError when one is not usable.
    """
    # Only a start and a restart read plans, which takes longer than all that other commands do.
    from loadgate.plan.plan import load_plan

    scenarios, stable, smokes = dict[str, str](), set[str](), set[str]()
    checked = {run.scenario for phase in campaign.phase for run in phase.run if run.command == "smoke"}
    for path in dict.fromkeys(run.scenario for phase in campaign.phase for run in phase.run):
        plan = load_plan(path, host=campaign.host)
        scenarios[plan.scenario.name] = likeness(orjson.loads(plan.to_json()))
        if plan.scenario.stability:
            stable.add(plan.scenario.name)
        if path in checked:
            smokes.add(plan.scenario.name)
    return {"scenarios": scenarios, "stable": sorted(stable), "smokes": sorted(smokes)}
