"""What a worker may use and what it used: any system's files, laid out by hand, and this process's own."""

from __future__ import annotations

import gc
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgate.swarm import limits, ports, vitals
from loadgate.swarm.limits import Throttled, cores_allowed, cpu_groups
from loadgate.swarm.vitals import GcPauses, Vitals

CORES = float(len(os.sched_getaffinity(0)))
Lay = Callable[..., Path]


@pytest.fixture
def lay(tmp_path: Path) -> Lay:
    """Lay out a system: what /proc says of this process's groups and mounts, and files below `fs`."""

    def make(cgroup: str, mounts: list[tuple[str, str, str, str]], **files: str) -> Path:
        own = tmp_path / "proc" / "self"
        own.mkdir(parents=True, exist_ok=True)
        (own / "cgroup").write_text(cgroup)
        lines = [
            f"30 20 0:25 {root} {tmp_path / 'fs' / point} rw,relatime - {kind} none rw,{options}\n"
            for root, point, kind, options in mounts
        ]
        (own / "mountinfo").write_text("22 1 8:1 / / rw - ext4 /dev/vda rw\n" + "".join(lines))
        for name, text in files.items():
            path = tmp_path / "fs" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path / "proc"

    return make


def v2(lay: Lay, **files: str) -> Path:
    """Lay out a system with control groups of version 2, this process in /pod/box."""
    return lay("0::/pod/box\n", [("/", "all", "cgroup2", "nsdelegate")], **files)


def test_the_quota_of_version_2_is_a_share_of_its_period(lay: Lay) -> None:
    """25 ms in each 100 ms are a quarter of a core."""
    proc = v2(lay, **{"all/pod/box/cpu.max": "25000 100000\n"})
    assert cores_allowed(cpu_groups(proc)) == 0.25


def test_the_lowest_quota_on_the_way_up_holds(lay: Lay) -> None:
    """The group may use 0.5 cores, the one above it 0.2."""
    proc = v2(lay, **{"all/pod/box/cpu.max": "50000 100000\n", "all/pod/cpu.max": "20000 100000\n"})
    assert cores_allowed(cpu_groups(proc)) == 0.2


@pytest.mark.parametrize("text", ["max 100000\n", "", "many few\n", "100000 0\n"])
def test_without_a_quota_the_affinity_holds(lay: Lay, text: str) -> None:
    """And so it does where the file makes no sense."""
    assert cores_allowed(cpu_groups(v2(lay, **{"all/pod/box/cpu.max": text}))) == CORES


def test_a_quota_above_the_affinity_says_nothing(lay: Lay) -> None:
    """A thousand cores are not here."""
    assert cores_allowed(cpu_groups(v2(lay, **{"all/pod/box/cpu.max": "100000000 100000\n"}))) == CORES


@pytest.mark.parametrize(("quota", "cores"), [("30000", 0.3), ("-1", CORES)])
def test_the_quota_of_version_1_has_two_files(lay: Lay, quota: str, cores: float) -> None:
    """-1 is none."""
    proc = lay(
        "4:memory:/other\n3:cpu,cpuacct:/docker/ab\n0::/\n",
        [
            ("/", "memory", "cgroup", "memory"),
            ("/", "cpu", "cgroup", "cpu,cpuacct"),
            ("/", "unified", "cgroup2", ""),
        ],
        **{
            "cpu/docker/ab/cpu.cfs_quota_us": quota,
            "cpu/docker/ab/cpu.cfs_period_us": "100000",
            "memory/other/cpu.cfs_quota_us": "1000",
            "memory/other/cpu.cfs_period_us": "100000",
        },
    )
    assert cores_allowed(cpu_groups(proc)) == cores


@pytest.mark.parametrize("path", ["/docker/ab", "/docker/ab/in", "/../else", "/"])
def test_a_container_sees_its_own_group_as_the_root_of_the_mount(lay: Lay, path: str) -> None:
    """The path may be the host's, or seen from elsewhere; the mount's root is taken off it."""
    files = {"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"}
    proc = lay(f"3:cpu,cpuacct:{path}\n", [("/docker/ab", "cpu", "cgroup", "cpu,cpuacct")], **files)
    assert cores_allowed(cpu_groups(proc)) == 0.5


def test_a_system_without_control_groups_has_its_affinity(tmp_path: Path) -> None:
    """There is no such file at all."""
    assert cpu_groups(tmp_path) == []
    assert cores_allowed([]) == CORES


def test_throttled_time_is_in_microseconds_or_nanoseconds(lay: Lay, tmp_path: Path) -> None:
    """Version 2 counts µs, version 1 ns; of several groups it is the one held back longest."""
    text = "usage_usec 5\nnr_throttled 3\nthrottled_usec 1500000\n"
    held = Throttled(
        cpu_groups(v2(lay, **{"all/pod/box/cpu.stat": text, "all/pod/cpu.stat": text[:-3] + "\n"}))
    )
    assert held.seconds() == 1.5
    held.close()
    old = lay(
        "3:cpu:/\n",
        [("/", "one", "cgroup", "cpu")],
        **{"one/cpu.stat": "nr_periods 9\nthrottled_time 2000000000\n"},
    )
    held = Throttled(cpu_groups(old))
    assert held.seconds() == 2.0
    (tmp_path / "fs/one/cpu.stat").write_text("throttled_time 2500000000\n")
    assert held.seconds() == 2.5
    held.close()
    assert held.seconds() == 0.0


def test_a_reading_tells_what_was_throttled_since_the_last_one(lay: Lay, tmp_path: Path) -> None:
    """Half a second more; a counter that went down, of a group made anew, is no negative time."""
    proc = v2(lay, **{"all/pod/box/cpu.stat": "throttled_usec 1000000\n"})
    found = Vitals(None, 10.0, proc)
    stat = tmp_path / "fs/all/pod/box/cpu.stat"
    stat.write_text("throttled_usec 1500000\n")
    assert found.read(11.0).throttled_us == 500_000
    stat.write_text("throttled_usec 7\n")
    assert found.read(12.0).throttled_us == 0
    found.close()


def test_a_limit_that_is_changed_under_way_is_seen(lay: Lay, tmp_path: Path) -> None:
    """Limits are looked at every ten seconds."""
    proc = v2(lay, **{"all/pod/box/cpu.max": "50000 100000"})
    found = Vitals(None, 0.0, proc)
    assert found.read(1.0).cpu_allowed == 0.5
    (tmp_path / "fs/all/pod/box/cpu.max").write_text("25000 100000")
    assert found.read(9.0).cpu_allowed == 0.5
    assert found.read(10.0).cpu_allowed == 0.25
    found.close()


def test_a_reading_of_this_process() -> None:
    """CPU, memory, descriptors and limits are there, as the system tells them elsewhere."""
    now = time.monotonic()
    found = Vitals(None, now - 1.0)
    before = found.read(now, users=3)
    with ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(Path(os.devnull).open())
        after = found.read(now + 1.0, users=3)
    found.close()
    found.close()
    assert after.fds - before.fds == 5
    assert after.fds_limit == limits.descriptor_limit()
    assert (after.ports, after.cpu_allowed > 0, after.rss > 1_000_000) == (0, True, True)


def test_descriptors_are_listed_where_the_system_does_not_count_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before Linux 6.2 the folder's size is 0; then its entries are counted, but not every second."""
    monkeypatch.setattr(vitals, "open_descriptors", lambda _: None)
    counts = iter([7, 9])
    monkeypatch.setattr(vitals, "listed_descriptors", lambda _: next(counts))
    found = Vitals(None, 0.0, tmp_path)
    assert [found.read(at).fds for at in (1.0, 2.0, 10.9, 11.0)] == [7, 7, 7, 9]
    found.close()


def test_both_counts_of_descriptors_agree() -> None:
    """Where the kernel counts them itself."""
    counted = limits.open_descriptors()
    assert counted is None or counted == limits.listed_descriptors()


@pytest.mark.parametrize(("text", "size"), [("32768\t60999\n", 28_232), ("1024 1024", 1), ("", 28_232)])
def test_the_range_of_local_ports(tmp_path: Path, text: str, size: int) -> None:
    """Both ends are in it; Linux's own default stands in where it is not told."""
    path = tmp_path / "sys/net/ipv4"
    path.mkdir(parents=True)
    (path / "ip_local_port_range").write_text(text)
    assert limits.local_ports(tmp_path) == size


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A server that accepts whatever connects."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(50)
        yield server


def test_ports_are_counted_by_their_other_end(listener: socket.socket) -> None:
    """Four connections lead there, and the server's own ends and listener do not count."""
    address = listener.getsockname()
    with ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(socket.create_connection(address))
        assert ports.ports_towards(address[1]) == 4
    assert ports.ports_towards(address[1] - 1 or 1) < 4


def test_each_local_address_has_ports_of_its_own(listener: socket.socket) -> None:
    """Three from one address and two from another: three of the range are in use."""
    address = listener.getsockname()
    with ExitStack() as stack:
        for source in ["127.0.0.2"] * 3 + ["127.0.0.3"] * 2:
            stack.enter_context(socket.create_connection(address, source_address=(source, 0)))
        assert ports.ports_towards(address[1]) == 3


@pytest.mark.parametrize(("reuse", "used"), [(0, 1), (1, 0), (2, 0)])
def test_a_port_that_waits_counts_unless_it_is_given_out_again(
    listener: socket.socket, reuse: int, used: int
) -> None:
    """The side that closes first waits (TIME_WAIT); on loopback Linux reuses such ports by default (2)."""
    address = listener.getsockname()
    client = socket.create_connection(address)
    server, _ = listener.accept()
    client.close()
    server.recv(1)
    server.close()
    assert ports.ports_towards(address[1], reuse=reuse) == used


def test_ports_are_not_counted_every_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """A count stands for ten seconds; where the kernel does not tell, the users stand in for good."""
    answers: list[int | OSError] = [5, 6, OSError("no netlink here")]

    def count(_port: int, *, reuse: int) -> int:
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    monkeypatch.setattr(ports, "ports_towards", count)
    found = Vitals(3000, 0.0)
    assert [found.read(at, users=40).ports for at in (1, 2, 11, 21, 22, 500)] == [5, 5, 6, 40, 40, 40]
    found.close()


def test_the_longest_collection_is_told_once() -> None:
    """A collection takes some time; after it was told there is none until the next."""
    pauses = GcPauses()
    gc.collect()
    assert pauses.take() > 0
    assert pauses.take() == 0
    pauses.close()
    pauses.close()
    gc.collect()
    assert pauses.take() == 0


@given(st.lists(st.sampled_from(["a", "b", "c"]), max_size=4), st.integers(0, 3))
def test_every_group_up_to_the_mount_is_looked_at(parts: list[str], below: int) -> None:
    """A group n levels below the mount's root has n + 1 folders, each the parent of the one before."""
    root = "/" + "/".join(["r"] * below)
    path = "/".join(["", *["r"] * below, *parts]) or "/"
    found = list(limits._upwards(path, root, Path("/fs")))
    assert len(found) == len(parts) + 1
    assert found[-1] == Path("/fs")
    assert all(child.parent == parent for child, parent in pairwise(found))
