"""Shift this process's wall clock by what a file says, and by something else as soon as it says so.

Python imports this module at its start when its folder is on PYTHONPATH. The kernel has one wall clock
for all, so the shift is made where Python programs ask for the time: `time.time`, `time.time_ns`, and the
"now" of datetime. CLOCK_MONOTONIC stays as it is: see `Host` for that.
"""

from __future__ import annotations

import datetime
import os
import time
from typing import Any

_FILE = os.environ.get("LOADGATE_TEST_WALL_SHIFT_FILE", "")
_LOOK_EVERY = 0.05
_time, _time_ns, _datetime, _date = time.time, time.time_ns, datetime.datetime, datetime.date
_seconds, _looked_at = 0.0, float("-inf")


def shift() -> float:
    """Return the seconds to add, read again at most every 50 ms of monotonic time."""
    global _seconds, _looked_at
    now = time.monotonic()
    if now - _looked_at >= _LOOK_EVERY:
        _looked_at = now
        with open(_FILE, encoding="ascii") as file:
            _seconds = float(file.read())
    return _seconds


class _Facade(type):
    """Let instances of the real class pass for instances of the shifted one."""

    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, cls.__bases__[0])

    def __subclasscheck__(cls, other: type) -> bool:
        return issubclass(other, cls.__bases__[0])


class _ShiftedDatetime(_datetime, metaclass=_Facade):
    """The real class with another now; what it makes are real datetimes."""

    def __new__(cls, *args: Any, **options: Any) -> Any:
        return _datetime(*args, **options)

    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> Any:
        return _datetime.fromtimestamp(time.time(), tz)

    @classmethod
    def today(cls) -> Any:
        return _datetime.fromtimestamp(time.time())

    @classmethod
    def utcnow(cls) -> Any:
        return _datetime.fromtimestamp(time.time(), datetime.UTC).replace(tzinfo=None)


class _ShiftedDate(_date, metaclass=_Facade):
    """Likewise for dates."""

    def __new__(cls, *args: Any, **options: Any) -> Any:
        return _date(*args, **options)

    @classmethod
    def today(cls) -> Any:
        return _date.fromtimestamp(time.time())


if _FILE:
    time.time = lambda: _time() + shift()
    time.time_ns = lambda: _time_ns() + int(shift() * 1e9)
    datetime.datetime = _ShiftedDatetime  # type: ignore[misc]
    datetime.date = _ShiftedDate  # type: ignore[misc]
