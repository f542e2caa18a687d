"""A fleet of simulated workers in one process: real connections, real messages, no load.

    python benchmarks/fleet.py --port PORT --workers 1000 --locustfile FILE

`master.py` starts it. To the master each of its workers is one: it makes both connections (its own and that
of its heartbeat) with the real handshake and the real socket options, answers the master's orders, and says
at Locust's and Loadgate's own intervals what a real worker says. What it reports each second is made by the
real recorder from random latencies, a few times; each worker and second has its own numbers, seal and key.

It prints two lines of JSON: one when run time 0 is known, one when the run is over.
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import resource
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from select import EPOLLIN, epoll
from typing import Any
from uuid import uuid4

import msgpack
import numpy as np
import zmq

from loadgate.swarm import messages
from loadgate.swarm.fingerprint import Fingerprint, fingerprint
from loadgate.swarm.frames import Data, Refusal, SayHello, Welcome, WorkerEnd
from loadgate.swarm.message_shapes import BEAT_SUFFIX
from loadgate.swarm.pace import BEAT, HEARTBEAT, PINGS, STATISTICS, interval, next_beat
from loadgate.swarm.secret import secret_for
from loadgate.swarm.socket_options import set_options
from mint import STATS_EVERY, Mint

CLOSE_AFTER = 0.05
"""Seconds after the end of a second at which a worker reports it."""
PINGS_APART, PINGS_IN_A_BURST = 0.02, 4
HELLO_EVERY = 1.0
_MOST_EVENTS = 256
_ZMTP_SHORT, _ZMTP_LONG = 2, 9
"""Bytes that ZeroMQ puts before a frame of up to 255 bytes, and before a longer one."""


class Wires:
    """All connections of the fleet in one context, waited for together.

    libzmq tells through a descriptor that something may have come, once, and any call may swallow that; so
    each connection is looked at after every use of it too.
    """

    def __init__(self, most: int) -> None:
        self.context = zmq.Context()
        self.context.set(zmq.MAX_SOCKETS, most + 8)
        self.sent_bytes = self.received_bytes = self.sent = self.received = 0
        self._poll = epoll()
        self._lines: dict[int, Line] = {}

    def open(self, line: Line, host: str, port: int) -> zmq.Socket[bytes]:
        """Connect, with the options that real workers set."""
        socket: zmq.Socket[bytes] = self.context.socket(zmq.DEALER)
        set_options(socket, host, port)
        socket.setsockopt(zmq.IDENTITY, line.identity.encode())
        socket.connect(f"tcp://{host}:{port}")
        descriptor = int(socket.getsockopt(zmq.FD))
        self._lines[descriptor] = line
        self._poll.register(descriptor, EPOLLIN)
        return socket

    def wait(self, seconds: float) -> None:
        """Take in what comes within some seconds; return after the first of it."""
        for descriptor, _ in self._poll.poll(max(seconds, 0.0), _MOST_EVENTS):
            self._lines[descriptor].take()

    def close(self) -> None:
        """Close every connection; what is under way has two seconds to leave."""
        self.context.destroy(linger=2000)


class Line:
    """One connection to the master, with its handshake."""

    def __init__(
        self,
        wires: Wires,
        identity: str,
        node: str,
        secret: bytes,
        passport: Callable[[], dict[str, Any]],
        heard: Callable[[str, Any], None],
        later: Callable[[float, Callable[[], None]], None],
    ) -> None:
        self.identity = identity
        self._waiting: deque[bytes] = deque()
        self._wires = wires
        self._later = later
        self._node = msgpack.packb(node)
        self._heard = heard
        self._end = WorkerEnd(secret, identity, passport)
        self._socket: zmq.Socket[bytes] | None = None

    def connect(self, host: str, port: int) -> None:
        """Connect, and ask for a session; what is sent before it stands waits for it."""
        self._socket = self._wires.open(self, host, port)
        self._ask()

    def say(self, kind: str, data: Any) -> None:
        """Send a message."""
        self.say_packed(b"\x93" + msgpack.packb(kind) + msgpack.packb(data))

    def say_packed(self, packed: bytes) -> None:
        """Send a message whose type and data are packed already, with the node id to follow."""
        self._waiting.append(packed + self._node)
        if self._end.ready:
            self._send_waiting()
            self.take()

    def take(self) -> None:
        """Take in all that has come."""
        assert self._socket is not None
        while int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            frame = self._socket.recv(zmq.NOBLOCK)
            self._wires.received += 1
            self._wires.received_bytes += _on_wire(frame)
            match self._end.open(frame, time.monotonic()):
                case Data(payload):
                    if payload:
                        kind, data, _ = msgpack.unpackb(payload, strict_map_key=False)
                        self._heard(kind, data)
                case Welcome():
                    self._post(self._end.seal(b""))
                    self._send_waiting()
                case SayHello():
                    self._post(self._end.hello())
                case Refusal() as refusal:
                    raise SystemExit(f"the master refuses the fleet: {refusal.message}")

    def _ask(self) -> None:
        """Say HELLO until it is answered: a master that is just starting answers nobody."""
        if not self._end.ready:
            self._post(self._end.hello())
            self._later(HELLO_EVERY, self._ask)
            self.take()

    def _send_waiting(self) -> None:
        while self._waiting:
            self._post(self._end.seal(self._waiting.popleft()))

    def _post(self, frame: bytes) -> None:
        assert self._socket is not None
        self._wires.sent += 1
        self._wires.sent_bytes += _on_wire(frame)
        self._socket.send(frame)


def _on_wire(frame: bytes) -> int:
    return len(frame) + (_ZMTP_SHORT if len(frame) < 256 else _ZMTP_LONG)


class Simulated:
    """One worker: what it was told, and what it is to say next."""

    def __init__(self, fleet: Fleet, number: int) -> None:
        from loadgate.swarm.passport import BEAT, passport_of

        self.number = number
        self.node = f"fleet_{uuid4().hex}"
        self.start: messages.Start | None = None
        self.drained = self.over = False
        self._fleet = fleet
        self._users: dict[str, int] = {}
        self._state = "ready"
        self._leases = 0
        self._sequence = 0
        self._in_doubt: dict[int, float] = {}
        self._said = self._beat_at = float("-inf")
        own = fleet.fingerprint
        line = partial(Line, fleet.wires, node=self.node, secret=fleet.secret, later=fleet.later)
        self._line = line(self.node, passport=lambda: passport_of(own, ""), heard=self._on)
        beats = self.node + BEAT_SUFFIX
        self._beat = line(beats, passport=lambda: dict(BEAT), heard=lambda *_: None)

    def connect(self) -> None:
        """Join the master, and begin to send Locust's own messages."""
        from locust import __version__

        self._line.connect(*self._fleet.address)
        self._line.say("client_ready", __version__)
        self._fleet.every(interval(HEARTBEAT, len(self._fleet.workers)), self._heartbeat)
        self._fleet.every(interval(STATISTICS, len(self._fleet.workers)), self._stats)

    def report(self, second: int) -> None:
        """Ship a second."""
        if self.start is None or self.drained:
            return
        self._sequence += 1
        self._said = self._in_doubt[self._sequence] = time.monotonic()
        packed = self._fleet.mint.delta(self.start, self.number, second, self._sequence, final=False)
        self._line.say_packed(packed)

    def _heartbeat(self) -> None:
        values = {"state": self._state, "current_cpu_usage": 10.0, "current_memory_usage": 90_000_000}
        self._line.say("heartbeat", values)

    def _stats(self) -> None:
        second = int(time.monotonic() / STATS_EVERY)
        self._line.say_packed(self._fleet.mint.stats(second, self._users))

    def _beat_when_due(self) -> None:
        """Beat, unless a report has put it off, and look again when the next one is due (`Beating`)."""
        now, every = time.monotonic(), self._fleet.beat_every
        due = next_beat(self._beat_at, self._said, every)
        if due <= now:
            self._say_beat()
            self._beat_at, due = now, now + every
        self._fleet.later(due - now, self._beat_when_due)

    def _say_beat(self) -> None:
        assert self.start is not None
        ready = self._fleet.anchor is not None
        self._beat.say(messages.BEAT, asdict(messages.Beat(self.start.run, self._leases, ready, 0.01)))

    def _ping(self) -> None:
        self._line.say(messages.PING, {"sent": time.monotonic()})

    def _pings(self) -> None:
        for number in range(PINGS_IN_A_BURST):
            self._fleet.later(number * PINGS_APART, self._ping)

    def _on(self, kind: str, data: Any) -> None:
        match kind:
            case "spawn":
                self._users, self._state = dict(data["user_classes_count"]), "running"
                self._line.say("spawning", None)
                count = {"user_classes_count": self._users, "user_count": sum(self._users.values())}
                self._line.say("spawning_complete", count)
            case messages.START:
                self.start = messages.Start.from_wire(data)
                self._beat.connect(*self._fleet.address)
                self._fleet.soon(self._fleet.beat_every, self._beat_when_due)
                self._fleet.every(interval(PINGS, len(self._fleet.workers)), self._pings)
            case messages.GO:
                self._fleet.go(data["anchor"])
            case messages.LEASE:
                self._leases = max(self._leases, data["number"])
                for ack in data.get("acks", ()):
                    self._acknowledged(ack)
            case messages.ACK:
                self._acknowledged(data)
            case messages.FINISH:
                self.drained = True
                self._line.say(messages.DRAINED, {"worker": data.get("worker", self.node)})
            case "quit" | "stop":
                self._leave()

    def _acknowledged(self, ack: dict[str, Any]) -> None:
        now = time.monotonic()
        for sequence in ack["sequences"]:
            if sequence in self._in_doubt:
                self._fleet.acknowledged(self._in_doubt.pop(sequence), now)

    def _leave(self) -> None:
        if self.over or self.start is None:
            return
        self._sequence += 1
        self._in_doubt[self._sequence] = time.monotonic()
        self._line.say_packed(self._fleet.mint.delta(self.start, self.number, 0, self._sequence, final=True))
        self._stats()
        self._line.say("quit", None)
        self.over = True

    @property
    def undelivered(self) -> int:
        """How many of its reports were not acknowledged."""
        return len(self._in_doubt)


class Fleet:
    """All simulated workers, and what they are to do when."""

    def __init__(self, options: argparse.Namespace, own: Fingerprint) -> None:
        self.fingerprint = own
        self.address = ("127.0.0.1", options.port)
        self.secret = secret_for(self.address[0], os.environ)
        self.mint = Mint(options.requests)
        self.wires = Wires(2 * options.workers)
        self.beat_every = options.beat_every or interval(BEAT, options.workers)
        self.anchor: float | None = None
        self._spread = options.spread
        self._from, self._until = options.warmup, options.warmup + options.seconds
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._late: list[float] = []
        self._delays: list[float] = []
        self._reported = 0
        self._usage: dict[str, tuple[float, ...]] = {}
        self.workers = [Simulated(self, number) for number in range(options.workers)]

    def run(self, within: float) -> dict[str, Any]:
        """Take part in one run, from joining the master to its end."""
        for worker in self.workers:
            worker.connect()
            self._turn(0.0)
        deadline = time.monotonic() + within
        while not all(worker.over for worker in self.workers):
            if time.monotonic() > deadline:
                raise SystemExit("the master did not end the run in time")
            self._turn(1.0)
        deadline = time.monotonic() + 10.0
        while any(worker.undelivered for worker in self.workers) and time.monotonic() < deadline:
            self.wires.wait(0.05)
        self.wires.close()
        return self._account()

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        """Do something once, so many seconds from now."""
        self._at(time.monotonic() + seconds, action)

    def every(self, seconds: float, action: Callable[[], None]) -> None:
        """Do something again and again, first at a moment of its own, as if by chance."""
        self._repeat(self._by_chance(seconds), seconds, action)

    def soon(self, seconds: float, action: Callable[[], None]) -> None:
        """Do something once, within some seconds, as if by chance."""
        self._at(self._by_chance(seconds), action)

    def go(self, anchor: float) -> None:
        """Begin to report; all workers hear of it, the first one counts."""
        if self.anchor is not None:
            return
        self.anchor = anchor
        print(json.dumps({"anchor": anchor}), flush=True)
        for place, worker in enumerate(self.workers):
            self._next_report(worker, CLOSE_AFTER + self._spread * place / len(self.workers), 0)
        for name, moment in (("begin", self._from), ("end", self._until)):
            self._at(anchor + moment, partial(self._note, name))

    def acknowledged(self, sent: float, now: float) -> None:
        """Note how long a report had to wait for its acknowledgement."""
        assert self.anchor is not None
        if self._from <= sent - self.anchor < self._until:
            self._delays.append(now - sent)

    def _next_report(self, worker: Simulated, offset: float, second: int) -> None:
        assert self.anchor is not None

        def report() -> None:
            if worker.drained:
                return
            worker.report(second)
            self._reported += self.mint.per_second
            self._next_report(worker, offset, second + 1)

        self._at(self.anchor + second + 1 + offset, report)

    def _by_chance(self, seconds: float) -> float:
        self._count += 1
        return time.monotonic() + (self._count * 0.618 % 1) * seconds

    def _repeat(self, at: float, seconds: float, action: Callable[[], None]) -> None:
        def act() -> None:
            action()
            self._repeat(at + seconds, seconds, action)

        self._at(at, act)

    def _at(self, moment: float, action: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._due, (moment, self._count, action))

    def _turn(self, longest: float) -> None:
        now = time.monotonic()
        while self._due and self._due[0][0] <= now:
            moment, _, action = heapq.heappop(self._due)
            if self._measuring(now):
                self._late.append(now - moment)
            action()
            now = time.monotonic()
        self.wires.wait(min(self._due[0][0] - now if self._due else longest, longest))

    def _measuring(self, now: float) -> bool:
        return self.anchor is not None and self._from <= now - self.anchor < self._until

    def _note(self, name: str) -> None:
        wires = self.wires
        cpu = time.process_time()
        self._usage[name] = (cpu, wires.sent, wires.received, wires.sent_bytes, wires.received_bytes)

    def _account(self) -> dict[str, Any]:
        names = ("cpu", "sent", "received", "sent_bytes", "received_bytes")
        used = zip(names, self._usage["begin"], self._usage["end"], strict=True)
        p50, p99 = np.percentile(self._delays or [float("nan")], (50, 99)).tolist()
        return {
            **{name: after - before for name, before, after in used},
            "ack_p50": p50,
            "ack_p99": p99,
            "late_p99": float(np.percentile(self._late or [0.0], 99)),
            "reported": self._reported,
            "undelivered": sum(worker.undelivered for worker in self.workers),
        }


def main() -> int:
    """Be a fleet for one run."""
    options = _options()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 8 * options.workers + 200)), hard))
    fleet = Fleet(options, fingerprint([options.locustfile], modules=()))
    print(json.dumps(fleet.run(options.warmup + options.seconds + 120)), flush=True)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--port", type=int, required=True, help="port of the master on loopback")
    parser.add_argument("--workers", type=int, required=True, help="workers to simulate")
    parser.add_argument("--locustfile", type=Path, required=True, help="the master's locustfile")
    parser.add_argument("--requests", type=int, default=30, help="requests per endpoint, second and worker")
    parser.add_argument("--spread", type=float, default=1.0, help="seconds over which reports are spread")
    parser.add_argument("--beat-every", type=float, help="seconds between beats, instead of Loadgate's")
    parser.add_argument("--warmup", type=float, default=10.0, help="run time before measuring")
    parser.add_argument("--seconds", type=float, default=30.0, help="run time of measuring")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
