"""The messages between the process that keeps a run and the processes that make its load.

They travel on Locust's own connections. A standalone process is both ends: its runner hands the
message straight to the listener.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

START = "loadgate.start"
"""To a worker, before its users exist: the run, the plan and the worker's place in it."""
GO = "loadgate.go"
"""To a worker, once all users exist: the moment of run time 0."""
FINISH = "loadgate.finish"
"""To a worker: offer nothing more, let what is under way end, and say so."""
ACK = "loadgate.ack"
"""To a worker: these deltas are committed."""
PONG = "loadgate.pong"
"""To a worker: its own time sent back with the master's."""

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
    """Tell a worker what it is part of. `anchor` is None when a `Go` will follow."""

    run: str
    worker: str
    index: int
    workers: int
    plan: bytes | None
    boot_id: str
    anchor: float | None
    wall: float | None

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

    anchor: float
    wall: float


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
