"""Rules between a scenario and its SLA table: can this run show what the table asks?"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from loadgate.plan.drift import Drift
from loadgate.plan.looks import looks
from loadgate.plan.problems import Problem, Severity
from loadgate.plan.samples import (
    DOUBT,
    READINGS_NEEDED,
    WINDOWS_NEEDED,
    expected_readings,
    expected_requests,
    has_interval,
    need_of,
    probe_of,
)
from loadgate.plan.scenario import Probe, Traffic, VerdictPolicy
from loadgate.plan.sla import METRICS, READINGS, Objective
from loadgate.plan.strict import suggest
from loadgate.plan.timeline import Timeline
from loadgate.plan.units import format_duration, format_number, format_rate, format_share

MARGIN = 1.05
"""Offered over target below which a throughput objective is a coin toss."""


@dataclass(frozen=True, slots=True)
class Planned:
    """What the rules look at: the parts of a scenario that are well-formed, and the rows it judges."""

    file: str
    sla_file: str
    traffic: Traffic
    timeline: Timeline
    verdict: VerdictPolicy
    probes: Sequence[Probe] | None
    host: str | None
    rows: Sequence[tuple[int, Objective]]
    drift: Sequence[tuple[int, Drift]] = ()

    def optional(self, row: Objective) -> bool:
        """Tell whether a row may lack data."""
        return any(row.matches(word) for word in self.verdict.optional)

    @property
    def load_key(self) -> str:
        """Return the key that says how much is sent."""
        return "traffic.trace" if self.traffic.arrivals == "trace" else "traffic.stages"


def check_evidence(plan: Planned) -> Iterator[Problem]:
    """Check that the planned run can show what each row asks."""
    if not plan.timeline.segments:
        return
    if plan.timeline.seconds() <= 1e-6 or plan.timeline.arrivals() <= 0:
        message = "there is no load in a steady phase, so nothing would be judged"
        yield Problem(plan.file, plan.load_key, message, 'give a stage a hold and phase = "steady"')
        return
    yield from _windows(plan)
    yield from _looks(plan)
    for index, row in plan.rows:
        key = f"objective[{index}]"
        unknown = _unknown_endpoint(plan, key, row)
        yield from unknown
        if unknown:
            continue
        if row.metric == "throughput":
            yield from _throughput(plan, row)
        elif row.metric in READINGS or row.metric not in METRICS:
            yield from _readings(plan, row)
        else:
            yield from _samples(plan, row)
        if "for_" in row.model_fields_set and row.for_ > plan.timeline.seconds():
            message = (
                f"the steady phase ({format_duration(plan.timeline.seconds())}) is shorter than "
                f"`for` of '{row.name}' ({format_duration(row.for_)})"
            )
            hint = "a breach in its windows cannot last that long; only the whole phase decides"
            yield Problem(plan.file, plan.load_key, message, hint, "warning")
    for index, rule in plan.drift:
        yield from _drift(plan, f"drift[{index}]", rule)


def _drift(plan: Planned, key: str, rule: Drift) -> Iterator[Problem]:
    """Check that a drift rule speaks of something that the run measures."""
    row = rule.objective
    for problem in _unknown_endpoint(plan, key, row):
        yield replace(problem, file=plan.file)
    reading = row.metric in READINGS or row.metric not in METRICS
    if reading and plan.probes is not None and probe_of(row, plan.probes) is None:
        hint = "add the probe, or leave the rule out"
        yield Problem(plan.file, f"{key}.metric", f"no probe gives '{rule.metric}'", hint)


def _windows(plan: Planned) -> Iterator[Problem]:
    """Check that the steady phase is long enough to estimate how much neighbouring seconds are alike."""
    seconds = plan.timeline.seconds()
    rows = [row for _, row in plan.rows if has_interval(row)]
    if seconds >= WINDOWS_NEEDED - 1e-6 or not rows:
        return
    message = (
        f"the steady phase ({format_duration(seconds)}) is too short to estimate its noise, which takes "
        f"{WINDOWS_NEEDED} windows of 1s: rows of requests are then decided by their worst second"
    )
    hint = f"hold it for {WINDOWS_NEEDED}s or more; where seconds are much alike it takes longer"
    yield Problem(plan.file, plan.load_key, message, hint, "warning")


def _looks(plan: Planned) -> Iterator[Problem]:
    """Check that a run that may end early is looked at before its end, and can end for the better."""
    if not plan.verdict.stop_when_certain:
        return
    key, seconds = "verdict.stop_when_certain", plan.timeline.seconds()
    if len(looks(seconds)) == 1:
        message = f"the steady phase ({format_duration(seconds)}) is too short to be looked at before its end"
        hint = f"the first look is after {WINDOWS_NEEDED}s: hold the load longer, or leave the key out"
        yield Problem(plan.file, key, message, hint, "warning")
    elif plan.timeline.trace is not None:
        message = "a run of a recorded trace ends early only when it fails"
        yield Problem(plan.file, key, message, "its busiest minute may be yet to come", "warning")


def _unknown_endpoint(plan: Planned, key: str, row: Objective) -> list[Problem]:
    """Report an endpoint that the traffic does not send to."""
    trace = plan.timeline.trace
    if row.endpoint is None:
        return []
    if trace is not None and trace.endpoints is not None:
        known, place = sorted(set(trace.endpoints)), "the trace"
    elif plan.traffic.mix:
        known, place = list(plan.traffic.mix), "traffic.mix"
    else:
        return []
    if row.endpoint in known:
        return []
    message = f"no request goes to '{row.endpoint}': it is not in {place} of {plan.file}"
    return [Problem(plan.sla_file, f"{key}.endpoint", message, suggest(row.endpoint, known, "endpoints"))]


def _throughput(plan: Planned, row: Objective) -> Iterator[Problem]:
    """Check that the offered rate lies above a throughput target, with a margin."""
    if plan.traffic.model == "closed":
        message = f"'{row.name}' is judged, but a closed model offers only what the target's speed lets it"
        hint = 'use model = "open" to offer a rate, or leave the row out'
        yield Problem(plan.file, "traffic.model", message, hint, "warning")
        return
    steady, _ = expected_requests(row.endpoint, plan.traffic, plan.timeline)
    if steady is None:
        return
    offered = steady / plan.timeline.seconds()
    limit = row.target.spelled(row.target.value)
    out = f'or leave the row out: [verdict] leave_out = ["{row.name}"]'
    if offered <= row.target.value:
        message = (
            f"offers {format_rate(offered)} in the steady phase, which cannot show "
            f"'{row.name}' {row.target.text}"
        )
        yield Problem(plan.file, plan.load_key, message, f"offer 10% more than {limit}, {out}")
    elif offered < row.target.value * MARGIN:
        message = f"offers {format_rate(offered)}, less than 5% above '{row.name}' {row.target.text}"
        hint = (
            f"offering hardly more than an objective measures below it half the time; offer 10% more, {out}"
        )
        yield Problem(plan.file, plan.load_key, message, hint, "warning")
    if row.alert is None or plan.traffic.arrivals == "trace":
        return
    share = plan.traffic.share_of(row.endpoint) or 0.0
    for part in plan.timeline.segments:
        if part.phase == "steady" and part.length >= row.for_ and row.alert.met(part.level_start * share):
            message = (
                f"the steady hold from {format_duration(part.start)} offers "
                f"{format_rate(part.level_start * share)} "
                f"for {format_duration(part.length)}, so '{row.name}' would fail: alert {row.alert.text}"
            )
            yield Problem(plan.file, plan.load_key, message, f'use phase = "warmup" for that hold, {out}')


def _samples(plan: Planned, row: Objective) -> Iterator[Problem]:
    """Check that enough requests are planned for the statistic."""
    # A run that is looked at before its end has part of its doubt spent by then.
    end = looks(plan.timeline.seconds())[-1]
    doubt = end.doubt if plan.verdict.stop_when_certain else DOUBT
    need = need_of(row, doubt)
    if need.count is None:
        message = f"no number of samples can show '{row.name}' {row.target.text}"
        yield Problem(plan.file, plan.load_key, message, "leave room for a few bad ones", "warning")
        return
    expected, at_most = expected_requests(row.endpoint, plan.traffic, plan.timeline)
    if expected is None or expected >= need.count:
        return
    what = f"the {row.statistic} of '{row.name}'" if row.statistic else f"'{row.name}' {row.target.text}"
    bound = "at most " if at_most else "about "
    message = (
        f"{what} needs {need.count} {need.unit} for a {format_share(1 - doubt)} claim; "
        f"the steady phase is expected to give {bound}{format_number(round(expected))}"
    )
    factor = need.count / expected if expected > 0 else 0.0
    longer = format_duration(float(round(plan.timeline.seconds() * factor + 0.5)))
    hint = f"hold it for {longer}, or send more" if factor else "give the endpoint a weight in traffic.mix"
    yield Problem(plan.file, plan.load_key, message, hint, "warning")


def _readings(plan: Planned, row: Objective) -> Iterator[Problem]:
    """Check that a probe gives the row its readings, and often enough."""
    if plan.probes is None:
        return
    probe = probe_of(row, plan.probes)
    if probe is None:
        severity: Severity = "warning" if plan.optional(row) else "error"
        yield Problem(plan.file, "probes", f"no probe gives '{row.name}'", _remedy(row), severity)
        return
    due = expected_readings(probe, plan.timeline)
    index = plan.probes.index(probe)
    if due < READINGS_NEEDED:
        message = (
            f"'{row.name}' needs {READINGS_NEEDED} readings; every {format_duration(probe.every)} gives "
            f"{due} in the steady phase, so the row would be INVALID"
        )
        fits = format_duration(plan.timeline.seconds() / (READINGS_NEEDED + 1))
        hint = f"read more often, for example every {fits}, or hold the load longer"
        yield Problem(plan.file, f"probes[{index}].every", message, hint, "warning")
    if probe.kind == "process" and probe.process == "listening" and plan.host and not _loopback(plan.host):
        message = f"'{row.name}' reads a process of this machine, and the host is another address"
        hint = (
            "if the target runs elsewhere the row is INVALID: make it optional, or read it with a json probe"
        )
        yield Problem(plan.file, f"probes[{index}].process", message, hint, "warning")


def _remedy(row: Objective) -> str:
    """Say which probe a row needs."""
    out = f'or [verdict] optional = ["{row.name}"]'
    if row.metric == "uptime":
        return f'add [[probes]] name = "health", http = "/health", every = "30s", {out}'
    if row.metric in READINGS:
        return f'add [[probes]] name = "process", process = "listening", every = "60s", {out}'
    named = row.probe_reading or ("", "")
    return f"add a probe '{named[0]}' with a reading '{named[1]}', {out}"


def _loopback(host: str) -> bool:
    """Tell whether a host is surely this machine."""
    name = urlsplit(host).hostname or ""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")
