"""How much of its disk a folder takes, and how much is left there."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path


def used_bytes(folder: Path) -> int:
    """Return the bytes that a folder's files take on their disk; what goes away meanwhile takes none."""
    used = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                used += os.lstat(os.path.join(parent, name)).st_blocks * 512
    return used


def free_bytes(folder: Path) -> int | None:
    """Return the bytes that are free for us where a folder is, or will be; None where nobody can tell."""
    for place in (folder.absolute(), *folder.absolute().parents):
        with suppress(OSError):
            usage = shutil.disk_usage(place)
            # One of the kernel's own, such as /proc, has no size.
            return usage.free if usage.total else None
    return None
