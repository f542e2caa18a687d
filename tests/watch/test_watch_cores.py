"""How many cores a process may use."""

from __future__ import annotations

import os

import psutil
import pytest

from loadgate.watch.cores import cores_allowed, group_of, quota_of
from loadgate.watch.listeners import PROC
from loadgate.watch.parse import NoReading, Reason


@pytest.fixture
def cgroup(tmp_path):
    """Make a hierarchy: the pod may use 2 cores, its container half of one, the other has no limit."""
    root = tmp_path / "cgroup"
    for group, text in (
        ("pod", "200000 100000\n"),
        ("pod/tight", "50000 100000\n"),
        ("pod/free", "max 100000\n"),
    ):
        (root / group).mkdir(parents=True)
        (root / group / "cpu.max").write_text(text)
    (root / "open").mkdir()
    return root


@pytest.mark.parametrize(
    ("group", "cores"), [("/pod/tight", 0.5), ("/pod/free", 2.0), ("/pod", 2.0), ("/open", None), ("/", None)]
)
def test_the_tightest_quota_on_the_way_up_holds(cgroup, group, cores):
    """A group has its own limit and those of all groups above it."""
    assert quota_of(group, cgroup) == cores


def test_a_group_outside_of_our_view_is_not_followed(cgroup):
    """Its path begins with .. and would lead out of the hierarchy."""
    assert quota_of("/../pod", cgroup) is None


def test_the_group_is_the_one_of_the_unified_hierarchy():
    """The line of hierarchy 0 names it; a system of the old kind has none."""
    assert group_of("2:cpu:/old\n0::/pod/tight\n") == "/pod/tight"
    assert group_of("2:cpu:/old\n") == "/"


def fake_proc(tmp_path, group: str):
    """Make a /proc in which this process belongs to a group."""
    folder = tmp_path / "proc" / str(os.getpid())
    folder.mkdir(parents=True)
    (folder / "cgroup").write_text(f"0::{group}\n")
    return tmp_path / "proc"


def test_a_quota_below_the_affinity_is_the_limit(tmp_path, cgroup):
    """Half a core on a machine of many."""
    proc = fake_proc(tmp_path, "/pod/tight")
    assert cores_allowed([psutil.Process()], proc, cgroup) == 0.5


def test_without_a_quota_the_affinity_counts(tmp_path, cgroup):
    """As many as the kernel would schedule it on."""
    proc = fake_proc(tmp_path, "/open")
    assert cores_allowed([psutil.Process()], proc, cgroup) == len(os.sched_getaffinity(0))


def test_no_process_is_no_number():
    """Never 0 cores."""
    with pytest.raises(NoReading) as caught:
        cores_allowed([], PROC)
    assert caught.value.reason is Reason.NOT_OFFERED
