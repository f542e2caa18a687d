"""A disk that is full stops nothing, and loses nothing."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kills import RATE, write_scenario

from loadgate.staging.server import StagingService
from loadgate.store.control_lock import Owner, owner_of
from loadgate.store.database import RunReader
from loadgate.store.folder import RunFolder, list_runs

pytestmark = pytest.mark.system

SECONDS = 12
FULL_FROM, FULL_TO = 3.0, 7.0
"""Run times between which the disk is full."""
_MOUNT = 'mount -t tmpfs -o size=16m tmpfs "$1" && shift && exec "$@"'


def _can_mount(folder: Path) -> bool:
    command = ["unshare", "-m", "sh", "-c", _MOUNT, "sh", str(folder), "true"]
    try:
        return subprocess.run(command, capture_output=True, timeout=20).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


class SmallDisk:
    """A run whose results are on a tmpfs of 16 MB, in a mount namespace of its own."""

    def __init__(self, folder: Path, host: str) -> None:
        self.mount = folder / "disk"
        self.mount.mkdir()
        if not _can_mount(self.mount):
            pytest.skip("a tmpfs cannot be mounted here (unshare -m needs root)")
        write_scenario(folder, host, SECONDS)
        command = [sys.executable, "-m", "loadgate", "soak", "kills.toml"]
        self._said = folder / "said.log"
        with self._said.open("wb") as log:
            self.process = subprocess.Popen(
                ["unshare", "-m", "sh", "-c", _MOUNT, "sh", str(self.mount), *command],
                cwd=folder,
                env=os.environ | {"LOADGATE_RESULTS": str(self.mount)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        # Its files are seen through the process, as long as that lives.
        self.root = Path(f"/proc/{self.process.pid}/root{self.mount}")

    def said(self) -> str:
        return self._said.read_text("utf-8", "replace")

    def until(self, moment: float) -> None:
        """Wait until a moment of run time."""
        deadline = time.monotonic() + 60
        while (owner := self._owner()) is None or owner.at is None:
            assert time.monotonic() < deadline, self.said()
            assert self.process.poll() is None, self.said()
            time.sleep(0.05)
        # SQLite follows the link of /proc to a path that means something else here; plain files do not.
        time.sleep(max(owner.beat - owner.at + moment - time.time(), 0.0))

    def _owner(self) -> Owner | None:
        found = [RunFolder(path) for path in self.root.glob("kills-*")]
        return owner_of(found[0]) if found else None

    def fill(self) -> None:
        """Take all room that is left."""
        with (self.root / "fill").open("wb", buffering=0) as file:
            for size in (2**20, 2**12):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise

    def empty(self) -> None:
        (self.root / "fill").unlink()


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """A soak of 12 s whose disk is full for 4 of them."""
    with StagingService() as service:
        disk = SmallDisk(tmp_path_factory.mktemp("disk"), service.url)
        try:
            disk.until(FULL_FROM)
            disk.fill()
            disk.until(FULL_TO)
            while_full = disk.process.poll()
            disk.empty()
            disk.until(SECONDS - 2.0)
            held = os.open(disk.root, os.O_RDONLY)
            disk.process.wait(60)
            copy = shutil.copytree(f"/proc/self/fd/{held}", disk.mount.parent / "copy")
            (run,) = list_runs(copy)
            routes = service.counts()["routes"]
            with RunReader(run.database) as reader:
                yield {
                    "while_full": while_full,
                    "total": reader.total(),
                    "seconds": sorted({window.second for window in reader.windows(series=())}),
                    "kinds": [event.kind for event in reader.events()],
                    "unoffered": sum(row.unoffered for row in reader.ledger()),
                    "received": sum(
                        routes[name]["received"] for name in ("emotion", "creative", "reasoning")
                    ),
                    "verdict": json.loads(run.verdict_path().read_bytes()),
                    "said": disk.said(),
                }
            os.close(held)
        finally:
            disk.process.kill()
            disk.process.wait()


def test_a_full_disk_stops_nothing(filled: dict[str, Any]) -> None:
    """The load goes on to its planned end, and every arrival is offered."""
    assert filled["while_full"] is None, filled["said"]
    assert filled["verdict"]["ended"] == "planned", filled["said"]
    assert filled["unoffered"] == 0


def test_a_full_disk_loses_nothing(filled: dict[str, Any]) -> None:
    """What was measured meanwhile comes when there is room: all that the service received is on record."""
    total = filled["total"]
    assert total.count("arrivals") == SECONDS * RATE
    assert total.imbalance == 0
    assert total.count("lost") == 0
    assert filled["received"] == total.count("ok") + total.count("failed") + total.count("retries")


def test_a_full_disk_is_told(filled: dict[str, Any]) -> None:
    """The run says from when to when nothing could be written."""
    assert "disk_refused" in filled["kinds"], filled["said"]
