"""The last readings of the probes on one line, for who follows a watch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from loadgate.plan.units import format_bytes, format_number, format_share
from loadgate.report.text import clean
from loadgate.store.watch import Reading

SHARES: Final = frozenset({"cpu", "hit_rate"})
"""Readings that are shares: 0.5 is 50 %."""
SIZES: Final = frozenset({"memory", "anon", "rss"})
"""Readings in bytes."""

_SHOWN: Final[Mapping[str, Callable[[float], str]]] = {
    "up": lambda value: "up" if value else "DOWN",
    "cpu": lambda value: f"cpu {format_share(round(value, 4))}",
    "memory": lambda value: f"memory {format_bytes(round(value))}",
    "hit_rate": lambda value: f"hit rate {format_share(round(value, 4))}",
    "restarts": lambda value: f"{format_number(value)} restart(s)" if value else "",
}
"""How readings that every kind of target has are shown; an empty text shows nothing."""
_LEFT_OUT: Final = frozenset(
    {"uptime", "hits", "misses", "entries", "total_requests", "anon", "processes", "cores"}
)
_REASON_LENGTH = 60


def readings_line(
    latest: Mapping[tuple[str, str], Reading], standing: Mapping[str, str] | None = None
) -> str:
    """Return the last reading of each probe, and the alerts that fire; a reading that failed says why."""
    parts: dict[str, list[str]] = {}
    for (probe, name), reading in latest.items():
        shown = parts.setdefault(probe, [])
        if reading.value is None:
            why = f"no data ({clean(reading.error)[:_REASON_LENGTH]})"
            if not shown and name not in _LEFT_OUT:
                shown.append(why)
        elif name in _SHOWN:
            shown.append(_SHOWN[name](reading.value))
        elif name not in _LEFT_OUT:
            shown.append(f"{name} {format_number(reading.value)}")
    texts = [f"{probe} {', '.join(filter(None, shown))}" for probe, shown in parts.items() if any(shown)]
    firing = sorted(rule for rule, state in (standing or {}).items() if state in ("firing", "flapping"))
    texts.append(f"firing: {', '.join(map(clean, firing))}" if firing else "no alert")
    return "; ".join(texts)
