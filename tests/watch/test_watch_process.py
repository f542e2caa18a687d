"""CPU and memory of real processes that the tests start themselves."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import psutil
import pytest

from loadgate.watch.parse import NoReading, Reason
from loadgate.watch.process import ProcessReader
from loadgate.watch.tree import TreeFinder, read_pidfile, topmost

# A parent that listens, with one child that shares the socket and sleeps; both burn some CPU first.
SERVER = """
import os, socket, sys, time
server = socket.create_server(("127.0.0.1", 0))
port = server.getsockname()[1]
ready, done = os.pipe()
child = os.fork()
def burn(seconds):
    while time.process_time() < seconds:
        pass
burn(0.1)
if child == 0:
    os.write(done, b".")
    time.sleep(60)
    os._exit(0)
os.read(ready, 1)
print(port, child, flush=True)
sys.stdin.read()
os.kill(child, 9)
os.waitpid(child, 0)
"""


class Clock:
    """A clock that moves only when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """Return the time that was set."""
        return self.now


class Server:
    """A listening process tree: `pid` and its `child`."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.port, self.child = map(int, self.process.stdout.readline().split())
        self.pid = self.process.pid
        self.url = f"http://127.0.0.1:{self.port}"

    def end(self) -> None:
        """End both processes and wait for them."""
        if self.process.poll() is None:
            assert self.process.stdin is not None
            self.process.stdin.close()
            self.process.wait(10)
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def server() -> Iterator[Server]:
    """Give a running server."""
    started = Server()
    yield started
    started.end()


@pytest.fixture
def clock() -> Clock:
    """Give a clock that stands."""
    return Clock()


def values_of(reader: ProcessReader) -> dict[str, float | None]:
    """Take a reading and return its values by name."""
    return {item.reading: item.value for item in reader.read()}


def test_the_listening_tree_is_found_with_its_child(server: Server, clock: Clock):
    """Parent and child hold the socket; the parent is the root, and both are counted once."""
    reader = ProcessReader("listening", server.url, clock=clock)
    reader.baseline()
    clock.now += 1
    values = values_of(reader)
    assert values["processes"] == 2
    assert reader.identity == {psutil.Process(server.pid)}
    assert values["cores"] == len(os.sched_getaffinity(server.pid))


def test_memory_is_that_of_the_whole_tree(server: Server, clock: Clock):
    """The sum of both resident sizes; the anonymous part is less than that, and some."""
    reader = ProcessReader(f"pid:{server.pid}", server.url, clock=clock)
    values = values_of(reader)
    resident = [psutil.Process(pid).memory_info().rss for pid in (server.pid, server.child)]
    assert values["memory"] == sum(resident)
    assert values["anon"] is not None
    assert 0 < values["anon"] < sum(resident)


def test_cpu_of_a_target_that_started_after_the_baseline_counts_from_0(clock: Clock, tmp_path):
    """Nothing ran at the first look; then a tree that had used about 0.2 s is found 10 s later.

    The value is what the kernel says it used, over 10 s.
    """
    pidfile = tmp_path / "pid"
    reader = ProcessReader(f"pidfile:{pidfile}", "http://127.0.0.1:1", clock=clock)
    reader.baseline()
    started = Server()
    try:
        pidfile.write_text(f"{started.pid}\n")
        clock.now += 10
        cpu = values_of(reader)["cpu"]
        times = [psutil.Process(pid).cpu_times() for pid in (started.pid, started.child)]
        used = sum(item.user + item.system for item in times)
        assert used >= 0.15
        assert cpu == pytest.approx(used / 10)
    finally:
        started.end()


def test_the_first_cpu_reading_needs_a_baseline(server: Server, clock: Clock):
    """Without one there is no number; the reading itself is the baseline of the next."""
    reader = ProcessReader("listening", server.url, clock=clock)
    assert values_of(reader)["cpu"] is None
    clock.now += 5
    cpu = values_of(reader)["cpu"]
    assert cpu is not None
    assert 0 <= cpu < 1


def test_a_reading_that_comes_too_soon_keeps_the_baseline(server: Server, clock: Clock):
    """10 ms after the baseline there is no number; the next one spans both."""
    reader = ProcessReader("listening", server.url, clock=clock)
    reader.baseline()
    clock.now += 0.01
    assert values_of(reader)["cpu"] is None
    clock.now += 0.045
    assert values_of(reader)["cpu"] is not None


def test_a_target_that_ended_has_no_reading(server: Server, clock: Clock):
    """No data with the reason, never a memory of 0."""
    reader = ProcessReader("listening", server.url, clock=clock)
    reader.read()
    server.end()
    with pytest.raises(NoReading) as caught:
        reader.read()
    assert caught.value.reason is Reason.NO_PROCESS
    assert f"nothing listens on {server.url}" in caught.value.text


def test_a_zombie_is_a_target_that_ended(until: Callable[[Callable[[], object]], None]):
    """Its entry is still there, since its parent has not waited for it."""
    ended = subprocess.Popen([sys.executable, "-c", "pass"])
    until(lambda: psutil.Process(ended.pid).status() == psutil.STATUS_ZOMBIE)
    with pytest.raises(NoReading, match="no process"):
        ProcessReader(f"pid:{ended.pid}", "http://127.0.0.1:1").read()
    ended.wait()
    with pytest.raises(NoReading, match="no process"):
        ProcessReader(f"pid:{ended.pid}", "http://127.0.0.1:1").read()


def test_a_target_elsewhere_has_a_remedy():
    """psutil cannot see another machine, and a json probe can."""
    with pytest.raises(NoReading) as caught:
        ProcessReader("listening", "http://192.0.2.1:3000").read()
    assert caught.value.reason is Reason.NOT_LOCAL
    assert "json probe" in caught.value.hint


def test_who_listens_is_looked_up_anew_when_the_socket_changes():
    """A second server on the same port is another target."""
    first = Server()
    finder = TreeFinder("listening", first.url)
    assert [item.pid for item in finder.roots()] == [first.pid]
    first.end()
    with socket.create_server(("127.0.0.1", first.port)):
        assert [item.pid for item in finder.roots()] == [os.getpid()]


def test_init_is_never_the_target():
    """It may hold a socket for the service it starts; its tree would be the whole machine."""
    with pytest.raises(NoReading) as caught:
        topmost([1])
    assert caught.value.reason is Reason.FORWARDED


def test_a_program_that_only_forwards_is_never_the_target(monkeypatch: pytest.MonkeyPatch):
    """docker-proxy holds the port for a service in a container."""
    monkeypatch.setattr(psutil.Process, "name", lambda self: "docker-proxy")
    with pytest.raises(NoReading) as caught:
        topmost([os.getpid()])
    assert (
        caught.value.message
        == "only a forwarder listens: docker-proxy holds the port for a service elsewhere"
    )


@pytest.mark.parametrize("text", ["", "abc", "0", "-5", "12 13", "99999999999"])
def test_a_pidfile_holds_one_number(tmp_path, text):
    """Anything else is no process."""
    path = tmp_path / "pid"
    path.write_text(text)
    with pytest.raises(NoReading) as caught:
        read_pidfile(path)
    assert caught.value.reason is Reason.NO_PROCESS


def test_a_pidfile_that_is_not_there_says_so(tmp_path):
    """The path is in the text."""
    with pytest.raises(NoReading, match="No such file"):
        read_pidfile(tmp_path / "pid")


@pytest.mark.parametrize("pid", [4194304, 99_999_999_999])
def test_a_number_that_is_no_process_is_no_data(pid):
    """Past the largest process id, and past the range of one."""
    with pytest.raises(NoReading, match="no process"):
        ProcessReader(f"pid:{pid}", "http://127.0.0.1:1", clock=time.monotonic).read()
