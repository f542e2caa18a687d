"""What the status of a run says, as plain values: `status.py` reads it, `status_lines.py` shows it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from loadgate.store.watch import Reading

STATES: Final = ("starting", "running", "between writers", "elsewhere", "dead", "ended")
WATCH: Final = "watch"
"""The mode of a run without a load."""


@dataclass(frozen=True, slots=True)
class Hand:
    """Who writes one database: whether anybody holds it, and seconds since its last write (None: never).

    `pid` is what the lock says, and `here` whether that process is one of this machine.
    """

    part: str
    held: bool
    pid: int | None
    here: bool
    beat: float | None


@dataclass(frozen=True, slots=True)
class ObjectiveNow:
    """An objective over the run so far, and in its newest whole window (run time)."""

    name: str
    statistic: str | None
    target: str
    alert: str | None
    verdict: str
    value: str
    n: int
    reason: str
    now: str
    now_value: str
    window: tuple[float, float] | None = None
    last_breach: tuple[float, float] | None = None
    time_in_violation: float = 0.0
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Stability:
    """How long nothing has gone wrong: `seconds` since `since`, the end of `last` (its kind and words)."""

    seconds: float
    since: float
    last: str = ""
    what: str = ""


@dataclass(frozen=True)
class Status:
    """How a run stands at run time `elapsed`; times are run time in seconds unless they say otherwise."""

    run: str
    path: str
    state: str
    """One of `STATES`."""
    advice: str
    scenario: str = ""
    host: str = ""
    mode: str = ""
    model: str = ""
    started_at: str = ""
    ended: str | None = None
    ended_at: str = ""
    phase: str | None = None
    elapsed: float | None = None
    planned: float | None = None
    remaining: float | None = None
    measured_until: float | None = None
    writers: tuple[Hand, ...] = ()
    verdict: str | None = None
    """The newest stored one. `so_far` is the worst row by now, or what a run that is over would get."""
    so_far: str | None = None
    void: bool = False
    reasons: tuple[str, ...] = ()
    stability: Stability | None = None
    objectives: tuple[ObjectiveNow, ...] = ()
    readings: tuple[Reading, ...] = ()
    """The last one of each probe's readings."""
    alerts: tuple[Mapping[str, Any], ...] = ()
    restarts: tuple[Mapping[str, Any], ...] = ()
    losses: tuple[Mapping[str, Any], ...] = ()
    gaps: Mapping[str, int] = field(default_factory=dict)
    coverage: float | None = None
    unoffered: int = 0
    not_measured: tuple[Mapping[str, Any], ...] = ()
    """Stretches of run time in which nobody made the load: `from`, `to` and `cause`."""
    resumed: tuple[float, ...] = ()
    annotations: tuple[Mapping[str, Any], ...] = ()
    drift: tuple[str, ...] = ()
    """What every drift rule says so far."""
    disk: Mapping[str, int | None] = field(default_factory=dict)
    faults: tuple[str, ...] = ()
    """What could not be read, and why."""

    @property
    def is_over(self) -> bool:
        """Tell whether the run has written down its end."""
        return self.ended is not None

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values for JSON."""
        return {**asdict(self), "readings": [reading._asdict() for reading in self.readings]}


def stability(
    elapsed: float | None,
    objectives: Iterable[ObjectiveNow],
    restarts: Iterable[Mapping[str, Any]],
    alerts: Iterable[Mapping[str, Any]],
    *,
    over: bool,
) -> Stability | None:
    """Say how long ago an objective last broke its limit, the target restarted, or a critical alert was over.

    `elapsed` is the run time of now (of the end, where the run is `over`); None, when it has not begun, gives
    None. What goes on counts as just now. Without any of these it is the whole run.
    """
    if elapsed is None:
        return None
    found: list[tuple[float, str, str]] = []
    for row in objectives:
        if row.last_breach is not None:
            found.append((row.last_breach[1], "breach", f"{row.name} was past its limit"))
    for restart in restarts:
        found.append((float(restart["at"]), "restart", f"the target restarted ({restart['sign']})"))
    for alert in alerts:
        if alert["severity"] == "critical":
            resolved = alert["resolved_at"]
            firing = "was still firing at the end" if over else "is firing"
            text = f"the critical alert {alert['rule']} {'was resolved' if resolved is not None else firing}"
            found.append((elapsed if resolved is None else float(resolved), "critical alert", text))
    if not found:
        return Stability(elapsed, 0.0)
    at, kind, text = max(found)
    at = min(at, elapsed)
    return Stability(elapsed - at, at, kind, text)
