"""The alert engine: what a run's rules say of its series, a pure function of what was stored.

The series may come in pieces of any size, and the engine may be stopped and started between any two of them:
the changes are always the same. A window of a rule is looked at once, when its series is complete (`until`),
so that nothing that was said is ever taken back.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from loadgate.errors import StoreError
from loadgate.measure.window import Window
from loadgate.plan.alerts import AlertRule
from loadgate.plan.timeline import Timeline
from loadgate.plan.units import format_duration, format_number, format_share
from loadgate.store.watch import AlertChange, Point, Reading
from loadgate.watch.alert_state import TOLERANCE, Move, RuleState, move
from loadgate.watch.kept_points import key_of, point_of, sample_of
from loadgate.watch.reading_series import ReadingSampler
from loadgate.watch.series import RequestSampler, Sample, series_needed

VERSION: Final = 1


@dataclass(frozen=True)
class Batch:
    """A piece of a run's series: all that lies between what was given before and the new ends.

    `until` is the run time up to which the windows are complete, `probed` that up to which the readings of
    each probe are. `reported` are the seconds of which some worker has told what it did.
    """

    until: float = 0.0
    windows: Iterable[Window] = ()
    reported: Collection[int] = ()
    probed: Mapping[str, float] = field(default_factory=dict)
    readings: Iterable[Reading] = ()


class AlertWatch:
    """The rules of a run and where they stand, in memory that does not grow with the run."""

    def __init__(self, rules: Sequence[AlertRule], timeline: Timeline, *, keep_points: bool = False) -> None:
        self.rules = tuple(rules)
        self.unread: dict[str, list[tuple[float, float]]] = {}
        """The stretches of run time that could not be looked at, by rule: what is stored is too coarse."""
        self._points: list[Point] | None = [] if keep_points else None
        self._keys = {rule.name: key_of(rule) for rule in self.rules} if keep_points else {}
        self._requests: dict[str, RequestSampler] = {}
        self._readings: dict[str, ReadingSampler] = {}
        for rule in self.rules:
            if rule.subject.of_requests:
                self._requests[rule.name] = RequestSampler(rule, timeline)
            else:
                self._readings[rule.name] = ReadingSampler(rule, timeline)
        self._states = {rule.name: RuleState() for rule in self.rules}
        self.series = frozenset[str]().union(*map(series_needed, self.rules))
        """The histograms that the windows given to `advance` must have."""

    @property
    def counts(self) -> bool:
        """Tell whether any rule counts answers per second: of which seconds workers told matters to it."""
        return any(rule.subject.metric == "throughput" for rule in self.rules)

    @property
    def since(self) -> float:
        """Return the run time from which windows are still wanted."""
        return min((one.position for one in self._requests.values()), default=math.inf)

    def wanted_of(self, probe: str) -> float:
        """Return the run time from which a probe's readings are still wanted; infinity where none are."""
        found = (one.position for one in self._readings.values() if one.rule.subject.probe == probe)
        return min(found, default=math.inf)

    def step_of(self, probe: str) -> float:
        """Return the seconds of the shortest window of any rule on a probe."""
        return min(one.rule.every for one in self._readings.values() if one.rule.subject.probe == probe)

    @property
    def probes(self) -> frozenset[str]:
        """Return the probes whose readings are wanted."""
        named = (one.rule.subject.probe for one in self._readings.values())
        return frozenset(name for name in named if name is not None)

    @property
    def said(self) -> dict[str, str]:
        """Return the state of each rule as it was told last."""
        return {name: state.said for name, state in self._states.items()}

    @property
    def late(self) -> int:
        """Return how many windows and readings came after their window had been looked at."""
        return sum(one.late for one in (*self._requests.values(), *self._readings.values()))

    def advance(self, batch: Batch) -> list[AlertChange]:
        """Take in a piece of the series, and return what there is to tell, in order of time and of the rules.

        Windows of a rule that cannot be told from what is stored say nothing, and are noted in `unread`.
        """
        for window in batch.windows:
            for one in self._requests.values():
                one.take(window)
        for one in self._requests.values():
            one.report(batch.reported)
        for reading in batch.readings:
            for probed in self._readings.values():
                probed.take(reading)
        changes: list[AlertChange] = []
        for rule in self.rules:
            sampler = self._requests.get(rule.name) or self._readings[rule.name]
            until = batch.until
            if not rule.subject.of_requests:
                until = batch.probed.get(rule.subject.probe or "", 0.0)
            for sample in sampler.close(until):
                changes += self._moved(rule, sample)
        return in_order(changes, self.rules)

    def finish(self, end: float) -> list[AlertChange]:
        """Look at the last windows of a run that ended at `end`, all of whose series was given before.

        A window that the end cuts short counts from half of `every` on, or where it is the only one.
        """
        changes: list[AlertChange] = []
        for rule in self.rules:
            sampler = self._requests.get(rule.name) or self._readings[rule.name]
            sample = sampler.rest(end)
            changes += self._moved(rule, sample) if sample is not None else []
        return in_order(changes, self.rules)

    def follow(self, name: str, points: Sequence[Point]) -> list[AlertChange]:
        """Let a rule go by kept points, before anything else is given; return what there is to tell.

        They are in order of time. What lies between two of them was not kept, and is noted in `unread`.
        """
        rule = next(rule for rule in self.rules if rule.name == name)
        sampler = self._requests.get(name) or self._readings[name]
        samples, position, changes = [], sampler.position, list[AlertChange]()
        for point in points:
            if point.start < position - TOLERANCE:
                continue
            if point.start > position + TOLERANCE:
                self._note_unread(name, position, point.start)
            sample, position = sample_of(rule, point), point.end
            samples.append(sample)
            changes += self._moved(rule, sample)
        if samples:
            sampler.resume(samples)
        return changes

    def take_points(self) -> list[Point]:
        """Return the points of all windows that were looked at since the last call; see `keep_points`."""
        found = self._points or []
        if self._points is not None:
            self._points = []
        return found

    def cannot_tell(self, start: float, end: float) -> None:
        """Note that what came per second in some time cannot be told any more."""
        for one in self._requests.values():
            if one.rule.subject.metric == "throughput":
                one.cannot_tell(start, end)

    def _note_unread(self, name: str, start: float, end: float) -> None:
        found = self.unread.setdefault(name, [])
        if found and abs(found[-1][1] - start) <= TOLERANCE:
            start = found.pop()[0]
        found.append((start, end))

    def _moved(self, rule: AlertRule, sample: Sample) -> list[AlertChange]:
        if sample.unread:
            self._note_unread(rule.name, sample.start, sample.end)
        elif self._points is not None:
            self._points.append(point_of(self._keys[rule.name], sample))
        moved = move(rule, self._states[rule.name], sample)
        self._states[rule.name] = moved.state
        return [change_of(rule, sample, moved)] if moved.said is not None else []

    # ---- stopping and starting

    def to_dict(self) -> dict[str, Any]:
        """Return where the rules stand as plain values, for `restore`."""
        rules = {}
        for name, state in self._states.items():
            sampler = self._requests.get(name) or self._readings[name]
            rules[name] = {
                "position": sampler.position,
                "sampler": sampler.state(),
                "state": state.to_dict(),
            }
        return {"version": VERSION, "fingerprint": fingerprint(self.rules), "rules": rules}

    def restore(self, values: Mapping[str, Any]) -> None:
        """Go on from what `to_dict` gave; then give again all from `since` and `wanted_of` on.

        Raise StoreError when it is not of these rules.
        """
        if values.get("version") != VERSION or values.get("fingerprint") != fingerprint(self.rules):
            raise StoreError(
                "the stored state is not of these alert rules", hint="start again from the stored series"
            )
        for name, kept in values["rules"].items():
            sampler = self._requests.get(name) or self._readings[name]
            sampler.restore(float(kept["position"]), kept["sampler"])
            self._states[name] = RuleState.from_dict(kept["state"])


def fingerprint(rules: Sequence[AlertRule]) -> str:
    """Return the SHA-256 of some rules, in hex."""
    content = [rule.model_dump(mode="json", by_alias=True) for rule in rules]
    return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()


def in_order(changes: Iterable[AlertChange], rules: Sequence[AlertRule]) -> list[AlertChange]:
    """Sort changes by run time, and those of one moment by the order of the rules."""
    places = {rule.name: place for place, rule in enumerate(rules)}
    return sorted(changes, key=lambda change: (change.at, places[change.rule]))


# ---- words


def change_of(rule: AlertRule, sample: Sample, moved: Move) -> AlertChange:
    """Return what is written of a change of state: at the end of the window that made it."""
    assert moved.said is not None
    infinite = sample.value is not None and math.isinf(sample.value)
    detail: dict[str, Any] = {
        "limit": limit_of(rule, sample),
        "unit": unit_of(rule),
        "metric": metric_of(rule, sample),
        "window": [sample.start, sample.end],
        "since": moved.since,
        "because": moved.because,
        "text": sentence(rule, sample, moved),
        "on_fire": list(rule.on_fire),
        "n": sample.n,
    }
    if infinite:
        detail["infinite"] = True
    if rule.summary:
        detail["summary"] = rule.summary
    value = None if infinite else sample.value
    return AlertChange(sample.end, rule.name, rule.severity, moved.said, value, detail)


def limit_of(rule: AlertRule, sample: Sample) -> float | None:
    """Return the limit in SI; of a burn rule the factor of the sample's pair."""
    if rule.limit is not None:
        return rule.limit.value
    return sample.pair.factor if sample.pair is not None else None


def unit_of(rule: AlertRule) -> str:
    """Return the unit for people: that of the limit, "x" for burn rates."""
    return rule.limit.unit if rule.limit is not None else "x"


def metric_of(rule: AlertRule, sample: Sample) -> str:
    """Name what was measured: "emotion response_time p95"; of a burn rule its window too."""
    if rule.burn is None:
        return rule.subject.text
    over = f" over {format_duration(sample.pair.long)}" if sample.pair is not None else ""
    return f"budget burn of {rule.subject.text}{over}"


def value_text(rule: AlertRule, value: float | None) -> str:
    """Write a value for people in the unit of the rule: "312ms", "infinitely slow", "20.3 times"."""
    if value is None:
        return "without data"
    if math.isinf(value):
        return "infinitely slow"
    if rule.limit is None:
        return f"{format_number(value)} times"
    return rule.limit.spelled(value)


def sentence(rule: AlertRule, sample: Sample, moved: Move) -> str:
    """Say a change in one sentence: the value, the limit, and the window."""
    start, end = format_duration(sample.start), format_duration(sample.end)
    window = f"from run time {start} to {end}"
    if moved.because == "no_data":
        what = f"there is no data of {rule.subject.text} {window}"
    elif rule.burn is not None:
        what = _burning(rule, sample)
    else:
        what = f"{rule.subject.text} is {value_text(rule, sample.value)} {window}"
    return f"{what}{_standing(rule, moved)}"


def _burning(rule: AlertRule, sample: Sample) -> str:
    pair = sample.pair
    assert pair is not None
    assert rule.burn is not None
    long, short = format_number(sample.value or 0.0), format_number(sample.short)
    return (
        f"{rule.subject.text} burns its budget of {format_share(rule.burn.budget)} {long} times as fast as "
        f"allowed over the last {format_duration(pair.long)}, and {short} times over the last "
        f"{format_duration(pair.short)}, at run time {format_duration(sample.end)} "
        f"(the limit is {format_number(pair.factor)} times)"
    )


def _standing(rule: AlertRule, moved: Move) -> str:
    """Say how the rule stands after a change."""
    limit = f" ({rule.limit.text} fires)" if rule.limit is not None else ""
    since = f" since {format_duration(moved.since)}" if moved.since is not None else ""
    if moved.said == "pending":
        return f"{limit}; it fires once that has lasted {format_duration(rule.for_)}"
    if moved.said == "firing":
        return f"{limit}{since and ', violated' + since}"
    if moved.said == "flapping":
        times, within = rule.flaps or (0, 0.0)
        often = f"{times} times within {format_duration(within)}"
        return f"{limit}; it fired {often}, so no more is told until it is calm for that long"
    if moved.said == "resolved":
        clear = f" ({rule.clear.text} is clear)" if rule.clear is not None else ""
        return f"{clear}{since and '; it was violated' + since}"
    return f"{limit}; it did not last {format_duration(rule.for_)}"
