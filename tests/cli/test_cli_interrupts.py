"""Ctrl-C and SIGTERM, before the load, during it, and twice."""

from __future__ import annotations

import os
import signal
import time

import psutil
import pytest

from loadgate.store.database import RunReader

pytestmark = pytest.mark.system

SLOW = """
    import time

    time.sleep(60)
"""


def assert_books_balance(running) -> None:
    """Hold the arrivals of every endpoint against how they ended."""
    with RunReader(running.folder_of_run().database) as reader:
        assert reader.total().counts["ok"] >= 30
        for endpoint in reader.endpoints():
            assert reader.total(endpoint=endpoint).imbalance == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_load_and_what_was_measured_is_judged(loadgate, service, number) -> None:
    """Exit 130 whatever the verdict; it is stored, says the same, and the books balance."""
    running = loadgate.start("run", loadgate.scenario(service.url, hold="60s"))
    running.until_answered()
    running.process.send_signal(number)
    running.wait(20).expect(130, out="interrupted", err="Ctrl-C again leaves at once")
    verdict = running.verdict()
    assert (verdict["ended"], verdict["exit_code"]) == ("interrupted", 130)
    assert verdict["verdict"] != "PASS"
    assert_books_balance(running)
    assert running.left() == []


def test_a_second_signal_leaves_at_once_with_a_readable_run(loadgate, fresh_service) -> None:
    """With requests that hang, the first signal waits for them (30 s) and the second does not."""
    running = loadgate.start("run", loadgate.scenario(fresh_service.url, hold="60s", timeout="30s"))
    running.until_answered()
    fresh_service.add_fault("hang")
    time.sleep(0.5)
    running.process.send_signal(signal.SIGINT)
    time.sleep(1)
    assert running.process.poll() is None
    began = time.monotonic()
    running.process.send_signal(signal.SIGINT)
    running.wait(20).expect(130)
    assert time.monotonic() - began < 5
    assert running.left() == []
    assert running.verdict()["ended"] == "interrupted"
    loadgate.run("verdict", "latest").expect(130, out="interrupted")
    loadgate.run("runs").expect(0, out="interrupted")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_the_checks_leaves_nothing(loadgate, service, number) -> None:
    """While the locustfile is imported there is no run yet: exit 130, and no folder."""
    locustfile = loadgate.write("slow.py", SLOW)
    running = loadgate.start("run", loadgate.scenario(service.url, locustfile=locustfile))
    command = psutil.Process(running.process.pid)
    running.until(command.children, "the check of the locustfile")
    running.process.send_signal(number)
    running.wait(10).expect(130, out="", err="interrupted")
    assert not running.results.exists()
    assert running.left() == []


def test_ctrl_c_at_a_terminal_during_the_checks_is_an_interrupt_too(loadgate, service) -> None:
    """There the whole process group gets the signal: not the locustfile is at fault, but 130."""
    locustfile = loadgate.write("slow.py", SLOW)
    running = loadgate.start("run", loadgate.scenario(service.url, locustfile=locustfile))
    command = psutil.Process(running.process.pid)
    running.until(command.children, "the check of the locustfile")
    os.killpg(running.process.pid, signal.SIGINT)
    running.wait(10).expect(130, out="", err="interrupted")


def test_a_signal_before_the_load_ends_the_generator(loadgate, service) -> None:
    """While master and worker start: exit 130, nothing left running, and the run says why."""
    running = loadgate.start("run", loadgate.scenario(service.url, hold="60s"))
    running.until(running.left, "the generator")
    running.process.send_signal(signal.SIGINT)
    running.wait(20).expect(130)
    assert running.left() == []
    assert running.verdict()["ended"] == "interrupted"
