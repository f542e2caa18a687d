"""Start the `loadgate` command in a process of its own, and the plan that such commands carry out."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HEAD = """
name       = "{name}"
locustfile = "{locustfile}"
sla        = "sla.toml"
host       = "{host}"

[traffic]
model    = "open"
arrivals = "constant"
users    = 20
mix      = {{ emotion = 5, creative = 2, reasoning = 3 }}
"""
"""What every scenario of a load on the staging service begins with; its stages follow."""


def start_command(
    *arguments: str, cwd: Path, results: Path, environment: Mapping[str, str], **streams: Any
) -> subprocess.Popen[Any]:
    """Start `loadgate` with arguments, in a session of its own and without anybody at its keyboard.

    `environment` is added to that of the tests; `streams` say where what it writes goes, as of `Popen`.
    """
    return subprocess.Popen(
        [sys.executable, "-m", "loadgate", *arguments],
        cwd=cwd,
        env=os.environ | {"LOADGATE_RESULTS": str(results)} | environment,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        **streams,
    )
