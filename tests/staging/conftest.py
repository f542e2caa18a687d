"""A running staging service that each test finds as it was when it started."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import httpx
import pytest

from loadgate.staging.server import StagingService
from loadgate.staging.settings import Settings
from loadgate.staging.traffic import ENDPOINTS


@pytest.fixture(scope="session")
def running_service() -> Iterator[StagingService]:
    """Start one service for the session; its work takes a millisecond, its limits are patient."""
    quick = {"emotion_latency": 0.001, "creative_latency": 0.001, "reasoning_latency": 0.001}
    with StagingService(rate_patience=30.0, **quick) as service:
        yield service


@pytest.fixture(scope="session")
def running_client(running_service: StagingService) -> Iterator[httpx.Client]:
    """Give one HTTP client for the session; making one takes longer than most tests."""
    with httpx.Client(base_url=running_service.url, timeout=5) as client:
        yield client


@pytest.fixture
def service(running_service: StagingService, running_client: httpx.Client) -> Iterator[StagingService]:
    """Give the session's service; undo afterwards what the test switched."""
    yield running_service
    running_service.clear_faults()
    defaults = Settings()
    running_service.change(
        envelope=defaults.envelope,
        uptime=defaults.uptime,
        cache_stats="on",
        processes="full",
        dashboard="on",
        leak_stack=True,
        rate_limit=False,
    )
    for endpoint in ENDPOINTS:
        body = {"endpoint": endpoint.path}
        running_client.post("/api/v1/system/enable-endpoint", json=body).raise_for_status()
    running_client.post("/api/v1/system/rate-limit", json={"rateLimit": None}).raise_for_status()


@pytest.fixture
def client(service: StagingService, running_client: httpx.Client) -> httpx.Client:
    """Give an HTTP client of the session's service."""
    return running_client


@pytest.fixture
def connect(service: StagingService) -> Iterator[Callable[[], socket.socket]]:
    """Give a function that opens raw connections to the session's service."""
    opened: list[socket.socket] = []

    def opener() -> socket.socket:
        opened.append(socket.create_connection((service.host, service.port), timeout=5))
        return opened[-1]

    yield opener
    for sock in opened:
        sock.close()
