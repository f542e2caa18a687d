"""The master's ZeroMQ context, in a process of its own: what is set is set before the first socket."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.system

LOOK = """
import os, time
from pathlib import Path
from loadgate.swarm.master_context import master_context
context = master_context()

def threads():
    # The thread takes its policy, and then its name, once it runs.
    tasks = Path("/proc/self/task").iterdir()
    return [int(task.name) for task in tasks if "/IO/" in (task / "comm").read_text()]

ends = time.monotonic() + 30
while not threads() and time.monotonic() < ends:
    time.sleep(0.01)
(thread,) = threads()
policies = os.sched_getscheduler(thread), os.sched_getscheduler(0)
print(context.get(10), policies == (os.SCHED_BATCH, os.SCHED_OTHER))
"""


def test_messages_are_copied_and_the_thread_interrupts_nobody() -> None:
    """Number 10 is ZMQ_ZERO_COPY_RECV. The process itself is scheduled as before."""
    done = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, timeout=60)
    assert done.stdout == "0 True\n", done.stderr
