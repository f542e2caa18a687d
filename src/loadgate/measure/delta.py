"""Deltas: what a worker ships to the master, and its form on the wire.

A delta carries the windows that a worker closed since its last one, under a key (run, worker,
incarnation, sequence) by which the master drops what comes twice. Everything that arrives is checked
before it is believed: any process that reaches the master's port can send anything.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from loadgate.errors import MeasureError
from loadgate.measure import checks
from loadgate.measure.window import Window
from loadgate.measure.wire import pack_windows, unpack_windows

VERSION = 1
MOST_SAMPLES = 3
"""Samples that are kept of one kind of failure."""
MOST_FAILURES = 1000
"""Kinds of failure that one delta may hold; also the most fleet rows of one delta."""

OUTCOMES = ("ok", "failed", "timeout", "unsent", "unfinished", "lost")


@dataclass(slots=True)
class Failure:
    """One kind of failure: how often, first and last seen (run time), and up to 3 samples."""

    endpoint: str
    outcome: str
    kind: str
    message: str
    count: int
    first: float
    last: float
    samples: list[str] = field(default_factory=list)

    @property
    def fingerprint(self) -> str:
        """What makes two failures the same kind."""
        return f"{self.endpoint}|{self.outcome}|{self.kind}|{self.message}"

    def merge(self, other: Failure) -> None:
        """Add what `other` counted of the same kind. Raise MeasureError for another kind."""
        if other.fingerprint != self.fingerprint:
            raise MeasureError(
                f"failures of two kinds cannot be merged: {self.fingerprint}, {other.fingerprint}"
            )
        self.count += other.count
        self.first = min(self.first, other.first)
        self.last = max(self.last, other.last)
        known = [*self.samples, *(sample for sample in other.samples if sample not in self.samples)]
        self.samples = known[:MOST_SAMPLES]


@dataclass(frozen=True, slots=True)
class FleetRow:
    """The health of one worker in one second of run time.

    `offered`, `started` and `finished` are cumulative; `cpu` is in cores, `rss` in bytes, lags in µs.
    """

    second: int
    worker: str
    offered: int
    started: int
    finished: int
    in_flight: int
    users: int
    cpu: float
    rss: int
    start_lag_p99_us: float
    loop_lag_p99_us: float
    loop_lag_max_us: float


@dataclass(slots=True)
class Delta:
    """What one incarnation of a worker measured since its delta before."""

    run: str
    worker: str
    incarnation: int
    sequence: int
    windows: list[Window] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    fleet: list[FleetRow] = field(default_factory=list)

    @property
    def key(self) -> tuple[str, int, int]:
        """What tells the deltas of one run apart: worker, incarnation, sequence."""
        return self.worker, self.incarnation, self.sequence

    def to_wire(self) -> dict[str, Any]:
        """Return the delta as maps, lists, text, bytes and numbers that msgpack takes.

        Raise MeasureError for what `from_wire` would refuse because of its size.
        """
        if len(self.failures) > MOST_FAILURES or len(self.fleet) > MOST_FAILURES:
            raise MeasureError(f"a delta has over {MOST_FAILURES} kinds of failure or fleet rows")
        return {
            "version": VERSION,
            "run": checks.plain(self.run),
            "worker": checks.plain(self.worker),
            "incarnation": int(self.incarnation),
            "sequence": int(self.sequence),
            "windows": pack_windows(self.windows),
            "failures": [_failure_to_wire(failure) for failure in self.failures],
            "fleet": [_row_to_wire(row) for row in self.fleet],
        }

    @classmethod
    def from_wire(cls, obj: object) -> Delta:
        """Return the delta that `to_wire` made `obj` of. Raise MeasureError for anything else."""
        wire = checks.mapping(obj, "a delta")
        if wire.get("version") != VERSION:
            raise MeasureError(
                f"a delta has the version {wire.get('version')!r}, not {VERSION}",
                hint="Run the same release of Loadgate on the master and on every worker.",
            )
        checks.entries(wire, _DELTA_ENTRIES, "a delta")
        return cls(
            run=checks.text(wire["run"], "run", empty=False),
            worker=checks.text(wire["worker"], "worker", empty=False),
            incarnation=checks.whole(wire["incarnation"], "incarnation"),
            sequence=checks.whole(wire["sequence"], "sequence"),
            windows=unpack_windows(wire["windows"]),
            failures=checks.each(wire["failures"], MOST_FAILURES, "failures", _failure_from_wire),
            fleet=checks.each(wire["fleet"], MOST_FAILURES, "fleet rows", _row_from_wire),
        )


_DELTA_ENTRIES = {"version", "run", "worker", "incarnation", "sequence", "windows", "failures", "fleet"}
_FAILURE_FIELDS = [one.name for one in fields(Failure)]
_ROW_FIELDS = [one.name for one in fields(FleetRow)]
_ROW_WHOLE = {"second", "offered", "started", "finished", "in_flight", "users", "rss"}


def _failure_to_wire(failure: Failure) -> list[Any]:
    texts = (failure.endpoint, failure.outcome, failure.kind, failure.message)
    return [
        *(checks.plain(text) for text in texts),
        int(failure.count),
        float(failure.first),
        float(failure.last),
        [checks.plain(sample) for sample in failure.samples[:MOST_SAMPLES]],
    ]


def _failure_from_wire(obj: object) -> Failure:
    values = checks.row(obj, _FAILURE_FIELDS, "a failure")
    outcome = checks.text(values["outcome"], "outcome")
    if outcome not in OUTCOMES:
        raise MeasureError(f"a failure has the outcome {outcome!r}")
    first, last = checks.number(values["first"], "first"), checks.number(values["last"], "last")
    if first > last:
        raise MeasureError("a failure was last seen before it was first seen")
    samples = checks.each(values["samples"], MOST_SAMPLES, "samples", lambda one: checks.text(one, "sample"))
    return Failure(
        endpoint=checks.text(values["endpoint"], "endpoint", empty=False),
        outcome=outcome,
        kind=checks.text(values["kind"], "kind"),
        message=checks.text(values["message"], "message"),
        count=checks.whole(values["count"], "count", least=1),
        first=first,
        last=last,
        samples=samples,
    )


def _row_to_wire(row: FleetRow) -> list[Any]:
    """Return the fields in order; whole numbers and floats of numpy become plain ones."""
    out: list[Any] = []
    for name in _ROW_FIELDS:
        value = getattr(row, name)
        if name == "worker":
            out.append(checks.plain(value))
        else:
            out.append(int(value) if name in _ROW_WHOLE else float(value))
    return out


def _row_from_wire(obj: object) -> FleetRow:
    values = checks.row(obj, _ROW_FIELDS, "a fleet row")
    checked: dict[str, Any] = {}
    for name, value in values.items():
        if name == "worker":
            checked[name] = checks.text(value, name, empty=False)
        elif name == "second":
            checked[name] = checks.whole(value, name, least=-checks.LARGEST_INT)
        elif name in _ROW_WHOLE:
            checked[name] = checks.whole(value, name)
        else:
            checked[name] = checks.number(value, name)
            if checked[name] < 0:
                raise MeasureError(f"a fleet row's {name} is negative")
    return FleetRow(**checked)
