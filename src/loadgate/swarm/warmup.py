"""Do once, before a run's clock starts, what would otherwise be slow at its first use."""

from __future__ import annotations

import time
from collections.abc import Iterable

import psutil
from locust.rpc.protocol import Message
from locust.stats import RequestStats

from loadgate.measure.delta import Delta
from loadgate.measure.recorder import Recorder
from loadgate.plan.timeline import PHASES, Timeline
from loadgate.swarm.feed import Feed

_REQUESTS = 50


def warm_up(feed: Feed, timeline: Timeline, endpoints: Iterable[str | None]) -> None:
    """Take one made-up second through everything that a worker's report goes through.

    Lazy imports, tables and caches cost tens of milliseconds at the first report, which would make
    the arrivals of a run's first second late. Nothing of it is kept but what `feed` works out.
    """
    now = time.monotonic()
    recorder = Recorder()
    recorder.start(now, timeline.phases_of, PHASES, {None: [50_000, 200_000]})
    for name in {name or "warm-up" for name in endpoints} | {"warm-up"}:
        channel = recorder.channel(name)
        for number in range(_REQUESTS):
            channel.due(now)
            channel.done((now, 0.0, now, now, now + 0.001 * number, number % 3, 500))
        recorder.unsent(name, now, "pool", now)
        recorder.failure(name, "failed", "warm-up", "")
    windows = recorder.drain(None)
    for window in windows:
        feed.window(RequestStats(), window, {}, 1.0)
    recorder.start_lag.percentile(9900)
    psutil.Process().memory_info()
    delta = Delta("warm-up", "warm-up", 1, 1, windows, recorder.failures(), [])
    Message("warm-up", delta.to_wire(), "warm-up").serialize()
