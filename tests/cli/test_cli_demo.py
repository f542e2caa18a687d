"""`loadgate demo`, and stock `locust` runs judged by `loadgate verdict`."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
STAGING_SLA = ROOT / "scenarios" / "sla" / "staging.toml"
pytestmark = pytest.mark.system

SLOW_ROWS = """
    [[objective]]
    metric = "error_rate"
    target = "< 0.1%"
    every  = "30s"

    [[objective]]
    metric = "uptime"
    target = ">= 99%"
    every  = "30s"
"""


def service_of(err: str) -> psutil.Process | None:
    """Return the process that the demo said is its service, if it still runs."""
    pid = int(re.search(r"reference staging service: \S+ \(pid (\d+)\)", err)[1])
    try:
        process = psutil.Process(pid)
        return process if "loadgate.staging" in process.cmdline() else None
    except psutil.Error:
        return None


def test_the_demo_runs_a_shipped_scenario_and_stops_its_service(loadgate) -> None:
    """The exit code is that of verdict.json, and nothing is left running."""
    running = loadgate.start("demo", "--scenario", "smoke", "--json")
    done = running.wait()
    verdict = running.verdict()
    assert done.code == verdict["exit_code"], done
    assert done.json == verdict
    assert (verdict["scenario"], verdict["ended"]) == ("smoke", "planned")
    assert len(verdict["objectives"]) == 8
    assert service_of(done.err) is None
    assert running.left() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_stops_its_service_too(loadgate, number) -> None:
    """Exit 130, judged, nothing left running."""
    running = loadgate.start("demo", "--scenario", "smoke")
    running.until_answered(5)
    running.process.send_signal(number)
    done = running.wait(20).expect(130, out="interrupted")
    assert service_of(done.err) is None
    assert running.left() == []


def test_the_demo_knows_only_the_shipped_scenarios(loadgate) -> None:
    """An unknown one is told with exit 2 and the names that there are."""
    loadgate.run("demo", "--scenario", "smok").expect(2, out="", err="(?s)smok.*smoke")


def test_a_stock_run_is_judged_by_a_table_named_later(loadgate, service) -> None:
    """`locust -f ... --headless`, no plan: rows that need probes are INVALID and say so."""
    done = subprocess.run(
        [
            *[sys.executable, "-m", "locust", "-f", str(ROOT / "locustfiles" / "staging.py"), "--headless"],
            *["-u", "50", "-r", "50", "-t", "6s", "-H", service.url, "--only-summary"],
        ],
        cwd=loadgate.folder,
        env=os.environ | {"LOADGATE_RESULTS": str(loadgate.folder / "results")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    judged = loadgate.start("verdict", "latest", "--sla", loadgate.write("later.toml", SLOW_ROWS))
    judged.wait().expect(30, out=r"^INVALID ")
    rows = {row["name"]: row for row in judged.verdict()["objectives"]}
    assert rows["error_rate"]["n"] > 100
    assert rows["error_rate"]["value"] == 0
    assert rows["uptime"]["verdict"] == "INVALID"
    assert rows["uptime"]["reason"]
    loadgate.run("verdict", "latest", "--sla", STAGING_SLA).expect(
        30, out=r"of 9 objectives INVALID: .*uptime"
    )
    loadgate.run("runs").expect(0, out=r"locust-\d+-\d+ +INVALID .*planned +closed")
