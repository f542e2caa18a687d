"""Everything that Loadgate changes inside Locust: one place, each change with its reason.

Checked against Locust 2.47.0. Each change has a test in `tests/swarm/test_swarm_patches.py` that
runs stock Locust's own code and fails once the change is no longer needed.
"""

from __future__ import annotations

import functools
import json
import logging
import math
import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import gevent
from locust import argument_parser, runners, stats
from locust.dispatch import UsersDispatcher
from locust.exception import RPCError
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
from loadgate.swarm import pace as intervals
from loadgate.swarm import transport_master, transport_worker

CHECKED_AGAINST = "2.47.0"
_WARNED_OF_FROM = 90
"""Per cent of CPU beyond which Locust warns of a worker (runners.py:1125)."""
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
    _stop_looking_at_the_first_that_runs()
    _grow_the_interval_of_heartbeats_with_the_fleet()
    _answer_few_heartbeats_of_a_large_fleet()
    _end_each_dispatch()
    _never_block_the_listener()
    _survive_messages_that_make_no_sense()
    _follow_no_wall_clock()
    _forget_no_worker_that_tries()
    _deliver_before_quitting()
    _say_where_the_master_should_be()
    _count_from_now()


def _count_from_now() -> None:
    """Let a run's time limit count from when it is set.

    gevent counts from when its loop looked at the clock last. Locust sets `--run-time` before the loop has
    turned once (main.py:524), so all that took since the process began, such as the import of a locustfile,
    is missing from the run: "-t 4s" ended after half a second.
    """
    original = gevent.spawn_later

    @functools.wraps(original)
    def spawn_later(seconds: float, *args: Any, **kwargs: Any) -> gevent.Greenlet:
        gevent.get_hub().loop.update_now()
        return original(seconds, *args, **kwargs)

    gevent.spawn_later = spawn_later


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
        file = writer.requests_csv_filehandle
        if not file.closed and file.tell() > 0:  # it has begun: where its rows start is known
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


def call_on(number: int, handle: Callable[[], None]) -> None:
    """Call `handle()` in a greenlet of its own whenever a signal comes."""
    _originals.get("signal_handler", gevent.signal_handler)(number, handle)


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
    zmqrpc.Server, zmqrpc.Client = transport_master.Server, transport_worker.Client


def pace(runner: Any, workers: int) -> None:
    """Let a worker tell its master of itself as often as one of so many workers does."""
    runner.loadgate_heartbeat_every = intervals.interval(intervals.HEARTBEAT, workers)
    # Locust looks at this before each report (runners.py:1468); it is the worker's own process.
    if isinstance(runner, WorkerRunner):
        runners.WORKER_REPORT_INTERVAL = intervals.interval(intervals.STATISTICS, workers)


def _grow_the_interval_of_heartbeats_with_the_fleet() -> None:
    """Let a worker's heartbeats wait for the interval that `pace` sets, not for a second.

    Of a thousand workers they would be a thousand messages and as many answers a second (runners.py:1330).
    That a worker lives is known from its beats.
    """
    WorkerRunner.heartbeat = _heartbeat


def _heartbeat(self: WorkerRunner) -> None:
    while True:
        said = {
            "state": self.worker_state,
            "current_cpu_usage": self.current_cpu_usage,
            "current_memory_usage": self.current_memory_usage,
        }
        try:
            self.client.send(Message("heartbeat", said, self.client_id))
        except RPCError as error:
            _log.error("a heartbeat could not be sent: %s", error)
            self.reset_connection()
        gevent.sleep(getattr(self, "loadgate_heartbeat_every", runners.HEARTBEAT_INTERVAL))


def _answer_few_heartbeats_of_a_large_fleet() -> None:
    """Let a master with many workers pass over the answer to a heartbeat that says nothing new.

    Locust answers each (runners.py:1134), and one message to one worker costs a master as much as several
    that it sends at once. A worker needs an answer in five minutes, to know that its master is there.
    """
    original = MasterRunner.handle_message

    @functools.wraps(original)
    def handle(self: MasterRunner, client_id: str, msg: Any) -> None:
        node = self.clients.get(msg.node_id) if msg.type == "heartbeat" else None
        if node is None:
            original(self, client_id, msg)
            return
        now = time.monotonic()
        since = now - getattr(node, "loadgate_answered", -math.inf)
        if since < intervals.interval(intervals.ANSWERS, len(self.clients)) and _is_no_news(msg.data, node):
            node.heartbeat = runners.HEARTBEAT_LIVENESS
            node.cpu_usage = msg.data["current_cpu_usage"]
            node.memory_usage = msg.data.get("current_memory_usage", node.memory_usage)
            return
        node.loadgate_answered = now
        original(self, client_id, msg)

    MasterRunner.handle_message = handle


def _is_no_news(said: dict[str, Any], node: Any) -> bool:
    """Tell whether a heartbeat asks for no more than to be noted: above 90 % of CPU, Locust warns."""
    if node.state == STATE_MISSING or said["state"] != node.state:
        return False
    return bool(said["current_cpu_usage"] <= _WARNED_OF_FROM)


def _stop_looking_at_the_first_that_runs() -> None:
    """Let a master tell from the first worker that runs that its test has not stopped.

    It looks after each message of any worker whether all have stopped, over a list of all workers
    (runners.py:649, 923, 1193): with a thousand of them, thousands of copies of a thousand names a second.
    """
    original = MasterRunner.check_stopped

    @functools.wraps(original)
    def check(self: MasterRunner) -> None:
        first = next(iter(self.clients._worker_nodes.values()), None)
        if first is None or first.state not in (STATE_RUNNING, STATE_SPAWNING):
            original(self)

    MasterRunner.check_stopped = check


def _survive_messages_that_make_no_sense() -> None:
    """Let a message whose handling raises be logged, not end the loop that receives messages.

    The handlers index into what came (`msg.data["state"]`), outside of any `try` (runners.py:1016, 1370).
    """
    for runner in (MasterRunner, WorkerRunner):
        runner.handle_message = _surviving(runner.handle_message)


def _surviving(handle: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(handle)
    def survive(*args: Any, **options: Any) -> None:
        try:
            handle(*args, **options)
        except Exception:  # noqa: BLE001 - whatever it is, the next message must be heard
            _log.exception("a message was dropped: it could not be handled")

    return survive


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
            # Messages come in order, and none twice: `frames` sees to that, so no time needs to.
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


def _end_each_dispatch() -> None:
    """Let a dispatch of users that has ended not count as one in progress.

    One that only spreads the users anew, because a worker came or went, returns early and leaves its mark
    (dispatch.py:154). From then on a worker that comes is given no users, since the dispatch "in progress"
    will see to it (runners.py:1039, 1117).
    """
    original = UsersDispatcher._dispatcher

    @functools.wraps(original)
    def dispatch(self: UsersDispatcher) -> Iterator[dict[str, dict[str, int]]]:
        yield from original(self)
        self._dispatch_in_progress = False

    UsersDispatcher._dispatcher = dispatch


class _Starts:
    """What a master is about: the greenlets that must not wait, how many starts run, and the one to come."""

    def __init__(self) -> None:
        self.loops: set[Any] = set()
        self.running = 0
        self.next: gevent.Greenlet | None = None


def _starts_of(runner: MasterRunner) -> _Starts:
    starts: _Starts = runner.__dict__.setdefault("loadgate_starts", _Starts())
    return starts


def _never_block_the_listener() -> None:
    """Let users be spread anew in a greenlet of its own when a worker comes or goes, after any other start.

    Locust does it in the greenlets that receive messages and that look at heartbeats. Meanwhile, for a second
    or for a whole ramp, they hear of no worker, not even of those whose reports are waited for, and miss
    none (runners.py:741, 950, 1041, 1109, 1122, 1165). And a worker that goes missing in the second
    after a ramp is passed over: its users are nobody's (runners.py:949).
    """
    start = MasterRunner.start
    for name in ("client_listener", "heartbeat_worker"):
        setattr(MasterRunner, name, _noted(getattr(MasterRunner, name)))

    @functools.wraps(start)
    def start_in_turn(self: MasterRunner, *args: Any, **options: Any) -> None:
        starts = _starts_of(self)
        if gevent.getcurrent() in starts.loops:
            _start_soon(self)
            return
        starts.running += 1
        try:
            start(self, *args, **options)
        finally:
            starts.running -= 1
        dispatcher = self._users_dispatcher
        if dispatcher is not None and dispatcher._rebalance and self.worker_count > 0:
            _start_soon(self)

    MasterRunner.start = start_in_turn


def _noted(loop: Callable[[MasterRunner], None]) -> Callable[[MasterRunner], None]:
    @functools.wraps(loop)
    def note_and_loop(self: MasterRunner) -> None:
        _starts_of(self).loops.add(gevent.getcurrent())
        loop(self)

    return note_and_loop


def _start_soon(runner: MasterRunner) -> None:
    starts = _starts_of(runner)
    if starts.next is None or starts.next.dead:
        # One of the runner's own greenlets, so that it ends with it.
        starts.next = runner.greenlet.spawn(_start_again, runner, starts)
        starts.next.link_exception(runners.locust_exception_handler(runner.environment))


def _start_again(runner: MasterRunner, starts: _Starts) -> None:
    while starts.running:
        gevent.sleep(0.05)
    # Whoever comes or goes from here on needs another one.
    starts.next = None
    if runner.state in (STATE_RUNNING, STATE_SPAWNING):
        # With what is wanted now: it may have changed while this one waited.
        runner.start(runner.target_user_count, runner.spawn_rate)


MASTER_GONE_AFTER = 300.0
"""Seconds after which a worker gives up a master that it does not hear of. It stops its load much earlier,
when its lease ends, and keeps what was not acknowledged for a master that comes back."""


def _forget_no_worker_that_tries() -> None:
    """Let a master know its missing workers for as long as they try to come back.

    Locust forgets one after a minute, and answers its heartbeats no more: it stays outside for ever
    although it is connected, and is not told to quit either (runners.py:61, 945, 1132).
    """
    runners.HEARTBEAT_DEAD_INTERNAL = -math.ceil(MASTER_GONE_AFTER)


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
    acknowledged (runners.py:1421). `loadgate_deliver` on a runner waits for that. Users that the master
    still sends meanwhile, as it does in the middle of a ramp (runners.py:800), are not taken.
    """
    original = WorkerRunner.handle_message

    def quit_when_delivered(self: WorkerRunner, msg: Any) -> None:
        try:
            self.stop()
            deliver: Callable[[], None] | None = getattr(self, "loadgate_deliver", None)
            if deliver is not None:
                deliver()
        finally:
            original(self, msg)

    @functools.wraps(original)
    def handle(self: WorkerRunner, msg: Any) -> None:
        quitting = getattr(self, "loadgate_quitting", False)
        if msg.type == "quit" and not quitting:
            self.loadgate_quitting = True
            gevent.spawn(quit_when_delivered, self, msg)
        elif not (quitting and msg.type in ("quit", "spawn")):
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
    within = _connect_within()
    begun, say = time.monotonic(), _SAY_FIRST
    self.client.send(Message("client_ready", runners.__version__, self.client_id))
    while not _answered(self, min(1.0, begun + within - time.monotonic())):
        waited = time.monotonic() - begun
        if waited >= within:
            _log.error("%s after %g s; %s", *_why_nobody_answers(self.client, where, within))
            raise SystemExit(int(ExitCode.UNREACHABLE))
        if waited >= say:
            _log.warning("no master answers at %s yet; trying for %.0f s more", where, within - waited)
            say += _SAY_EVERY
    self.connected = True


def _connect_within() -> float:
    given = os.environ.get("LOADGATE_CONNECT_WITHIN", "")
    try:
        within = float(given or CONNECT_WITHIN)
    except ValueError:
        within = math.nan
    if not 0 <= within < math.inf:
        _log.error("LOADGATE_CONNECT_WITHIN is %r; give a number of seconds, for example 60", given)
        raise SystemExit(int(ExitCode.USAGE))
    return within


def _answered(runner: WorkerRunner, timeout: float) -> bool:
    try:
        return bool(runner.connection_event.wait(timeout=max(timeout, 0.0)))
    except KeyboardInterrupt:
        raise SystemExit(int(ExitCode.INTERRUPTED)) from None


def _why_nobody_answers(client: transport_worker.Client, where: str, within: float) -> tuple[str, float, str]:
    if client.dropped["secret"]:
        remedy = "export the same LOADGATE_SECRET on every host"
        return f"the master at {where} does not know this worker's secret", within, remedy
    return f"no master answers at {where}", within, "see that it runs and listens there"


def introduce_again(runner: WorkerRunner) -> None:
    """Tell a master that has not met this worker that it is here, as Locust does once at the start.

    Stock Locust's workers never do, so a master that was restarted never gets them back.
    """
    runner.loadgate_heard = time.monotonic()
    runner.client.send(Message("client_ready", runners.__version__, runner.client_id))


def keep_alive(runner: Any, client: str) -> None:
    """Let Locust know that a worker lives, whose own heartbeat may be late because its event loop is busy."""
    # Not through the mapping, whose methods are many times slower; it is done for each worker every second.
    clients = getattr(runner, "clients", None)
    node = clients._worker_nodes.get(client) if clients is not None else None
    if node is not None:
        node.heartbeat = runners.HEARTBEAT_LIVENESS


def give_up(runner: Any, client: str) -> None:
    """Let Locust find at its next look that a worker is missing, and give its users to the others."""
    node = runner.clients.get(client) if client in runner.clients else None
    if node is not None and node.state != STATE_MISSING:
        node.heartbeat = -1
