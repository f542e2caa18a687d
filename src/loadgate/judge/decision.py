"""GO or HOLD: the decision matrix, the success criteria and the checklist, each with its reasons.

A pure function of the campaign's state, of what was found wrong with its book and evidence, and of the time.
Nothing is averaged: GO takes every item to be met, or waived by name. What is not met is HOLD with exit code
20; where nothing is bad and evidence is missing, or cannot be trusted, it is HOLD with exit code 30.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from loadgate.exit_codes import ExitCode
from loadgate.judge.campaign import CampaignState
from loadgate.judge.campaign_clock import ClockState, clock_at, known_until
from loadgate.judge.campaign_facts import AlertFacts, RunFacts, iso
from loadgate.judge.campaign_lines import AHEAD, Item, Part, Standing, View, line_item, tests_parts, waived
from loadgate.judge.campaign_seen import covered
from loadgate.plan.campaign import CRITERIA
from loadgate.plan.units import format_duration, format_share

RULES: Final = 3
"""Version of the rules below: a decision can be made again only by those that made it."""
SUSTAINED: Final = 0.99
"""Share of the clock's length that one run must have been steady for: what a resume loses is no failure."""
LOOKED: Final = 60.0
"""Seconds that a run must have watched for at least, so that it shows that an alert is over."""
GRAVE: Final = ("critical", "high")
"""Severities of which an alert that still fires makes the monitoring unhealthy."""
MATRIX: Final = "decision matrix"
SUCCESS: Final = "success criteria"
CHECKLIST: Final = "checklist"
STEPS: Final = "deployment steps"
TRUST: Final = "trust"


@dataclass(frozen=True, slots=True)
class Trust:
    """What was found wrong with what a decision stands on; each list is empty where all is well.

    `book` are faults of the chain of entries, `evidence` files that were edited, deleted or cannot be read,
    `time` changes of the wall clock since the newest entry. `notes` decide nothing.
    """

    book: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()
    time: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for the book."""
        return {
            "book": list(self.book),
            "evidence": list(self.evidence),
            "time": list(self.time),
            "notes": list(self.notes),
        }

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Trust:
        """Read it back."""
        return cls(*(tuple(content[key]) for key in ("book", "evidence", "time", "notes")))


@dataclass(frozen=True)
class Decision:
    """GO or HOLD, with every item that it follows from."""

    at: datetime
    go: bool
    exit_code: ExitCode
    items: tuple[Item, ...]
    clock: ClockState
    trust: Trust

    @property
    def word(self) -> str:
        """Return GO or HOLD."""
        return "GO" if self.go else "HOLD"

    @property
    def waivers(self) -> list[Item]:
        """List the items that hold only by a waiver."""
        return [item for item in self.items if item.standing is Standing.WAIVED]

    def reasons(self) -> list[str]:
        """Say why it is no GO: each item that is not met, then each that is missing. Empty for a GO."""
        return [
            f"{item.title}: {item.standing.value}: {reason}"
            for standing in (Standing.NOT_MET, Standing.MISSING)
            for item in self.items
            if item.standing is standing
            for reason in item.reasons
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for the book, for JSON, and to hold a replay against."""
        return {
            "rules": RULES,
            "decision": self.word,
            "exit_code": int(self.exit_code),
            "at": iso(self.at),
            "reasons": self.reasons(),
            "waivers": [{"item": item.key, "waiver": item.waiver} for item in self.waivers],
            "clock": {
                "since": iso(self.clock.since),
                "cycle": self.clock.cycle,
                "elapsed": round(self.clock.elapsed, 3),
                "needed": self.clock.needed,
                "observed": round(self.clock.observed, 6),
                "stopped": self.clock.stopped.reason if self.clock.stopped is not None else None,
            },
            "items": [item.to_dict() for item in self.items],
            "trust": self.trust.to_dict(),
        }


def decide(state: CampaignState, trust: Trust, now: datetime) -> Decision:
    """Decide at a moment, from the campaign's state and from what was found wrong with its evidence."""
    clock = clock_at(state, now)
    view = View.at(state, clock, now)
    raw = {
        "bugs": _bugs(view),
        "performance": _performance(view),
        "tests": _tests(view),
        "monitoring": _monitoring(view),
        "sign-off": _sign_off(view),
        "stability": _stability(view),
        "sustained": _sustained(view),
    }
    titles = {
        **CRITERIA,
        "stability": f"{format_duration(clock.needed)} of stable operation",
        "sustained": f"A load sustained for {format_duration(clock.needed)}",
    }
    criteria = {
        key: waived(Item.of(key, MATRIX if key in CRITERIA else SUCCESS, titles[key], parts), view)
        for key, parts in raw.items()
    }
    items = [*_trust(trust, clock), *criteria.values()]
    for group, lines in (
        (SUCCESS, state.plan.success),
        (CHECKLIST, state.plan.line),
        (STEPS, state.plan.step),
    ):
        for line in lines:
            item = line_item(line, group, view, criteria)
            # In an older book a line may share the id of a criterion: the waiver is that one's.
            items.append(item if line.id in criteria else waived(item, view))
    standings = {item.standing for item in items}
    go = standings <= {Standing.MET, Standing.WAIVED}
    held = ExitCode.FAIL if Standing.NOT_MET in standings else ExitCode.INVALID
    return Decision(now, go, ExitCode.PASS if go else held, tuple(items), clock, trust)


def waivable(state: CampaignState) -> list[str]:
    """List what a waiver can name. What makes the evidence itself doubtful cannot be waived."""
    return [*CRITERIA, "stability", "sustained", *(line.id for line in state.plan.lines)]


def _trust(trust: Trust, clock: ClockState) -> Iterator[Item]:
    """Say whether book, evidence and clock can be trusted; no waiver helps where they cannot."""
    for key, title, faults in (
        ("book", "The campaign's book is as it was written", trust.book),
        ("evidence", "The evidence is as it was recorded", trust.evidence),
        ("time", "The wall clock was not changed", (*clock.faults, *trust.time)),
    ):
        parts = [Part(Standing.MISSING, fault) for fault in faults] or [Part(Standing.MET, "nothing found")]
        yield Item.of(key, TRUST, title, parts)


def _bugs(view: View) -> list[Part]:
    bugs, plan = view.state.bugs, view.state.plan.bugs
    if bugs is None or plan is None:
        return [Part(Standing.MISSING, "nobody has looked for bugs yet")]
    if bugs.fault:
        return [Part(Standing.MISSING, f"{bugs.source}: {bugs.fault}", bugs.source)]
    age = (view.now - bugs.made_at).total_seconds()
    if age > plan.fresh:
        old, limit = format_duration(float(round(age))), format_duration(plan.fresh)
        told = f"{bugs.source} is {old} old, and may be {limit}"
        return [Part(Standing.MISSING, told, bugs.source)]
    if bugs.made_at > view.now + AHEAD:
        return [Part(Standing.MISSING, f"{bugs.source} is of {iso(bugs.made_at)}, the future", bugs.source)]
    if bugs.critical:
        named = ", ".join(bugs.critical[:5]) + (" ..." if len(bugs.critical) > 5 else "")
        return [Part(Standing.NOT_MET, f"{len(bugs.critical)} open: {named}", bugs.source)]
    return [Part(Standing.MET, f"none critical and open, of {bugs.total} issues", bugs.source)]


def _performance(view: View) -> list[Part]:
    """Ask the newest runs of each scenario for PASS; WARN is worse than the target, so it does not do."""
    plan = view.state.plan
    parts = []
    for scenario in plan.decision.performance or (plan.clock.sustained,):
        runs = view.judged(scenario)[: plan.decision.passes]
        if len(runs) < plan.decision.passes:
            told = f"{len(runs)} of {plan.decision.passes} judged runs of {scenario}"
            parts.append(Part(Standing.MISSING, f"{told} since {iso(view.since)[:16]}"))
        parts += [_passed(run) for run in runs]
        oldest = runs[-1].started_at if runs else view.since
        parts += [
            Part(Standing.MISSING, f"run {run.run} ({run.ended}) is newer, and nobody judged it", run.run)
            for run in view.ended(scenario)
            if run.verdict is None and run.started_at > oldest
        ]
    return parts


def _passed(run: RunFacts) -> Part:
    where, told = f"{run.run}/verdict.json", f"run {run.run} is {run.verdict}"
    if run.passed:
        return Part(Standing.MET, told, where)
    reason = f"{told}: {run.reasons[0]}" if run.reasons else told
    bad = run.verdict in ("FAIL", "WARN")
    return Part(Standing.NOT_MET if bad else Standing.MISSING, reason, where)


def _tests(view: View) -> list[Part]:
    return [part for tests in view.state.plan.tests for part in tests_parts(tests.name, view)]


def _monitoring(view: View) -> list[Part]:
    """Ask the alert history: somebody watched, nothing grave still fires, nothing stopped the clock."""
    runs = [run for run in view.state.counting() if run.ended_at >= view.clock.since]
    watched = [run for run in runs if run.monitored and run.observed]
    if not watched:
        told = "no run that counts has watched the target with alert rules since the clock was started"
        return [Part(Standing.MISSING, told)]
    found = [
        (run, alert)
        for (run, _, _), alert in view.state.alerts.items()
        if alert.fired_at >= view.clock.since or _went_on(alert, view.state.runs[run], view.clock.since)
    ]
    severities = view.state.plan.clock.severities
    parts = [
        Part(Standing.NOT_MET, f"alert {alert.rule} ({alert.severity}): {alert.text}", f"{run}/watch.db")
        for run, alert in found
        if alert.severity in severities
        or (alert.severity in GRAVE and _still_fires(alert, view.state.runs[run], watched))
    ]
    if parts:
        return parts
    told = f"{len(watched)} run(s) watched, {len(found)} alert(s) fired, none of them grave and open"
    return [Part(Standing.MET, told, f"{watched[-1].run}/watch.db")]


def _went_on(alert: AlertFacts, fired_in: RunFacts, since: datetime) -> bool:
    """Tell whether an alert of before a moment was there after it, too: it is not of the past then."""
    until = known_until(alert, fired_in)
    return until is None or until > since


def _still_fires(alert: AlertFacts, fired_in: RunFacts, watched: Sequence[RunFacts]) -> bool:
    """Tell whether an alert may go on: not resolved, and no later run with its rule is without it.

    While the run in which it fired goes on that one knows best.
    """
    if alert.resolved_at is not None:
        return False
    if fired_in.ended is None:
        return True
    return not any(
        run.started_at > alert.fired_at and run.ended is not None and _would_have_fired(alert, fired_in, run)
        for run in watched
    )


def _would_have_fired(alert: AlertFacts, fired_in: RunFacts, later: RunFacts) -> bool:
    """Tell whether a run has the rule of an alert, and watched for longer than the rule takes to fire.

    What it saw before the run of the alert ended, in which that fired to the end, shows nothing.
    """
    rule = later.rule(alert.rule)
    if rule is None or rule != fired_in.rule(alert.rule):
        return False
    since = max(later.started_at, fired_in.ended_at)
    return covered(later.observed, since, later.ended_at) > max(rule.takes, LOOKED)


def _sign_off(view: View) -> list[Part]:
    parts = []
    for role in view.state.plan.decision.sign_off:
        found = view.state.sign_offs.get(role)
        if found is None:
            parts.append(Part(Standing.MISSING, f"{role} has not signed"))
            continue
        told = f"{role} on {iso(found.at)[:16]}: {found.note}"
        where = f"entry {found.seq}"
        if found.at < view.clock.since:
            spoke = "signed" if found.agrees else "refused"
            parts.append(Part(Standing.MISSING, f"{role} {spoke} before the clock was started again", where))
        elif not found.agrees:
            parts.append(Part(Standing.NOT_MET, f"refused by {told}", where))
        else:
            parts.append(Part(Standing.MET, f"signed by {told}", where))
    return parts


def _stability(view: View) -> list[Part]:
    clock = view.clock
    if clock.stopped is not None:
        told = f"{clock.stopped.reason} at {iso(clock.stopped.at)[:19]}"
        return [Part(Standing.NOT_MET, f"the clock stopped: {told}", f"{clock.stopped.run}/verdict.json")]
    parts = []
    if clock.elapsed < clock.needed:
        left = format_duration(float(max(1, round(clock.needed - clock.elapsed))))
        parts.append(Part(Standing.MISSING, f"{clock.line()}, {left} to go"))
    elif clock.observed < clock.observed_needed:
        needed = format_share(clock.observed_needed)
        parts.append(Part(Standing.MISSING, f"{clock.line()}; it takes {needed}"))
    for run in sorted(view.state.runs.values(), key=lambda one: one.started_at):
        if not view.state.can_stop(run):
            continue
        if run.ended is not None and not run.is_over and run.ended_at >= clock.since:
            told = f"run {run.run} ended and nobody judged it: loadgate verdict {run.run}"
            parts.append(Part(Standing.MISSING, told, run.run))
    return parts or [Part(Standing.MET, clock.line())]


def _sustained(view: View) -> list[Part]:
    """Ask for one run of the cycle that was steady for as long as the clock, and did not fail."""
    wanted, clock = view.state.plan.clock.sustained, view.clock
    runs = [
        run
        for run in view.state.runs.values()
        if run.scenario == wanted
        and run.mode == "load"
        and run.stability
        and run.started_at >= clock.since
        and view.state.is_evidence(run)
    ]
    if not runs:
        return [Part(Standing.MISSING, f"no run of {wanted} since the clock was started")]
    for run in sorted(runs, key=lambda one: one.started_at, reverse=True):
        long_enough = run.steady_seconds >= SUSTAINED * clock.needed
        if run.verdict in ("PASS", "WARN") and run.ended == "planned" and long_enough:
            told = f"{run.run} was steady for {format_duration(run.steady_seconds)}: {run.verdict}"
            return [Part(Standing.MET, told, f"{run.run}/verdict.json")]
    newest = max(runs, key=lambda one: one.started_at)
    if newest.verdict is None:
        return [Part(Standing.MISSING, f"{newest.run} goes on, or was not judged yet", newest.run)]
    told = f"{newest.run} was steady for {format_duration(newest.steady_seconds)}: {newest.verdict}"
    bad = newest.verdict == "FAIL"
    return [
        Part(Standing.NOT_MET if bad else Standing.MISSING, told, f"{newest.run}/verdict.json"),
    ]
