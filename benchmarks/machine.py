"""Say what machine a benchmark ran on, and print its table."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def machine() -> str:
    """Describe the processor, the kernel and Python in one line."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ),
        platform.processor() or "unknown processor",
    )
    return f"{model}, {os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}"


def met(good: bool) -> str:
    """Say whether a budget was met."""
    return "met" if good else "NOT MET"
