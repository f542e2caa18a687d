"""What the system lets this process have: cores, by affinity and control group, descriptors, local ports.

Each reading is taken from the system anew, or is None where the system does not tell. Files are named by
arguments, so that a test can lay out any system; nothing here imports Locust or gevent.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

PROC: Final = Path("/proc")
_ANY_PORT: Final = (32_768, 60_999)
"""The range that Linux gives local ports from unless it is told otherwise."""


@dataclass(frozen=True)
class CpuGroup:
    """One control group with a say in this process's CPU time, by its folder in the file system."""

    folder: Path
    unified: bool
    """Whether it is of version 2."""

    def quota(self) -> float | None:
        """Return the cores that the group may use; None without a limit of its own."""
        try:
            if self.unified:
                quota, period = (self.folder / "cpu.max").read_text(encoding="ascii").split()
                return None if quota == "max" else int(quota) / int(period)
            quota = (self.folder / "cpu.cfs_quota_us").read_text(encoding="ascii")
            period = (self.folder / "cpu.cfs_period_us").read_text(encoding="ascii")
            return int(quota) / int(period) if int(quota) > 0 else None
        except (OSError, ValueError, ZeroDivisionError):
            return None  # the topmost group has no such file


class Throttled:
    """Tell how long some control groups were held back for their quota; their files stay open until `close`.

    Opening them anew each second would take longer than all other readings together.
    """

    def __init__(self, groups: Iterable[CpuGroup]) -> None:
        self._files: list[tuple[int, bytes, float]] = []
        for group in groups:
            key, unit = (b"throttled_usec ", 1e-6) if group.unified else (b"throttled_time ", 1e-9)
            descriptor = open_to_read(group.folder / "cpu.stat")
            # The topmost group of version 2 has no such file.
            if descriptor >= 0:
                self._files.append((descriptor, key, unit))

    def seconds(self) -> float:
        """Return how long it was so far, in seconds over all CPUs; 0.0 where the system does not tell.

        Of several groups it is the one held back longest: being held back by two at once is no longer wait.
        """
        return max((_counted(*file) for file in self._files), default=0.0)

    def close(self) -> None:
        """Close the files; again is fine."""
        for descriptor, _, _ in self._files:
            os.close(descriptor)
        self._files = []


def _counted(descriptor: int, key: bytes, unit: float) -> float:
    try:
        text = os.pread(descriptor, 4096, 0)
        at = text.find(key)
        return int(text[at + len(key) :].split(b"\n", 1)[0]) * unit if at >= 0 else 0.0
    except (OSError, ValueError):
        return 0.0  # the group is gone, and its count with it


def cpu_groups(proc: Path = PROC) -> list[CpuGroup]:
    """Return the control groups that bound this process's CPU, its own first; empty where none is seen.

    Version 1 has a hierarchy for the cpu controller, version 2 one for all; where both are mounted, cpu is
    in one of them. A container may see its own group as the root of the mount: what `mountinfo` says of a
    mount's root is therefore taken off the group's path (cgroups(7), proc_pid_mountinfo(5)).
    """
    try:
        paths = _paths_by_controller((proc / "self/cgroup").read_text(encoding="utf-8"))
        mounts = (proc / "self/mountinfo").read_text(encoding="utf-8")
    except OSError:
        return []
    found = []
    for root, point, unified, controllers in _mounts(mounts):
        path = paths.get("" if unified else "cpu")
        if path is None or not (unified or "cpu" in controllers):
            continue
        found += [CpuGroup(folder, unified) for folder in _upwards(path, root, point)]
    return found


def cores_allowed(groups: list[CpuGroup]) -> float:
    """Return the cores that this process may use: its affinity, or the lowest quota where that is less."""
    quotas = [quota for group in groups if (quota := group.quota()) is not None]
    return min([float(len(os.sched_getaffinity(0))), *quotas])


def open_to_read(path: Path) -> int:
    """Open a file of the system that is read again and again; -1 where it is not there."""
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1


def descriptor_limit() -> int:
    """Return how many descriptors this process may have open; 0 without a limit."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 0 if soft == resource.RLIM_INFINITY else soft


def open_descriptors(proc: Path = PROC) -> int | None:
    """Return how many descriptors this process has open; None where the system does not tell at once.

    Since version 6.2 Linux tells it as the size of the folder; before, every entry had to be listed, which
    takes a millisecond for some thousand of them.
    """
    try:
        return os.stat(proc / "self/fd").st_size or None
    except OSError:
        return None


def listed_descriptors(proc: Path = PROC) -> int:
    """Count this process's open descriptors one by one; 0 where the system does not list them."""
    try:
        # One of them was open for the listing itself.
        return len(os.listdir(proc / "self/fd")) - 1
    except OSError:
        return 0


def local_ports(proc: Path = PROC) -> int:
    """Return how many local ports the system gives out to connections towards one address and port."""
    try:
        low, high = map(int, (proc / "sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split())
    except (OSError, ValueError):
        low, high = _ANY_PORT
    return high - low + 1


def _paths_by_controller(text: str) -> dict[str, str]:
    """Return the group of each version 1 controller, and that of version 2 as ""."""
    found = {}
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        for name in controllers.split(","):
            found[name] = path
    return found


def _mounts(text: str) -> Iterator[tuple[str, Path, bool, set[str]]]:
    """Give the root, mount point, kind and options of each mounted hierarchy of control groups."""
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) > 4 and len(kind) > 2 and kind[0] in ("cgroup", "cgroup2"):
            yield fields[3], Path(fields[4]), kind[0] == "cgroup2", set(kind[2].split(","))


def _upwards(path: str, root: str, point: Path) -> Iterator[Path]:
    """Give the folder of a group and of each group above it, as far as they are mounted."""
    group, top = PurePosixPath(path), PurePosixPath(root)
    # A path that does not lie below the mount's root, or above our own view ("/.."), is seen as the root.
    inside = group.relative_to(top) if group.is_relative_to(top) else PurePosixPath()
    if ".." in inside.parts:
        inside = PurePosixPath()
    for folder in (inside, *inside.parents):
        yield point / folder
        if folder == PurePosixPath():
            return
