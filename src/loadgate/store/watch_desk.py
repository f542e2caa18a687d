"""The watch database for many threads: probes, alerts, actions and notices are written by different ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Protocol, Self, TypeVar

from loadgate.errors import StoreError
from loadgate.store.watch import ActionStage, AlertChange, Notice, Point, Reading, WatchWriter

T = TypeVar("T")


class WatchBook(Protocol):
    """What the parts of a control room write into; each call returns once it is on the disk."""

    def alert(self, change: AlertChange) -> int:
        """Write a change of state of an alert, and return its id."""
        ...

    def action(self, stage: ActionStage) -> int:
        """Write an entry of the journal of actions, and return its id."""
        ...

    def notice(self, notice: Notice) -> int:
        """Write how an attempt to deliver a message ended, and return its id."""
        ...


class WatchDesk:
    """Take what any thread writes to one watch database, in a thread of its own that owns the writer.

    Every method returns once its entry is on the disk, and raises StoreError when the database refuses it, or
    when the desk is closed. It may stand in for a `WatchWriter`; `close` ends the thread.
    """

    def __init__(self, path: Path, make_writer: Callable[[Path], WatchWriter] = WatchWriter) -> None:
        """Open the database; StoreError when it cannot be written."""
        self._path = path
        self._lock = Lock()
        self._closed = False
        self._compacting: Future[None] | None = None
        self._hand = ThreadPoolExecutor(1, thread_name_prefix="loadgate-watch-writer")
        try:
            self._writer = self._hand.submit(make_writer, path).result()
        except BaseException:
            self._hand.shutdown(wait=True)
            raise

    def readings(self, readings: Iterable[Reading]) -> None:
        """Write readings, all or none."""
        rows = tuple(readings)
        self._done(lambda: self._writer.readings(rows))

    def points(self, points: Iterable[Point]) -> None:
        """Write what windows of alert rules said, all or none."""
        rows = tuple(points)
        self._done(lambda: self._writer.points(rows))

    def compact(self, now: float) -> None:
        """Let the database be kept small, at run time `now`; returns at once, and tells faults with the next.

        It is done in steps, between which others write. StoreError is what the last one ended with.
        """
        with self._lock:
            if self._closed or (self._compacting is not None and not self._compacting.done()):
                return
            done, self._compacting = self._compacting, self._hand.submit(self._compact, now)
        if done is not None:
            done.result()

    def alert(self, change: AlertChange) -> int:
        """Write a change of state of an alert, and return its id."""
        return self._done(lambda: self._writer.alert(change))

    def action(self, stage: ActionStage) -> int:
        """Write an entry of the journal of actions, and return its id."""
        return self._done(lambda: self._writer.action(stage))

    def notice(self, notice: Notice) -> int:
        """Write how an attempt to deliver a message ended, and return its id."""
        return self._done(lambda: self._writer.notice(notice))

    def lend(self, path: Path) -> WatchWriter:
        """Return a writer that writes through this desk, for who wants to open one; its close does nothing.

        StoreError when `path` is not the database of this desk.
        """
        if path.absolute() != self._path.absolute():
            raise StoreError(f"{path} is not {self._path}", hint="each database has a desk of its own")
        return _LentWriter(self)

    def close(self) -> None:
        """Write what was begun, close the database and end the thread; again is fine."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            closing = self._hand.submit(self._writer.close)
        self._hand.shutdown(wait=True)
        closing.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _compact(self, now: float) -> None:
        if self._writer.compact(now):
            with self._lock:
                if not self._closed:
                    self._compacting = self._hand.submit(self._compact, now)

    def _done(self, task: Callable[[], T]) -> T:
        with self._lock:
            if self._closed:
                raise StoreError(f"{self._path} is closed", hint="what was to be written came too late")
            waiting = self._hand.submit(task)
        return waiting.result()


class _LentWriter(WatchWriter):
    """A writer whose database belongs to a desk."""

    def __init__(self, desk: WatchDesk) -> None:
        self._desk = desk

    def readings(self, readings: Iterable[Reading]) -> None:
        self._desk.readings(readings)

    def points(self, points: Iterable[Point]) -> None:
        self._desk.points(points)

    def compact(self, now: float) -> bool:
        self._desk.compact(now)
        return False

    def alert(self, change: AlertChange) -> int:
        return self._desk.alert(change)

    def action(self, stage: ActionStage) -> int:
        return self._desk.action(stage)

    def notice(self, notice: Notice) -> int:
        return self._desk.notice(notice)

    def close(self) -> None:
        pass
