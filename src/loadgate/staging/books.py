"""The reference service's own books: what it received and what it answered, since its start."""

from __future__ import annotations

_MOST_SOURCES = 10_000
OVERFLOW = "(overflow)"
UNANSWERED = "unanswered"
_NO_STATUS = 0  # how "unanswered" is kept inside


class Books:
    """Count requests per route, status and source address.

    For each route: received = the sum of its statuses + those still in progress. `unanswered` is the
    status of a request whose connection ended before an answer began (a reset, a hang, a client
    that went away). An answer that was sent damaged counts under its status, and under `damaged` too.
    """

    def __init__(self) -> None:
        self.connections = 0
        self._received: dict[str, int] = {}
        self._statuses: dict[tuple[str, int], int] = {}
        self._damaged: dict[tuple[str, str], int] = {}
        self._sources: dict[str, int] = {}
        self._answered = 0
        self._latency = 0.0

    def receive(self, route: str, source: str) -> None:
        """Count one request that arrived whole."""
        self._received[route] = self._received.get(route, 0) + 1
        sources = self._sources
        if source in sources:
            sources[source] += 1
        elif len(sources) < _MOST_SOURCES:
            sources[source] = 1
        else:
            sources[OVERFLOW] = sources.get(OVERFLOW, 0) + 1

    def answer(self, route: str, status: int, seconds: float, damage: str = "") -> None:
        """Count one answer, `seconds` after its request was received; `damage` names what a fault did."""
        key = (route, status)
        self._statuses[key] = self._statuses.get(key, 0) + 1
        self._answered += 1
        self._latency += seconds
        if damage:
            self._damaged[route, damage] = self._damaged.get((route, damage), 0) + 1

    def abandon(self, route: str) -> None:
        """Count one request that will never be answered."""
        key = (route, _NO_STATUS)
        self._statuses[key] = self._statuses.get(key, 0) + 1

    def counts(self) -> dict[str, object]:
        """Return the books for `GET /_staging/counts`."""
        routes: dict[str, object] = {}
        for route, received in self._received.items():
            statuses = {_shown(status): n for (name, status), n in self._statuses.items() if name == route}
            routes[route] = {
                "received": received,
                "statuses": statuses,
                "in_progress": received - sum(statuses.values()),
                "damaged": {damage: n for (name, damage), n in self._damaged.items() if name == route},
            }
        return {
            "received": sum(self._received.values()),
            "connections": self.connections,
            "routes": routes,
            "sources": dict(self._sources),
        }

    def health_metrics(self) -> dict[str, object]:
        """Return the `metrics` of the health answer; `avgLatency` is in milliseconds."""
        errors = {
            _shown(status): sum(n for (_, other), n in self._statuses.items() if other == status)
            for status in sorted({status for _, status in self._statuses})
            if status == _NO_STATUS or status >= 400
        }
        failed = sum(errors.values())
        total = sum(self._received.values())
        answered = sum(self._statuses.values())
        return {
            "requests": total,
            "successfulRequests": answered - failed,
            "errors": failed,
            "avgLatency": round(1000 * self._latency / self._answered, 2) if self._answered else 0,
            "errorsByCode": errors,
        }


def _shown(status: int) -> str:
    return UNANSWERED if status == _NO_STATUS else str(status)
