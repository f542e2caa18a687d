"""Ask what a locustfile sends, without starting a run.

Importing a locustfile imports Locust, which patches the whole process; the control room therefore asks
a process of its own (`loadgate.swarm.describe`) and must not import Locust or gevent here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from loadgate.errors import UsageError

_TIMEOUT = 60.0
MARK = "loadgate-describe:"
"""What the answer's line begins with; a locustfile may print lines of its own."""


@dataclass(frozen=True)
class Inspection:
    """List the user classes of a locustfile, and the endpoints its requests are marked with.

    `open_names` is True when flows or stock user classes can send endpoints that only the run shows.
    """

    users: tuple[str, ...]
    endpoints: tuple[str, ...]
    kinds: tuple[str, ...]
    open_names: bool


def inspect_locustfile(path: Path) -> Inspection:
    """Import a locustfile in a process of its own and list what it sends.

    UsageError when it cannot be imported or has nothing to run, with the reason.
    """
    command = [sys.executable, "-m", "loadgate.swarm.describe", str(path)]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=False,
            env=generator_environment(),
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired as error:
        raise UsageError(f"{path} took over {_TIMEOUT:g} s to import") from error
    line = next((ln for ln in done.stdout.splitlines() if ln.startswith(MARK)), None)
    if line is None:
        tail = "\n".join(done.stderr.strip().splitlines()[-12:])
        raise UsageError(f"{path} cannot be imported", hint=tail)
    found = json.loads(line.removeprefix(MARK))
    if found["error"]:
        raise UsageError(f"{path}: {found['error']}", hint=found["hint"])
    return Inspection(
        tuple(found["users"]), tuple(found["endpoints"]), tuple(found["kinds"]), found["open_names"]
    )


def generator_environment() -> dict[str, str]:
    """Return the environment for processes that run Locust: without settings meant for a stock run."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("LOCUST_")}
    paths = [os.getcwd(), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(p for p in paths if p)
    environment["GEVENT_TRACK_GREENLET_TREE"] = "0"
    return environment
