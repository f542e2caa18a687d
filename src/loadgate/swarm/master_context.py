"""ZeroMQ as a master needs it: a thread that lets messages gather, and messages that take only their size.

Both matter to a master of many workers, and to nobody else.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import zmq

_ZERO_COPY_RECV: Final = 10
"""The number of libzmq's ZMQ_ZERO_COPY_RECV, which pyzmq has no name for in a build without drafts."""


def master_context() -> zmq.Context[Any]:
    """Return this process's ZeroMQ context, set for a master's socket; call it before any socket is made.

    Messages are copied out of the buffer in which they came. By ZeroMQ's default each message that waits
    keeps a buffer of its own alive, 18 kB for a hundred bytes: a master that was held up for ten seconds took
    600 MB for what a thousand workers said meanwhile, and most of it never went back to the system.

    The thread that reads and writes the connections does not interrupt the one that it reads for. Else it
    takes the core for each message, two thousand times a second; so it takes what has gathered.
    """
    context: zmq.Context[Any] = zmq.Context.instance()
    with suppress(zmq.ZMQError):
        context.set(_ZERO_COPY_RECV, 0)
    with _batch_policy():
        # The first socket starts the thread, which has the policy of the one that starts it.
        context.socket(zmq.PAIR).close(0)
    return context


@contextmanager
def _batch_policy() -> Iterator[None]:
    """Let threads that are started meanwhile interrupt no other that runs, where that is to be had."""
    before = os.sched_getscheduler(0)
    if before != os.SCHED_OTHER:
        yield
        return
    none = os.sched_param(0)
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_BATCH, none)
    try:
        yield
    finally:
        with suppress(OSError):
            os.sched_setscheduler(0, before, none)
