"""The stability clock: since when the target has been stable, what stopped it, and who watched meanwhile.

A pure function of the campaign's state and the time. It starts with the campaign, a restart starts it again,
and so does an annotated deployment where the campaign says so; a FAIL of a run that counts, an alert of a
stopping severity, or a longer downtime stops it until a restart. What is bad and goes on over a restart stops
the new clock, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from loadgate.judge.campaign import CampaignState
from loadgate.judge.campaign_facts import AlertFacts, RunFacts
from loadgate.judge.campaign_seen import covered
from loadgate.plan.units import format_duration, format_share


@dataclass(frozen=True, slots=True)
class Stop:
    """Something that stops the clock, at a moment.

    `until` is when it was over, None where it goes on; `allowed` are the seconds that are within the rules.
    """

    at: datetime
    reason: str
    run: str
    until: datetime | None
    allowed: float = 0.0

    def reaches_over(self, moment: datetime) -> bool:
        """Tell whether it had begun at a moment, and went on after it for longer than is allowed."""
        if self.at > moment:
            return False
        return self.until is None or (self.until - moment).total_seconds() > self.allowed


@dataclass(frozen=True, slots=True)
class ClockState:
    """Where the clock stands; `needed` and `elapsed` are seconds.

    `observed` is the share of the newest `needed` seconds, or of all since it began, that runs which count
    have watched. `cycles` are the moments at which it began, the first and the newest one included.
    """

    since: datetime
    cycles: tuple[datetime, ...]
    stopped: Stop | None
    elapsed: float
    needed: float
    observed: float
    observed_needed: float
    faults: tuple[str, ...] = ()

    @property
    def cycle(self) -> int:
        """Return the number of the present cycle, counted from 1."""
        return len(self.cycles)

    @property
    def is_complete(self) -> bool:
        """Tell whether the target has been stable long enough, and was watched meanwhile."""
        return (
            self.stopped is None
            and not self.faults
            and self.elapsed >= self.needed
            and self.observed >= self.observed_needed
        )

    def line(self) -> str:
        """Say where it stands in one line."""
        of = f"{format_duration(float(int(self.elapsed)))} of {format_duration(self.needed)}"
        if self.stopped is not None:
            return f"stopped after {of}: {self.stopped.reason}"
        seen = f"{format_share(round(self.observed, 3))} of it watched"
        return f"{of} stable, {seen}"


def stops(state: CampaignState) -> list[Stop]:
    """List everything that stops the clock, in order of time, whenever it was noticed."""
    clock = state.plan.clock
    found = [Stop(at, f"run {run} ended FAIL", run, at) for run, at in state.failed_runs.items()]
    for (run, _, _), alert in state.alerts.items():
        if alert.severity in clock.severities:
            told = f"alert {alert.rule} ({alert.severity}) fired in run {run}"
            found.append(Stop(alert.fired_at, told, run, known_until(alert, state.runs[run])))
    for (run, _), (begin, end) in state.down.items():
        length = (end - begin).total_seconds()
        if length > clock.downtime:
            told = format_duration(round(length, 3))
            reason = f"the target was down for {told} in run {run}"
            found.append(Stop(begin, reason, run, end, clock.downtime))
    return sorted(found, key=lambda stop: (stop.at, stop.reason))


def known_until(alert: AlertFacts, run: RunFacts) -> datetime | None:
    """Return until when an alert is known to have fired; None where its run goes on, and so may the alert."""
    if alert.resolved_at is not None:
        return alert.resolved_at
    return run.ended_at if run.ended is not None else None


def clock_at(state: CampaignState, now: datetime) -> ClockState:
    """Return where the clock stands at a moment."""
    begun, found = state.started_at, stops(state)
    events: list[tuple[datetime, int, str, Stop | None]] = [
        (stop.at, 0, "stop", stop) for stop in found if begun <= stop.at
    ]
    events += [(restart.at, 2, "restart", None) for restart in state.restarts]
    if state.plan.clock.deployment_restarts:
        events += [(at, 1, "deployment", None) for at in state.deployments if begun < at <= now]
    cycles, stopped = [begun], next(_going_on(found, begun), None)
    for at, _, kind, stop in sorted(events, key=lambda event: event[:2]):
        if kind == "restart":
            cycles.append(at)
            stopped = next(_going_on(found, at), None)
        elif kind == "stop":
            stopped = stopped or stop
        elif stopped is None:
            # A deployment does not heal what stopped the clock; a restart, which says what was mended, does.
            cycles.append(at)
    since = cycles[-1]
    until = max(since, stopped.at if stopped is not None else now)
    elapsed = (until - since).total_seconds()
    spans = [span for run in state.counting() for span in run.observed]
    # What matters is the newest stretch of the clock's length: an early gap is healed by watching on.
    begin = max(since, until - timedelta(seconds=state.plan.clock.length))
    length = (until - begin).total_seconds()
    share = min(1.0, covered(spans, begin, until) / length) if length > 0 else 0.0
    return ClockState(
        since,
        tuple(cycles),
        stopped,
        elapsed,
        state.plan.clock.length,
        share,
        state.plan.clock.observed,
        tuple(fault.text for fault in state.clock_faults if fault.seq > _last_restart(state)),
    )


def _going_on(found: list[Stop], begun: datetime) -> Iterator[Stop]:
    """Give what had begun before the clock, and went on: that stops it at once."""
    for stop in found:
        if stop.reaches_over(begun):
            yield replace(stop, at=begun, reason=f"{stop.reason}, and went on after the clock was started")


def _last_restart(state: CampaignState) -> int:
    """Return the number of the newest restart: what was wrong with the clock before it is over."""
    return max((restart.seq for restart in state.restarts), default=0)


def evidence_since(state: CampaignState, clock: ClockState) -> datetime:
    """Return from when on evidence speaks of the release under test.

    What is older than a restart or a deployment that started the clock again was of another release. In the
    first cycle evidence may be older than the campaign by its `lookback`, and no older than the newest
    deployment of before its start, where deployments count.
    """
    if clock.cycle > 1:
        return clock.since
    oldest = clock.since - timedelta(seconds=state.plan.decision.lookback)
    if not state.plan.clock.deployment_restarts:
        return oldest
    return max([oldest, *(at for at in state.deployments if at <= clock.since)])
