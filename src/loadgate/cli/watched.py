"""What `loadgate watch` watches: a run of its own without a load, or beside one that is made elsewhere."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol, Self

import orjson

from loadgate.cli.watching import STOPS_WITHIN
from loadgate.errors import LoadgateError, StoreError, UsageError
from loadgate.plan.plan import Plan
from loadgate.store.database import RunReader, open_writer
from loadgate.store.folder import RunFolder, create_run
from loadgate.store.lock import holder
from loadgate.store.requests import is_asked_to_stop
from loadgate.store.writer import RunWriter
from loadgate.swarm.launch import ABORTED

MODE: Final = "watch"
"""The mode of a run without a load, as its run database names it."""
_ANCHOR_WITHIN: Final = 90.0
"""Seconds in which the clock of a run that is made elsewhere must have started."""


class Attendance(Protocol):
    """A run that is watched."""

    folder: RunFolder
    has_load: bool

    def wait_for_anchor(self, given_up: Callable[[], bool]) -> float | None:
        """Return the CLOCK_MONOTONIC moment of run time 0, once it is known; None when given up."""
        ...

    def over(self) -> bool:
        """Tell whether the run has ended."""
        ...

    def stop_load(self, reason: str) -> str | None:
        """End the load, and say what came of it; LoadgateError when that is not possible."""
        ...

    def settle(self, run_time: float, *, interrupted: bool) -> None:
        """Write down how the watch ended, where that is ours to write."""
        ...

    def close(self, *, interrupted: bool) -> None:
        """Let go of the run; again is fine."""
        ...


class Own:
    """A run without a load: its run database holds what it is and how it ended, and no window."""

    has_load = False

    def __init__(self, folder: RunFolder, writer: RunWriter, anchor: float) -> None:
        self.folder = folder
        self._writer = writer
        self._anchor = anchor
        self._settled = False

    @classmethod
    def new(cls, plan: Plan, root: Path) -> Self:
        """Begin one. StoreError when it cannot be written."""
        now, wall = time.monotonic(), time.time()
        folder = create_run(root, f"{plan.scenario.name}-watch", datetime.now(UTC))
        folder.plan.write_bytes(plan.to_json())
        writer = open_writer(folder.database)
        # Run time 0 lies on a whole second of the wall clock, as in every run.
        anchor = now - (wall - int(wall))
        writer.commit(
            run_values={
                "id": folder.id,
                "scenario": plan.scenario.name,
                "plan": orjson.loads(plan.to_json()),
                "host": plan.scenario.host,
                "started_at": datetime.now(UTC).isoformat(),
                "ended": None,
                "mode": MODE,
                "anchor": {"monotonic": anchor, "wall": float(int(wall)), "boot_id": _boot_id()},
                "pid": os.getpid(),
            }
        )
        return cls(folder, writer, anchor)

    @classmethod
    def left(cls, folder: RunFolder) -> bool:
        """Tell whether a run is one without a load that has not ended."""
        with suppress(LoadgateError), RunReader(folder.database) as reader:
            return reader.value("mode", None) == MODE and reader.value("ended", None) is None
        return False

    @classmethod
    def again(cls, folder: RunFolder) -> Self:
        """Take one up that was killed. StoreError when somebody else writes it."""
        writer = open_writer(folder.database)
        with RunReader(folder.database) as reader:
            stored = reader.value("anchor", {})
        anchor = float(stored["monotonic"])
        if stored["boot_id"] != _boot_id():
            # The wall clock is all that two starts of a machine have in common.
            anchor = time.monotonic() - (time.time() - float(stored["wall"]))
        return cls(folder, writer, anchor)

    def wait_for_anchor(self, given_up: Callable[[], bool]) -> float | None:  # noqa: ARG002 - as the protocol has it
        """Return run time 0."""
        return self._anchor

    def over(self) -> bool:
        """Tell whether `loadgate stop` asks for its end; it goes on by itself."""
        return is_asked_to_stop(self.folder)

    def stop_load(self, reason: str) -> str | None:  # noqa: ARG002 - as the protocol has it
        """Have no load to end."""
        return "there is no load to stop: this watch makes none"

    def settle(self, run_time: float, *, interrupted: bool) -> None:
        """Write down that it ended."""
        ended = "interrupted" if interrupted else "stopped" if self.over() else "planned"
        values: dict[str, Any] = {"ended": ended, "ended_at": datetime.now(UTC).isoformat()}
        self._writer.commit(run_values={**values, "ended_at_run_time": run_time, "flushed": True})
        self._settled = True

    def close(self, *, interrupted: bool) -> None:  # noqa: ARG002 - as the protocol has it
        """Close the run database."""
        self._writer.close()


class Attached:
    """A run whose load somebody else makes: stock Locust, or a `loadgate run` whose control room died."""

    has_load = True

    def __init__(self, plan: Plan, folder: RunFolder) -> None:
        """Join it. UsageError when it has ended, follows no plan, or follows another one."""
        self.folder = folder
        with RunReader(folder.database) as reader:
            ended, stored = reader.value("ended", None), reader.value("plan", None)
        if ended is not None:
            raise UsageError(f"run {folder.id} has ended ({ended})", hint="a watch needs a run that goes on")
        if stored is None:
            raise UsageError(
                f"run {folder.id} follows no plan, so its phases are not known",
                hint="start it with `locust --scenario SCENARIO`, or watch without --run",
            )
        if Plan.from_json(orjson.dumps(stored)).scenario.traffic != plan.scenario.traffic:
            raise UsageError(
                f"run {folder.id} follows another plan than {plan.scenario.name}: its [traffic] differs",
                hint="name the scenario that the run was started with",
            )

    def wait_for_anchor(self, given_up: Callable[[], bool]) -> float | None:
        """Return run time 0 once the run has begun; StoreError when it does not begin in time."""
        deadline = time.monotonic() + _ANCHOR_WITHIN
        while time.monotonic() < deadline:
            if given_up() or self.over():
                return None
            with suppress(LoadgateError), RunReader(self.folder.database) as reader:
                anchor = reader.value("anchor", None)
                if anchor is not None:
                    return _moment(anchor)
            time.sleep(0.1)
        raise StoreError(
            f"run {self.folder.id} had not begun after {_ANCHOR_WITHIN:g} s", hint=f"see {self.folder.logs}"
        )

    def over(self) -> bool:
        """Tell whether its master has written down how it ended; unknown means it goes on."""
        with suppress(LoadgateError), RunReader(self.folder.database) as reader:
            return reader.value("ended", None) is not None
        return False

    def stop_load(self, reason: str) -> str | None:  # noqa: ARG002 - the alert is in the run
        """Tell its master to end it, where that is a process of this machine."""
        pid = holder(self.folder.database)
        if pid is None:
            raise StoreError(
                "the run's master is not a process of this machine that can be told to stop",
                hint="end it where it runs",
            )
        os.kill(pid, ABORTED)
        deadline = time.monotonic() + STOPS_WITHIN
        while not self.over() and time.monotonic() < deadline:
            time.sleep(0.1)
        return None

    def settle(self, run_time: float, *, interrupted: bool) -> None:
        """Leave the run's end to its master."""

    def close(self, *, interrupted: bool) -> None:
        """Have nothing open."""


def _moment(anchor: dict[str, Any]) -> float:
    """Return run time 0 by this machine's CLOCK_MONOTONIC."""
    if anchor["boot_id"] == _boot_id():
        return float(anchor["monotonic"])
    return time.monotonic() - (time.time() - float(anchor["wall"]))


def _boot_id() -> str:
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return ""
