"""A control room of its own that carries out an alert's ladder and kills itself at a named moment.

killed_responder.py RUN_FOLDER PLAN_JSON MOMENT, where MOMENT counts the calls of the hook from 1.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from loadgate.plan.plan import Plan
from loadgate.store.folder import RunFolder
from loadgate.store.watch import WatchReader
from loadgate.store.watch_desk import WatchDesk
from loadgate.watch.actions import Responder


def main() -> None:
    """Answer the first alert of the run, and die on the way."""
    run, plan, moment = (
        RunFolder(Path(sys.argv[1])),
        Plan.from_json(Path(sys.argv[2]).read_bytes()),
        int(sys.argv[3]),
    )
    count = 0

    def hook(name: str) -> None:
        nonlocal count
        count += 1
        if count == moment:
            sys.stdout.write(name)
            sys.stdout.flush()
            os.kill(os.getpid(), signal.SIGKILL)

    began = time.monotonic()
    with WatchReader(run.watch_database) as reader:
        change = reader.alerts()[0]
    desk = WatchDesk(run.watch_database)
    with Responder(
        plan, run, desk, True, lambda _: None, lambda: time.monotonic() - began, environ={}, hook=hook
    ) as responder:
        responder.handle(change, void=False)
    desk.close()


if __name__ == "__main__":
    main()
