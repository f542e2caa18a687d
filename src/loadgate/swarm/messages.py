"""The messages between the process that keeps a run and the processes that make its load.

They travel on Locust's own connections. A standalone process is both ends: its runner hands the
message straight to the listener.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

START = "loadgate.start"
"""To a worker, before its users exist: the run, the plan and the worker's place in it."""
GO = "loadgate.go"
"""To a worker, once all users exist: the moment of run time 0. Again after a master's restart."""
LEASE = "loadgate.lease"
"""To a worker: its share of one more second of the schedule."""
FINISH = "loadgate.finish"
"""To a worker: offer nothing more, let what is under way end, and say so."""
ACK = "loadgate.ack"
"""To a worker: these deltas are committed."""
PONG = "loadgate.pong"
"""To a worker: its own time sent back with the master's."""

BEAT = "loadgate.beat"
"""To the master, from a thread of the worker's own: it lives, however busy its event loop is."""
DELTA = "loadgate.delta"
"""To the master: windows, failures and fleet rows."""
DRAINED = "loadgate.drained"
"""To the master: nothing is under way here any more."""
REFUSED = "loadgate.refused"
"""To the master: this worker cannot run the plan, and why."""
PING = "loadgate.ping"
"""To the master: what is your time?"""


@dataclass(frozen=True)
class Start:
    """Tell a worker what it is part of. `anchor` is None when a `Go` will follow.

    `files` are the files that the plan names for a worker (see `fingerprint.expect`); `leased` says that it
    may start requests only where a `Lease` lets it.
    """

    run: str
    worker: str
    index: int
    rank: int
    workers: int
    plan: bytes | None
    files: dict[str, dict[str, str]]
    boot_id: str
    anchor: float | None
    wall: float | None
    leased: bool

    def to_wire(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)

    @classmethod
    def from_wire(cls, data: dict[str, Any]) -> Self:
        """Read it back."""
        return cls(**data)


@dataclass(frozen=True)
class Go:
    """Give the moment of run time 0: the master's CLOCK_MONOTONIC and the epoch second."""

    run: str
    anchor: float
    wall: float


@dataclass(frozen=True)
class Lease:
    """Give a worker its slots (packed) of one run second, and its rank among the workers that are here.

    `number` counts a worker's leases from 1, so that it can say which it has heard.
    """

    number: int
    second: int
    slots: bytes
    rank: int
    workers: int

    def to_wire(self, run: str, acks: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
        """Return it as plain values, with acknowledgements that travel along."""
        return {"run": run, **vars(self), **({"acks": list(acks)} if acks else {})}


@dataclass(frozen=True)
class Beat:
    """Say that a worker lives. `leases`: all up to this number were heard; `ready`: it has begun.

    `stuck` is how many seconds ago its event loop last turned.
    """

    run: str
    leases: int
    ready: bool
    stuck: float


@dataclass(frozen=True)
class Finish:
    """Ask a worker to come to an end within `timeout` seconds."""

    timeout: float
    drop_waiting: bool


def boot_id() -> str:
    """Identify the running kernel: processes with the same one share CLOCK_MONOTONIC."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
