"""The hosts themselves: what the other tests here rely on."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hosts_net import Host, Net, available, end

pytestmark = pytest.mark.system

PRINT_CLOCKS = "import time; print(time.monotonic())"


@pytest.fixture(scope="module")
def net() -> Iterator[Net]:
    with Net() as made:
        made.host("one")
        made.host("two")
        made.host("three", monotonic=1000)
        yield made


def answers(net: Net, asking: str, asked: str) -> bool:
    """Tell whether one host reaches another: a UDP packet is answered with its own text within 0.3 s."""
    echo = (
        "import socket; s = socket.socket(type=socket.SOCK_DGRAM); s.bind(('', 7)); print(flush=True)\n"
        "while True: s.sendto(*s.recvfrom(99))"
    )
    ask = (
        "import socket, sys; s = socket.socket(type=socket.SOCK_DGRAM); s.settimeout(0.3)\n"
        "try: s.sendto(b'here', (sys.argv[1], 7)); print(s.recv(99) == b'here')\n"
        "except OSError: print(False)"
    )
    process = net.hosts[asked].popen([sys.executable, "-c", echo], stdout=subprocess.PIPE)
    try:
        process.stdout.readline()
        return net.hosts[asking].run([sys.executable, "-c", ask, net.hosts[asked].address]) == "True\n"
    finally:
        end(process)


def test_hosts_reach_each_other_and_nothing_else(net: Net) -> None:
    """A host reaches its neighbours; it has no route to any other network."""
    assert answers(net, "one", "two")
    routes = net.hosts["one"].run(["ip", "route", "show"]).splitlines()
    assert [route.split()[0] for route in routes] == ["10.77.0.0/24"]


def test_a_pulled_cable_is_silence_until_it_is_mended(net: Net) -> None:
    """Between cut and mend nothing comes through; afterwards it does."""
    net.hosts["two"].cut()
    assert not answers(net, "one", "two")
    net.hosts["two"].mend()
    assert answers(net, "one", "two")


def test_each_host_is_a_machine_of_its_own(net: Net) -> None:
    """Host names, boot ids and network namespaces are all different."""
    for what in (["hostname"], ["cat", "/proc/sys/kernel/random/boot_id"], ["readlink", "/proc/self/ns/net"]):
        assert len({host.run(what) for host in net.hosts.values()}) == 3, what


def test_a_host_has_the_monotonic_clock_that_it_was_given(net: Net) -> None:
    """The clock of one host is ours, that of another is 1000 s ahead, within the time that asking takes."""

    def ahead(host: Host) -> float:
        before = time.monotonic()
        there = float(host.run([sys.executable, "-c", PRINT_CLOCKS]))
        assert there - time.monotonic() <= (1000 if host.name == "three" else 0)
        return there - before

    assert 0 <= ahead(net.hosts["one"]) < 30
    assert 1000 <= ahead(net.hosts["three"]) < 1030


def test_a_wall_clock_is_shifted_and_stepped_alone(net: Net, tmp_path: Path) -> None:
    """A process sees the wall clock that a file says, before and after a step; the monotonic one goes on."""
    from hosts_run import WallClock

    clock = WallClock(tmp_path / "clock", -240)
    code = (
        "import datetime, time\n"
        "from datetime import datetime as early\n"
        "while True:\n"
        "    input(); now = early.now(datetime.UTC)\n"
        "    assert isinstance(now, datetime.datetime) and type(now + datetime.timedelta(1)) is type(now)\n"
        "    print(time.time(), now.timestamp(), time.time_ns() / 1e9, time.monotonic(), flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env=clock.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def ask() -> list[float]:
        process.stdin.write("\n")
        process.stdin.flush()
        return [float(word) for word in process.stdout.readline().split()]

    try:
        *walls, monotonic = ask()
        assert all(abs(wall - time.time() + 240) < 5 for wall in walls)
        clock.set(90)
        deadline = time.monotonic() + 5
        while abs(ask()[0] - time.time() - 90) > 5:
            assert time.monotonic() < deadline
        *walls, later = ask()
        assert all(abs(wall - time.time() - 90) < 5 for wall in walls)
        assert 0 <= later - monotonic < 10
    finally:
        process.kill()
        process.wait()


def leave_by_an_exception(net: Net) -> None:
    with net:
        net.host("left").popen(["sleep", "60"])
        raise ZeroDivisionError


def test_a_net_leaves_nothing_behind_even_after_a_failure() -> None:
    """An exception inside the `with` block ends the processes and takes the namespaces down."""
    net = Net()
    with pytest.raises(ZeroDivisionError):
        leave_by_an_exception(net)
    host = net.hosts["left"]
    assert host.started[0].returncode is not None
    assert not (Path("/run/netns") / host.namespace).exists()
    assert not net.folder.exists()


def test_namespaces_of_a_killed_test_process_are_swept() -> None:
    """What a test process left that was killed is taken down by the next one that asks for hosts."""
    code = (
        "import os, signal, sys; sys.path.insert(0, sys.argv[1])\n"
        "from hosts_net import Net\n"
        "net = Net().__enter__(); print(net.host('left').namespace, net.folder, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    command = [sys.executable, "-c", code, str(Path(__file__).parent)]
    namespace, folder = subprocess.run(command, capture_output=True, text=True).stdout.split()
    left = (Path("/run/netns") / namespace, Path(folder))
    assert all(path.exists() for path in left)
    available.cache_clear()
    assert available().permitted
    assert not any(path.exists() for path in left)
