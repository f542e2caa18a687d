"""The master's ZeroMQ context, in a process of its own: what is set is set before the first socket."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.system

LOOK = """
import os
from pathlib import Path
from loadgate.swarm.master_context import master_context
context = master_context()
threads = {int(task.name): (task / "comm").read_text() for task in Path("/proc/self/task").iterdir()}
(thread,) = (number for number, name in threads.items() if "/IO/" in name)
policies = os.sched_getscheduler(thread), os.sched_getscheduler(0)
print(context.get(10), policies == (os.SCHED_BATCH, os.SCHED_OTHER))
"""


def test_messages_are_copied_and_the_thread_interrupts_nobody() -> None:
    """Number 10 is ZMQ_ZERO_COPY_RECV. The process itself is scheduled as before."""
    done = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, timeout=60)
    assert done.stdout == "0 True\n", done.stderr
