"""Run stock Locust with Loadgate's plugin against the reference staging service, as users do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from locust_run import LocustRun, unused_port

from loadgate.staging.server import StagingService


@pytest.fixture(scope="session")
def service() -> Iterator[StagingService]:
    with StagingService() as running:
        yield running


@pytest.fixture
def fresh_service() -> Iterator[StagingService]:
    """A service of the test's own, whose books start at zero."""
    with StagingService() as running:
        yield running


@pytest.fixture
def locust(tmp_path: Path, service: StagingService) -> Iterator[LocustRun]:
    run = LocustRun(tmp_path, service.url)
    yield run
    run.end()


@pytest.fixture
def free_port() -> int:
    return unused_port()
