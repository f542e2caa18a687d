"""Everything that Loadgate changes inside Locust: one place, each change with its reason.

Checked against Locust 2.47.0. Each change has a test in `tests/swarm/test_swarm_patches.py` that
runs stock Locust's own code and fails once the change is no longer needed.
"""

from __future__ import annotations

import functools
import json
import logging
import signal
import time
from collections.abc import Callable
from typing import Any

import gevent
from locust import argument_parser, stats
from locust.runners import STATE_MISSING, MasterRunner

CHECKED_AGAINST = "2.47.0"
_WORKERS_LEAVE_WITHIN = 10.0
"""Seconds that a master waits at the end for its workers' last reports."""
_log = logging.getLogger("loadgate.swarm")

_originals: dict[str, Any] = {}
_csv_writers: list[stats.StatsCSVFileWriter] = []


def apply() -> None:
    """Apply every change once; calling again does nothing."""
    if _originals:
        return
    _originals["signal_handler"] = gevent.signal_handler
    _cache_default_arguments()
    _keep_statistics_when_printing_json()
    _remember_csv_writers()
    _wait_for_workers_at_quit()
    _own_the_termination_signal()


def _cache_default_arguments() -> None:
    """Build the parser of default arguments once.

    WorkerRunner.handle_message asks for it once per option at every spawn message, which
    stalls the event loop of every worker for 50 to 80 ms each time (runners.py:1400).
    """
    cached = functools.lru_cache(maxsize=1)(argument_parser.default_args_dict)
    argument_parser.default_args_dict = cached


def _keep_statistics_when_printing_json() -> None:
    """Print and save JSON without resetting what is printed.

    RequestStats.serialize_stats() resets each entry as it goes, so that a JSON file written
    after JSON output is empty, and the summary after it shows zeros (stats.py:863).
    """
    stats.print_stats_json = lambda of: print(json.dumps(_rows(of), indent=4))  # noqa: T201

    def save(of: stats.RequestStats, filename: str) -> None:
        with open(f"{filename}.json", "w", encoding="utf-8") as file:
            json.dump(_rows(of), file, indent=4)

    stats.save_stats_json = save


def _rows(of: stats.RequestStats) -> list[Any]:
    entries = (of.entries[key] for key in sorted(of.entries))
    return [entry.serialize() for entry in entries if entry.num_requests or entry.num_failures]


def _remember_csv_writers() -> None:
    """Remember CSV writers, so that `write_last_csv` can write a last pass.

    The writer's loop writes once a second and nothing writes after it, so the last second or
    more of a run is missing from the final CSV files (stats.py:1146).
    """
    original = stats.StatsCSVFileWriter.__init__

    @functools.wraps(original)
    def remember(self: stats.StatsCSVFileWriter, *args: Any, **options: Any) -> None:
        original(self, *args, **options)
        _csv_writers.append(self)

    stats.StatsCSVFileWriter.__init__ = remember


def write_last_csv() -> None:
    """Write the CSV files once more from the final statistics. Files already closed are left."""
    for writer in _csv_writers:
        if writer.requests_csv_filehandle.closed:
            continue
        header = len(",".join(f'"{c}"' for c in writer.requests_csv_columns))
        if writer.requests_csv_filehandle.tell() < min(header, 1):
            continue
        _rewrite(writer)


def _rewrite(writer: stats.StatsCSVFileWriter) -> None:
    requests = writer.requests_csv_filehandle
    requests.seek(0)
    writer.requests_csv_writer.writerow(writer.requests_csv_columns)
    writer._requests_data_rows(writer.requests_csv_writer)
    requests.truncate()
    writer._stats_history_data_rows(writer.stats_history_csv_writer, time.time())
    writer.failures_csv_filehandle.seek(writer.failures_csv_data_start)
    writer._failures_data_rows(writer.failures_csv_writer)
    writer.failures_csv_filehandle.truncate()
    writer.exceptions_csv_filehandle.seek(writer.exceptions_csv_data_start)
    writer._exceptions_data_rows(writer.exceptions_csv_writer)
    writer.exceptions_csv_filehandle.truncate()
    for flush in (
        writer.requests_flush,
        writer.stats_history_flush,
        writer.failures_flush,
        writer.exceptions_flush,
    ):
        flush()


def _wait_for_workers_at_quit() -> None:
    """Let a quitting master wait until its workers have reported and left.

    MasterRunner.quit() sleeps a fixed half second and then stops listening; whatever a worker
    reports later is lost (runners.py:913). A worker's "quit" message comes after its last
    statistics, and removes it from `clients`. The last one to leave makes the listener call
    quit() again, hence the guard.
    """
    original = MasterRunner.quit
    _originals["quit"] = original

    def quit_and_wait(self: MasterRunner) -> None:
        if getattr(self, "loadgate_quitting", False):
            return
        self.loadgate_quitting = True
        self.stop(send_stop_to_client=False)
        for client in self.clients.all:
            self.send_message("quit", client_id=client.id)
        deadline = time.monotonic() + _WORKERS_LEAVE_WITHIN
        while _alive(self) and time.monotonic() < deadline:
            gevent.sleep(0.02)
        if left := _alive(self):
            _log.error("%d worker(s) did not leave within %g s", left, _WORKERS_LEAVE_WITHIN)
        hook: Callable[[], None] | None = getattr(self, "loadgate_finalise", None)
        if hook is not None:
            hook()
        self.greenlet.kill(block=True)

    MasterRunner.quit = quit_and_wait


def _alive(runner: MasterRunner) -> int:
    return sum(client.state != STATE_MISSING for client in runner.clients.all)


def _own_the_termination_signal() -> None:
    """Drop Locust's own SIGTERM handler; `end_on_signals` installs a better one.

    Locust registers its handler only after a headless shape has ended (main.py:687), so a
    SIGTERM before that kills the process without any event, report or final CSV; and its handler
    runs outside the main greenlet, where no HTML report is written.
    """
    original = gevent.signal_handler

    def register(number: int, handler: Callable[..., Any], *args: Any, **options: Any) -> Any:
        if number == signal.SIGTERM and getattr(handler, "__module__", "") == "locust.main":
            return None
        return original(number, handler, *args, **options)

    gevent.signal_handler = register


def end_on_signals(first: Callable[[int], None], second: Callable[[], None]) -> None:
    """Call `first(signal)` on the first SIGINT or SIGTERM, and `second()` on each later one.

    Both run in a greenlet of their own, so they may wait. Python's own handler would raise
    KeyboardInterrupt inside whatever user happens to run, whose request would be lost from the books.
    """
    received: list[int] = []

    def handle(number: int) -> None:
        received.append(number)
        if len(received) > 1:
            second()
        else:
            first(number)

    install = _originals.get("signal_handler", gevent.signal_handler)
    for number in (signal.SIGINT, signal.SIGTERM):
        install(number, handle, number)


def interrupt_main() -> None:
    """Raise KeyboardInterrupt in the main greenlet, where Locust expects it."""
    gevent.get_hub().handle_system_error(KeyboardInterrupt, KeyboardInterrupt())


def prune_seconds(of: stats.RequestStats, now: float, keep: float = 120.0) -> None:
    """Forget Locust's per-second counts older than `keep` seconds.

    They grow by a key per second and endpoint for ever (43 MB an endpoint in a week), and only
    the current rate, which looks 12 seconds back, is computed from them (stats.py:455).
    """
    oldest = int(now - keep)
    for entry in [*of.entries.values(), of.total]:
        for counts in (entry.num_reqs_per_sec, entry.num_fail_per_sec):
            for second in [s for s in counts if s < oldest]:
                del counts[second]
