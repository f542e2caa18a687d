"""Merge windows exactly into their rows."""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import NamedTuple

from loadgate.measure.packed import PackedWindows
from loadgate.measure.recorder import OVERFLOW_ENDPOINT
from loadgate.measure.summing import Key, summed
from loadgate.measure.window import Window
from loadgate.store.blocks import COARSE
from loadgate.store.rows import KEY_COLUMNS, WINDOW_COLUMNS, row_of, window_of

MOST_ENDPOINTS = 100
# Windows of the last seconds are what late deltas still change. A window's histograms take up to some
# forty times the memory of their packed form, so the cache stays under about 100 MB at its very worst,
# and takes a few MB in a usual run. What is older than reports are late is read back when one comes: minutes
# of it took 40 MB of a master whose windows hold the latencies of hundreds of workers.
_CACHED_WINDOWS = 512
_CACHED_BYTES = 2 * 2**20
_CACHED_SECONDS = 20

_SELECT = (
    f"SELECT {', '.join(WINDOW_COLUMNS)}, loss FROM window "
    f"WHERE {' AND '.join(f'{column} = ?' for column in KEY_COLUMNS)}"
)
# An update keeps the row in its place; a replacement would move it to the end of the table.
_UPSERT = (
    f"INSERT INTO window ({', '.join(WINDOW_COLUMNS)}, revision) "
    f"VALUES ({', '.join('?' * (len(WINDOW_COLUMNS) + 1))}) ON CONFLICT DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in (*WINDOW_COLUMNS[len(KEY_COLUMNS) :], "revision"))
)


class _Cached(NamedTuple):
    window: Window
    size: int


class WindowTable:
    """The `window` table inside the writer's transactions, with its latest rows kept in memory.

    After a transaction that failed, this object is out of step and must be made anew.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        place: Callable[[int, int], tuple[int, int] | None] = lambda *_: None,
    ) -> None:
        """Take the writer's connection; `place` says into which second and span a time was merged."""
        self._connection = connection
        self._place = place
        self._cache: OrderedDict[Key, _Cached] = OrderedDict()
        self._cached_bytes = 0
        self._newest = 0
        """The latest second of any window so far."""
        rows = connection.execute("SELECT DISTINCT endpoint FROM window").fetchall()
        self._endpoints = {row[0] for row in rows} - {OVERFLOW_ENDPOINT}
        self.longest: int = connection.execute("SELECT coalesce(max(span), 1) FROM window").fetchone()[0]
        """The span of the longest window, in seconds; at least 1."""

    def merge(self, packs: Iterable[PackedWindows], revision: int) -> int:
        """Merge windows into their rows, stamped with the revision; return how many rows changed.

        The given windows are not changed. From the 101st endpoint on, windows go to "(overflow)".
        """
        changed: dict[Key, Window] = {}
        for key, window in summed(packs, self.admitted):
            self.longest = max(self.longest, window.span)
            covering = self._place(key[0], key[1])
            if covering is not None:
                key = (*covering, *key[2:])
                self.longest = max(self.longest, covering[1])
            row = changed.get(key)
            if row is None:
                row = changed[key] = self._stored(key)
            row.merge(window)
            row.compact()
        rows = []
        for key, window in changed.items():
            values = row_of(window)
            rows.append((*values, revision))
            self._remember(key, window, len(values[-1]))
        self._connection.executemany(_UPSERT, rows)
        return len(rows)

    def forget(self, before: int) -> None:
        """Let go of what is kept in memory of the time before a second: its rows were merged."""
        for key in [key for key in self._cache if key[0] < before]:
            self._cached_bytes -= self._cache.pop(key).size
        self.longest = max(self.longest, COARSE)

    def admitted(self, endpoint: str) -> str:
        """Give the name under which an endpoint is counted: its own, or "(overflow)" past the limit."""
        if endpoint in self._endpoints or endpoint == OVERFLOW_ENDPOINT:
            return endpoint
        if len(self._endpoints) >= MOST_ENDPOINTS:
            return OVERFLOW_ENDPOINT
        self._endpoints.add(endpoint)
        return endpoint

    def _stored(self, key: Key) -> Window:
        cached = self._cache.pop(key, None)
        if cached is not None:
            self._cached_bytes -= cached.size
            return cached.window
        row = self._connection.execute(_SELECT, key).fetchone()
        return Window(*key) if row is None else window_of(row)

    def _remember(self, key: Key, window: Window, size: int) -> None:
        self._cache[key] = _Cached(window, size)
        self._cached_bytes += size
        self._newest = max(self._newest, window.second)
        while self._is_too_much():
            _, dropped = self._cache.popitem(last=False)
            self._cached_bytes -= dropped.size

    def _is_too_much(self) -> bool:
        if len(self._cache) > _CACHED_WINDOWS or self._cached_bytes > _CACHED_BYTES:
            return True
        # The first one is the one that was changed longest ago; a late delta's window waits for its turn.
        oldest = next(iter(self._cache.values()), None)
        return oldest is not None and oldest.window.second < self._newest - _CACHED_SECONDS
