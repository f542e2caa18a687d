"""Who controls a run: the owner of its `control.json`, its heartbeat, and when nobody controlled it.

Within one machine the kernel's lock on watch.db tells whether a control room lives (`store/lock.py`), and it
goes with its process. On a shared disk another machine's kernel may know nothing of that lock. So a control
room also writes down who it is, and beats; whoever wants to take a run up looks at both. What cannot be
read is never taken for nobody: a run that lives elsewhere would get a second control room.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Self

import orjson

from loadgate.errors import StoreError
from loadgate.store.faults import told_as_store_errors
from loadgate.store.folder import RunFolder
from loadgate.store.lock import is_held
from loadgate.store.run_clock import Now

BEAT_EVERY: Final = 2.0
"""Seconds between two beats."""
FRESH_FOR: Final = 90.0
"""Seconds of a beat of another machine in which a run counts as running there: a generator that lost its
control room ends within 60 s."""
MOST_GAPS: Final = 1000
"""Gaps that are kept; then the oldest of them goes, and its missing readings count as missing."""
_NAME: Final = "control.json"
_LONGEST: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Owner:
    """A control room: its machine and process, its last beat, and what the next one has to know.

    `beat` is wall-clock seconds, `at` the run time of the beat (None before the run began). `gaps` are the
    stretches of run time in which the run had no control room. `listen` is where the master of a distributed
    run waits for workers: host, port and seconds.
    """

    host: str
    pid: int
    boot_id: str
    beat: float
    at: float | None = None
    supervised: bool = False
    gaps: tuple[tuple[float, float], ...] = ()
    listen: tuple[str, int, float] | None = None

    @classmethod
    def here(
        cls, now: Now, *, supervised: bool = False, listen: tuple[str, int, float] | None = None
    ) -> Self:
        """Return the owner that this process is."""
        return cls(platform.node(), os.getpid(), now.boot_id, now.wall, supervised=supervised, listen=listen)

    def is_of(self, now: Now) -> bool:
        """Tell whether this owner is of this machine since its last start: the kernel's lock tells all of it.

        A name alone is no machine: two may share it, and a pod keeps it on its next node.
        """
        return bool(self.boot_id) and (self.host, self.boot_id) == (platform.node(), now.boot_id)

    def following(self, before: Owner | None) -> Owner:
        """Return this owner with what its predecessor knew: the gaps, and the run time of its last beat."""
        return self if before is None else replace(self, gaps=before.gaps, at=before.at)

    def watching(self, at: float) -> Owner:
        """Return this owner, watching from run time `at` on; since its predecessor's last beat nobody did."""
        gaps = [*self.gaps, (self.at, at)] if self.at is not None and at > self.at else self.gaps
        return replace(self, gaps=tuple(gaps[-MOST_GAPS:]), at=at)


class ControlLock:
    """Write down who controls a run, and beat. A beat that cannot be written is told by `fault`, no more."""

    def __init__(self, run: RunFolder, owner: Owner) -> None:
        self._run = run
        self._owner = owner
        self._beaten = float("-inf")
        self.fault = ""

    @property
    def owner(self) -> Owner:
        """Return what was written last; before that, what will be first."""
        return self._owner

    def take(self, owner: Owner) -> None:
        """Write the owner down, so that it is on the disk when this returns. StoreError when that fails."""
        with told_as_store_errors("write", self._run.path / _NAME):
            _write(self._run, owner)
        self._owner = owner

    def beat(self, now: Now, at: float | None) -> None:
        """Beat, if the last one is some time ago; `at` is the run time."""
        if now.monotonic - self._beaten < BEAT_EVERY:
            return
        self._beaten = now.monotonic
        owner = replace(self._owner, beat=now.wall, at=at if at is not None else self._owner.at)
        try:
            _write(self._run, owner)
        except OSError as error:
            self.fault = f"the run's heartbeat cannot be written: {error.strerror or error}"
        else:
            self._owner, self.fault = owner, ""


def was_controlled(run: RunFolder) -> bool:
    """Tell whether a run ever had a control room that wrote itself down."""
    return (run.path / _NAME).exists()


def owner_of(run: RunFolder) -> Owner | None:
    """Read who controlled a run last; None where nobody did. StoreError where that is damaged."""
    path = run.path / _NAME
    if not was_controlled(run):
        return None
    with told_as_store_errors("read", path), path.open("rb") as file:
        content = file.read(_LONGEST)
    try:
        return _parsed(orjson.loads(content))
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise StoreError(
            f"{path} is damaged, so nobody can tell who controls the run {run.id}",
            hint="put a whole copy of it back. Without one the run cannot go on: see that it is controlled "
            f"nowhere, move the file away, and judge what there is: loadgate verdict {run.id}",
        ) from error


def control_gaps(run: RunFolder) -> tuple[tuple[float, float], ...]:
    """Return the stretches of run time in which a run had no control room. StoreError as `owner_of`."""
    owner = owner_of(run)
    return owner.gaps if owner is not None else ()


def refuse_if_controlled(run: RunFolder, now: Now) -> str:
    """Raise StoreError where a run is still controlled, here or elsewhere; else say what is left of the last.

    What is said is empty when there is nothing to tell. A beat from the future counts as just now.
    """
    if is_held(run.watch_database):
        raise StoreError(
            f"the run {run.id} is still running: {_who_of(run)} controls it",
            hint=f"follow it with `loadgate status {run.id}`, end it with `loadgate stop {run.id}`",
        )
    owner = owner_of(run)
    if owner is None or owner.is_of(now):
        # This kernel's lock is free: nobody controls it any more.
        return ""
    age = now.wall - owner.beat
    if age < FRESH_FOR:
        raise StoreError(
            f"the run {run.id} is still running elsewhere: {_who(owner)} gave its last sign of life "
            f"{max(age, 0.0):.0f} s ago",
            hint=f"end it there; if that machine is gone, try again {FRESH_FOR:g} s after that",
        )
    return f"{_who(owner)} controlled it last and gave no sign of life for {age:.0f} s: its lock is stale"


def doubt_left(owner: Owner | None, now: Now) -> float:
    """Return the seconds in which a run's last owner may be this machine before a restart, or another one.

    0 where that is not in doubt: nobody controlled the run, this start of the machine did, a machine of
    another name did, or the last beat is too old for it to live.
    """
    if owner is None or owner.host != platform.node() or owner.is_of(now):
        return 0.0
    return min(max(FRESH_FOR - (now.wall - owner.beat), 0.0), FRESH_FOR)


def _who(owner: Owner) -> str:
    return f"process {owner.pid} on {owner.host}"


def _who_of(run: RunFolder) -> str:
    """Name the owner of a run that is controlled for sure; where its file is damaged, without its name."""
    try:
        owner = owner_of(run)
    except StoreError:
        owner = None
    return _who(owner) if owner is not None else "another process"


def _write(run: RunFolder, owner: Owner) -> None:
    """Write it whole: what a crash leaves is this owner or the one before, never a part of one."""
    draft = run.path / ".control.new"
    with draft.open("wb") as file:
        file.write(orjson.dumps(asdict(owner)))
        file.flush()
        os.fsync(file.fileno())
    draft.replace(run.path / _NAME)


def _parsed(content: Mapping[str, Any]) -> Owner:
    at, listen = content["at"], content["listen"]
    return Owner(
        host=str(content["host"]),
        pid=int(content["pid"]),
        boot_id=str(content["boot_id"]),
        beat=float(content["beat"]),
        at=None if at is None else float(at),
        supervised=bool(content["supervised"]),
        gaps=tuple((float(start), float(end)) for start, end in content["gaps"]),
        listen=None if listen is None else (str(listen[0]), int(listen[1]), float(listen[2])),
    )
