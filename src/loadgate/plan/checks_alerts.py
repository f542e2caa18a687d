"""Look up what alert rules point at: rows, endpoints, probes, phases, actions.

A rule that could never be evaluated in a run is an error before any load. Two kinds of rules are left out
instead, because the plan says so: those on a row that the scenario leaves out, and those whose `min_run` is
longer than the run.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from loadgate.plan.alert_files import RulesFile
from loadgate.plan.alerts import PHASE_NAMES, AlertEntry, AlertRule, PhaseName, excluded
from loadgate.plan.burn import BurnRate, least_run, pairs_of, step_of
from loadgate.plan.conditions import Condition, Subject, of_row, parse_subject, parse_when, turned
from loadgate.plan.problems import Problem
from loadgate.plan.rollback import Rollback, parse_action
from loadgate.plan.samples import probe_of
from loadgate.plan.scenario import LONGEST, Probe, Traffic, VerdictPolicy
from loadgate.plan.sla import HIGHER_IS_BETTER, METRICS, Limit, Objective
from loadgate.plan.strict import suggest
from loadgate.plan.timeline import Timeline
from loadgate.plan.units import BYTE_UNITS, UnitError, format_duration, format_share

EVERY: Final = 10.0
"""Seconds of a window of requests where neither the rule nor a row says how long it is."""
_SHARES: Final = ("error_rate", "cache_hit_rate", "uptime")
_UNITS: Final = {
    ("process", "memory"): tuple(BYTE_UNITS),
    ("process", "anon"): tuple(BYTE_UNITS),
    ("process", "cpu"): ("%",),
    ("cache", "hit_rate"): ("%",),
}
"""Units of the readings whose kind says what they are; a bare number of bytes is most often a slip."""


@dataclass(frozen=True)
class Against:
    """The parts of a scenario that rules are held against; None where a part is faulty, or there is none.

    `rows` are all rows of the SLA table, or those that are not left out.
    """

    rows: Sequence[Objective] | None = ()
    probes: Sequence[Probe] | None = ()
    traffic: Traffic | None = None
    timeline: Timeline | None = None
    policy: VerdictPolicy = field(default_factory=VerdictPolicy)
    rollback: Rollback | None = None


@dataclass
class Resolved:
    """The rules of a run, the problems of the others, and which were left out and why."""

    rules: list[AlertRule] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)


class _LeftOut(Exception):
    """The plan says that a rule has no part in this run."""


def resolve(found: RulesFile, against: Against) -> Resolved:
    """Look up everything that the rules point at; a problem names the file and the key of its rule."""
    result = Resolved()
    for index, entry in found.entries:
        resolver = _Resolver(found.file, f"alert[{index}]", entry, against)
        try:
            rule = resolver.rule()
        except _LeftOut as reason:
            result.left_out.append((entry.name, str(reason)))
            continue
        result.problems += resolver.problems
        if rule is not None and not resolver.problems:
            result.rules.append(rule)
    return result


class _Resolver:
    """One rule on its way from the file to the run."""

    def __init__(self, file: str, key: str, entry: AlertEntry, against: Against) -> None:
        self.file, self.key, self.entry, self.against = file, key, entry, against
        self.problems: list[Problem] = []
        self.row: Objective | None = None

    def rule(self) -> AlertRule | None:
        """Return the rule; None when it cannot be told, with a problem or because a part is faulty."""
        entry, timeline = self.entry, self.against.timeline
        end = timeline.end if timeline is not None else 0.0
        steady = timeline.seconds() if timeline is not None else None
        if steady is not None and steady < entry.min_run:
            needed = format_duration(entry.min_run)
            raise _LeftOut(
                f"the run's steady load of {format_duration(steady)} is shorter than min_run = {needed}"
            )
        burn: BurnRate | None = None
        if entry.burn is not None:
            subject, burn = self._burn(steady)
            limit = None
        else:
            condition = self._condition()
            subject, limit = (condition.subject, condition.limit) if condition else (None, None)
        if subject is None:
            return None
        probe = self._source(subject)
        subject = self._located(subject, probe)
        if limit is not None and self.row is None:
            self._check_limit(subject, limit)
            self._check_unit(subject, limit, probe)
        every = self._every(subject, probe, burn)
        return AlertRule(
            name=entry.name,
            severity=entry.severity,
            when=entry.when or f"burn: {subject.name}",
            subject=subject,
            limit=limit,
            clear=self._clear(subject, limit),
            burn=burn,
            every=every,
            **{"for": entry.for_},
            keep_firing_for=entry.keep_firing_for,
            at_least=entry.at_least,
            no_data=entry.no_data,
            flaps=entry.flaps,
            phases=self._phases(subject),
            excluded=self._excluded(end),
            on_fire=tuple(self._actions(subject)),
            summary=entry.summary,
        )

    def _problem(self, key: str, message: str, hint: str = "") -> None:
        where = f"{self.key}.{key}" if key else self.key
        self.problems.append(Problem(self.file, where, message, hint))

    # ---- the condition

    def _condition(self) -> Condition | None:
        parsed = parse_when(self.entry.when or "")
        if isinstance(parsed, Condition):
            return parsed
        row = self._row(parsed.row, "when")
        if row is None:
            return None
        try:
            found = of_row(parsed, row)
        except UnitError as error:
            self._problem("when", error.message, error.hint)
            return None
        self.row = row
        return found

    def _row(self, name: str, key: str) -> Objective | None:
        """Find a row of the SLA table by its name, or by its metric where that is only one."""
        rows = self.against.rows
        if rows is None:
            return None
        matching = [row for row in rows if row.name == name] or [row for row in rows if row.metric == name]
        words = self.against.policy.leave_out
        if any(row.matches(word) for row in matching for word in words) or (not matching and name in words):
            raise _LeftOut(f"the scenario leaves out the row '{name}'")
        if len(matching) != 1:
            known = [row.name for row in matching or rows]
            message = f"the SLA table has no row '{name}'" if not matching else f"'{name}' is several rows"
            self._problem(key, message, suggest(name, known, "rows") if not matching else ", ".join(known))
            return None
        return matching[0]

    def _burn(self, steady: float | None) -> tuple[Subject | None, BurnRate | None]:
        """Return what a burn rule counts, and its windows in this run."""
        burn = self.entry.burn
        assert burn is not None
        found = self._burn_subject(burn.objective, burn.budget)
        if found is None:
            return None, None
        subject, budget, over = found
        if steady is None:
            return None, None
        pairs = pairs_of(steady, budget, burn.windows)
        if not pairs:
            least = format_duration(math.ceil(least_run(burn.windows)))
            self._problem(
                "burn",
                f"a run of {format_duration(steady)} has no pair of windows that a budget of "
                f"{format_share(budget)} can be watched by",
                f'it takes a steady load of {least}: say min_run = "{least}" to leave it out of shorter runs',
            )
            return None, None
        return subject, BurnRate(budget=budget, pairs=pairs, over=over)

    def _burn_subject(
        self, objective: str, budget: float | None
    ) -> tuple[Subject, float, Limit | None] | None:
        rows = self.against.rows
        if budget is not None and (rows is None or not any(objective in (r.name, r.metric) for r in rows)):
            try:
                subject = parse_subject(objective)
            except UnitError as error:
                self._problem("burn.objective", error.message, error.hint)
                return None
            if subject.metric == "error_rate":
                return subject, budget, None
            self._problem("burn.objective", f"'{objective}' is no row of the SLA table", "name a row")
            return None
        row = self._row(objective, "burn.objective")
        if row is None:
            return None
        self.row = row
        subject = Subject(
            metric=row.metric, endpoint=row.endpoint, statistic=row.statistic, latency_on=row.latency_on
        )
        if row.metric == "error_rate":
            return subject, budget if budget is not None else row.target.value, None
        if row.metric == "cache_hit_rate":
            return subject, budget if budget is not None else 1 - row.target.value, None
        if row.rank is not None:
            return subject, budget if budget is not None else 1 - row.rank / 10_000, turned(row.target)
        message = f"'{row.name}' has no budget: it is no share of requests"
        self._problem("burn.objective", message, "error_rate, cache_hit_rate, or a percentile of a latency")
        return None

    # ---- what it looks at

    def _source(self, subject: Subject) -> Probe | None:
        """Find the probe of a reading, and check that an endpoint is one of the traffic's."""
        if subject.of_requests:
            known, place = self._endpoints()
            if subject.endpoint is not None and known and subject.endpoint not in known:
                message = f"no request goes to '{subject.endpoint}': it is not in {place}"
                self._problem(self._condition_key, message, suggest(subject.endpoint, known, "endpoints"))
            return None
        probes = self.against.probes
        if probes is None:
            return None
        as_row = Objective.model_construct(metric=subject.metric, endpoint=None)
        probe = probe_of(as_row, probes)
        if probe is None:
            known = [f"{one.name}.{reading}" for one in probes for reading in one.readings]
            self._problem(
                self._condition_key,
                f"no probe of the scenario gives '{subject.metric}'",
                suggest(subject.metric, known, "readings"),
            )
        return probe

    @property
    def _condition_key(self) -> str:
        return "burn.objective" if self.entry.burn is not None else "when"

    def _endpoints(self) -> tuple[list[str], str]:
        traffic, timeline = self.against.traffic, self.against.timeline
        trace = timeline.trace if timeline is not None else None
        if trace is not None and trace.endpoints is not None:
            return sorted(set(trace.endpoints)), "the trace"
        return (list(traffic.mix), "traffic.mix") if traffic is not None else ([], "")

    def _located(self, subject: Subject, probe: Probe | None) -> Subject:
        """Name the probe and the reading that a metric such as cpu comes from."""
        if subject.of_requests or probe is None:
            return subject
        reading = subject.reading or ("up" if subject.metric == "uptime" else subject.metric)
        per_core = subject.metric == "cpu" and self.against.policy.cpu_of == "machine"
        return subject.model_copy(update={"probe": probe.name, "reading": reading, "per_core": per_core})

    def _every(self, subject: Subject, probe: Probe | None, burn: BurnRate | None) -> float:
        """Return the length of a window: the rule's own, the row's, or what fits the source."""
        every = self.entry.every
        if every is None and burn is not None:
            return step_of(burn.pairs)
        if every is None and self.row is not None:
            every = self.row.every
        if every is None:
            every = EVERY if subject.of_requests or probe is None else math.ceil(max(1.0, probe.every))
        if every != int(every) or every < 1:
            self._problem(
                "every", f"windows of {format_duration(every)} are no whole seconds", 'say every = "1s"'
            )
        if probe is not None and every < probe.every:
            self._problem(
                "every",
                f"windows of {format_duration(every)} are shorter than the interval of probe "
                f"'{probe.name}' ({format_duration(probe.every)}), so most would be empty",
                f'say every = "{format_duration(math.ceil(probe.every))}", or read the probe more often',
            )
        return float(every)

    def _phases(self, subject: Subject) -> tuple[PhaseName, ...]:
        """Return the phases that count: steady for requests, all of the run time for readings."""
        chosen = self.entry.phases
        if chosen is None:
            chosen = ("steady",) if subject.of_requests else PHASE_NAMES
        without = [excluded(item, 0.0) for item in self.entry.exclude]
        left = tuple(phase for phase in chosen if phase not in without)
        if not left:
            self._problem("exclude", "no phase is left that the rule looks at", "exclude less")
        return () if left == PHASE_NAMES and not subject.of_requests else left

    def _excluded(self, end: float) -> tuple[tuple[float, float], ...]:
        found = [excluded(item, end) for item in self.entry.exclude]
        stretches = sorted(item for item in found if not isinstance(item, str))
        return tuple(item for item in stretches if item[1] > item[0])

    def _actions(self, subject: Subject) -> Iterator[str]:
        """Yield the actions, with the path of the rule's endpoint where they name none."""
        for index, text in enumerate(self.entry.on_fire):
            if self.against.rollback is None:
                yield text
                continue
            try:
                action = parse_action(text, subject.endpoint, self.against.rollback)
            except UnitError as error:
                self._problem(f"on_fire[{index}]", error.message, error.hint)
                continue
            value = f" {action.value:g}" if action.value is not None else ""
            yield f"{action.verb} {action.argument}".rstrip() + value

    # ---- limits

    def _check_limit(self, subject: Subject, limit: Limit) -> None:
        """Check that a limit of the rule's own lies on the bad side, and can both be met and not."""
        metric = subject.metric
        if metric not in METRICS:
            return
        if limit.upward == (metric in HIGHER_IS_BETTER):
            sense = "more is better" if limit.upward else "less is better"
            self._problem(
                "when",
                f"'{limit.text}' would fire while all is well: for {metric} {sense}",
                f'write "{turned(limit).text}"',
            )
        elif subject.rank is not None or subject.statistic is not None:
            if not 1e-6 <= limit.value <= LONGEST:
                message = f"'{limit.text}' is outside of what is recorded (1us to 1h)"
                self._problem("when", message, 'for example "> 200ms"')
        elif limit.met(0.0) if limit.upward else (metric in _SHARES and limit.met(1.0)):
            self._problem("when", f"'{limit.text}' always holds", "the rule would fire at once and for ever")
        elif not limit.met(0.0) if not limit.upward else (metric in _SHARES and not limit.met(1.0)):
            self._problem("when", f"'{limit.text}' can never hold", "the rule would never fire")

    def _check_unit(self, subject: Subject, limit: Limit, probe: Probe | None) -> None:
        """Check the unit of a reading whose kind says what it is."""
        if probe is None or subject.metric in METRICS:
            return
        units = _UNITS.get((probe.kind, subject.reading or ""))
        if units is not None and limit.unit not in units:
            example = "%" if units == ("%",) else "MB"
            self._problem(
                "when", f"'{limit.text}' has no unit of '{subject.metric}'", f"for example {example}"
            )

    def _clear(self, subject: Subject, limit: Limit | None) -> Limit | None:
        """Return the level at which the rule is clear, which no violated value may meet."""
        if limit is None:
            if self.entry.clear is not None:
                self._problem("clear", "a burn rule is clear when no pair burns", "leave it out")
            return None
        if self.entry.clear is None:
            return turned(limit)
        try:
            clear = Limit.parse(self.entry.clear, subject.metric)
        except UnitError as error:
            self._problem("clear", error.message, error.hint)
            return None
        apart = clear.value <= limit.value if limit.upward else clear.value >= limit.value
        touching = clear.value == limit.value and clear.inclusive and limit.inclusive
        if clear.upward == limit.upward or not apart or touching:
            self._problem(
                "clear",
                f"'{clear.text}' and '{limit.text}' can both hold, so the rule could be violated and clear",
                f'for example "{turned(limit).text}", or a level beyond it',
            )
        return clear
