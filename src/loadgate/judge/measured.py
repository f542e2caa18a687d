"""A metric over some time, held against the limits of its row; and over many windows, by columns."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

from loadgate.measure.layout import Floats, Int64s
from loadgate.plan.sla import Objective

Bools: TypeAlias = NDArray[np.bool_]
_UNKNOWN: Final = -1
"""What stands in a column for a number of bad requests that nobody can tell."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A metric over some time: `value` in SI (None without samples), and how it meets the limits.

    `holds` says that the target is met, `past` that the row fails here. `exact` tells a limit that was
    compared through exact counts from one compared with the value itself. `bad` are the requests on the
    wrong side of the limit that fails the row, of which a share of `allowed` may be; None where the metric is
    no such share.
    """

    value: float | None
    n: int
    holds: bool
    past: bool
    exact: bool = False
    bad: int | None = None
    allowed: float = 0.0


NOTHING: Final = Measured(None, 0, holds=False, past=False)
"""What a time without samples measures: nothing, which meets no target and is past no threshold."""


def measured(objective: Objective, value: float | None, n: int) -> Measured:
    """Compare a value (SI) with the limits of a row."""
    if value is None:
        return NOTHING
    holds = objective.target.met(value)
    past = objective.alert.met(value) if objective.alert else not holds
    return Measured(value, n, holds, past)


@dataclass(frozen=True, slots=True, eq=False)
class MeasuredColumns(Sequence[Measured]):
    """What the windows of a row measured, in order, each field of `Measured` as an array.

    `values` is NaN without samples, and `bad` -1 where the metric is no share of requests.
    """

    values: Floats
    n: Int64s
    holds: Bools
    past: Bools
    exact: Bools
    bad: Int64s
    allowed: Floats

    @classmethod
    def of(cls, windows: Iterable[Measured]) -> MeasuredColumns:
        """Return the columns of some windows."""
        if isinstance(windows, MeasuredColumns):
            return windows
        known = list(windows)
        return cls(
            np.array([math.nan if one.value is None else one.value for one in known], np.float64),
            np.array([one.n for one in known], np.int64),
            np.array([one.holds for one in known], np.bool_),
            np.array([one.past for one in known], np.bool_),
            np.array([one.exact for one in known], np.bool_),
            np.array([_UNKNOWN if one.bad is None else one.bad for one in known], np.int64),
            np.array([one.allowed for one in known], np.float64),
        )

    @classmethod
    def by_value(cls, objective: Objective, values: Floats, n: Int64s) -> MeasuredColumns:
        """Compare the values of windows with the limits of a row, as `measured` does; NaN is nothing."""
        valued = ~np.isnan(values)
        holds = np.fromiter(map(objective.target.met, values.tolist()), np.bool_, values.size)
        past = valued & ~holds
        if objective.alert:
            past = np.fromiter(map(objective.alert.met, values.tolist()), np.bool_, values.size)
        return cls(
            values,
            np.where(valued, n, 0),
            holds,
            past,
            np.zeros(values.size, np.bool_),
            np.full(values.size, _UNKNOWN, np.int64),
            np.zeros(values.size),
        )

    @property
    def valued(self) -> Bools:
        """Tell which windows have samples."""
        return ~np.isnan(self.values)

    @property
    def is_share(self) -> bool:
        """Tell whether each window with samples says how many of its requests were bad."""
        return not bool((self.valued & (self.bad == _UNKNOWN)).any())

    def __len__(self) -> int:
        return self.values.size

    @overload
    def __getitem__(self, index: int) -> Measured: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Measured]: ...

    def __getitem__(self, index: int | slice) -> Measured | Sequence[Measured]:
        if isinstance(index, slice):
            return [self[number] for number in range(len(self))[index]]
        value, bad = float(self.values[index]), int(self.bad[index])
        return Measured(
            None if math.isnan(value) else value,
            int(self.n[index]),
            bool(self.holds[index]),
            bool(self.past[index]),
            bool(self.exact[index]),
            None if bad == _UNKNOWN else bad,
            float(self.allowed[index]),
        )

    def __iter__(self) -> Iterator[Measured]:
        return (self[number] for number in range(len(self)))
