"""How many cores a process tree may use: its CPU affinity, and the quotas of its control groups."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Final

import psutil

from loadgate.swarm.limits import CpuGroup
from loadgate.watch.parse import NoReading, Reason

CGROUP: Final = Path("/sys/fs/cgroup")


def cores_allowed(tree: Iterable[psutil.Process], proc: Path, cgroup: Path = CGROUP) -> float:
    """Return the cores that the processes may use together.

    It is the number of CPUs in the union of their affinities, or the sum of the quotas of their control
    groups where each has one and that is less. NoReading when no process says.
    """
    processors: set[int] = set()
    quotas: dict[str, float | None] = {}
    for process in tree:
        try:
            processors.update(process.cpu_affinity())
            group = group_of((proc / str(process.pid) / "cgroup").read_text(encoding="utf-8"))
        except (psutil.Error, AttributeError, OSError):
            continue  # it ended, or this system does not tell
        if group not in quotas:
            quotas[group] = quota_of(group, cgroup)
    if not processors:
        raise NoReading(Reason.NOT_OFFERED, "the CPU affinity of the process")
    limited = [quota for quota in quotas.values() if quota is not None]
    if quotas and len(limited) == len(quotas):
        return min(float(len(processors)), sum(limited))
    return float(len(processors))


def group_of(text: str) -> str:
    """Return the path in the unified hierarchy that /proc/PID/cgroup names; "/" when it names none."""
    for line in text.splitlines():
        if line.startswith("0::"):
            return line.removeprefix("0::")
    return "/"


def quota_of(group: str, cgroup: Path = CGROUP) -> float | None:
    """Return the lowest CPU quota of a group and the groups above it, in cores; None without a limit."""
    quotas = [CpuGroup(folder, unified=True).quota() for folder in _upwards(group, cgroup)]
    return min((quota for quota in quotas if quota is not None), default=None)


def _upwards(group: str, cgroup: Path) -> Iterator[Path]:
    inside = PurePosixPath(group.lstrip("/"))
    if ".." in inside.parts:  # a group outside of our own view
        return
    yield cgroup / inside
    for parent in inside.parents:
        yield cgroup / parent
