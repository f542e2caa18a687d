"""Runs started and stopped from Locust's web UI: one run a start, each kept and complete."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from loadgate.staging.server import StagingService
from loadgate.store.database import RunReader
from loadgate.store.folder import list_runs

pytestmark = pytest.mark.system
ENDPOINTS = ("creative", "emotion", "reasoning")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def web(tmp_path: Path, service: StagingService, free_port: int) -> Iterator[httpx.Client]:
    command = [
        *[sys.executable, "-m", "locust", "-f", str(ROOT / "locustfiles" / "staging.py")],
        *["--web-host", "127.0.0.1", "--web-port", str(free_port), "--host", service.url],
    ]
    environment = os.environ | {"LOADGATE_RESULTS": str(tmp_path / "results")}
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdin=subprocess.DEVNULL, start_new_session=True
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{free_port}", timeout=20, trust_env=False) as client:
            until(lambda: client.get("/").status_code == 200)
            yield client
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def until(condition, timeout: float = 30.0) -> None:
    """Wait until a condition holds; what it raises meanwhile means not yet."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        try:
            if condition():
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise AssertionError("the condition did not come true")


def shown(web: httpx.Client) -> dict[str, int]:
    rows = web.get("/stats/requests").json()["stats"]
    return {row["name"]: row["num_requests"] for row in rows if row["name"] in ENDPOINTS}


def ended(root: Path) -> list[str | None]:
    states = []
    for run in list_runs(root):
        with RunReader(run.database) as reader:
            states.append(reader.value("ended", None))
    return states


def test_each_start_from_the_web_page_is_a_run_of_its_own(
    web: httpx.Client, service: StagingService, tmp_path: Path
) -> None:
    """Two starts and stops make two complete runs, and the page's counts are those of the run."""
    root = tmp_path / "results"
    for number in (1, 2):
        web.post("/swarm", data={"user_count": 4, "spawn_rate": 4, "host": service.url})
        until(lambda: web.get("/stats/requests").json()["total_rps"] > 0)
        assert web.post("/stop").status_code == 200
        until(lambda n=number: ended(root).count("planned") == n)
        with RunReader(list_runs(root)[-1].database) as reader:
            kept = {name: reader.total(endpoint=name).counts["ok"] for name in ENDPOINTS}
        assert min(kept.values()) > 0
        # Locust keeps the page's numbers for two seconds, so the last ones come a little later.
        until(lambda kept=kept: shown(web) == kept)
    assert ended(root) == ["planned", "planned"]
