"""Keep what the probes saw: in the watch database, and in memory for the live view."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

from loadgate.errors import LoadgateError
from loadgate.store.watch import Reading, WatchWriter
from loadgate.watch.restarts import Restart

UNSAVED_MOST: Final = 10_000
"""Readings that are kept for another try while the database refuses them; the oldest go first."""
ERRORS_MOST: Final = 100


class Journal:
    """Write readings in a thread of its own, so that a slow disk never looks like a slow target.

    `latest`, `errors` and `restarts` may be asked from any thread. A fault of the database is an error in
    `errors`; the readings stay and are tried again with the next ones.
    """

    def __init__(self, path: Path, make_writer: Callable[[Path], WatchWriter] = WatchWriter) -> None:
        self._path = path
        self._make_writer = make_writer
        self._hand = ThreadPoolExecutor(1, thread_name_prefix="loadgate-probe-writer")
        self._writer: WatchWriter | None = None
        self._unsaved: deque[Reading] = deque()
        self._lock = threading.Lock()
        self._latest: dict[tuple[str, str], Reading] = {}
        self._errors: deque[str] = deque(maxlen=ERRORS_MOST)
        self._restarts: list[Restart] = []

    def open(self) -> None:
        """Open the database; StoreError when it cannot be written."""
        try:
            self._writer = self._hand.submit(self._make_writer, self._path).result()
        except BaseException:
            self._hand.shutdown(wait=False)
            raise

    def add(self, readings: Sequence[Reading]) -> None:
        """Take the readings of one attempt; they are written soon."""
        with self._lock:
            self._latest.update({(item.probe, item.reading): item for item in readings})
        self._hand.submit(self._save, tuple(readings)).add_done_callback(self._check)

    def add_restart(self, restart: Restart) -> None:
        """Take a sign of a restart."""
        with self._lock:
            self._restarts.append(restart)

    def add_error(self, text: str) -> None:
        """Take a fault of our own; the last hundred are kept."""
        with self._lock:
            self._errors.append(text)

    def close(self) -> None:
        """Write what is left and close the database; again is fine."""
        try:
            self._hand.submit(self._close).add_done_callback(self._check)
        except RuntimeError:  # closed before
            return
        self._hand.shutdown(wait=True)

    def latest(self) -> dict[tuple[str, str], Reading]:
        """Return the last reading of each (probe, reading)."""
        with self._lock:
            return dict(self._latest)

    @property
    def errors(self) -> tuple[str, ...]:
        """Return our own last faults, oldest first."""
        with self._lock:
            return tuple(self._errors)

    @property
    def restarts(self) -> tuple[Restart, ...]:
        """Return the signs of restarts of the target, in the order in which they were seen."""
        with self._lock:
            return tuple(self._restarts)

    def _save(self, readings: Sequence[Reading]) -> None:
        self._unsaved.extend(readings)
        lost = len(self._unsaved) - UNSAVED_MOST
        for _ in range(lost):
            self._unsaved.popleft()
        if lost > 0:
            self.add_error(f"{lost} readings of the probes are lost: the database refused them for too long")
        assert self._writer is not None
        try:
            self._writer.readings(self._unsaved)
        except LoadgateError as error:
            self.add_error(error.message)
            return
        self._unsaved.clear()

    def _close(self) -> None:
        if self._writer is None:
            return
        writer = self._writer
        try:
            if self._unsaved:
                self._save(())
            if self._unsaved:
                self.add_error(f"{len(self._unsaved)} readings of the probes could not be written")
        finally:
            self._writer = None
            writer.close()

    def _check(self, done: Future[None]) -> None:
        """Note what a task of the writer's thread raised, so that nothing is lost in silence."""
        error = None if done.cancelled() else done.exception()
        if error is not None:
            self.add_error(f"{type(error).__name__}: {error}")
