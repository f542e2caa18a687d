"""The control: about one request a second to a null server, over the very client that makes the load.

The null server does nothing and is on the same machine, so what a control request takes is the generator's
own: the event loop's wait at the start and at the answer, the client, and the machine's scheduling. If it
takes long, so did every other request of that second, whatever the target did. It is no request of the run:
neither the books nor Locust's statistics know of it.

It is timed as requests are, from the moment it was due, which a timer descriptor keeps to some tens of
microseconds. The moments are drawn at random, 0.5 to 1.5 s apart: at a fixed spacing they would always meet,
or always miss, what a worker does once a second.
"""

from __future__ import annotations

import logging
import random
import time
from typing import Any, Final, NamedTuple

import gevent
from gevent import get_hub

from loadgate.measure.histogram import Histogram
from loadgate.swarm.null_server import NullServer
from loadgate.traffic.http.client import HttpClient
from loadgate.traffic.http.settings import ClientSettings
from loadgate.traffic.pacer import Pacer
from loadgate.traffic.tasks import judge_answer
from loadgate.traffic.values import Post, Response

SPACING: Final = (0.5, 1.5)
"""Seconds between two control requests, drawn evenly: one a second on average."""
_TIMEOUT: Final = 5.0
_QUESTION: Final = {"text": "How long does this take when there is nothing to do?"}
_log = logging.getLogger("loadgate.swarm")


class ControlReading(NamedTuple):
    """The control requests that ended: how many, how many without an answer, and the others' latency (µs)."""

    n: int = 0
    failures: int = 0
    p50_us: float = 0.0
    p99_us: float = 0.0


class Control:
    """Make control requests from `start` until `close`; `worker` seeds the moments they are made at."""

    def __init__(self, worker: str) -> None:
        self._draw = random.Random(f"control {worker}")
        self._server: NullServer | None = None
        self._client: HttpClient | None = None
        self._latencies: list[float] = []
        self._failures = 0
        self._told = False
        self._greenlet: gevent.Greenlet | None = None
        self._pacer: Pacer | None = None
        self._waits = False
        self._ensure_server()

    def start(self) -> None:
        """Begin, after a first request that only opens the connection."""
        if self._greenlet is None:
            self._pacer = Pacer(self._wake)
            self._greenlet = gevent.spawn(self._run)

    def take(self) -> ControlReading:
        """Return what ended since the last call."""
        latencies, self._latencies = self._latencies, []
        failures, self._failures = self._failures, 0
        if not latencies:
            return ControlReading(failures, failures)
        histogram = Histogram()
        histogram.record_many([round(seconds * 1e6) for seconds in latencies])
        return ControlReading(
            len(latencies) + failures,
            failures,
            float(histogram.percentile(5000) or 0.0),
            float(histogram.percentile(9900) or 0.0),
        )

    def close(self) -> None:
        """End the requests and the null server; again is fine."""
        if self._greenlet is not None:
            self._greenlet.kill()
        if self._pacer is not None:
            self._pacer.close()
        if self._client is not None:
            self._client.close()
        if self._server is not None:
            self._server.close()
            self._server = None

    def _run(self) -> None:
        self._ask()
        while True:
            due = time.monotonic() + self._draw.uniform(*SPACING)
            self._wait_until(due)
            response = self._ask()
            if failure := _failure_of(response):
                self._note_failure(failure)
            else:
                self._latencies.append(max(response.ended - due, 0.0))

    def _wait_until(self, due: float) -> None:
        assert self._pacer is not None
        self._pacer.arm(due)
        self._waits = True
        try:
            get_hub().switch()
        finally:
            self._waits = False

    def _wake(self) -> None:
        if self._waits and self._greenlet is not None:
            self._greenlet.switch()

    def _ask(self) -> Response:
        """Make one request; where there is no null server, it fails like one that nobody takes."""
        if self._client is not None:
            return self._client.exchange(Post("/control", json=_QUESTION))
        response = Response()
        response.failure = "there is no null server"
        return response

    def _note_failure(self, failure: str) -> None:
        self._failures += 1
        if not self._told:
            self._told = True
            _log.warning("a control request failed: %s (logged once)", failure)
        if self._server is None or self._server.ended():
            self._ensure_server()

    def _ensure_server(self) -> None:
        """Start a null server, or another one where it is gone; without one every request fails."""
        if self._client is not None:
            self._client.close()
        self._server = self._client = None
        try:
            self._server = NullServer()
        except OSError as error:
            _log.warning("the null server of the control cannot be started: %s", error)
            return
        self._client = HttpClient(ClientSettings(self._server.url, connect_timeout=2.0, timeout=_TIMEOUT))


def _failure_of(response: Response) -> str | None:
    """Return why a control request failed, by the same check path as any request's; None for a good one."""
    return response.failure or judge_answer(_check, response)


def _check(response: Response) -> str | None:
    answer: Any = response.json()
    return None if response.status == 200 and answer["ok"] is True else "not the null server's answer"
