"""What strangers can do to a run: nothing. Real masters and workers, and an attacker with sockets of its own.

The stories are played side by side, each with a target, a master and workers of its own.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

import msgpack
import psutil
import pytest
import zmq
from swarm_fleet import RATE, SECRET, STAGING, Fleet, play, unused_port

from loadgate.swarm.frames import Refusal, WorkerEnd
from loadgate.swarm.sealing import MAGIC, VERSION, Kind

# The stories are played before the first test, on a machine that may be busy with others.
pytestmark = [pytest.mark.system, pytest.mark.timeout(400)]

SECONDS = 20
ATTACK = 2
"""Second of run time at which the attack begins."""
FLOOD, FLOOD_PAUSE, FLOOD_BATCH = 2.0, 0.01, 10
"""Seconds of the flood, and how often how many frames of it are sent."""
OTHER_SECRET = "a secret of somebody else"
ENDPOINTS = {"emotion", "Aggregated"}

MILLION = {
    "name": "injected",
    "method": "POST",
    "num_requests": 1_000_000,
    "num_failures": 0,
    "num_none_requests": 0,
    "total_response_time": 1.0,
    "max_response_time": 1.0,
    "min_response_time": 1.0,
    "total_content_length": 0,
    "response_times": {1: 1_000_000},
    "num_reqs_per_sec": {1_700_000_000: 1_000_000},
    "num_fail_per_sec": {},
    "start_time": 1_700_000_000.0,
    "last_request_timestamp": 1_700_000_000.0,
}
STATS = {
    "stats": [MILLION],
    "stats_total": MILLION,
    "errors": {},
    "user_classes_count": {"EmotionUser": 1},
    "user_count": 1,
}


class Attacker:
    """Somebody who reaches the master's port."""

    def __init__(self, port: int) -> None:
        self._context = zmq.Context()
        self._port = port
        self.answers: list[bytes] = []

    def connect(self, identity: bytes) -> zmq.Socket[bytes]:
        socket = self._context.socket(zmq.DEALER)
        socket.setsockopt(zmq.IDENTITY, identity)
        socket.setsockopt(zmq.LINGER, 1000)
        socket.connect(f"tcp://127.0.0.1:{self._port}")
        return socket

    def say(self, identity: bytes, *messages: list[bytes]) -> list[bytes]:
        """Send messages under a name, and return what is answered until nothing comes for a while."""
        found = []
        with self.connect(identity) as socket:
            for message in messages:
                socket.send_multipart(message)
            while socket.poll(300):
                found.append(b"".join(socket.recv_multipart()))
        self.answers += found
        return found

    def flood(self) -> None:
        chance = random.Random(1)
        until = time.monotonic() + FLOOD
        with self.connect(b"flood") as socket:
            while time.monotonic() < until:
                for _ in range(FLOOD_BATCH):
                    socket.send(chance.randbytes(chance.randrange(1, 1000)))
                time.sleep(FLOOD_PAUSE)

    def close(self) -> None:
        self._context.destroy(linger=0)


def hostile(name: str) -> list[list[bytes]]:
    """List all that somebody may say who has no secret, in the name of a worker."""

    def stock(kind: str, data: Any) -> list[bytes]:
        return [msgpack.packb((kind, data, name))]

    sealed = MAGIC + bytes([VERSION, Kind.DATA]) + (7).to_bytes(8, "big") + bytes(32)
    return [
        [b"\xc1"],
        [msgpack.packb(("quit",))],
        [b""],
        [b"quit", b"in", b"parts"],
        stock("heartbeat", None),
        stock("heartbeat", {"__datetime__": 1, "as_str": "zz"}),
        stock("quit", None),
        stock("client_stopped", None),
        stock("stats", STATS),
        stock("locustfile", {"version": "2.47.0"}),
        stock("loadgate.drained", {"worker": "worker-1"}),
        [sealed + msgpack.packb(("quit", None, name))],
        [sealed[:20]],
        [WorkerEnd(OTHER_SECRET.encode(), name, lambda: {"kind": "ask"}).hello()],
    ]


def introduced(attacker: Attacker, name: str, passport: dict[str, Any]) -> Refusal:
    """Say HELLO with the right secret; return the refusal that it is answered with."""
    end = WorkerEnd(SECRET.encode(), name, lambda: passport)
    (answer,) = attacker.say(name.encode(), [end.hello()])
    opened = end.open(answer, 0.0)
    assert isinstance(opened, Refusal)
    return opened


def attacked(fleet: Fleet) -> None:
    """A run with one worker, during which everything is tried."""
    fleet.master(fleet.write(seconds=SECONDS), expect=1)
    fleet.worker("worker")
    fleet.at(ATTACK)
    (worker,) = fleet.value("workers")
    attacker = Attacker(fleet.port)
    try:
        for name in ("attacker", worker, f"{worker}#beat"):
            attacker.say(name.encode(), *hostile(name))
        attacker.flood()
        shown = {"version": "0", "code": "", "files": {}}
        passport = {"kind": "worker", "fingerprint": shown, "host": "evil", "run": ""}
        fleet.notes["unlike"] = introduced(attacker, "unlike", passport)
        fleet.notes["busy"] = introduced(attacker, "busy", passport | {"run": "another-run"})
    finally:
        attacker.close()
    fleet.notes["answers"] = attacker.answers
    fleet.notes["codes"] = {name: fleet.ended(name) for name in fleet.processes}


def unlike(fleet: Fleet) -> None:
    """Workers with another locustfile and with another secret come to a master that waits for its first."""
    other = fleet.folder / "locustfile.py"
    other.write_text(STAGING.parent.joinpath("emotion.py").read_text("utf-8"), encoding="utf-8")
    (fleet.folder / "checks.py").write_text("valid_emotion = None\n", encoding="utf-8")
    (fleet.folder / "corpora").symlink_to(STAGING.parent / "corpora")
    fleet.master(fleet.write(seconds=SECONDS), expect=1)
    fleet.until(lambda: listens(fleet, "master"))
    fleet.worker("other_file", locustfile=other)
    fleet.worker("other_secret", LOADGATE_SECRET=OTHER_SECRET, LOADGATE_CONNECT_WITHIN="3")
    fleet.notes["codes"] = {name: fleet.ended(name) for name in ("other_file", "other_secret")}


def other_run(fleet: Fleet) -> None:
    """A worker outlives its master, and finds another one at the same place."""
    fleet.master(fleet.write(name="first", seconds=60), expect=1, name="first")
    fleet.worker("stray")
    fleet.at(1)
    fleet.notes["first"] = fleet.folder_of_run().id
    fleet.kill("first")
    fleet.master(fleet.write(seconds=3), expect=1)
    fleet.worker("worker")
    fleet.notes["codes"] = {name: fleet.ended(name) for name in ("stray", "master", "worker")}


def bound_to_all(fleet: Fleet) -> None:
    """A master is told to listen everywhere, and has no secret."""
    command = ["--master", "--master-bind-host", "0.0.0.0", "--master-bind-port", str(fleet.port)]
    fleet.locust("master", *command, "--headless", LOADGATE_SECRET="")
    fleet.notes["code"] = fleet.ended("master")


def listening(fleet: Fleet) -> None:
    """Everything that Locust can listen with, as it is by default, and told otherwise."""
    ports = {name: (str(unused_port()), str(unused_port())) for name in ("web", "master", "forked", "told")}
    own = {name: ["--web-port", web, "--master-bind-port", bind] for name, (web, bind) in ports.items()}
    fleet.locust("web", *own["web"])
    fleet.locust("master", "--master", *own["master"])
    fleet.locust("forked", "--processes", "2", "--master-port", ports["forked"][1], *own["forked"])
    everywhere = ["--master-bind-host", "0.0.0.0", "--web-host", "0.0.0.0"]
    fleet.locust("told", "--master", *everywhere, *own["told"])
    for name, (web, bind) in ports.items():
        wanted = {int(web)} if name == "web" else {int(web), int(bind)}
        fleet.until(lambda name=name, wanted=wanted: {port for _, port in listens(fleet, name)} >= wanted)
    fleet.notes["listens"] = {name: listens(fleet, name) for name in ports}


def listens(fleet: Fleet, name: str) -> set[tuple[str, int]]:
    """Return the addresses and ports at which a process and its children listen."""
    process = psutil.Process(fleet.processes[name].pid)
    found = set()
    for one in [process, *process.children(recursive=True)]:
        connections = one.net_connections(kind="inet")
        found |= {(c.laddr.ip, c.laddr.port) for c in connections if c.status == psutil.CONN_LISTEN}
    return found


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Future[Fleet]]:
    stories = (attacked, other_run, unlike, listening, bound_to_all)
    return play(tmp_path_factory.mktemp("hostile"), {story.__name__: story for story in stories}, at_once=2)


# -- the run that is attacked -------------------------------------------------------------------


def test_a_run_that_is_attacked_ends_as_planned(played) -> None:
    """Exactly the schedule's arrivals were offered, each is in the books, and the target saw the same."""
    fleet = played["attacked"].result()
    assert (fleet.value("ended"), fleet.value("flushed")) == ("planned", True)
    assert fleet.notes["codes"]["master"] == fleet.notes["codes"]["worker"] == 0
    assert fleet.counts()["arrivals"] == fleet.counts()["ok"] == RATE * SECONDS
    fleet.assert_books_agree()


def test_nothing_that_was_injected_is_in_locusts_own_numbers(played) -> None:
    """Its CSV has the requests that the target answered, and no other name."""
    fleet = played["attacked"].result()
    rows = fleet.csv_rows()
    assert set(rows) == ENDPOINTS
    assert int(rows["Aggregated"]["Request Count"]) == RATE * SECONDS


def test_a_worker_that_is_spoken_for_by_others_is_not_lost(played) -> None:
    """Nobody could make it quit, or take its place: it was there all the time, alone."""
    fleet = played["attacked"].result()
    assert fleet.events("worker_lost", "worker_joined", "last_delta_missing", "stranger") == []
    assert set(fleet.offered()) == {"worker-1"}


def test_what_was_dropped_is_logged(played) -> None:
    """Each kind of it, with what it means, and nothing of it as a traceback."""
    log = played["attacked"].result().log("master")
    for reason in ("garbage", "stock", "locustfile", "parts", "stranger", "truncated", "secret"):
        assert f"({reason})" in log, reason
    assert "Traceback" not in log


def test_the_locustfile_is_not_given_out_and_no_secret_is_shown(played) -> None:
    """What the attacker was answered with holds no line of code, and no log holds the secret."""
    answers = played["attacked"].result().notes["answers"]
    assert any(b"gives out no files" in answer for answer in answers)
    assert not any(b"import" in answer or b"class " in answer for answer in answers)
    logs = [fleet.log(name) for fleet in map(Future.result, played.values()) for name in fleet.processes]
    assert not any(SECRET in log or OTHER_SECRET in log for log in logs)


def test_who_knows_the_secret_but_not_the_code_is_refused(played) -> None:
    """With a fingerprint of its own, or one of another run: it is told why, and so is the master's user."""
    fleet = played["attacked"].result()
    unlike, busy = fleet.notes["unlike"], fleet.notes["busy"]
    assert "fingerprint" in unlike.message
    assert "another-run" in busy.message
    assert unlike.exit_code == busy.exit_code == 2
    assert unlike.message in fleet.log("master")
    assert busy.message in fleet.log("master")
    assert {"unlike", "busy"} <= {event.detail["client"] for event in fleet.events("worker_refused")}


def test_a_worker_with_another_locustfile_is_refused_with_both_fingerprints(played) -> None:
    """It exits with 2; both sides show what the master has, what it has, and which file differs."""
    fleet = played["unlike"].result()
    assert fleet.notes["codes"]["other_file"] == 2
    refusal = next(line for line in fleet.log("other_file").splitlines() if "fingerprint" in line)
    own, other = refusal.split("fingerprint ")[1].split(" here")[0].split(" on the master, ")
    assert own != other
    for log in (fleet.log("other_file"), fleet.log("master")):
        assert f"fingerprint {own} on the master, {other} here" in log
        assert "checks.py" in log
    assert "Traceback" not in fleet.log("other_file")


def test_a_worker_with_another_secret_says_so_and_gives_up(played) -> None:
    """After LOADGATE_CONNECT_WITHIN it ends with exit code 40, and names what has to be mended."""
    fleet = played["unlike"].result()
    assert fleet.notes["codes"]["other_secret"] == 40
    log = fleet.log("other_secret")
    assert "does not know this worker's secret after 3 s" in log
    assert "LOADGATE_SECRET" in log
    assert "Traceback" not in log


# -- who is where it does not belong ------------------------------------------------------------


def test_a_worker_of_another_run_is_refused(played) -> None:
    """Its master died, and the next one does not take it: it exits with 2, and both say so."""
    fleet = played["other_run"].result()
    assert fleet.notes["codes"] == {"stray": 2, "master": 0, "worker": 0}
    for log in (fleet.log("stray"), fleet.log("master")):
        assert f"belongs to the run {fleet.notes['first']}" in log
    assert fleet.counts()["arrivals"] == fleet.counts()["ok"] == 3 * RATE
    assert set(fleet.offered()) == {"worker-1"}


def test_a_master_on_every_address_needs_a_secret(played) -> None:
    """Without one it exits with 2, says how to make one, and shows no traceback."""
    fleet = played["bound_to_all"].result()
    assert fleet.notes["code"] == 2
    assert "export LOADGATE_SECRET=$(openssl rand -hex 32)" in fleet.log("master")
    assert "Traceback" not in fleet.log("master")


@pytest.mark.parametrize("name", ["web", "master", "forked"])
def test_nothing_listens_beyond_loopback_by_default(played, name: str) -> None:
    """The web UI, a master, and a master with forked workers: each port is 127.0.0.1's alone."""
    fleet = played["listening"].result()
    assert {address for address, _ in fleet.notes["listens"][name]} == {"127.0.0.1"}


def test_locust_listens_elsewhere_when_it_is_told_to(played) -> None:
    """With a secret, --master-bind-host and --web-host are followed."""
    fleet = played["listening"].result()
    assert {address for address, _ in fleet.notes["listens"]["told"]} == {"0.0.0.0"}
