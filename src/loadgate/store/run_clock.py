"""The run time of now, from the anchor that a run stored, in a process that did not set it."""

from __future__ import annotations

import math
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Now:
    """This moment by each clock, in seconds, and the kernel that the monotonic one belongs to."""

    monotonic: float
    wall: float
    boot_id: str = ""

    @classmethod
    def read(cls) -> Self:
        """Read the clocks of this machine."""
        return cls(time.monotonic(), time.time(), boot_id())


@dataclass(frozen=True, slots=True)
class Anchor:
    """The moment of run time 0 by each clock."""

    monotonic: float
    wall: float
    boot_id: str

    @classmethod
    def of(cls, stored: Any) -> Anchor | None:
        """Read the anchor as the run database has it; None where there is none, or it is damaged."""
        with suppress(KeyError, TypeError, ValueError):
            anchor = cls(float(stored["monotonic"]), float(stored["wall"]), str(stored.get("boot_id", "")))
            if math.isfinite(anchor.monotonic) and math.isfinite(anchor.wall):
                return anchor
        return None

    def run_time(self, now: Now) -> float:
        """Return the run time of a moment.

        The monotonic clock tells it as long as the machine was not started anew; after that, and on another
        machine, the wall clock is all that both have in common.
        """
        if self.boot_id and self.boot_id == now.boot_id:
            return now.monotonic - self.monotonic
        return now.wall - self.wall


def boot_id() -> str:
    """Return what tells this start of the machine from others; empty where the kernel does not say."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return ""
