"""The control routes under /_staging: faults, switches and the service's own books; loopback only."""

from __future__ import annotations

import os
from collections.abc import Mapping
from urllib.parse import parse_qs

import orjson

from loadgate.errors import UsageError
from loadgate.staging.protocol import Request
from loadgate.staging.replies import Reply
from loadgate.staging.state import State

PREFIX = b"/_staging/"


def is_loopback(address: str) -> bool:
    """Say whether a peer address is of this machine's loopback."""
    return address.startswith(("127.", "::ffff:127.")) or address == "::1"


class ControlRoutes:
    """Answer the control routes. They are neither counted nor spoiled by faults."""

    def __init__(self, state: State) -> None:
        self._state = state

    def answer(self, request: Request, now: float) -> Reply:
        """Answer any control request; 403 to other machines and to web pages."""
        state = self._state
        if not is_loopback(request.peer) or b"origin" in request.headers:
            reply = state.json({"ok": False, "error": "Control is for this machine only"}, 403)
        else:
            path, _, query = request.target[len(PREFIX) :].partition(b"?")
            try:
                reply = self._routed(request, path, query, now)
            except UsageError as error:
                reply = state.json({"ok": False, "error": error.message, "hint": error.hint}, 400)
        reply.cors = False
        return reply

    def _routed(self, request: Request, path: bytes, query: bytes, now: float) -> Reply:
        state = self._state
        method = request.method
        if path == b"counts" and method in (b"GET", b"HEAD"):
            return state.json(
                {
                    "pid": os.getpid(),
                    "since": state.started_at,
                    "uptime": round(now - state.started, 3),
                    **state.books.counts(),
                }
            )
        if path == b"faults" and method in (b"GET", b"HEAD"):
            return self._faults()
        if path == b"faults" and method == b"POST":
            return self._add(request.body, now)
        if path == b"faults" and method == b"DELETE":
            return self._clear(query.decode("latin-1"))
        if path == b"settings" and method in (b"GET", b"HEAD"):
            return state.json(state.switches.to_dict())
        if path == b"settings" and method == b"POST":
            state.switches.change(_object(request.body))
            return state.json(state.switches.to_dict())
        return state.failed(404, "Not found")

    def _faults(self) -> Reply:
        return self._state.json({"faults": [fault.to_dict() for fault in self._state.faults.faults]})

    def _add(self, body: bytes, now: float) -> Reply:
        """Switch on one fault, or each of a list; none when one of them is wrong."""
        faults = self._state.faults
        value = _json(body)
        before = faults.faults
        try:
            for item in value if isinstance(value, list) else [value]:
                if not isinstance(item, dict):
                    raise UsageError("a fault is a JSON object", hint='For example {"kind": "error"}.')
                faults.add(item, now)
        except UsageError:
            faults.faults = before
            raise
        return self._faults()

    def _clear(self, query: str) -> Reply:
        given = parse_qs(query)
        kind = given["kind"][0] if "kind" in given else None
        number = None
        if "id" in given:
            if not given["id"][0].isdecimal():
                raise UsageError("`id` is not a number", hint="GET /_staging/faults lists the ids.")
            number = int(given["id"][0])
        cleared = self._state.faults.clear(kind, number)
        left = [fault.to_dict() for fault in self._state.faults.faults]
        return self._state.json({"cleared": cleared, "faults": left})


def _json(body: bytes) -> object:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise UsageError(f"the body is not JSON: {error}", hint="Send one JSON object.") from error


def _object(body: bytes) -> Mapping[str, object]:
    value = _json(body)
    if not isinstance(value, dict):
        raise UsageError("the body is not a JSON object", hint='For example {"envelope": "plain"}.')
    return value
