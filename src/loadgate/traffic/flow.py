"""The client of flows: task methods that send several requests themselves.

In the open model the first request of a flow is measured from the arrival's intended start, and
each later one from its send, because when it should have started depends on the answers before
it. Each later request counts as an arrival of its own.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from gevent import GreenletExit

from loadgate.errors import UsageError
from loadgate.traffic import values
from loadgate.traffic.job import Job, draws_repeat
from loadgate.traffic.tasks import Check, Kind
from loadgate.traffic.user_code import AFTER_FAILURE
from loadgate.traffic.values import Request, Response

if TYPE_CHECKING:
    from loadgate.traffic.driver import Driver


class FlowClient:
    """Send requests from within a task method: `self.client.post("/path", json={...})`.

    `name` is the endpoint that the request counts under (the path when not given), `check` looks
    at the answer as for `@request`.
    """

    def __init__(self, driver: Driver, persona: Any) -> None:
        self._driver = driver
        self._persona = persona
        self._jobs: dict[tuple[str, Check | None], Job] = {}
        self._due: float | None = None
        self._pool_wait = 0.0
        self._sent = 0

    def get(self, path: str, **options: Any) -> Response:
        """Send a GET request; see `request` for the options."""
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> Response:
        """Send a POST request; see `request` for the options."""
        return self.request("POST", path, **options)

    def put(self, path: str, **options: Any) -> Response:
        """Send a PUT request; see `request` for the options."""
        return self.request("PUT", path, **options)

    def patch(self, path: str, **options: Any) -> Response:
        """Send a PATCH request; see `request` for the options."""
        return self.request("PATCH", path, **options)

    def delete(self, path: str, **options: Any) -> Response:
        """Send a DELETE request; see `request` for the options."""
        return self.request("DELETE", path, **options)

    def head(self, path: str, **options: Any) -> Response:
        """Send a HEAD request; see `request` for the options."""
        return self.request("HEAD", path, **options)

    def request(
        self, method: str, path: str, *, name: str | None = None, check: Check | None = None, **options: Any
    ) -> Response:
        """Send one request and return its answer, good or not.

        Options are those of the request values: `json`, `body`, `headers`, `timeout`.
        """
        make = getattr(values, method.capitalize(), None)
        if make is None:
            raise UsageError(f"{method} is not a method this client sends")
        return self.send(make(path, **options), name=name, check=check)

    def send(self, value: Request, *, name: str | None = None, check: Check | None = None) -> Response:
        """Send a request value."""
        job = self._job(name or value.path.partition("?")[0], check)
        due, pool_wait, self._due, self._pool_wait = self._due, self._pool_wait, None, 0.0
        if due is not None:
            job.arrive(due)
        self._sent += 1
        return self._driver.send(job, value, check, due, pool_wait, draws_repeat(job.corpora))

    def run(self, job: Job, due: float | None, pool_wait: float) -> None:
        """Carry out a flow's task method; a flow that raises before it sends is a failed arrival."""
        self._due, self._pool_wait, self._sent = due, pool_wait, 0
        try:
            job.function(self._persona)
        except GreenletExit:
            if self._due is not None:
                self._driver.engine.recorder.unsent(job.kind.name, self._due, "pool", time.monotonic())
                job.arrive(self._due)
            raise
        except Exception as error:  # noqa: BLE001 - the user's own code may raise anything
            # What follows from an answer that failed is the target's failure.
            follows = self._sent and self._driver.last_failed
            told = f"{AFTER_FAILURE}: {type(error).__name__}" if follows else ""
            self._driver.record_exception(job, self._due, self._pool_wait, error, told=told)
        else:
            if not self._sent and due is not None:
                self._driver.record_exception(job, due, pool_wait, UsageError("the flow sent no request"))

    def _job(self, endpoint: str, check: Check | None) -> Job:
        job = self._jobs.get((endpoint, check))
        if job is None:
            user_class = type(self._persona)
            kind = Kind(endpoint, user_class, lambda _: None, check, False, 1.0)
            job = self._jobs[endpoint, check] = self._driver.engine.job(kind)
        return job
