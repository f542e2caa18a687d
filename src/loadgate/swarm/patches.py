"""Everything that Loadgate changes inside Locust: one place, each change with its reason.

Checked against Locust 2.47.0. Each change has a test in `tests/swarm/test_swarm_patches.py` that
runs stock Locust's own code and fails once the change is no longer needed.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import signal
import time
from collections.abc import Callable
from typing import Any

import gevent
from locust import argument_parser, runners, stats
from locust.rpc import Message, zmqrpc
from locust.runners import (
    STATE_MISSING,
    STATE_RUNNING,
    STATE_SPAWNING,
    DistributedRunner,
    MasterRunner,
    WorkerRunner,
)

from loadgate.exit_codes import ExitCode
from loadgate.swarm import transport

CHECKED_AGAINST = "2.47.0"
_WORKERS_LEAVE_WITHIN = 10.0
"""Seconds that a master waits at the end for its workers' last reports."""
_log = logging.getLogger("loadgate.swarm")

_originals: dict[str, Any] = {}
_csv_writers: list[stats.StatsCSVFileWriter] = []


def apply(
    before_runner: Callable[[Any], None] = lambda _: None,
    on_runner: Callable[[Any], None] = lambda _: None,
) -> None:
    """Apply every change once; calling again does nothing.

    `before_runner(environment)` is called before a master's or worker's runner opens its connection,
    `on_runner(runner)` before anything can come over it.
    """
    if _originals:
        return
    _tell_of_a_runner_in_time(before_runner, on_runner)
    _originals["signal_handler"] = gevent.signal_handler
    _cache_default_arguments()
    _keep_statistics_when_printing_json()
    _remember_csv_writers()
    _wait_for_workers_at_quit()
    _own_the_termination_signal()
    _seal_the_connection()
    _never_block_the_listener()
    _survive_messages_that_make_no_sense()
    _follow_no_wall_clock()
    _deliver_before_quitting()
    _say_where_the_master_should_be()


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


def _seal_the_connection() -> None:
    """Let master and workers speak through `transport`, where nobody else can.

    Stock Locust believes whoever reaches the port: it merges their numbers, hands them the locustfile and
    ends the test when they say so; one malformed message ends its receive loop for good, and a corrupt one
    makes it count the message before once more (rpc/zmqrpc.py, runners.py:976).
    """
    zmqrpc.Server, zmqrpc.Client = transport.Server, transport.Client


def _survive_messages_that_make_no_sense() -> None:
    """Let a message whose handling raises be logged, not end the loop that receives messages.

    The handlers index into what came (`msg.data["state"]`), outside of any `try` (runners.py:1016, 1370).
    """
    for runner in (MasterRunner, WorkerRunner):
        original = runner.handle_message

        @functools.wraps(original)
        def handle(self: Any, *args: Any, _original: Callable[..., None] = original) -> None:
            try:
                _original(self, *args)
            except Exception:  # noqa: BLE001 - whatever it is, the next message must be heard
                _log.exception("a message was dropped: it could not be handled")

        runner.handle_message = handle


def _follow_no_wall_clock() -> None:
    """Let no step of a wall clock end a worker, or make it pass over what its master says.

    A worker quits when the master was not heard of for 60 s by its wall clock (runners.py:1352), and drops
    a "spawn" whose time of day is not after that of the one before (runners.py:1384).
    """
    WorkerRunner.heartbeat_timeout_checker = _check_for_a_master
    original = WorkerRunner.handle_message

    @functools.wraps(original)
    def handle(self: WorkerRunner, msg: Any) -> None:
        if msg.type == "heartbeat":
            self.loadgate_heard = time.monotonic()
        elif msg.type == "spawn":
            # Messages come in order, on one connection, and none twice.
            self.last_received_spawn_timestamp = 0
        original(self, msg)

    WorkerRunner.handle_message = handle


def _tell_of_a_runner_in_time(before: Callable[[Any], None], begun: Callable[[Any], None]) -> None:
    """Tell of a runner that has a connection before it opens it, and before anything can come over it.

    A worker's runner speaks to the master, and hears from it, before the event `init`: one that joins a test
    under way is told to start before a listener of `init` could register for a message (main.py:389, 497).
    """
    original = DistributedRunner.__init__

    @functools.wraps(original)
    def make(self: Any, environment: Any) -> None:
        before(environment)
        original(self, environment)
        environment.runner = self
        begun(self)

    DistributedRunner.__init__ = make


def _never_block_the_listener() -> None:
    """Let users be redistributed in a greenlet of its own when a worker comes or goes.

    Locust does it in the greenlet that receives messages, which then hears of no worker for up to a second
    or more, while it waits for these very workers' reports (runners.py:741, 1041, 1109, 1122, 1165).
    """
    start, listener = MasterRunner.start, MasterRunner.client_listener

    @functools.wraps(listener)
    def listen(self: MasterRunner) -> None:
        self.loadgate_listener = gevent.getcurrent()
        listener(self)

    @functools.wraps(start)
    def start_elsewhere(self: MasterRunner, *args: Any, **options: Any) -> None:
        if gevent.getcurrent() is not getattr(self, "loadgate_listener", None):
            start(self, *args, **options)
        elif not getattr(self, "loadgate_restart", None):
            self.loadgate_restart = gevent.spawn(_restart, self, start, args, options)

    MasterRunner.client_listener, MasterRunner.start = listen, start_elsewhere


def _restart(runner: MasterRunner, start: Callable[..., None], args: Any, options: Any) -> None:
    while runner._users_dispatcher is not None and runner._users_dispatcher.dispatch_in_progress:
        gevent.sleep(0.05)
    runner.loadgate_restart = None
    if runner.state in (STATE_RUNNING, STATE_SPAWNING):
        start(runner, *args, **options)


MASTER_GONE_AFTER = 300.0
"""Seconds after which a worker gives up a master that it does not hear of. It stops its load much earlier,
when its lease ends, and keeps what was not acknowledged for a master that comes back."""


def _check_for_a_master(self: WorkerRunner) -> None:
    self.loadgate_heard = time.monotonic()
    while time.monotonic() - self.loadgate_heard < MASTER_GONE_AFTER:
        gevent.sleep(1)
    _log.error(
        "nothing was heard of the master at %s:%s for %g s; giving up",
        self.master_host,
        self.master_port,
        MASTER_GONE_AFTER,
    )
    self.environment.process_exit_code = int(ExitCode.UNREACHABLE)
    self.quit()


def _deliver_before_quitting() -> None:
    """Let a worker that is told to quit go on receiving until its last reports are acknowledged.

    Locust handles "quit" in the greenlet that receives, so nothing that is sent afterwards could be
    acknowledged (runners.py:1421). `loadgate_deliver` on a runner waits for that.
    """
    original = WorkerRunner.handle_message

    def quit_when_delivered(self: WorkerRunner, msg: Any) -> None:
        self.stop()
        deliver: Callable[[], None] | None = getattr(self, "loadgate_deliver", None)
        if deliver is not None:
            deliver()
        original(self, msg)

    @functools.wraps(original)
    def handle(self: WorkerRunner, msg: Any) -> None:
        if msg.type == "quit":
            gevent.spawn(quit_when_delivered, self, msg)
        else:
            original(self, msg)

    WorkerRunner.handle_message = handle


def _say_where_the_master_should_be() -> None:
    """Let a worker that cannot reach its master say where it looks, and give up with an exit code of its own.

    Locust tries for five minutes and says so only after half a minute, at the level INFO; then it ends with
    exit code 1, which is also that of failed requests (runners.py:1506, main.py:395).
    """
    WorkerRunner.connect_to_master = _connect_to_master


CONNECT_WITHIN = 60.0
"""Seconds in which a worker must reach its master; `LOADGATE_CONNECT_WITHIN` sets another number."""
_SAY_FIRST, _SAY_EVERY = 2.0, 10.0


def _connect_to_master(self: WorkerRunner) -> None:
    where = f"{self.master_host}:{self.master_port}"
    within = float(os.environ.get("LOADGATE_CONNECT_WITHIN", CONNECT_WITHIN))
    begun, say = time.monotonic(), _SAY_FIRST
    self.client.send(Message("client_ready", runners.__version__, self.client_id))
    while not self.connection_event.wait(timeout=min(1.0, within)):
        waited = time.monotonic() - begun
        if waited >= within:
            _log.error(
                "no master answers at %s after %g s; see that it runs and listens there", where, within
            )
            raise SystemExit(int(ExitCode.UNREACHABLE))
        if waited >= say:
            _log.warning("no master answers at %s yet; trying for %.0f s more", where, within - waited)
            say += _SAY_EVERY
    self.connected = True


def introduce_again(runner: WorkerRunner) -> None:
    """Tell a master that has not met this worker that it is here, as Locust does once at the start.

    Stock Locust's workers never do, so a master that was restarted never gets them back.
    """
    runner.loadgate_heard = time.monotonic()
    runner.client.send(Message("client_ready", runners.__version__, runner.client_id))


def keep_alive(runner: Any, client: str) -> None:
    """Let Locust know that a worker lives, whose own heartbeat may be late because its event loop is busy."""
    node = runner.clients.get(client) if client in getattr(runner, "clients", ()) else None
    if node is not None:
        node.heartbeat = runners.HEARTBEAT_LIVENESS


def give_up(runner: Any, client: str) -> None:
    """Let Locust find at its next look that a worker is missing, and give its users to the others."""
    node = runner.clients.get(client) if client in runner.clients else None
    if node is not None and node.state != STATE_MISSING:
        node.heartbeat = -1
