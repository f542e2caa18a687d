"""The reference service: which handler answers a request, what faults do to it, and the books."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import httptools

from loadgate.staging.control import PREFIX, ControlRoutes
from loadgate.staging.faults import Decision, split_spec
from loadgate.staging.protocol import Later, Request
from loadgate.staging.replies import PREFLIGHT_HEADERS, Reply
from loadgate.staging.state import Handler, State
from loadgate.staging.system import SystemRoutes
from loadgate.staging.traffic import ENDPOINTS, TrafficRoute

_CONTROL = "(control)"
_OTHER = "other"


class Service:
    """Answer requests for the protocol; see `protocol.Application`."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.framer = state.framer
        self.max_body = state.settings.max_body
        self.keep_alive = state.settings.keep_alive
        self._control = ControlRoutes(state)
        self._routes = _routes(state)
        for spec in state.settings.faults:
            state.faults.add(split_spec(spec), state.started)

    def begin(self, request: Request) -> Reply | Later:
        """Count a request and answer it, or promise the answer."""
        state = self.state
        now = state.monotonic()
        request.begun = now
        name, handler = self._route(request)
        if name == _CONTROL:
            return self._control.answer(request, now)
        state.books.receive(name, request.peer)
        if request.too_large:
            handler = self._too_large
        if state.faults.faults:
            answer = self._begin_faulty(request, name, handler, now)
        else:
            answer = handler(request, now)
        if answer.__class__ is Reply:
            self._settle(request, answer)
        return answer

    def finish(self, request: Request, later: Later) -> Reply:
        """Make a promised answer."""
        reply = later.finish()
        self._settle(request, reply)
        return reply

    def abandon(self, request: Request) -> None:
        """Book a request as unanswered; one that had not begun is counted as received first."""
        if not request.route:
            name, _ = self._route(request)
            if name != _CONTROL:
                self.state.books.receive(name, request.peer)
        if request.route != _CONTROL:
            self.state.books.abandon(request.route)

    def refuse(self, status: int, error: str, peer: str) -> Reply:
        """Answer what is no HTTP request; it counts as received, under "other"."""
        self.state.books.receive(_OTHER, peer)
        self.state.books.answer(_OTHER, status, 0.0)
        return self.state.failed(status, error)

    # -- routing --

    def _route(self, request: Request) -> tuple[str, Handler]:
        target = request.target
        route = self._routes.get((request.method, target))
        if route is None:
            if target.startswith(PREFIX):
                request.route = _CONTROL
                return _CONTROL, self._not_found
            route = self._find(request.method, target)
        request.route = route[0]
        return route

    def _find(self, method: bytes, target: bytes) -> tuple[str, Handler]:
        """Find the route of a target with a query or a host; HEAD is answered where GET is."""
        try:
            path = httptools.parse_url(target).path or target
        except httptools.HttpParserInvalidURLError:
            path = target
        if method == b"OPTIONS":
            return _OTHER, self._preflight
        route = self._routes.get((b"GET" if method == b"HEAD" else method, path))
        return route if route is not None else (_OTHER, self._not_found)

    def _not_found(self, _request: Request, _now: float) -> Reply | Later:
        return self.state.failed(404, "Not found")

    def _preflight(self, _request: Request, _now: float) -> Reply | Later:
        return Reply(204, b"", extra=PREFLIGHT_HEADERS)

    def _too_large(self, _request: Request, _now: float) -> Reply | Later:
        reply = self.state.failed(
            413,
            "request entity too large",
            "PayloadTooLargeError: request entity too large\n"
            "    at readStream (/srv/app/node_modules/raw-body/index.js:156:17)",
        )
        reply.close = True
        return reply

    # -- faults --

    def _begin_faulty(self, request: Request, name: str, handler: Handler, now: float) -> Reply | Later:
        faults = self.state.faults
        decision = faults.decide(name)
        if decision.damage == "hang":
            return Later(math.inf, partial(self.state.failed, 500, "Hung"))
        if decision.damage == "error":
            error = "Service unavailable" if decision.status == 503 else "Internal server error"
            handler = partial(self._broken, decision.status, error)
        answer = handler(request, now)
        if isinstance(answer, Later):
            due, finish = now + answer.delay, answer.finish
        else:
            due, finish = now, partial(_identity, answer)
        due = faults.release(name, due + decision.delay)
        if due <= now:
            return _spoil(finish, decision)
        return Later(due - now, partial(_spoil, finish, decision))

    def _broken(self, status: int, error: str, _request: Request, _now: float) -> Reply | Later:
        return self.state.failed(status, error)

    # -- books --

    def _settle(self, request: Request, reply: Reply) -> None:
        if request.route == _CONTROL or reply.damage == "reset":
            return  # the end of the connection books a reset as unanswered
        state = self.state
        state.books.answer(request.route, reply.status, state.monotonic() - request.begun, reply.damage)


def _identity(reply: Reply) -> Reply:
    return reply


def _spoil(finish: Callable[[], Reply], decision: Decision) -> Reply:
    """Make the answer and damage it as decided."""
    reply = finish()
    reply.damage = decision.damage
    reply.drip = decision.drip
    if decision.damage == "malformed":
        reply.body = reply.body[: len(reply.body) * 2 // 3] + b'"<'
    elif decision.damage == "wrong_length":
        reply.by = decision.by
    return reply


def _routes(state: State) -> dict[tuple[bytes, bytes], tuple[str, Handler]]:
    system = SystemRoutes(state)
    routes: dict[tuple[bytes, bytes], tuple[str, Handler]] = {
        (b"POST", endpoint.path.encode()): (endpoint.name, TrafficRoute(state, endpoint))
        for endpoint in ENDPOINTS
    }
    routes[b"GET", b"/health"] = ("health", system.health)
    routes[b"GET", b"/api/v1/cache/stats"] = ("cache", system.cache_stats)
    routes[b"GET", b"/api/v1/system/processes"] = ("processes", system.processes)
    routes[b"POST", b"/api/v1/system/disable-endpoint"] = ("disable", system.disable)
    routes[b"POST", b"/api/v1/system/enable-endpoint"] = ("enable", system.enable)
    routes[b"POST", b"/api/v1/system/rate-limit"] = ("rate-limit", system.rate_limit)
    routes[b"GET", b"/web-app/dashboard.html"] = ("dashboard", system.dashboard)
    return routes
