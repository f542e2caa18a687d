"""Which seconds the generator itself spoilt: what each worker says of itself, held against limits.

A *mark* says that in one second one worker was past one of these limits, so what was measured then may be
the generator's doing. Pool wait is no witness: it is the target's doing. Seconds that were merged into longer
rows keep the marks that each of them had.

The limits, and why they are where they are:

- start lag, p99 of a second over 20 ms. These show where it was; the exact rule over all requests voids.
- loop lag, p99 of a second over 100 ms. It is the worst of 20 looks: a stall of 100 ms makes a tenth of that
  second's requests late, so stalls in a tenth of the seconds make 1 % of all requests late.
- garbage collection over 100 ms, and over 100 ms held back for a CPU quota: the same stall, with its cause.
- CPU from 95 % of what a worker may use (it is one thread: at most one core). It voids with lateness only.
- descriptors and local ports over 90 %: the next users would fail to connect, as if by the target's fault.
- control over 20 ms, or without an answer: a generator may not add more to an answer than to a start.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from loadgate.measure.delta import FleetRow

START_LAG_LIMIT_US: Final = 20_000
"""The p99 of start lag past which the generator was too late; in µs."""
LOOP_LAG_LIMIT_US: Final = 100_000
"""A worker whose event loop was later than this (p99 of a second, µs) was stalled in that second."""
GC_LIMIT_US: Final = 100_000
"""The longest garbage collection (µs) that is no stall."""
THROTTLED_LIMIT_US: Final = 100_000
"""How long a worker's control group may be held back for its quota in a second, in µs over all CPUs."""
FULL_CORE: Final = 0.95
"""The share of the CPU that a worker may use from which it has nothing left."""
SHORT_LIMIT: Final = 0.90
"""The share of descriptors, or of local ports, that may be in use."""
CONTROL_LIMIT_US: Final = 20_000
"""The latency (p99 of a second, µs) past which a request to the null server shows a slow generator."""


@dataclass(frozen=True)
class Witness:
    """One thing that a worker tells of itself each second: whether it was `past` its limit, and by how much.

    `size` orders seconds by how bad they were.
    """

    kind: str
    past: Callable[[FleetRow], bool]
    size: Callable[[FleetRow], float]


def may_use(row: FleetRow) -> float:
    """Return the cores that a worker could use: one, since it is one thread, or what it is allowed."""
    return min(1.0, row.cpu_allowed) if row.cpu_allowed > 0 else 1.0


def cpu_share(row: FleetRow) -> float:
    """Return the CPU used as a share of what the worker could use."""
    return row.cpu / may_use(row)


def share_of(used: int, limit: int) -> float:
    """Return the share in use of what there is; 0 where that was not measured, or has no limit."""
    return used / limit if limit > 0 else 0.0


WITNESSES: Final = (
    Witness(
        "start_lag",
        lambda row: row.start_lag_p99_us > START_LAG_LIMIT_US,
        lambda row: row.start_lag_p99_us,
    ),
    Witness("loop_lag", lambda row: row.loop_lag_p99_us > LOOP_LAG_LIMIT_US, lambda row: row.loop_lag_p99_us),
    Witness("cpu", lambda row: cpu_share(row) >= FULL_CORE, cpu_share),
    Witness("throttled", lambda row: row.throttled_us > THROTTLED_LIMIT_US, lambda row: row.throttled_us),
    Witness(
        "descriptors",
        lambda row: share_of(row.fds, row.fds_limit) > SHORT_LIMIT,
        lambda row: share_of(row.fds, row.fds_limit),
    ),
    Witness(
        "ports",
        lambda row: share_of(row.ports, row.ports_limit) > SHORT_LIMIT,
        lambda row: share_of(row.ports, row.ports_limit),
    ),
    Witness("gc_pause", lambda row: row.gc_pause_max_us > GC_LIMIT_US, lambda row: row.gc_pause_max_us),
    Witness(
        "control",
        lambda row: row.control_p99_us > CONTROL_LIMIT_US or row.control_failures > 0,
        lambda row: math.inf if row.control_failures else row.control_p99_us,
    ),
)
KINDS: Final = tuple(witness.kind for witness in WITNESSES)


def marks_of(row: FleetRow) -> tuple[str, ...]:
    """Return the kinds of witness that mark a row of one worker, in the order of `KINDS`."""
    return tuple(marks_in(row))


def marks_in(row: FleetRow) -> dict[str, int]:
    """Return the kinds of witness that mark a row, in the order of `KINDS`, and which of its seconds.

    Bit k stands for the second `row.second + k`. Rows of one second are held against the limits; longer ones
    kept what was said of theirs.
    """
    if row.span == 1:
        return {witness.kind: 1 for witness in WITNESSES if witness.past(row)}
    kept = dict(row.marks)
    return {kind: kept[kind] for kind in KINDS if kept.get(kind)}
