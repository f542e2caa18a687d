"""Each change inside Locust is still needed: stock Locust, in a process of its own, shows the defect."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.system


CHANGES = "from loadgate.swarm import patches\npatches.apply()\n"


def started(code: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", "import locust\n" + code]
    environment = os.environ | {"LOADGATE_SECRET": "the secret of these tests"}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def printed(process: subprocess.Popen[str]) -> str:
    try:
        stdout, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, stderr
    return stdout.strip()


def stock(code: str) -> str:
    """Run code with stock Locust, without Loadgate's plugin; return what it prints."""
    return printed(started(textwrap.dedent(code)))


def patched(code: str) -> str:
    """Run code with Locust as Loadgate changes it."""
    return stock(CHANGES + textwrap.dedent(code))


def both(code: str) -> tuple[str, str]:
    """Run code with stock Locust and with Locust as Loadgate changes it, at the same time."""
    code = textwrap.dedent(code)
    as_it_is, changed = started(code), started(CHANGES + code)
    try:
        return printed(as_it_is), printed(changed)
    finally:
        changed.kill()
        changed.communicate()


TIME_LIMIT = """
import time
import gevent
from gevent import monkey

gevent.get_hub()
monkey.get_original("time", "sleep")(2.1)
limit = gevent.spawn_later(2.0, lambda: None)
gevent.sleep(0)
gevent.sleep(0)
gevent.sleep(0.01)
print(limit.ready())
"""


def test_a_time_limit_counts_from_when_the_loop_looked_at_the_clock_last() -> None:
    """What the import of a locustfile took is missing from the run, which may end at once."""
    assert both(TIME_LIMIT) == ("True", "False")


DEFAULTS = """
from locust import argument_parser as parser
print(parser.default_args_dict() is parser.default_args_dict())
"""


def test_the_default_arguments_are_parsed_anew_each_time() -> None:
    """Stock Locust builds its parser once per option and spawn message; here it is built once."""
    assert stock(DEFAULTS) == "False"
    assert patched(DEFAULTS) == "True"


RESET = """
import io, contextlib
from locust import stats
of = stats.RequestStats()
of.log_request("GET", "/", 5, 10)
with contextlib.redirect_stdout(io.StringIO()):
    stats.print_stats_json(of)
print(of.get("/", "GET").num_requests)
"""


def test_printing_json_empties_the_statistics() -> None:
    """Stock Locust resets what it prints as JSON, so what follows shows zeros."""
    assert stock(RESET) == "0"
    assert patched(RESET) == "1"


LAST_CSV = """
import os, tempfile
os.chdir(tempfile.mkdtemp())
import gevent
from locust import stats
from locust.env import Environment
environment = Environment()
writer = stats.StatsCSVFileWriter(environment, stats.PERCENTILES_TO_REPORT, "out", False)
loop = gevent.spawn(writer.stats_writer)
gevent.sleep(0.1)
environment.stats.log_request("GET", "/", 5, 10)
try:
    patches.write_last_csv()
except NameError:
    pass
writer.close_files()
print(open("out_stats.csv").read().count("GET"))
loop.kill()
"""


def test_the_last_second_is_missing_from_the_csv() -> None:
    """Stock Locust closes its CSV files without writing what came after the last pass."""
    assert stock(LAST_CSV) == "0"
    assert patched(LAST_CSV) == "1"


SIGNAL = """
import inspect
from locust import main
source = inspect.getsource(main.main)
registered = source.index("gevent.signal_handler(signal.SIGTERM")
print(registered > source.index("shape_greenlet.join()"))
"""
HANDLER = """
import gevent, signal
def handler(): pass
handler.__module__ = "locust.main"
print(*(gevent.signal_handler(signal.SIGTERM, one) is not None for one in (handler, print)))
"""


def test_sigterm_is_handled_only_after_a_shape_has_ended() -> None:
    """Stock Locust registers its SIGTERM handler after the headless shape, which blocks until it is over."""
    assert stock(SIGNAL) == "True"


def test_locusts_own_sigterm_handler_is_not_installed_and_any_other_is() -> None:
    """Stock Locust's handler would take the place of the one that ends a run as Ctrl-C does."""
    assert both(HANDLER) == ("True True", "False True")


SIGNALS = """
import gevent, os, signal
told = []
patches.end_on_signals(lambda number: told.append(signal.Signals(number).name), lambda: told.append("again"))
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGINT):
    had = len(told)
    os.kill(os.getpid(), number)
    with gevent.Timeout(20):
        while len(told) == had:
            gevent.sleep(0.001)
print(told)
"""


def test_the_first_signal_ends_a_run_and_each_later_one_is_told_apart() -> None:
    """SIGTERM, then SIGINT twice: one gentle end that knows its signal, and two that want it at once."""
    assert patched(SIGNALS) == "['SIGTERM', 'again', 'again']"


GROWTH = """
from locust import stats
of = stats.RequestStats()
entry = of.get("/", "GET")
for second in range(1000):
    entry.num_reqs_per_sec[second] = 1
    of.total.num_reqs_per_sec[second] = 1
try:
    patches.prune_seconds(of, now=1000.0, keep=120.0)
except NameError:
    pass
print(len(entry.num_reqs_per_sec), len(of.total.num_reqs_per_sec))
"""


def test_per_second_counts_grow_for_ever() -> None:
    """Stock Locust never forgets a second; here the last 120 are kept, 880 to 999."""
    assert stock(GROWTH) == "1000 1000"
    assert patched(GROWTH) == "120 120"


def test_the_installed_locust_is_the_one_the_changes_were_checked_against() -> None:
    """A new Locust must be looked at before the changes are trusted with it."""
    assert patched("import locust\nprint(locust.__version__ == patches.CHECKED_AGAINST)") == "True"


# -- runners without a network ------------------------------------------------------------------

FAKES = """
import gevent, logging, os, time
from types import SimpleNamespace
from gevent.event import Event
from gevent.queue import Queue
from locust import User, constant, runners
from locust.env import Environment
from locust.rpc import Message, zmqrpc

class U(User):
    wait_time = constant(1)

class Wire:
    '''Stand in for a server or a client: `sent` is what went out, `come` brings something in.'''
    port = 0

    def __init__(self, *_):
        self.sent, self.inbox, self.dropped = [], Queue(), {"secret": 0}

    def send(self, msg):
        self.sent.append(msg)

    send_to_client = send

    def come(self, kind, data=None, node="w"):
        self.inbox.put(Message(kind, data, node))

    def recv(self):
        return self.inbox.get()

    def recv_from_client(self):
        msg = self.inbox.get()
        return msg.node_id, msg

    def kinds(self):
        return [msg.type for msg in self.sent]

zmqrpc.Server = zmqrpc.Client = Wire

def master():
    runner = Environment(user_classes=[U]).create_master_runner("127.0.0.1", 0)
    return runner, runner.server

def worker():
    '''Make a worker's runner as it is when it begins to connect, without its greenlets.'''
    environment = Environment(user_classes=[U])
    runner = runners.WorkerRunner.__new__(runners.WorkerRunner)
    runners.Runner.__init__(runner, environment)
    environment.runner = runner
    runner.client, runner.client_id = Wire(), "w"
    runner.worker_state, runner.connection_event = runners.STATE_INIT, Event()
    runner.master_host, runner.master_port, runner.web_base_path = "10.9.8.7", 5557, ""
    runner.retry, runner.last_heartbeat_timestamp, runner.last_received_spawn_timestamp = 0, None, 0
    return runner, runner.client

def until(condition):
    with gevent.Timeout(20, AssertionError("the condition did not come true")):
        while not condition():
            gevent.sleep(0.001)

def join(runner, server, *nodes):
    '''Let workers say that they are there.'''
    for node in nodes:
        server.come("client_ready", runners.__version__, node)
    until(lambda: all(node in runner.clients for node in nodes))

def report(server, node, number):
    '''Let a worker say how many users it has.'''
    server.come("spawning_complete", {"user_classes_count": {"U": number}}, node)

def sent(runner):
    '''Tell whether a start has told all workers of their users, and waits for their reports.'''
    return runner._users_dispatcher is not None and not runner._users_dispatcher.dispatch_in_progress

def users(server, node):
    '''Tell how many users a worker was told to have, each time that it was told.'''
    spawns = [msg.data for msg in server.sent if msg.type == "spawn" and msg.node_id == node]
    return [sum(data["user_classes_count"].values()) for data in spawns]

CHANGED = "patches" in globals()
"""

STRANGER = """
import gevent, zmq.green as zmq
from locust.env import Environment
from locust.rpc import Message
runner, heard = Environment().create_master_runner("127.0.0.1", 0), []
runner.environment.events.worker_report.add_listener(lambda client_id, data: heard.append(client_id))
stranger = zmq.Context().socket(zmq.DEALER)
stranger.setsockopt(zmq.IDENTITY, b"anybody")
stranger.connect(f"tcp://127.0.0.1:{runner.server.port}")
stranger.send(Message("stats", {"user_classes_count": {}}, "anybody").serialize())
dropped = getattr(runner.server, "dropped", {})
with gevent.Timeout(20):
    while not heard and not dropped:
        gevent.sleep(0.01)
print(heard, dict(dropped))
"""


def test_anybody_who_reaches_the_port_is_believed() -> None:
    """Stock Locust takes a report from anybody; here what has no seal is dropped and counted."""
    assert both(STRANGER) == ("['anybody'] {}", "[] {'stock': 1}")


MALFORMED = """
def outcome(handle):
    try:
        handle()
    except Exception as error:
        return type(error).__name__
    return "goes on"

runner, _ = master()
runner.clients["w"] = runners.WorkerNode("w")
print(outcome(lambda: runner.handle_message("w", Message("heartbeat", None, "w"))))
print(outcome(lambda: worker()[0].handle_message(Message("spawning_complete", None, "w"))))
"""


def test_a_message_without_its_data_ends_the_loop_that_receives() -> None:
    """Stock Locust's handlers raise, and nobody receives any more; here the next message is heard."""
    assert both(FAKES + MALFORMED) == ("TypeError\nTypeError", "goes on\ngoes on")


FATAL = """
def end(environment, msg):
    raise SystemExit(7)

runner, _ = worker()
runner.register_message("own", end)
try:
    runner.handle_message(Message("own", None, "w"))
except SystemExit as error:
    print(error.code)
"""


def test_what_ends_a_process_is_not_taken_for_a_bad_message() -> None:
    """A listener that raises SystemExit, as for a plan that cannot run, still ends its process."""
    assert patched(FAKES + FATAL) == "7"


# -- clocks -------------------------------------------------------------------------------------

CLOCK = """
class Over(Exception):
    pass

class Clock:
    '''Time that passes in sleeps only, until `end`; `then` says what happens when.'''

    def __init__(self, end, then):
        self.wall, self.steady, self.end, self.then = 1e9, 0.0, end, dict(then)
        time.time, time.monotonic, gevent.sleep = lambda: self.wall, lambda: self.steady, self.sleep

    def sleep(self, seconds=0):
        self.wall, self.steady = self.wall + seconds, self.steady + seconds
        for moment in [moment for moment in self.then if moment <= self.steady]:
            self.then.pop(moment)(self)
        if self.steady >= self.end:
            raise Over

    def step(self):
        self.wall += 3600

def heard(_):
    runner.handle_message(Message("heartbeat", None, "w"))

def given_up(end, **then):
    '''Tell when the worker gives up a master that is heard of at 0 s, and with what exit code.'''
    clock = Clock(end, {float(moment[1:]): action for moment, action in then.items()})
    quits = []

    def quit():
        quits.append(clock.steady)
        raise Over

    runner.quit = quit
    heard(clock)
    try:
        runner.heartbeat_timeout_checker()
    except Over:
        pass
    return quits, runner.environment.process_exit_code

runner, _ = worker()
"""


def test_a_step_of_the_clock_makes_a_worker_leave_its_master() -> None:
    """A wall clock that jumps an hour ends stock Locust's worker; here only silence does."""
    code = FAKES + CLOCK + "print(*given_up(100, _10=Clock.step))"
    assert both(code) == ("[10.0] None", "[] None")


def test_a_worker_gives_up_a_master_that_is_silent_for_five_minutes() -> None:
    """Heard of at 0 s and at 200 s and never again, it is given up at 500 s, and the exit code says so."""
    assert patched(FAKES + CLOCK + "print(*given_up(1000, _200=heard))") == "[500.0] 40"


def test_a_worker_that_meets_another_master_waits_for_that_one_anew() -> None:
    """A worker that introduces itself again at 250 s has heard of a master then, and waits until 550 s."""
    code = "print(*given_up(1000, _250=lambda _: patches.introduce_again(runner)), runner.client.kinds())"
    assert patched(FAKES + CLOCK + code) == "[550.0] 40 ['client_ready']"


SPAWNS = """
runner, _ = worker()
taken = []
runner.start_worker = taken.append
for moment in (200, 100):
    data = dict(timestamp=moment, host=None, stop_timeout=0, parsed_options={})
    data["user_classes_count"] = {"U": moment}
    runner.handle_message(Message("spawn", data, "w"))
    runner.spawning_greenlet.join()
print([counts["U"] for counts in taken])
"""


def test_a_master_whose_clock_steps_back_is_not_heard() -> None:
    """Stock Locust passes over users that are sent 100 s "before" the last ones; here both are taken."""
    assert both(FAKES + SPAWNS) == ("[200]", "[200, 100]")


# -- who comes and goes -------------------------------------------------------------------------

EAGER = """
def listen(runner):
    order.append("listens")
    runner.register_message("own", lambda environment, msg: order.append(msg.data))

class Eager(Wire):
    '''A master that has something to say at once.'''

    def __init__(self, *_):
        super().__init__()
        order.append("opens")
        self.come("ack", {"index": 0})
        self.come("own", "first word")

order = []
"""
INTRODUCED = """
zmqrpc.Client = Eager
runner = Environment(user_classes=[U]).create_worker_runner("127.0.0.1", 1)
if "listens" not in order:
    listen(runner)
until(lambda: runner.client.inbox.empty())
print(order)
"""


def test_a_workers_first_messages_come_before_anybody_could_listen() -> None:
    """Stock Locust tells of its runner after that was spoken to; here before it opens its connection."""
    assert stock(FAKES + EAGER + INTRODUCED) == "['opens', 'listens']"
    apply = "from loadgate.swarm import patches\npatches.apply(lambda _: order.append('prepares'), listen)\n"
    code = FAKES + EAGER + apply + INTRODUCED
    assert stock(code) == "['prepares', 'listens', 'opens', 'first word']"


STARTED = """
runner, server = master()
join(runner, server, "a")
starting = gevent.spawn(runner.start, 4, 100)
until(lambda: users(server, "a"))
report(server, "a", 4)
starting.join()
"""
NEWCOMER = """
os.environ["LOCUST_WAIT_FOR_WORKERS_REPORT_AFTER_RAMP_UP"] = "0.5"
runner.environment.events.spawning_complete.add_listener(lambda user_count: order.append("waited"))
runner.register_message("own", lambda environment, msg: order.append("heard"))
runner._wait_for_workers_report_after_ramp_up.cache_clear()
order = []
# The 4 users of the first are 2 by now, and the newcomer says nothing of its own: there is one to wait for.
runner.clients["a"].user_classes_count = {"U": 2}
join(runner, server, "b")
server.come("own", None, "a")
until(lambda: len(order) == 2)
print(order, users(server, "a"), users(server, "b"))
"""


def test_a_newcomer_makes_the_master_deaf_to_the_others() -> None:
    """Stock Locust waits for the newcomer's report where it would hear it; here it hears meanwhile."""
    deaf, hears = both(FAKES + STARTED + NEWCOMER)
    assert deaf == "['waited', 'heard'] [4, 2] [2]"
    assert hears == "['heard', 'waited'] [4, 2] [2]"


TARGET = """
slow = gevent.spawn(runner.start, 8, 100)
until(lambda: len(users(server, "a")) == 2 and sent(runner))
join(runner, server, "b")
report(server, "a", 8)
until(lambda: users(server, "b"))
print(users(server, "a"), users(server, "b"))
"""


def test_users_are_spread_anew_after_a_start_that_is_under_way() -> None:
    """One comes while 8 users are started in place of 4: the spreading waits, and spreads the 8."""
    wait = "import os; os.environ['LOCUST_WAIT_FOR_WORKERS_REPORT_AFTER_RAMP_UP'] = '15'\n"
    assert patched(wait + FAKES + STARTED + TARGET) == "[4, 8, 4] [4]"


DISPATCH = """
from locust.dispatch import UsersDispatcher
dispatcher = UsersDispatcher([runners.WorkerNode("a")], [U])
told = []
for node in ("b", "c"):
    dispatcher.new_dispatch(6, 100)
    list(dispatcher)
    told.append(dispatcher.dispatch_in_progress)
    dispatcher.add_worker(runners.WorkerNode(node))
print(told)
"""


def test_users_that_were_spread_anew_count_as_still_on_their_way() -> None:
    """Stock Locust's second dispatch, after a worker came, never ends, and a third worker gets no users."""
    assert both(FAKES + DISPATCH) == ("[False, True]", "[False, False]")


HEARTBEATS = """
runners.HEARTBEAT_INTERVAL, runners.HEARTBEAT_LIVENESS = 0.001, 10**6
runner, server = master()
runner.environment.parsed_options = SimpleNamespace(enable_rebalancing=True, headless=False)
join(runner, server, "a", "b")
a, b = runner.clients["a"], runner.clients["b"]
"""
LOST_IN_A_RAMP = """
os.environ["LOCUST_WAIT_FOR_WORKERS_REPORT_AFTER_RAMP_UP"] = "15"
starting = gevent.spawn(runner.start, 4, 100)
until(lambda: users(server, "a") and users(server, "b") and sent(runner))
b.heartbeat = -1
until(lambda: b.state == runners.STATE_MISSING)
report(server, "a", 4)
starting.join()
if CHANGED:
    until(lambda: len(users(server, "a")) > 1)
print(users(server, "a"))
"""


def test_the_users_of_a_worker_that_is_lost_right_after_a_ramp_are_nobodys() -> None:
    """Of 4 users 2 are gone with stock Locust, for good; here the other worker is told to have all 4."""
    assert both(FAKES + HEARTBEATS + LOST_IN_A_RAMP) == ("[2]", "[2, 4]")


LONG_MISSING = """
def ticked(heartbeat):
    '''Let a missing worker be looked at, whose last word was so many seconds ago.'''
    b.state, b.heartbeat, a.heartbeat = runners.STATE_MISSING, heartbeat, 10**6
    until(lambda: a.heartbeat < 10**6 - 1)
    return "b" in runner.clients
print(ticked(-61), ticked(-290), ticked(-300))
"""


def test_a_worker_that_was_cut_off_for_a_minute_is_forgotten_while_it_still_tries() -> None:
    """Stock Locust forgets it after 60 s of silence; here it is known for 300 s, while it tries."""
    assert both(FAKES + HEARTBEATS + LONG_MISSING) == ("False False False", "True True False")


BUSY = """
runners.HEARTBEAT_LIVENESS = 3
b.heartbeat = a.heartbeat = 3
a.heartbeat = 10**6
looks = a.heartbeat
while a.heartbeat > looks - 10 and b.state != runners.STATE_MISSING:
    if CHANGED:
        patches.keep_alive(runner, "b")
        patches.keep_alive(runner, "nobody")
    gevent.sleep(0)
print(b.state)
"""


def test_a_worker_that_is_busy_for_four_seconds_is_missing() -> None:
    """After 4 looks without a heartbeat stock Locust gives it up; one that beats in another way stays."""
    assert both(FAKES + HEARTBEATS + BUSY) == ("missing", "ready")


GIVEN_UP = """
until(lambda: a.heartbeat < 10**6 - 10)
before = b.state
patches.give_up(runner, "b")
patches.give_up(runner, "nobody")
until(lambda: b.state == runners.STATE_MISSING)
lost_at = b.heartbeat
patches.give_up(runner, "b")
print(before, a.state, b.heartbeat <= lost_at)
"""


def test_a_worker_that_is_given_up_is_missing_at_the_next_look() -> None:
    """It need not be silent for Locust's own four seconds; to give it up again changes nothing."""
    assert patched(FAKES + HEARTBEATS + GIVEN_UP) == "ready ready True"


INTERVALS = """
def heartbeats(seconds):
    '''Count the heartbeats of a worker in so many seconds.'''
    runner.client.sent.clear()
    Clock(seconds, {})
    try:
        runner.heartbeat()
    except Over:
        pass
    return runner.client.kinds().count("heartbeat")

runner, _ = worker()
counted = [heartbeats(30)]
for workers in (300, 1000, 5000) if CHANGED else ():
    patches.pace(runner, workers)
    counted.append(heartbeats(30))
print(*counted)
"""


def test_each_worker_of_a_large_fleet_sends_a_heartbeat_a_second() -> None:
    """30 in 30 s from each of stock Locust's; here the interval grows from 300 workers on, to 3 s at 1000."""
    assert both(FAKES + CLOCK.rpartition("runner, _")[0] + INTERVALS) == ("30", "30 30 10 10")


ANSWERS = """
def answered(workers, *said):
    '''Tell for each heartbeat of a worker, said at a time with a state and a CPU, whether it was answered.'''
    runner, server = master()
    for number in range(workers):
        runner.clients[f"w{number}"] = runners.WorkerNode(f"w{number}", runners.STATE_RUNNING)
    runner.state = runners.STATE_RUNNING
    node, found = runner.clients["w0"], ""
    for at, state, cpu in said:
        time.monotonic = lambda: at
        server.sent.clear()
        node.heartbeat = 0
        data = {"state": state, "current_cpu_usage": cpu, "current_memory_usage": 7}
        runner.handle_message("w0", Message("heartbeat", data, "w0"))
        assert (node.heartbeat, node.state, node.cpu_usage, node.memory_usage) == (3, state, cpu, 7)
        found += "+" if server.kinds() == ["heartbeat"] else "-"
    return found

minute = [(at, "running", 10) for at in range(100, 160, 3)]
news = [(100, "running", 10), (103, "running", 91), (106, "running", 10), (109, "spawning", 10)]
print(answered(300, *minute), answered(1000, *minute), answered(1000, *news))
"""


def test_a_master_answers_each_heartbeat_of_a_thousand_workers() -> None:
    """One each 3 s has 20 answers a minute; here of 300 workers too, of 1000 twice, and when it is news."""
    every, seldom = "+" * 20, ("+" + "-" * 9) * 2
    assert both(FAKES + ANSWERS) == (f"{every} {every} ++++", f"{every} {seldom} ++-+")


LOOKS = """
runner, server = master()
join(runner, server, "a", "b")
runner.state = runners.STATE_RUNNING
lists = []
listed = runners.WorkerNodes.__iter__
runners.WorkerNodes.__iter__ = lambda nodes: lists.append(1) or listed(nodes)

def looked(*states):
    '''Count the lists of all workers that one look makes, with the workers in these states.'''
    for node, state in zip(runner.clients._worker_nodes.values(), states):
        node.state = state
    lists.clear()
    runner.check_stopped()
    return len(lists), runner.state

RUNS, GONE = runners.STATE_RUNNING, runners.STATE_MISSING
print(*looked(RUNS, GONE), *looked(GONE, RUNS), *looked(GONE, GONE))
"""


def test_a_master_lists_all_its_workers_after_each_message_of_one() -> None:
    """To see whether all have stopped; here not while the first of them runs. What it finds is the same."""
    stock_looks, ours = both(FAKES + LOOKS)
    assert stock_looks == "1 running 1 running 1 stopped"
    assert ours == "0 running 1 running 1 stopped"


MASTERS = """
import gevent, locust.event
from locust import runners
from locust.env import Environment
runners.HEARTBEAT_INTERVAL = 0.1
CHANGED = "patches" in globals()

def configure(name):
    '''Let the next master be another one, as after a restart.'''
    if CHANGED:
        from loadgate.swarm import transport
        welcomed = lambda info, fresh: fresh and patches.introduce_again(worker)
        transport.configure(admit=lambda identity, passport: {}, on_welcome=welcomed, instance=name)

def beaten():
    return any(msg.type == "heartbeat" and msg.node_id == worker.client_id for msg in messages)

messages = []
handle = runners.MasterRunner.handle_message
def noted(self, client_id, msg):
    handle(self, client_id, msg)
    messages.append(msg)
runners.MasterRunner.handle_message = noted

configure("first")
first = Environment(events=locust.event.Events()).create_master_runner("127.0.0.1", 0)
worker = Environment(events=locust.event.Events()).create_worker_runner("127.0.0.1", first.server.port)
port = first.server.port
first.greenlet.kill(block=True)
first.server.close(linger=0)
configure("second")
second = None
with gevent.Timeout(30):
    while second is None:
        try:
            second = Environment(events=locust.event.Events()).create_master_runner("127.0.0.1", port)
        except (Exception, SystemExit):
            gevent.sleep(0.05)
    messages.clear()
    while not beaten():
        gevent.sleep(0.01)
print(worker.client_id in second.clients)
"""


def test_a_worker_says_nothing_to_a_master_that_was_restarted() -> None:
    """Stock Locust's worker is a stranger to its new master; here it introduces itself first."""
    assert both(MASTERS) == ("False", "True")


# -- connecting and leaving ---------------------------------------------------------------------

CONNECTING = """
class Silence:
    '''A connection that never stands: waiting for it lets time pass.'''
    waited = 0.0
    def wait(self, timeout):
        self.waited += timeout

class Said(logging.Handler):
    def emit(self, record):
        said.append((record.levelname, record.getMessage()))

said = []
logging.getLogger().addHandler(Said())
logging.getLogger().setLevel("INFO")
runner, client = worker()
silence = runner.connection_event = Silence()
time.monotonic = lambda: silence.waited

def ended():
    try:
        runner.connect_to_master()
    except (SystemExit, ConnectionError) as error:
        return f"{type(error).__name__} {getattr(error, 'code', None)} after {silence.waited:g} s"
"""


def test_a_worker_without_a_master_waits_for_minutes_and_hardly_says_so() -> None:
    """Stock Locust tries 61 times for 5 s, and warns of nothing; here it does, and has its own exit code."""
    code = """
    os.environ["LOADGATE_CONNECT_WITHIN"] = "5.5"
    print(ended(), [level for level, text in said if level != "INFO"], "10.9.8.7:5557" in said[-1][1])
    """
    late, soon = both(FAKES + CONNECTING + textwrap.dedent(code))
    assert late == "ConnectionError None after 305 s [] True"
    assert soon == "SystemExit 40 after 5.5 s ['WARNING', 'ERROR'] True"


def test_a_worker_with_another_secret_says_that_and_not_that_nobody_answers() -> None:
    """The master answers, so its address is not what has to be looked at."""
    code = """
    client.dropped["secret"] = 3
    print(ended(), "secret" in said[-1][1], "no master" in said[-1][1])
    """
    assert patched(FAKES + CONNECTING + textwrap.dedent(code)) == "SystemExit 40 after 60 s True False"


def test_a_time_to_connect_that_is_none_is_a_usage_error() -> None:
    """Words, less than nothing, and no end at all are refused with exit code 2 before it waits."""
    code = """
    for wrong in ("soon", "-1", "inf", "nan"):
        os.environ["LOADGATE_CONNECT_WITHIN"] = wrong
        print(ended(), wrong in said[-1][1])
    """
    assert patched(FAKES + CONNECTING + textwrap.dedent(code)) == "\n".join(
        ["SystemExit 2 after 0 s True"] * 4
    )


def test_control_c_ends_a_worker_that_still_connects() -> None:
    """Without a traceback, and with the exit code of an interruption."""
    code = """
    def interrupt(timeout):
        raise KeyboardInterrupt
    silence.wait = interrupt
    print(ended())
    """
    assert patched(FAKES + CONNECTING + textwrap.dedent(code)) == "SystemExit 130 after 0 s"


LEAVING = """
runner, client = worker()
order, acknowledged = [], Event()

def deliver():
    client.come("own.ack")
    acknowledged.wait(20)
    order.append("delivered")

def heard(environment, msg):
    order.append("acknowledged")
    acknowledged.set()

runner.register_message("own.ack", heard)
runner._send_stats = lambda: order.append("last statistics")
runner.loadgate_deliver = deliver
runner.start_worker = lambda counts: order.append("new users")
loop = runner.greenlet.spawn(runner.worker)
"""


def test_a_worker_that_is_told_to_quit_hears_no_acknowledgement() -> None:
    """Stock Locust quits where it receives; here it hears on until all is delivered, and then leaves."""
    code = """
    client.come("quit")
    if not CHANGED:
        client.come("own.ack")
    loop.join(20)
    print(order, loop.dead)
    """
    deaf, hears = both(FAKES + LEAVING + textwrap.dedent(code))
    assert deaf == "['last statistics'] True"
    assert hears == "['acknowledged', 'delivered', 'last statistics'] True"


def test_a_worker_that_quits_takes_no_new_users_and_quits_once() -> None:
    """Users that a ramp still sends, and a second "quit", change nothing while reports are delivered."""
    code = """
    spawn = dict(timestamp=1, host=None, stop_timeout=0, parsed_options={}, user_classes_count={"U": 1})
    for kind, data in (("quit", None), ("spawn", spawn), ("quit", None)):
        client.come(kind, data)
    loop.join(20)
    print(order, loop.dead)
    """
    leaves = "['acknowledged', 'delivered', 'last statistics'] True"
    assert patched(FAKES + LEAVING + textwrap.dedent(code)) == leaves


def test_a_worker_leaves_even_when_its_delivery_fails() -> None:
    """A worker that stayed for ever would hold up its master's end."""
    code = """
    def fail():
        raise OSError("no")
    runner.loadgate_deliver = fail
    client.come("quit")
    loop.join(20)
    print(order, loop.dead)
    """
    assert patched(FAKES + LEAVING + textwrap.dedent(code)) == "['last statistics'] True"


ENDING = """
runner, server = master()
join(runner, server, "a", "b")
order = []
handle = runner.handle_message
def noted(client_id, msg):
    handle(client_id, msg)
    order.append(f"{client_id} {msg.type}s")
runner.handle_message = noted
runner.loadgate_finalise = lambda: order.append("finalised")
quitting = gevent.spawn(runner.quit)
until(lambda: server.kinds().count("quit") == 2)
"""


def test_a_quitting_master_does_not_wait_for_its_workers() -> None:
    """Stock Locust ends half a second after it said "quit"; here when the last worker has left."""
    code = """
    if not CHANGED:
        quitting.join()
    for node in ("a", "b"):
        server.come("quit", None, node)
    quitting.join()
    print(order)
    """
    late, whole = both(FAKES + ENDING + textwrap.dedent(code))
    assert late == "[]"
    assert whole == "['a quits', 'b quits', 'finalised']"


def test_a_quitting_master_waits_for_no_worker_for_ever() -> None:
    """One that never leaves is told of, and the run is written down all the same."""
    code = """
    said = []
    patches._log.error = lambda text, *values: said.append(text % values)
    server.come("quit", None, "a")
    quitting.join()
    print(order, said)
    """
    left = "['a quits', 'finalised'] ['1 worker(s) did not leave within 0.2 s']"
    soon = "patches._WORKERS_LEAVE_WITHIN = 0.2\n"
    assert patched(soon + FAKES + ENDING + textwrap.dedent(code)) == left
