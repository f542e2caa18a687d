"""The states of an alert rule, and how a sample of its series moves them.

inactive -> pending -> firing -> inactive (told as "resolved"). A pending rule whose condition ends before
`for` is over goes back, told as "inactive". Timers count seconds of windows that said something: a window
without data neither moves one on nor sets it back. A rule that fires too often in a time is told once as
"flapping", and then nothing of it until it has been calm for that time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final, Literal, NamedTuple, Self

from loadgate.plan.alerts import AlertRule
from loadgate.watch.series import Sample

TOLERANCE: Final = 1e-6

Raw = Literal["inactive", "pending", "firing"]
Said = Literal["pending", "inactive", "firing", "resolved", "flapping"]
Because = Literal["threshold", "no_data", "burn"]


@dataclass(frozen=True, slots=True)
class RuleState:
    """Where a rule stands; times are run time in seconds.

    `since` is the start of the first window of the present breach, `held` how long it has been violated,
    `cleared` how long a firing rule has been clear. `fired` are the last firings, for the flap detector.
    """

    raw: Raw = "inactive"
    since: float | None = None
    held: float = 0.0
    cleared: float = 0.0
    fired: tuple[float, ...] = ()
    flapping: bool = False
    calm: float = 0.0

    @property
    def said(self) -> str:
        """Return the state as it was told last; "inactive" before anything was and after "resolved"."""
        return "flapping" if self.flapping else self.raw

    def to_dict(self) -> dict[str, Any]:
        """Return the state as plain values."""
        return {name: getattr(self, name) for name in self.__slots__} | {"fired": list(self.fired)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Return the state that `to_dict` wrote."""
        return cls(**{**values, "fired": tuple(values["fired"])})


class Move(NamedTuple):
    """The state after a sample, what is to be told of it and why; `since` is of the breach that it is of."""

    state: RuleState
    said: Said | None = None
    because: Because = "threshold"
    since: float | None = None


def move(rule: AlertRule, state: RuleState, sample: Sample) -> Move:
    """Move a rule's state by one sample."""
    past, clear, because = _meaning(rule, sample)
    if past is None:
        return Move(state)
    if state.raw == "firing":
        after, change = _while_firing(rule, state, sample, clear=clear)
    else:
        after, change = _before_firing(rule, state, sample, past=past)
    since = after.since if after.since is not None else state.since
    after, said = _without_flaps(rule, after, change, sample)
    return Move(after, said, because, since)


def _meaning(rule: AlertRule, sample: Sample) -> tuple[bool | None, bool, Because]:
    """Return whether a sample is violated and whether it is clear; None for one that says nothing."""
    if sample.past is not None:
        return sample.past, bool(sample.clear), "burn" if rule.burn is not None else "threshold"
    if sample.seconds <= TOLERANCE or rule.no_data == "hold":
        return None, False, "no_data"
    return rule.no_data == "fire", rule.no_data == "resolve", "no_data"


def _before_firing(
    rule: AlertRule, state: RuleState, sample: Sample, *, past: bool
) -> tuple[RuleState, Said | None]:
    if not past:
        quiet = replace(state, raw="inactive", since=None, held=0.0)
        return quiet, "inactive" if state.raw == "pending" else None
    since = sample.start if state.since is None else state.since
    held = state.held + sample.seconds
    if held >= rule.for_ - TOLERANCE:
        return replace(state, raw="firing", since=since, held=held, cleared=0.0), "firing"
    pending = replace(state, raw="pending", since=since, held=held)
    return pending, "pending" if state.raw == "inactive" else None


def _while_firing(
    rule: AlertRule, state: RuleState, sample: Sample, *, clear: bool
) -> tuple[RuleState, Said | None]:
    if not clear:
        return replace(state, held=state.held + sample.seconds, cleared=0.0), None
    cleared = state.cleared + sample.seconds
    if cleared >= rule.keep_firing_for - TOLERANCE:
        return replace(state, raw="inactive", since=None, held=0.0, cleared=0.0), "resolved"
    return replace(state, cleared=cleared), None


def _without_flaps(
    rule: AlertRule, state: RuleState, change: Said | None, sample: Sample
) -> tuple[RuleState, Said | None]:
    """Tell once that a rule flaps, and how it stands once it has been calm for long enough."""
    if rule.flaps is None:
        return state, change
    times, within = rule.flaps
    fired = state.fired
    if change == "firing":
        fired = (*(at for at in fired if at > sample.end - within + TOLERANCE), sample.end)
        state = replace(state, fired=fired)
    if not state.flapping:
        if change == "firing" and len(fired) >= times:
            return replace(state, flapping=True, calm=0.0), "flapping"
        return state, change
    if change in ("firing", "resolved"):
        return replace(state, calm=0.0), None
    calm = state.calm + sample.seconds
    if calm < within - TOLERANCE:
        return replace(state, calm=calm), None
    ended = replace(state, flapping=False, calm=0.0, fired=())
    return ended, "firing" if state.raw == "firing" else "resolved"
