"""`loadgate run --distributed` and `loadgate worker`: many hosts, here all on loopback."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

import pytest

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def master(loadgate, service, port: int, *more: str, hold: str = "4s", workers: int = 2):
    scenario = loadgate.scenario(service.url, rate=100, hold=hold)
    where = ("--distributed", "--expect-workers", str(workers), "--bind", f"127.0.0.1:{port}")
    return loadgate.start("run", scenario, *where, *more)


def test_workers_elsewhere_make_the_load_of_one_run(loadgate, service, port: int) -> None:
    """Two workers share 400 arrivals; each finds the master's locustfile by itself and ends with exit 0."""

    def attempt():
        running = master(loadgate, service, port)
        workers = [loadgate.start("worker", "--master", f"127.0.0.1:{port}", cwd=ROOT) for _ in range(2)]
        done = running.wait(60)
        assert [worker.wait(20).code for worker in workers] == [0, 0]
        return running, done

    running, done = loadgate.quiet(attempt)
    done.expect(0, out="PASS", err=rf"waiting up to \S+ for 2 worker\(s\) at 127\.0\.0\.1:{port}")
    verdict = running.verdict()
    assert verdict["books"]["run"]["*"]["arrivals"] == verdict["books"]["run"]["*"]["ok"] == 400
    assert verdict["generator"]["workers_expected"] == len(verdict["generator"]["workers"]) == 2


def test_expected_workers_that_do_not_come_are_counted(loadgate, service, port: int) -> None:
    """One of two came within 15 s: exit 30, and both numbers are said."""
    running = master(loadgate, service, port, "--wait", "15s")
    worker = loadgate.start("worker", "--master", f"127.0.0.1:{port}", cwd=ROOT)
    running.wait(60).expect(30, err="1 of 2 expected workers came within 15 s")
    assert worker.wait(30).code == 0


def test_a_worker_without_a_master_says_where_it_looked(loadgate, port: int) -> None:
    """It tries for as long as it was told, says so meanwhile, and exits 40."""
    done = loadgate.run("worker", "--master", f"127.0.0.1:{port}", "--wait", "3s")
    done.expect(40, out="", err=f"no master answers at 127.0.0.1:{port} yet")
    assert f"no master answered at 127.0.0.1:{port} within 3 s" in done.err


def test_a_worker_with_another_locustfile_is_refused_with_both_shown(
    loadgate, service, port, tmp_path
) -> None:
    """One changed line in its copy: exit 2 there, and the master waits on for one that has the same."""
    copy = tmp_path / "copy"
    shutil.copytree(ROOT / "locustfiles", copy)
    with (copy / "emotion.py").open("a", encoding="utf-8") as file:
        file.write("\n# last week's\n")
    running = master(loadgate, service, port, "--wait", "20s", workers=1)
    address = ("worker", "--master", f"127.0.0.1:{port}", "--locustfile")
    stranger = loadgate.start(*address, str(copy / "staging.py")).wait(40)
    stranger.expect(2, err=r"emotion\.py differs: [0-9a-f]{12} on the master, [0-9a-f]{12} on this worker")
    good = loadgate.start(*address, str(ROOT / "locustfiles" / "staging.py"))
    assert running.wait(60).code in (0, 30)  # on a busy machine the run may be void
    assert good.wait(20).code == 0
    log = (running.folder_of_run().logs / "master.log").read_text(encoding="utf-8")
    assert "emotion.py differs" in log


def test_an_address_that_others_reach_needs_a_secret(loadgate, service) -> None:
    """Nothing is started; the line that makes one is shown."""
    scenario = loadgate.scenario(service.url)
    for variable in ("LOADGATE_SECRET", "LOADGATE_SECRET_FILE"):
        assert variable not in os.environ
    done = loadgate.run("run", scenario, "--distributed", "--expect-workers", "1", "--bind", "0.0.0.0:5557")
    done.expect(2, err="export LOADGATE_SECRET=")
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--bind", "127.0.0.1"], "go with --distributed"),
        (["--distributed", "--workers", "2"], "say --expect-workers N"),
        (["--distributed", "--bind", "nowhere:x"], "is not an address"),
        (["--distributed", "--wait", "5"], "unit"),
    ],
)
def test_options_that_do_not_go_together_are_refused(loadgate, service, words: list[str], said: str) -> None:
    """Exit 2, and what to write instead."""
    loadgate.run("run", loadgate.scenario(service.url), *words).expect(2, err=said)
