"""What can go wrong on purpose: the faults, how they are written, and what they decide for a request.

A decision is a pure function of the faults, the endpoint, the time and a random generator; carrying it
out (sleeping, cutting bytes, resetting a connection) is the business of other modules.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from loadgate.errors import UsageError
from loadgate.plan.units import parse_bytes, parse_duration, parse_share

TRAFFIC = ("emotion", "creative", "reasoning")
ROUTES = (*TRAFFIC, "health", "cache", "processes", "disable", "enable", "rate-limit", "dashboard", "other")

Value = float | str


@dataclass(frozen=True, slots=True)
class Fault:
    """Hold one fault that is switched on, since `since` (monotonic seconds)."""

    number: int
    kind: str
    endpoint: str
    values: Mapping[str, float]
    since: float

    def covers(self, endpoint: str) -> bool:
        """Say whether the fault applies to `endpoint`."""
        if self.endpoint == "all":
            return True
        if self.endpoint == "traffic":
            return endpoint in TRAFFIC
        return self.endpoint == endpoint

    def to_dict(self) -> dict[str, object]:
        """Return the fault as the control API shows it; durations are seconds, rates bytes per second."""
        return {"id": self.number, "kind": self.kind, "endpoint": self.endpoint, **self.values}


class Decision(NamedTuple):
    """Say what the faults do to one request.

    `delay` is added latency in seconds; `damage` is "" or a kind of `DAMAGES`; `status` belongs to
    the damage "error"; `by` to "wrong_length" (bytes); `drip` is the pause after each body byte in
    seconds (0 = none).
    """

    delay: float = 0.0
    damage: str = ""
    status: int = 0
    by: int = 0
    drip: float = 0.0


DAMAGES = ("error", "reset", "truncate", "malformed", "wrong_length", "hang")


def _status(text: str) -> float:
    status = int(text)
    if not 400 <= status <= 599:
        raise ValueError(f"{text} is not an error status (400 to 599)")
    return status


def _whole(text: str) -> float:
    number = int(text)
    if number == 0:
        raise ValueError("must not be 0")
    return number


def _sigma(text: str) -> float:
    sigma = float(text)
    if not 0 <= sigma <= 3:
        raise ValueError(f"{text} is not between 0 and 3")
    return sigma


def _share(text: str) -> float:
    share = parse_share(text) if text.endswith("%") else float(text)
    if not 0 < share <= 1:
        raise ValueError(f"{text} is not a share above 0 and up to 1 (or 100%)")
    return share


def _core_share(text: str) -> float:
    share = _share(text)
    if share > 0.95:
        raise ValueError("at most 0.95: the rest lets the service answer its control routes")
    return share


def _span(text: str) -> float:
    seconds = parse_duration(text)
    if not 0 < seconds < math.inf:
        raise ValueError(f"{text} is not a time above zero")
    return seconds


def _rate(text: str) -> float:
    return parse_bytes(text.removesuffix("/s"))


class _Kind(NamedTuple):
    fields: Mapping[str, tuple[Callable[[str], float], str | None]]  # name: (parser, default)
    endpoint: str | None = "traffic"  # what it covers unless told; None = the whole process, no choice


_SHARE: tuple[Callable[[str], float], str | None] = (_share, "1")
KINDS: Mapping[str, _Kind] = {
    "latency": _Kind({"delay": (_span, None), "sigma": (_sigma, "0"), "share": _SHARE}),
    "stall": _Kind({"every": (_span, None), "for": (_span, None)}, "all"),
    "error": _Kind({"status": (_status, "500"), "share": _SHARE}),
    "reset": _Kind({"share": _SHARE}),
    "truncate": _Kind({"share": _SHARE}),
    "malformed": _Kind({"share": _SHARE}),
    "wrong_length": _Kind({"by": (_whole, "-10"), "share": _SHARE}),
    "hang": _Kind({"share": _SHARE}, "all"),
    "drip": _Kind({"every": (_span, "10ms"), "share": _SHARE}),
    "cache_off": _Kind({}),
    "leak": _Kind({"rate": (_rate, None)}, None),
    "cpu": _Kind({"share": (_core_share, None)}, None),
    "shutdown": _Kind({"after": (parse_duration, "0s")}, None),
}


def parse_fault(values: Mapping[str, object], number: int, now: float) -> Fault:
    """Make a fault of `{"kind": "latency", "delay": "50ms", "endpoint": "emotion"}`.

    Durations and sizes need a unit, shares are 0..1 or a percentage. Raises UsageError that names
    the key and what a right value looks like.
    """
    given = {key: str(value) for key, value in values.items()}
    name = given.pop("kind", "")
    kind = KINDS.get(name)
    if kind is None:
        raise UsageError(f"unknown fault kind {name!r}", hint=f"One of: {', '.join(KINDS)}.")
    endpoint = _endpoint(name, kind, given.pop("endpoint", None))
    parsed: dict[str, float] = {}
    for key, (parser, default) in kind.fields.items():
        text = given.pop(key, default)
        if text is None:
            raise UsageError(f"fault {name}: `{key}` is missing", hint=_usage(name))
        try:
            parsed[key] = parser(text)
        except ValueError as error:
            raise UsageError(f"fault {name}: `{key}`: {error}", hint=_usage(name)) from error
    if given:
        raise UsageError(f"fault {name}: unknown key `{next(iter(given))}`", hint=_usage(name))
    if name == "stall" and parsed["for"] >= parsed["every"]:
        raise UsageError(
            "fault stall: `for` must be shorter than `every`", hint="Use `hang` to stop for good."
        )
    return Fault(number, name, endpoint, parsed, now)


def split_spec(spec: str) -> dict[str, object]:
    """Split the command line's `kind:key=value,key=value` into what `parse_fault` takes."""
    name, _, rest = spec.partition(":")
    values: dict[str, object] = {"kind": name.strip()}
    for item in filter(None, rest.split(",")):
        key, equals, value = item.partition("=")
        if not equals:
            raise UsageError(f"fault {name}: `{item}` is not key=value", hint=_usage(name))
        values[key.strip()] = value.strip()
    return values


def _endpoint(name: str, kind: _Kind, given: str | None) -> str:
    if kind.endpoint is None:
        if given is not None:
            raise UsageError(f"fault {name} is of the whole process", hint="Leave `endpoint` out.")
        return "all"
    choices = ("traffic", "all", *ROUTES)
    if given is not None and given not in choices:
        raise UsageError(f"fault {name}: unknown endpoint {given!r}", hint=f"One of: {', '.join(choices)}.")
    return given or kind.endpoint


def _usage(name: str) -> str:
    kind = KINDS.get(name)
    if kind is None:
        return f"Kinds: {', '.join(KINDS)}."
    examples = {"delay": "50ms", "every": "10s", "for": "2s", "rate": "1MB", "share": "0.1", "after": "5s"}
    keys = [f"{key}={default or examples[key]}" for key, (_, default) in kind.fields.items()]
    return f"For example {name}:{','.join(keys)}" if keys else f"{name} takes no keys."


class FaultBoard:
    """Hold the faults that are switched on and decide for each request; pure but for its random draws."""

    def __init__(self, seed: int = 1) -> None:
        self.faults: tuple[Fault, ...] = ()
        self._random = Random(seed)
        self._next = 1

    def add(self, values: Mapping[str, object], now: float) -> Fault:
        """Switch a fault on at `now`; raises UsageError."""
        fault = parse_fault(values, self._next, now)
        self._next += 1
        self.faults = (*self.faults, fault)
        return fault

    def clear(self, kind: str | None = None, number: int | None = None) -> int:
        """Switch off all faults, or those of one kind or number; return how many went."""
        kept = tuple(
            fault
            for fault in self.faults
            if (kind is not None and fault.kind != kind) or (number is not None and fault.number != number)
        )
        gone = len(self.faults) - len(kept)
        self.faults = kept
        return gone

    def total(self, kind: str, key: str) -> float:
        """Return the sum of one value over the faults of a kind, 0 when there are none."""
        return sum(fault.values[key] for fault in self.faults if fault.kind == kind)

    def cache_is_off(self, endpoint: str) -> bool:
        """Say whether a `cache_off` fault covers `endpoint`."""
        return any(fault.kind == "cache_off" and fault.covers(endpoint) for fault in self.faults)

    def decide(self, endpoint: str) -> Decision:
        """Decide what happens to one request of `endpoint`.

        Latencies add up. Damages share one draw, so that two errors of 10 % each damage exactly 20 %
        of the requests; when shares pass 1 the later faults get what is left.
        """
        delay = drip = 0.0
        damage, status, by = "", 0, 0
        draw = self._random.random()
        for fault in self.faults:
            if not fault.covers(endpoint):
                continue
            values = fault.values
            if fault.kind == "latency" and self._hits(values["share"]):
                sigma = values["sigma"]
                factor = math.exp(sigma * self._random.gauss(0.0, 1.0)) if sigma else 1.0
                delay += values["delay"] * factor
            elif fault.kind == "drip" and self._hits(values["share"]):
                drip = max(drip, values["every"])
            elif fault.kind in DAMAGES and not damage:
                if draw < values["share"]:
                    damage = fault.kind
                    status, by = int(values.get("status", 0)), int(values.get("by", 0))
                draw -= values["share"]
        return Decision(delay, damage, status, by, drip)

    def release(self, endpoint: str, due: float) -> float:
        """Return the moment an answer due at `due` may leave: the end of the stall it falls into.

        A stall starts `every` seconds after it was switched on, lasts `for` seconds, and comes back
        each `every` seconds.
        """
        for fault in self.faults:
            if fault.kind != "stall" or not fault.covers(endpoint):
                continue
            every, length = fault.values["every"], fault.values["for"]
            rounds, into = divmod(due - fault.since, every)
            if rounds >= 1 and into < length:
                due += length - into
        return due

    def shutdown_due(self, now: float) -> bool:
        """Say whether a `shutdown` fault has come due."""
        return any(
            fault.kind == "shutdown" and now >= fault.since + fault.values["after"] for fault in self.faults
        )

    def _hits(self, share: float) -> bool:
        return share >= 1.0 or self._random.random() < share
