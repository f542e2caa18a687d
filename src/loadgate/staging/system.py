"""The system endpoints of the reference service: health, cache statistics, processes, rollback steps."""

from __future__ import annotations

import os

from loadgate.staging.page import DASHBOARD
from loadgate.staging.protocol import Later, Request
from loadgate.staging.replies import HTML_TYPE, Reply, entity_tag
from loadgate.staging.state import BadBody, State
from loadgate.staging.traffic import ENDPOINTS

_PATHS = {endpoint.path: endpoint.service for endpoint in ENDPOINTS}
_SERVICES = tuple(endpoint.service for endpoint in ENDPOINTS)
_DASHBOARD_TAG = entity_tag(DASHBOARD)


class SystemRoutes:
    """Answer the system endpoints; each method is the handler of one route."""

    def __init__(self, state: State) -> None:
        self._state = state

    def health(self, _request: Request, now: float) -> Reply | Later:
        """Answer GET /health; `uptime` is in milliseconds or seconds, as switched."""
        state = self._state
        uptime = now - state.started
        in_ms = state.switches.uptime == "ms"
        return state.json(
            {
                "ok": True,
                "service": "web-server",
                "time": state.stamps.iso(),
                "uptime": int(uptime * 1000) if in_ms else round(uptime, 3),
                "ready": True,
                "metrics": state.books.health_metrics(),
            }
        )

    def cache_stats(self, _request: Request, _now: float) -> Reply | Later:
        """Answer GET /api/v1/cache/stats, or 502 where this release has no route to it."""
        state = self._state
        if state.switches.cache_stats == "no_proxy":
            return state.json({"ok": False, "error": "No proxy target configured"}, 502)
        return state.success("Cache Statistics", "Cache statistics retrieved", state.cache.stats())

    def processes(self, _request: Request, _now: float) -> Reply | Later:
        """Answer GET /api/v1/system/processes; `memory` is in bytes, `cpu` in percent of one core."""
        state = self._state
        if state.switches.processes == "down":
            return state.failed(500, "Orchestrator unavailable")
        process: dict[str, object] = {
            "name": "web-server",
            "port": state.port,
            "health_endpoint": "/health",
            "healthy": True,
            "latency": 0,
            "lastCheck": state.stamps.iso(),
            "uptimePercent": 100,
            "avgLatency": state.books.health_metrics()["avgLatency"],
        }
        if state.switches.processes == "full":
            process["pid"] = os.getpid()
            process["memory"] = state.vitals.memory()
            process["cpu"] = state.vitals.cpu_percent()
            process["cpuSeconds"] = round(state.vitals.cpu_seconds(), 3)
        return state.json({"timestamp": state.stamps.iso(), "processes": [process]})

    def disable(self, request: Request, _now: float) -> Reply | Later:
        """Answer POST /api/v1/system/disable-endpoint; doing it twice is the same as once."""
        return self._switch(request, enabled=False)

    def enable(self, request: Request, _now: float) -> Reply | Later:
        """Answer POST /api/v1/system/enable-endpoint."""
        return self._switch(request, enabled=True)

    def _switch(self, request: Request, *, enabled: bool) -> Reply:
        state = self._state
        try:
            path = state.parse(request).get("endpoint")
        except BadBody as error:
            return error.reply
        if not path:
            return state.rejected("Endpoint required")
        if not isinstance(path, str) or path not in _PATHS:
            return state.rejected(f"Unknown endpoint; one of: {', '.join(_PATHS)}")
        if enabled:
            state.switches.disabled.discard(path)
        else:
            state.switches.disabled.add(path)
        done = "enabled" if enabled else "disabled"
        return state.success(f"Endpoint {done}", f"{path} is {done}", {"endpoint": path, "enabled": enabled})

    def rate_limit(self, request: Request, _now: float) -> Reply | Later:
        """Answer POST /api/v1/system/rate-limit: limit one service, or all without `service`.

        `rateLimit` is in requests per second over all clients; null lifts the limit again.
        """
        state = self._state
        try:
            body = state.parse(request)
        except BadBody as error:
            return error.reply
        if "rateLimit" not in body:
            return state.rejected("rateLimit required")
        rate = body["rateLimit"]
        if rate is not None and (isinstance(rate, bool) or not isinstance(rate, int | float) or rate <= 0):
            return state.rejected("rateLimit must be a number above 0, or null to lift it")
        service = body.get("service")
        if service is not None and service not in _SERVICES:
            return state.rejected(f"Unknown service; one of: {', '.join(_SERVICES)}")
        for name in _SERVICES if service is None else (str(service),):
            state.lower(name, None if rate is None else float(rate))
        return state.success(
            "Rate limit updated",
            f"Rate limit of {service or 'all services'} is {'lifted' if rate is None else rate}",
            {"service": service, "rateLimit": rate},
        )

    def dashboard(self, request: Request, _now: float) -> Reply | Later:
        """Answer GET /web-app/dashboard.html."""
        state = self._state
        if state.switches.dashboard == "off":
            return state.failed(404, "Not found")
        if request.headers.get(b"if-none-match") == _DASHBOARD_TAG:
            return Reply(304, b"", extra=b"ETag: %b\r\n" % _DASHBOARD_TAG)
        return Reply(200, DASHBOARD, int(state.settings.rate_capacity), HTML_TYPE)
