"""Services that a gate starts: how they end, and what of them is ended."""

from __future__ import annotations

import shlex
import signal
import socket
import sys
import time

import psutil
import pytest

from loadgate.cli.start import Door, Service, refuse_a_stranger, split, wait_for
from loadgate.errors import TargetUnreachable, UsageError
from loadgate.plan.scenario import Scenario

pytestmark = pytest.mark.system

# A parent with a child in its group and one in a session of its own; none of them heeds SIGTERM.
STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
code = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
sleep = [sys.executable, "-c", code]
children = [subprocess.Popen(sleep, stdout=subprocess.PIPE, start_new_session=own) for own in (False, True)]
for child in children: child.stdout.readline()
print("ready", *[child.pid for child in children], flush=True)
time.sleep(60)
"""
# Its child goes on when the parent has ended.
ORPHANING = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print("ready", child.pid, flush=True)
"""


def command(code: str) -> str:
    return shlex.join([sys.executable, "-c", code])


@pytest.fixture
def start():
    """Start services, whose processes and logs are gone after the test."""
    started = []

    def make(words: str) -> Service:
        started.append(Service(words))
        return started[-1]

    yield make
    for service in started:
        service.stop(lambda: True)
        service.log.unlink(missing_ok=True)


def until_ready(service: Service) -> list[int]:
    """Wait for the line "ready PID..." of a service, and return the pids."""
    ends = time.monotonic() + 20
    while time.monotonic() < ends:
        lines = [line for line in service.log.read_text().splitlines() if line.startswith("ready")]
        if lines:
            return [int(word) for word in lines[0].split()[1:]]
        time.sleep(0.02)
    raise AssertionError(service.tail())


def until_ended(service: Service) -> str:
    ends = time.monotonic() + 20
    while not service.ended() and time.monotonic() < ends:
        time.sleep(0.02)
    return service.ended()


def lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def scenario(port: int, probe: str = "") -> Scenario:
    return Scenario.model_validate(
        {
            "name": "x",
            "locustfile": "x.py",
            "host": f"http://127.0.0.1:{port}",
            "traffic": {"users": 1, "stages": [{"rate": 1.0, "hold": 1.0}]},
            "probes": [{"name": "health", "http": probe, "every": 1.0}] if probe else [],
        }
    )


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize(
    ("code", "how"),
    [
        ("raise SystemExit(3)", "exit code 3"),
        ("", "exit code 0"),
        ("import os; os.kill(os.getpid(), 9)", "killed by signal 9"),
    ],
)
def test_how_a_service_ended_is_told(start, code, how) -> None:
    """The same before and after it was stopped."""
    service = start(command(code))
    assert until_ended(service) == how
    assert service.stop() == []
    assert service.ended() == how


def test_what_does_not_heed_sigterm_is_killed(start) -> None:
    """The parent, its child, and a descendant in a session of its own; twice is once."""
    service = start(command(STUBBORN))
    pids = [service.pid, *until_ready(service)]
    assert service.stop(patience=0.3) == []
    assert [pid for pid in pids if lives(pid)] == []
    assert service.stop() == []
    assert service.ended() == f"killed by signal {int(signal.SIGKILL)}"


def test_one_in_a_hurry_does_not_wait(start) -> None:
    """A second signal kills at once what had 60 s left."""
    service = start(command(STUBBORN))
    until_ready(service)
    began = time.monotonic()
    service.stop(lambda: True, patience=60)
    assert time.monotonic() - began < 10


def test_a_child_that_outlives_its_parent_is_ended(start) -> None:
    """It is of the group still."""
    service = start(command(ORPHANING))
    [child] = until_ready(service)
    assert until_ended(service) == "exit code 0"
    assert lives(child)
    assert service.stop() == []
    assert not lives(child)


def test_nobody_else_is_signalled(start) -> None:
    """A process of ours beside the service lives on."""
    service, other = start(command(STUBBORN)), start(command(STUBBORN))
    until_ready(service)
    pids = [other.pid, *until_ready(other)]
    service.stop(patience=0.1)
    assert all(lives(pid) for pid in pids)


def test_the_last_lines_are_quoted(start) -> None:
    """The last twelve, without control characters, each behind a bar: "::" at its start is no command."""
    code = "import sys; [print(f'line {n}', flush=True) for n in range(50)]; "
    code += "print('::error::\\x1b[31mno', file=sys.stderr)"
    service = start(command(code))
    until_ended(service)
    lines = service.tail().splitlines()
    assert lines[0] == f"it said last ({service.log}):"
    assert lines[1:] == [*(f"| line {n}" for n in range(39, 50)), "| ::error::?[31mno"]


def test_the_log_goes_with_the_run(start, tmp_path) -> None:
    """Into the run's log folder."""
    service = start(command("print('hello')"))
    until_ended(service)
    service.stop()
    before = service.log
    service.keep_log(tmp_path)
    assert (tmp_path / "service.log").read_text() == "hello\n"
    assert not before.exists()


@pytest.mark.parametrize("words", ["", "  ", "a 'b"])
def test_what_is_no_command_is_told(words) -> None:
    """Nothing, or a quote that stays open."""
    with pytest.raises(UsageError, match=r"^--start: "):
        split(words)


@pytest.mark.parametrize("words", ["/no/such/program --now", "/etc/hostname"])
def test_what_cannot_be_run_is_told(words) -> None:
    """A program that is not there, or is none."""
    with pytest.raises(UsageError, match=r"^--start: .* cannot be run: "):
        Service(words)


def test_a_target_is_waited_for(start, free_port) -> None:
    """Until it answers: not before it listens."""
    words = f"{sys.executable} -m http.server --bind 127.0.0.1 {free_port}"
    door = Door(scenario(free_port), {})
    assert door.knock() != ""
    service = start(words)
    assert 0 <= wait_for(door, 20, service) < 20
    assert door.knock() == ""


def test_a_stranger_is_refused(service) -> None:
    """What answers already would be measured in place of the service."""
    port = int(service.url.rsplit(":", 1)[1])
    with pytest.raises(UsageError, match=r"something answers at .* already"):
        refuse_a_stranger(Door(scenario(port, "/health"), {}))


def test_an_error_of_the_server_is_no_answer(fresh_service) -> None:
    """503 may be a proxy whose service is not up; 404 is an answer."""
    port = int(fresh_service.url.rsplit(":", 1)[1])
    assert Door(scenario(port, "/nowhere"), {}).knock() == ""
    fresh_service.add_fault("error", status=503, endpoint="health")
    door = Door(scenario(port, "/health"), {})
    assert door.knock() == "it answered with status 503"
    with pytest.raises(TargetUnreachable, match="did not answer within 400ms: it answered with status 503"):
        wait_for(door, 0.4)


def test_a_service_that_dies_is_not_waited_for(start, free_port) -> None:
    """With its exit code and its last lines, long before the time is over."""
    began = time.monotonic()
    with pytest.raises(TargetUnreachable, match=r"ended before it answered .*\(exit code 3\)") as caught:
        wait_for(Door(scenario(free_port), {}), 60, start(command("print('no luck'); raise SystemExit(3)")))
    assert "| no luck" in caught.value.hint
    assert time.monotonic() - began < 30


def test_an_answer_of_another_does_not_count(start, service) -> None:
    """When the service has ended, whoever answers is somebody else."""
    port = int(service.url.rsplit(":", 1)[1])
    dead = start(command("raise SystemExit(1)"))
    until_ended(dead)
    with pytest.raises(TargetUnreachable, match="ended before it answered"):
        wait_for(Door(scenario(port, "/health"), {}), 20, dead)
