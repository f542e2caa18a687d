"""How the reference service is set up: what is fixed at start, and what can be switched while it runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from loadgate.errors import UsageError


@dataclass(frozen=True, slots=True)
class Settings:
    """Hold what the service starts with. Times are seconds, sizes bytes, rates per second."""

    host: str = "127.0.0.1"
    port: int = 3000
    """0 takes a free port; the ready line says which."""
    envelope: str = "wrapped"
    uptime: str = "ms"
    """Unit of `uptime` in the health answer: "ms" or "s"."""
    cache_ttl: float = 3600.0
    cache_entries: int = 10_000
    rate_limit: bool = False
    rate_capacity: float = 1000.0
    rate_refill: float = 100.0
    rate_patience: float = 1.0
    """The longest delay before the service refuses."""
    emotion_latency: float = 0.004
    """Median of the simulated work of a cache miss; likewise the next two."""
    creative_latency: float = 0.025
    reasoning_latency: float = 0.010
    latency_sigma: float = 0.25
    """Spread of the simulated work: standard deviation of its logarithm."""
    seed: int = 1
    leak_stack: bool = True
    max_body: int = 100 * 1024
    keep_alive: float = 5.0
    faults: tuple[str, ...] = ()
    """Faults on from the start, each as `kind:key=value,key=value`."""
    exit_with_parent: bool = False


CHOICES: Mapping[str, tuple[Any, ...]] = {
    "envelope": ("wrapped", "plain"),
    "uptime": ("ms", "s"),
    "cache_stats": ("on", "no_proxy"),
    "processes": ("full", "bare", "down"),
    "dashboard": ("on", "off"),
    "leak_stack": (True, False),
    "rate_limit": (True, False),
}


@dataclass(slots=True)
class Switches:
    """Hold what differs between releases of the target and can be switched while the service runs."""

    envelope: str = "wrapped"
    uptime: str = "ms"
    cache_stats: str = "on"
    """"no_proxy" answers 502 "No proxy target configured"."""
    processes: str = "full"
    """"bare" leaves memory and CPU out; "down" answers 500."""
    dashboard: str = "on"
    leak_stack: bool = True
    rate_limit: bool = False
    disabled: set[str] = field(default_factory=set)
    """Paths that answer 503."""
    lowered: dict[str, float] = field(default_factory=dict)
    """Lowered limits: service -> requests per second."""

    @classmethod
    def of(cls, settings: Settings) -> Switches:
        """Return the switches as `settings` start them."""
        return cls(
            envelope=_chosen("envelope", settings.envelope),
            uptime=_chosen("uptime", settings.uptime),
            leak_stack=settings.leak_stack,
            rate_limit=settings.rate_limit,
        )

    def change(self, values: Mapping[str, object]) -> None:
        """Set all of `values`, or none of them; raises UsageError that names the key and its choices."""
        checked = {key: _chosen(key, value) for key, value in values.items()}
        for key, value in checked.items():
            setattr(self, key, value)

    def to_dict(self) -> dict[str, object]:
        """Return all switches for `GET /_staging/settings`."""
        shown = dataclasses.asdict(self)
        shown["disabled"] = sorted(self.disabled)
        return shown


def _chosen(key: str, value: object) -> Any:
    choices = CHOICES.get(key)
    if choices is None:
        raise UsageError(f"unknown setting {key!r}", hint=f"One of: {', '.join(CHOICES)}.")
    if not any(value == choice and type(value) is type(choice) for choice in choices):
        shown = ", ".join(str(choice).lower() for choice in choices)
        raise UsageError(f"setting {key!r} cannot be {value!r}", hint=f"One of: {shown}.")
    return value
