"""Deltas: what a worker ships to the master, and its form on the wire.

A delta carries the windows that a worker closed since its last one, under a key (run, worker,
incarnation, sequence) by which the master drops what comes twice. Everything that arrives is checked
before it is believed: any process that reaches the master's port can send anything.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from operator import itemgetter
from typing import Any

from loadgate.errors import MeasureError
from loadgate.measure import checks, wire
from loadgate.measure.packed import PackedWindows
from loadgate.measure.window import Window

VERSION = 3
"""The form of a delta; 3 tells what its worker may use and used of it, and the control, in its fleet rows."""
MOST_SAMPLES = 3
"""Samples that are kept of one kind of failure."""
MOST_FAILURES = 1000
"""Kinds of failure that one delta may hold; also the most fleet rows of one delta."""

CODE_RAISED = "the user code raised"
CHECK_RAISED = "the check raised"
CHECK_RETURNED = "the check returned a value of type"
OF_USER_CODE = (CODE_RAISED, CHECK_RAISED, CHECK_RETURNED)
"""How the kinds of failure begin that are the user's own code and not the target."""

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

    @property
    def is_of_user_code(self) -> bool:
        """Tell whether the user's own code failed, and not the target."""
        return self.kind.startswith(OF_USER_CODE)

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
    `p99_us` is the response time of the requests of all endpoints that ended in the second, 0 when there
    were none. `clock_offset_us` is the master's clock less the worker's as last estimated (it may be
    negative), good to `clock_error_us`; 0 when it was never estimated. `unacknowledged` deltas were sent
    and not yet acknowledged.

    `cpu_allowed` is what the process may use, in cores; 0 in rows of a release that did not measure what
    follows. `throttled_us` is how long its control group was held back for its quota, over all CPUs. `fds`
    are open descriptors of `fds_limit`; `ports` the local ports that lead to the target, of the
    `ports_limit` that the system gives out. `gc_pause_max_us` is the longest garbage collection.
    `control_n` exchanges with the null server ended, the `control_failures` among them without an
    acceptable answer; the percentiles are of the others, 0 without any.

    A worker tells of one second. The run database merges old rows into longer ones of `span` seconds: `told`
    says of which of them there was a row (bit k: of `second + k`), and `marks` by kind of witness which
    of them it marked (`measure.marks`). These three are not on the wire.
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
    p99_us: float = 0.0
    clock_offset_us: float = 0.0
    clock_error_us: float = 0.0
    unacknowledged: int = 0
    cpu_allowed: float = 0.0
    throttled_us: float = 0.0
    fds: int = 0
    fds_limit: int = 0
    ports: int = 0
    ports_limit: int = 0
    gc_pause_max_us: float = 0.0
    control_n: int = 0
    control_failures: int = 0
    control_p50_us: float = 0.0
    control_p99_us: float = 0.0
    span: int = 1
    told: int = 1
    marks: tuple[tuple[str, int], ...] = ()

    @property
    def end(self) -> int:
        """The first second after the row's last one that was told."""
        return self.second + self.told.bit_length()

    @property
    def seconds(self) -> int:
        """How many seconds were told."""
        return self.told.bit_count()


class Delta:
    """What one incarnation of a worker measured since its delta before.

    The windows of a delta that arrived stay packed, which is all that a master needs to merge them.
    """

    __slots__ = ("_windows", "failures", "fleet", "incarnation", "run", "sequence", "worker")

    def __init__(
        self,
        run: str,
        worker: str,
        incarnation: int,
        sequence: int,
        windows: Sequence[Window] | PackedWindows = (),
        failures: list[Failure] | None = None,
        fleet: list[FleetRow] | None = None,
    ) -> None:
        self.run = run
        self.worker = worker
        self.incarnation = incarnation
        self.sequence = sequence
        self.failures = [] if failures is None else failures
        self.fleet = [] if fleet is None else fleet
        self._windows = windows

    @property
    def key(self) -> tuple[str, int, int]:
        """What tells the deltas of one run apart: worker, incarnation, sequence."""
        return self.worker, self.incarnation, self.sequence

    @property
    def windows(self) -> Sequence[Window]:
        """The windows, made anew at each call where they are packed: for counts alone ask `packed`."""
        return self._windows.unpack() if isinstance(self._windows, PackedWindows) else self._windows

    @property
    def packed(self) -> PackedWindows:
        """The windows in packed form, in which they arrived; its `heads` tell all but the latencies."""
        return self._windows if isinstance(self._windows, PackedWindows) else PackedWindows.of(self._windows)

    def __eq__(self, other: object) -> bool:
        """Say whether both have the same key and content, in whatever form."""
        if not isinstance(other, Delta):
            return NotImplemented
        return self._content() == other._content()

    __hash__ = None  # type: ignore[assignment]

    def _content(self) -> tuple[object, ...]:
        return self.run, self.key, list(self.windows), self.failures, self.fleet

    def __repr__(self) -> str:
        return f"<Delta {self.key} of run {self.run!r}>"

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
            "windows": wire.to_wire(self.packed),
            "failures": [_failure_to_wire(failure) for failure in self.failures],
            "fleet": [_row_to_wire(row) for row in self.fleet],
        }

    @classmethod
    def from_wire(cls, obj: object) -> Delta:
        """Return the delta that `to_wire` made `obj` of. Raise MeasureError for anything else."""
        (found,) = cls.all_from_wire([obj])
        if isinstance(found, MeasureError):
            raise found
        return found

    @classmethod
    def all_from_wire(cls, objs: Sequence[object]) -> list[Delta | MeasureError]:
        """Return for each what `from_wire` returns or raises; several at once cost less than each alone."""
        opened = [_opened(obj) for obj in objs]
        sound = [one["windows"] for one in opened if not isinstance(one, MeasureError)]
        windows = iter(wire.all_from_wire(sound))
        return [one if isinstance(one, MeasureError) else cls._of(one, next(windows)) for one in opened]

    @classmethod
    def _of(cls, found: Mapping[str, Any], windows: PackedWindows | MeasureError) -> Delta | MeasureError:
        if isinstance(windows, MeasureError):
            return windows
        try:
            return cls._made(found, windows)
        except MeasureError as error:
            return error

    @classmethod
    def _made(cls, found: Mapping[str, Any], windows: PackedWindows) -> Delta:
        return cls(
            run=checks.text(found["run"], "run", empty=False),
            worker=checks.text(found["worker"], "worker", empty=False),
            incarnation=checks.whole(found["incarnation"], "incarnation"),
            sequence=checks.whole(found["sequence"], "sequence"),
            windows=windows,
            failures=checks.each(found["failures"], MOST_FAILURES, "failures", _failure_from_wire),
            fleet=checks.each(found["fleet"], MOST_FAILURES, "fleet rows", _row_from_wire),
        )


_DELTA_ENTRIES = {"version", "run", "worker", "incarnation", "sequence", "windows", "failures", "fleet"}
_FAILURE_FIELDS = [one.name for one in fields(Failure)]
_MERGED_ONLY = ("span", "told", "marks")
_ROW_FIELDS = [one.name for one in fields(FleetRow) if one.name not in _MERGED_ONLY]
_ROW_WHOLE = {one.name for one in fields(FleetRow) if one.type == "int" and one.name in _ROW_FIELDS}
_ROW_SIGNED = {"clock_offset_us"}
_ROW_TYPES = tuple(
    {"int": int, "float": float, "str": str}[str(one.type)]
    for one in fields(FleetRow)
    if one.name in _ROW_FIELDS
)
_row_wholes = itemgetter(
    *(at for at, name in enumerate(_ROW_FIELDS) if name in _ROW_WHOLE and name != "second")
)
_row_reals = itemgetter(
    *(at for at, one in enumerate(fields(FleetRow)) if one.type == "float" and one.name not in _ROW_SIGNED)
)


def _opened(obj: object) -> Mapping[str, Any] | MeasureError:
    """Return a delta's entries, unchecked but for their names and the version."""
    try:
        found = checks.mapping(obj, "a delta")
        if found.get("version") != VERSION:
            raise MeasureError(
                f"a delta has the wire version {found.get('version')!r}, not {VERSION}",
                hint="Run the same release of Loadgate on the master and on every worker.",
            )
        return checks.entries(found, _DELTA_ENTRIES, "a delta")
    except MeasureError as error:
        return error


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


def _is_sound(row: FleetRow, wholes: tuple[int, ...], reals: tuple[float, ...]) -> bool:
    """Say whether a row of the right types passes every check; False says nothing yet."""
    return (
        min(wholes) >= 0
        and max(wholes) <= checks.LARGEST_INT
        and abs(row.second) <= checks.LARGEST_INT
        # A sum that is finite has neither a NaN nor an infinite number in it.
        and math.isfinite(sum(reals))
        and min(reals) >= 0
        and math.isfinite(row.clock_offset_us)
        and 0 < len(row.worker) <= checks.LONGEST_TEXT
    )


def _row_from_wire(obj: object) -> FleetRow:
    # Almost always it is as `_row_to_wire` makes it, which is told in bulk; one by one its values tell
    # which of them is not.
    if isinstance(obj, (list, tuple)) and tuple(map(type, obj)) == _ROW_TYPES:
        row = FleetRow(*obj)
        if _is_sound(row, _row_wholes(obj), _row_reals(obj)):
            return row
    return _row_by_value(obj)


def _row_by_value(obj: object) -> FleetRow:
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
            if checked[name] < 0 and name not in _ROW_SIGNED:
                raise MeasureError(f"a fleet row's {name} is negative")
    return FleetRow(**checked)
