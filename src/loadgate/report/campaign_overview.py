"""Everything that a page about a campaign shows, as plain values: what all its renderings are made from."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from loadgate.judge.campaign import CampaignState
from loadgate.judge.campaign_calendar import DAY, Due, agenda_at, phase_spans, position_at
from loadgate.judge.campaign_clock import ClockState, stops
from loadgate.judge.campaign_facts import RunFacts, iso
from loadgate.judge.campaign_gather import Found
from loadgate.judge.decision import Decision

_WORST = ("FAIL", "INVALID", "INCONCLUSIVE", "WARN", "PASS")


def overview(decision: Decision, state: CampaignState, found: Found) -> dict[str, Any]:
    """Return what is known of a campaign at the moment of a decision."""
    return {
        **_standing(state, decision.at),
        **_agenda(state, decision.clock, decision.at),
        "decision": decision.to_dict(),
        "runs": [_run(state, run) for run in sorted(state.runs.values(), key=lambda run: run.started_at)],
        "by_day": list(_by_day(state)),
        "alerts": list(_alerts(state)),
        **_book(state),
        "notes": list(found.notes),
        "head": {"seq": state.head.seq, "hash": state.head.hash} if state.head is not None else None,
    }


def _standing(state: CampaignState, now: datetime) -> dict[str, Any]:
    """Return which campaign it is, and where in its phases it is."""
    position = position_at(state.plan, state.started_at, now)
    return {
        "campaign": state.plan.name,
        "host": state.plan.host,
        "at": iso(now),
        "started_at": iso(state.started_at),
        "position": position.line(),
        "day": position.day,
        "days": position.days,
        "phases": [
            {
                "name": phase.name,
                "title": phase.title or phase.name,
                "starts_at": iso(begin),
                "ends_at": iso(end),
                "state": "over" if end <= now else "now" if begin <= now else "to come",
                "runs": [run.name for run in phase.run],
            }
            for phase, begin, end in phase_spans(state.plan, state.started_at)
        ],
    }


def _agenda(state: CampaignState, clock: ClockState, now: datetime) -> dict[str, Any]:
    """Return the stability clock, the runs that are due, come next or were missed, and those started."""
    agenda = agenda_at(state, clock, now)
    return {
        "clock": _clock(state, clock),
        "due": [_due(one) for one in agenda.due],
        "next": [_due(one) for one in agenda.next],
        "missed": [_due(one) for one in agenda.missed],
        "started": [
            {
                "key": slot.key,
                "at": iso(slot.intent_at),
                "outcome": slot.outcome or "goes on",
                "text": slot.text,
            }
            for slot in state.slots.values()
        ],
    }


def _alerts(state: CampaignState) -> Iterator[dict[str, Any]]:
    for (run, _, _), alert in sorted(state.alerts.items(), key=lambda pair: pair[1].fired_at):
        yield {
            "run": run,
            "rule": alert.rule,
            "severity": alert.severity,
            "fired_at": iso(alert.fired_at),
            "resolved_at": iso(alert.resolved_at) if alert.resolved_at is not None else None,
            "text": alert.text,
        }


def _book(state: CampaignState) -> dict[str, Any]:
    """Return what people wrote into the book, and what was decided before."""
    return {
        "sign_offs": [
            {"role": one.role, "at": iso(one.at), "agrees": one.agrees, "note": one.note}
            for one in state.sign_offs.values()
        ],
        "waivers": [
            {"item": one.item, "owner": one.owner, "reason": one.reason, "expires": iso(one.expires)}
            for one in state.waivers.values()
        ],
        "restarts": [{"at": iso(one.at), "role": one.role, "hotfix": one.hotfix} for one in state.restarts],
        "decisions": [
            {"entry": seq, "at": content["at"], "decision": content["decision"]}
            for seq, content in state.decisions
        ],
    }


def minute(moment: str) -> str:
    """Return a moment of an overview to the minute, as all its renderings write it."""
    return moment[:16].replace("T", " ")


def _clock(state: CampaignState, clock: ClockState) -> dict[str, Any]:
    return {
        "line": clock.line(),
        "since": iso(clock.since),
        "cycle": clock.cycle,
        "elapsed": clock.elapsed,
        "needed": clock.needed,
        "observed": clock.observed,
        "observed_needed": clock.observed_needed,
        "complete": clock.is_complete,
        "stopped": clock.stopped.reason if clock.stopped is not None else None,
        "stopped_at": iso(clock.stopped.at) if clock.stopped is not None else None,
        "ready_at": iso(clock.since + timedelta(seconds=clock.needed)),
        "stops": [{"at": iso(stop.at), "reason": stop.reason} for stop in stops(state)],
        "deployments": [{"at": iso(at), "text": text} for at, text in sorted(state.deployments.items())],
    }


def _due(due: Due) -> dict[str, Any]:
    return {
        "key": due.key,
        "command": due.run.command,
        "scenario": due.run.scenario.name,
        "at": iso(due.at),
        "until": iso(due.until) if due.until is not None else None,
    }


def _run(state: CampaignState, run: RunFacts) -> dict[str, Any]:
    return {
        "run": run.run,
        "scenario": run.scenario,
        "mode": run.mode,
        "counts": run.stability,
        "started_at": iso(run.started_at),
        "ended_at": iso(run.ended_at),
        "ended": run.ended or "goes on",
        "verdict": run.verdict,
        "reason": run.reasons[0] if run.reasons else "",
        "day": int((run.started_at - state.started_at).total_seconds() // DAY) + 1,
    }


def _by_day(state: CampaignState) -> Iterator[dict[str, Any]]:
    """Give each day's objectives: the worst that a run which counts and ended that day said of each row.

    Of a run of another plan only what is bad is said.
    """
    days: dict[int, dict[str, tuple[str, str, str]]] = {}
    for run in sorted(state.runs.values(), key=lambda one: one.started_at):
        if run.verdict is None or not state.can_stop(run):
            continue
        shows_good = run.stability and state.is_evidence(run)
        day = int((run.ended_at - state.started_at).total_seconds() // DAY) + 1
        rows = days.setdefault(day, {})
        for row in run.rows:
            if row.verdict == "PASS" and not shows_good:
                continue
            known = rows.get(row.name)
            if known is None or _rank(row.verdict) < _rank(known[0]):
                rows[row.name] = (row.verdict, row.value, run.run)
    for day, rows in sorted(days.items()):
        yield {
            "day": day,
            "rows": [
                {"name": name, "verdict": verdict, "value": value, "run": run}
                for name, (verdict, value, run) in rows.items()
            ],
        }


def _rank(verdict: str) -> int:
    return _WORST.index(verdict) if verdict in _WORST else 1
