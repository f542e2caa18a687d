"""A control room that watches a stored run and kills itself once its notifier has told of an alert.

killed_watching.py RUN_FOLDER RUN_TIME
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from loadgate.cli.watching import Watching
from loadgate.store.folder import RunFolder
from loadgate.watch.alert_feed import stored_plan


def main() -> None:
    """Look until the ticket is written, for 30 s at the most, and die without an end."""
    folder, run_time = RunFolder(Path(sys.argv[1])), float(sys.argv[2])
    watching = Watching(stored_plan(folder), folder, arm=False, stop_load=lambda _: None)
    watching.begin(time.monotonic() - run_time)
    until = time.monotonic() + 30
    while time.monotonic() < until and not (folder.path / "tickets.md").exists():
        watching.look()
        time.sleep(0.02)
    os.kill(os.getpid(), signal.SIGKILL)


main()
