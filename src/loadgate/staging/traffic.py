"""The three traffic endpoints of the reference service: limit, cache, simulated work, answer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from loadgate.staging.cache import label_of
from loadgate.staging.creative import generate_creative
from loadgate.staging.emotion import analyze_emotion
from loadgate.staging.protocol import Later, Request
from loadgate.staging.reasoning import verify_reasoning
from loadgate.staging.replies import Reply
from loadgate.staging.state import BadBody, State

Arguments = tuple[Any, ...]


class _BadField(Exception):
    """A field of the body that is missing or of the wrong type."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Describe one traffic endpoint: where it is, what it takes, what it says."""

    name: str
    service: str
    """Its name in the rate-limit route."""
    path: str
    title: str
    message: str
    arguments: Callable[[Mapping[str, object]], Arguments]
    """Return the arguments of `compute` from a body, hashable; the first is the text."""
    compute: Callable[..., dict[str, object]]


def _text(body: Mapping[str, object], key: str, missing: str) -> str:
    value = body.get(key)
    if value is None or value == "":
        raise _BadField(missing)
    if not isinstance(value, str):
        raise _BadField(f"{key.capitalize()} must be a string")
    return value


def _strings(body: Mapping[str, object], key: str) -> tuple[str, ...]:
    value = body.get(key)
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise _BadField(f"{key.capitalize()} must be a list of strings")
    return tuple(value)


def _or_default(value: object, default: object) -> object:
    return default if value is None else value


def _emotion_arguments(body: Mapping[str, object]) -> Arguments:
    return (_text(body, "text", "Text required for emotion analysis"),)


def _creative_arguments(body: Mapping[str, object]) -> Arguments:
    prompt = _text(body, "prompt", "Prompt required for creative generation")
    style = _or_default(body.get("style"), "balanced")
    if not isinstance(style, str):
        raise _BadField("Style must be a string")
    cycles = _or_default(body.get("cycles"), 1)
    if not isinstance(cycles, int) or isinstance(cycles, bool):
        raise _BadField("Cycles must be a whole number")
    return (prompt, style, _strings(body, "domains"), cycles)


def _reasoning_arguments(body: Mapping[str, object]) -> Arguments:
    return (
        _text(body, "reasoning", "Reasoning required for verification"),
        _strings(body, "premises"),
    )


ENDPOINTS = (
    Endpoint(
        "emotion",
        "emotions",
        "/api/v1/emotions/analyze",
        "Emotion Analysis",
        "Emotions analyzed",
        _emotion_arguments,
        analyze_emotion,
    ),
    Endpoint(
        "creative",
        "creative",
        "/api/v1/creative/generate",
        "Creative Generation",
        "Creative variations generated",
        _creative_arguments,
        generate_creative,
    ),
    Endpoint(
        "reasoning",
        "reasoning",
        "/api/v1/reasoning/verify",
        "Reasoning Verification",
        "Reasoning verified",
        _reasoning_arguments,
        verify_reasoning,
    ),
)


class TrafficRoute:
    """Answer one traffic endpoint."""

    def __init__(self, state: State, endpoint: Endpoint) -> None:
        self._state = state
        self._endpoint = endpoint
        settings = state.settings
        median: float = getattr(settings, f"{endpoint.name}_latency")
        self._median = median
        self._sigma = settings.latency_sigma
        self._fresh = _opening(endpoint.title, endpoint.message)
        self._cached = _opening(f"{endpoint.title} (Cached)", endpoint.message)

    def __call__(self, request: Request, now: float) -> Reply | Later:
        """Answer from the cache at once, or promise an answer after the simulated work."""
        state = self._state
        switches = state.switches
        endpoint = self._endpoint
        if switches.disabled and endpoint.path in switches.disabled:
            return state.failed(503, f"Endpoint disabled: {endpoint.path}")
        wait = 0.0
        remaining = -1
        if switches.rate_limit or state.lowered:
            wait, remaining, retry_after = self._limited(request.peer, now)
            if retry_after:
                return state.too_many(retry_after)
        try:
            arguments = endpoint.arguments(state.parse(request))
        except BadBody as error:
            return error.reply
        except _BadField as error:
            return state.rejected(str(error))
        key = (endpoint.name, arguments)
        off = bool(state.faults.faults) and state.faults.cache_is_off(endpoint.name)
        if off:
            state.cache.miss()
        else:
            entry = state.cache.get(key, now)
            if entry is not None:
                hit = entry.body
                if wait <= 0:
                    return self._reply(hit, remaining)
                return Later(wait, lambda: self._reply(hit, remaining))
        return Later(wait + self._work(), lambda: self._miss(arguments, remaining, store=not off))

    def _limited(self, peer: str, now: float) -> tuple[float, int, int]:
        """Return the delay, the tokens left (-1 = no address limit) and, if refused, when to retry.

        A request that one limit refuses has still used a token of the limit before it.
        """
        state = self._state
        wait, remaining = 0.0, -1
        if state.switches.rate_limit:
            allowed, wait, remaining, retry_after = state.limits.take(peer, now)
            if not allowed:
                return 0.0, 0, retry_after
        bucket = state.lowered.get(self._endpoint.service)
        if bucket is not None:
            grant = bucket.take(now)
            if not grant.allowed:
                return 0.0, 0, grant.retry_after
            wait = max(wait, grant.wait)
            remaining = grant.remaining if remaining < 0 else min(remaining, grant.remaining)
        return wait, remaining, 0

    def _work(self) -> float:
        """Draw the seconds of simulated work of one miss (lognormal around the median)."""
        if self._sigma <= 0 or self._median <= 0:
            return self._median
        return self._median * math.exp(self._sigma * self._state.random.gauss(0.0, 1.0))

    def _miss(self, arguments: Arguments, remaining: int, *, store: bool) -> Reply:
        state = self._state
        data = orjson.dumps(self._endpoint.compute(*arguments))
        if store:
            state.cache.set(
                (self._endpoint.name, arguments),
                b'%b%b,"cached":true}' % (self._cached, data),
                label=label_of(self._endpoint.name, arguments[0]),
                created_at=state.stamps.iso(),
                now=state.monotonic(),
            )
        return self._reply(b"%b%b}" % (self._fresh, data), remaining)

    def _reply(self, plain: bytes, remaining: int) -> Reply:
        reply = self._state.enveloped(plain)
        if remaining >= 0:
            reply.remaining = remaining
        return reply


def _opening(title: str, message: str) -> bytes:
    """Return the plain envelope up to its data."""
    return orjson.dumps({"success": True, "title": title, "message": message})[:-1] + b',"data":'
