"""Sealed frames: only what the other end sealed comes through, once, whatever else arrives."""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Callable
from itertools import count
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from loadgate.errors import GeneratorError
from loadgate.swarm import sealing
from loadgate.swarm.frames import Data, Dropped, Refusal, SayHello, Welcome, WorkerEnd
from loadgate.swarm.master_end import MasterEnd

SECRET = b"sixteen or more characters"
W = b"w-1"
"""A worker's name, and in most tests what the master calls its connection."""
PASSPORT = {"version": "1", "cores": 2}


def nonces(start: int) -> Callable[[int], bytes]:
    """Give nonces that are told apart by their first number."""
    numbers = count(start)
    return lambda size: struct.pack(">Q", next(numbers)).rjust(size, b"\0")


def worker(secret: bytes = SECRET, name: str = "w-1", passport: Any = PASSPORT, **options: Any) -> WorkerEnd:
    return WorkerEnd(secret, name, lambda: passport, **options)


def master(admit: Any = lambda identity, passport: {}, **options: Any) -> MasterEnd:
    return MasterEnd(options.pop("secret", SECRET), admit, **options)


def joined(one: WorkerEnd, other: MasterEnd, route: bytes = W) -> Welcome:
    """Let a worker be welcomed over a connection and say its first word."""
    _, reply = other.open(route, one.hello())
    assert reply is not None
    welcome = one.open(reply, 0.0)
    assert isinstance(welcome, Welcome)
    assert other.open(route, one.seal(b"first")) == (b"first", None)
    return welcome


@pytest.fixture
def ends() -> tuple[WorkerEnd, MasterEnd]:
    one, other = worker(), master()
    joined(one, other)
    return one, other


# -- the handshake ------------------------------------------------------------------------------


def test_a_worker_is_welcomed_with_what_admit_says() -> None:
    """`admit` sees identity and passport once; its answer and the master's instance reach the worker."""
    seen = []
    other = master(lambda identity, passport: seen.append((identity, passport)) or {"run": "r"}, instance="i")
    one = worker()
    assert not one.established
    assert joined(one, other) == Welcome({"instance": "i", "run": "r"}, fresh_instance=False)
    assert one.established
    assert seen == [("w-1", PASSPORT)]


def test_payloads_travel_both_ways(ends: tuple[WorkerEnd, MasterEnd]) -> None:
    """What one end seals the other opens, in order, and an empty payload too."""
    one, other = ends
    for payload in (b"a", b"", b"b" * 100_000):
        assert other.open(W, one.seal(payload)) == (payload, None)
        frame = other.seal(W, payload)
        assert frame is not None
        assert one.open(frame, 0.0) == Data(payload)
    assert not one.dropped
    assert not other.dropped


def test_the_layout_of_a_frame() -> None:
    """Magic, version, kind, sequence, MAC, payload; the MAC covers direction and name as well."""
    frame = worker(nonces=nonces(7)).hello()
    payload = bytes(8) + struct.pack(">Q", 7) + b"\x03w-1" + msgpack.packb(PASSPORT)
    key = hmac.new(SECRET, b"loadgate transport 1: long-term key", hashlib.sha256).digest()
    covered = b"\x02" + b"M" + b"\x01" + bytes(8) + b"\x00\x03" + b"w-1" + payload
    mac = hmac.new(key, covered, hashlib.sha256).digest()
    assert frame == b"LGF" + b"\x02" + b"\x01" + bytes(8) + mac + payload


def test_a_refused_worker_hears_why() -> None:
    """Message, hint and exit code arrive; there is no session afterwards."""
    refusal = Refusal("another version", "install 1.2", 2)
    one, other = worker(), master(lambda *_: refusal)
    _, reply = other.open(W, one.hello())
    assert reply is not None
    assert one.open(reply, 0.0) == refusal
    assert one.refused
    assert not one.established
    assert len(other) == 0


@pytest.mark.parametrize(("told", "exit_code"), [(0, 70), (-1, 70), (256, 70), (1, 1), (255, 255)])
def test_a_refused_worker_never_exits_as_if_all_were_well(told: int, exit_code: int) -> None:
    """An exit code outside 1..255 becomes 70."""
    one, other = worker(), master(lambda *_: Refusal("no", exit_code=told))
    _, reply = other.open(W, one.hello())
    assert reply is not None
    assert one.open(reply, 0.0) == Refusal("no", "", exit_code)


def test_a_master_that_is_not_ready_does_not_answer() -> None:
    """`admit` says None: no answer, and the same HELLO is judged anew when it is repeated."""
    answers = iter([None, {}])
    one, other = worker(), master(lambda *_: next(answers))
    assert other.open(W, one.hello()) == (None, None)
    assert other.dropped == {"not-ready": 1}
    joined(one, other)


def test_a_repeated_hello_is_answered_alike() -> None:
    """Until it is answered a worker repeats one HELLO; the master judges it once and any answer fits."""
    calls = []
    one, other = worker(), master(lambda *_: calls.append(1) or {})
    first, second = one.hello(), one.hello()
    assert first == second
    assert other.open(W, first) == other.open(W, second)
    joined(one, other)
    assert len(calls) == 1


def test_another_secret_is_told_and_opens_nothing() -> None:
    """A HELLO under another secret gets a hint without MAC; the worker counts it and has no session."""
    one, other = worker(b"another secret of some length"), master()
    payload, reply = other.open(W, one.hello())
    assert payload is None
    assert reply is not None
    assert one.open(reply, 0.0) == Dropped("secret")
    assert other.dropped == {"secret": 1}
    assert not one.established


@pytest.mark.parametrize(
    "passport",
    [
        {"a": object()},
        {"a": b"x" * 70_000},
        {1: "a"},
        {"a": {2: 3}},
        {"a": 2**70},
        {"a": msgpack.Timestamp(1)},
    ],
)
def test_a_passport_is_small_and_plain(passport: Any) -> None:
    """What is no plain value, has other keys than text, or is over 64 KiB is refused before it is sent."""
    with pytest.raises(GeneratorError):
        worker(passport=passport).hello()


@pytest.mark.parametrize("name", ["", "x" * 256, "\u00e4" * 128])
def test_a_name_has_1_to_255_bytes(name: str) -> None:
    """No name and a longer one are refused before anything is sent."""
    with pytest.raises(GeneratorError):
        worker(name=name)
    joined(worker(name="x" * 255), master())


def _hello_with(payload: bytes, name: bytes = W) -> bytes:
    """Seal a HELLO that no worker would send."""
    key = hmac.digest(SECRET, b"loadgate transport 1: long-term key", "sha256")
    mac = hmac.digest(key, struct.pack(">BcBQH", 2, b"M", 1, 0, len(name)) + name + payload, "sha256")
    return struct.pack(">3sBBQ32s", b"LGF", 2, 1, 0, mac) + payload


NAMED = bytes(16) + b"\x03w-1"


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "passport"),
        (bytes(16), "passport"),
        (bytes(17), "passport"),
        (bytes(8) + msgpack.packb({}), "passport"),
        (bytes(16) + b"\x04w-1", "passport"),
        (bytes(16) + b"\x03w-2" + msgpack.packb({}), "secret"),
        (NAMED, "passport"),
        (NAMED + b"\xc1", "passport"),
        (NAMED + msgpack.packb([1]), "passport"),
        (NAMED + msgpack.packb({1: 2}), "passport"),
        (NAMED + msgpack.packb({"a": msgpack.ExtType(5, b"")}), "passport"),
        (NAMED + msgpack.packb({"a": b"x" * 66_000}), "oversized"),
        (NAMED + b"\x91" * 5000, "passport"),
    ],
)
def test_a_master_looks_at_every_passport(payload: bytes, reason: str) -> None:
    """A sealed HELLO without a name of its own and a bounded plain map is dropped and never judged."""
    other = master(lambda *_: pytest.fail("judged"))
    assert other.open(W, _hello_with(payload))[0] is None
    assert other.dropped == {reason: 1}


def test_a_name_is_text() -> None:
    """One that is not UTF-8 is dropped, though it is sealed."""
    other = master(lambda *_: pytest.fail("judged"))
    hello = _hello_with(bytes(16) + b"\x02\xff\xfe" + msgpack.packb({}), b"\xff\xfe")
    assert other.open(W, hello) == (None, None)
    assert other.dropped == {"passport": 1}


def test_an_answer_that_cannot_be_sent_refuses() -> None:
    """A fault in the master's own answer ends in a refusal, not in an exception."""
    one, other = worker(), master(lambda *_: {"a": object()})
    _, reply = other.open(W, one.hello())
    assert reply is not None
    assert isinstance(one.open(reply, 0.0), Refusal)


# -- sessions end and begin ---------------------------------------------------------------------


def test_a_restarted_master_is_noticed(ends: tuple[WorkerEnd, MasterEnd]) -> None:
    """A new master answers STRANGER; the worker says HELLO again, and knows that it is another instance."""
    one, _ = ends
    other = master()
    payload, reply = other.open(W, one.seal(b"lost"))
    assert payload is None
    assert reply is not None
    assert one.open(reply, 5.0) == SayHello()
    assert joined(one, other).fresh_instance
    assert other.dropped == {"stranger": 1}


def test_the_same_master_is_not_fresh(ends: tuple[WorkerEnd, MasterEnd]) -> None:
    """A new handshake with the same master, also by a new end that is told which it was, is not fresh."""
    one, other = ends
    one.renew()
    assert not joined(one, other).fresh_instance
    again = worker(known_instance=other.instance)
    assert not joined(again, other).fresh_instance
    assert joined(worker(known_instance="another"), other).fresh_instance


def test_strangers_cause_one_hello_a_second(ends: tuple[WorkerEnd, MasterEnd]) -> None:
    """Anybody can say STRANGER; at 10.0 it counts, until 10.999 it does not, at 11.0 again."""
    one, other = ends
    _, stranger = master().open(W, one.seal(b"x"))
    assert stranger is not None
    said = []
    for now in (10.0, 10.1, 10.999, 11.0):
        said.append(one.open(stranger, now))
        if said[-1] == SayHello():
            joined(one, other)
    assert said == [SayHello(), Dropped("stranger"), Dropped("stranger"), SayHello()]


def test_a_forged_stranger_loses_nothing(ends: tuple[WorkerEnd, MasterEnd]) -> None:
    """Frames sealed under the old session still open, before and after the new WELCOME."""
    one, other = ends
    _, stranger = master().open(W, one.seal(b"x"))
    assert stranger is not None
    before, between = other.seal(W, b"before"), other.seal(W, b"between")
    assert one.open(stranger, 1.0) == SayHello()
    assert not one.ready
    assert one.open(before, 1.0) == Data(b"before")  # type: ignore[arg-type]
    _, welcome = other.open(W, one.hello())
    assert isinstance(one.open(welcome, 1.0), Welcome)  # type: ignore[arg-type]
    assert one.open(between, 1.0) == Data(b"between")  # type: ignore[arg-type]
    assert other.open(W, one.seal(b"after")) == (b"after", None)


def test_a_replayed_hello_ends_no_session(ends: tuple[WorkerEnd, MasterEnd]) -> None:
    """The session that works stays until a frame is valid under the new one, which a replay never makes."""
    one, other = ends
    old = worker(nonces=nonces(1)).hello()
    _, welcome = other.open(W, old)
    assert welcome is not None
    assert one.open(welcome, 0.0) == Dropped("unasked")
    assert other.open(W, one.seal(b"still")) == (b"still", None)
    assert one.open(other.seal(W, b"here"), 0.0) == Data(b"here")  # type: ignore[arg-type]


def test_a_recorded_welcome_answers_no_later_hello() -> None:
    """It holds the nonce of the HELLO that it answered; the worker keeps on asking."""
    one, other = worker(), master()
    _, old = other.open(W, one.hello())
    assert old is not None
    one.renew()
    assert one.open(old, 0.0) == Dropped("unasked")
    assert not one.established


def test_a_recorded_session_is_worth_nothing_to_a_restarted_master() -> None:
    """The same HELLO makes another session there, so the DATA that followed it does not open."""
    one, other = worker(), master()
    hello = one.hello()
    joined(one, other)
    data = one.seal(b"once")
    assert other.open(W, data)[0] == b"once"
    restarted = master()
    assert restarted.open(W, hello)[1] is not None
    assert restarted.open(W, data)[0] is None
    assert restarted.dropped == {"mac": 1}


def test_an_answer_is_not_turned_into_another(ends: tuple[WorkerEnd, MasterEnd]) -> None:
    """A WELCOME whose kind is changed to REFUSED, or the other way, is dropped."""
    one, other = ends
    for admit, kind in ((other, 3), (master(lambda *_: Refusal("no")), 2)):
        one.renew()
        _, answer = admit.open(W, one.hello())
        assert answer is not None
        assert one.open(_changed(answer, 4, kind), 0.0) == Dropped("mac")
        assert one.established


def test_the_hello_of_the_session_in_use_is_a_replay() -> None:
    """It is neither judged nor answered again."""
    one, other = worker(), master()
    hello = one.hello()
    joined(one, other)
    assert other.open(W, hello) == (None, None)
    assert other.dropped == {"replay": 1}


def test_nothing_is_sealed_without_a_session(ends: tuple[WorkerEnd, MasterEnd]) -> None:
    """A worker before its WELCOME raises; a master has no frame for a worker that has not spoken yet."""
    with pytest.raises(ValueError, match="no session"):
        worker().seal(b"x")
    _, other = ends
    assert other.seal(b"w-2", b"x") is None
    other.open(b"w-2", worker(name="w-2").hello())
    assert other.seal(b"w-2", b"x") is None


def test_the_worker_silent_for_longest_is_forgotten_first() -> None:
    """Of three workers where two have room, the one that spoke last stays, and the other is a stranger."""
    other = master(most_sessions=2)
    ends = {name: worker(name=name) for name in ("a", "b", "c")}
    for name in ("a", "b"):
        joined(ends[name], other, name.encode())
    other.open(b"a", ends["a"].seal(b"alive"))
    joined(ends["c"], other, b"c")
    assert len(other) == 2
    assert other.open(b"a", ends["a"].seal(b"x")) == (b"x", None)
    payload, reply = other.open(b"b", ends["b"].seal(b"x"))
    assert payload is None
    assert ends["b"].open(reply, 9.0) == SayHello()  # type: ignore[arg-type]


# -- who is where -------------------------------------------------------------------------------


def test_a_worker_is_known_by_what_it_sealed_and_not_by_what_its_connection_is_called() -> None:
    """Its name is that of its HELLO, whatever its route; a connection called like it is a stranger's."""
    one, other = worker(), master()
    joined(one, other, b"\0route")
    assert (other.name_of(b"\0route"), other.route_of(W)) == (W, b"\0route")
    for frame in (one.seal(b"x"), other.seal(W, b"x"), worker(b"another secret of some length").hello()):
        assert other.open(W, frame)[0] is None  # type: ignore[arg-type]
    assert (other.name_of(W), other.route_of(W)) == (None, b"\0route")
    assert other.open(b"\0route", one.seal(b"heard")) == (b"heard", None)


def test_a_worker_that_connects_anew_is_reached_where_it_is() -> None:
    """From its first word over the new connection on, and not earlier; the old one is nobody's then."""
    one, other = worker(), master()
    joined(one, other, b"old")
    late = one.seal(b"late")
    one.renew()
    _, welcome = other.open(b"new", one.hello())
    assert other.route_of(W) == b"old"
    assert isinstance(one.open(welcome, 0.0), Welcome)  # type: ignore[arg-type]
    assert other.open(b"new", one.seal(b"here")) == (b"here", None)
    assert (other.route_of(W), other.name_of(b"old")) == (b"new", None)
    assert other.open(b"old", late)[0] is None
    assert len(other) == 1


def test_a_connection_that_becomes_another_worker_is_no_more_the_one_before() -> None:
    """Who knows the secret may say another name; then the first one has no session left."""
    one, two, other = worker(), worker(name="w-2"), master()
    joined(one, other, b"r")
    joined(two, other, b"r")
    assert (other.name_of(b"r"), other.route_of(W), other.seal(W, b"x")) == (b"w-2", None, None)


def test_a_replayed_hello_moves_nobody_however_often() -> None:
    """A recorded HELLO over 10 other connections: the worker is where it was, and memory is bounded."""
    one, other = worker(), master(most_sessions=2)
    recorded = one.hello()
    one.renew()
    joined(one, other, b"r")
    for n in range(10):
        other.open(b"thief-%d" % n, recorded)
    assert len(other) == 3
    assert other.route_of(W) == b"r"
    assert other.open(b"r", one.seal(b"x")) == (b"x", None)


def test_a_drop_is_told_under_the_name_that_the_connection_has_or_says() -> None:
    """A worker's by its name, also before it is let in; anybody else's by what its connection is called."""
    told: list[tuple[bytes, str]] = []
    one, other = worker(), master(on_dropped=lambda who, reason: told.append((who, reason)))
    other.open(b"r-1", worker(b"another secret of some length", name="w-9").hello())
    joined(one, other, b"r-2")
    for route in (b"r-2", b"r-3"):
        other.open(route, b"LGF")
    assert told == [(b"w-9", "secret"), (W, "truncated"), (b"r-3", "truncated")]


# -- what is dropped ----------------------------------------------------------------------------


def _changed(frame: bytes, at: int, byte: int) -> bytes:
    return frame[:at] + bytes([byte]) + frame[at + 1 :]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda frame: b"", "garbage"),
        (lambda frame: b"\xc1", "garbage"),
        (lambda frame: msgpack.packb(("stats", {}, "w-1")), "garbage"),
        (lambda frame: frame[: sealing.HEAD - 1], "truncated"),
        (lambda frame: frame[:-1], "mac"),
        (lambda frame: frame + b"\0", "mac"),
        (lambda frame: _changed(frame, 3, 9), "version"),
        (lambda frame: _changed(frame, 4, 9), "kind"),
        (lambda frame: _changed(frame, 12, 200), "mac"),
        (lambda frame: b"LGF" + bytes(sealing.MOST_FRAME), "oversized"),
    ],
)
def test_a_spoiled_frame_is_dropped_under_its_reason(
    ends: tuple[WorkerEnd, MasterEnd], spoil: Callable[[bytes], bytes], reason: str
) -> None:
    """Both ends drop it, count it once, and yield nothing."""
    one, other = ends
    assert other.open(W, spoil(one.seal(b"payload")))[0] is None
    assert other.dropped == {reason: 1}
    frame = other.seal(W, b"payload")
    assert frame is not None
    assert one.open(spoil(frame), 0.0) == Dropped(reason)
    assert one.dropped == {reason: 1}


def test_frames_do_not_turn_round(ends: tuple[WorkerEnd, MasterEnd]) -> None:
    """A frame sent back to its sender is dropped: MACs differ by direction, and kinds have one."""
    one, other = ends
    sealed = other.seal(W, b"x")
    assert sealed is not None
    assert other.open(W, sealed)[0] is None
    assert one.open(one.seal(b"x"), 0.0) == Dropped("mac")
    one.renew()
    assert one.open(one.hello(), 0.0) == Dropped("direction")
    _, welcome = other.open(W, one.hello())
    assert welcome is not None
    assert other.open(W, welcome) == (None, None)
    assert other.dropped == {"mac": 1, "direction": 1}


def test_a_frame_belongs_to_its_worker() -> None:
    """Another identity, welcomed with the same secret, cannot use it."""
    other = master()
    one, two = worker(), worker(name="w-2")
    joined(one, other)
    joined(two, other, b"w-2")
    assert other.open(b"w-2", one.seal(b"x"))[0] is None
    assert other.open(W, two.seal(b"x"))[0] is None
    assert other.open(b"w-2", one.hello())[0] is None


def test_gaps_are_fine_and_going_back_is_not(ends: tuple[WorkerEnd, MasterEnd]) -> None:
    """Of frames 2, 3, 4 (1 was the first), 3 comes through; then 2 and 3 do not, and 4 does."""
    one, other = ends
    second, third, fourth = (one.seal(b"%d" % n) for n in (2, 3, 4))
    assert [other.open(W, frame)[0] for frame in (third, second, third, fourth)] == [b"3", None, None, b"4"]
    assert other.dropped == {"replay": 2}


def test_a_payload_has_a_limit(ends: tuple[WorkerEnd, MasterEnd]) -> None:
    """The largest payload makes a frame of 64 MiB; one byte more raises and breaks nothing."""
    one, other = ends
    with pytest.raises(ValueError, match="more than a frame holds"):
        one.seal(bytes(sealing.MOST_PAYLOAD + 1))
    frame = one.seal(bytes(sealing.MOST_PAYLOAD))
    assert len(frame) == 64 * 2**20
    assert other.open(W, frame)[0] == bytes(sealing.MOST_PAYLOAD)


def test_the_secret_is_in_no_frame_and_no_repr(ends: tuple[WorkerEnd, MasterEnd]) -> None:
    """Frames and reprs of the ends hold neither the secret nor a key."""
    one, other = ends
    shown = repr((one, other, vars(one)["_session"], Data(b"payload of somebody"))).encode()
    assert SECRET not in one.hello() + one.hello() + shown
    assert b"payload of somebody" not in shown
    assert repr(vars(one)["_session"].key).encode() not in shown


# -- laws ---------------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_raise_nothing_and_yield_nothing(tail: bytes, with_magic: bool) -> None:
    """Whatever arrives, before or within a session, no payload comes of it."""
    frame = sealing.MAGIC + bytes([sealing.VERSION]) + tail if with_magic else tail
    fresh, other = worker(), master()
    one = worker()
    joined(one, other)
    fresh.hello()
    assert isinstance(fresh.open(frame, 0.0), Dropped)
    assert not isinstance(one.open(frame, 0.0), Data | Welcome | Refusal)
    assert other.open(W, frame)[0] is None
    assert other.open(b"\xff\xfe", frame)[0] is None


@st.composite
def mutations(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """Change, cut, insert or append bytes."""
    at, piece = draw(st.integers(0, 120)), draw(st.binary(min_size=1, max_size=4))
    how = draw(st.sampled_from(["change", "cut", "insert", "append", "prepend"]))

    def mutate(frame: bytes) -> bytes:
        place = at % max(len(frame), 1)
        return {
            "change": frame[:place] + piece + frame[place + len(piece) :],
            "cut": frame[:place] + frame[place + len(piece) :],
            "insert": frame[:place] + piece + frame[place:],
            "append": frame + piece,
            "prepend": piece + frame,
        }[how]

    return mutate


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=80), mutations())
def test_no_mutation_of_a_frame_opens(payload: bytes, mutate: Callable[[bytes], bytes]) -> None:
    """A DATA, HELLO or WELCOME frame that differs in anything does nothing, and the original still works."""
    one, other = worker(), master()
    hello = one.hello()
    if mutate(hello) != hello:
        assert len(other) == 0
        assert other.open(W, mutate(hello))[0] is None
        assert len(other) == 0
    _, welcome = other.open(W, hello)
    assert welcome is not None
    if mutate(welcome) != welcome:
        one.open(mutate(welcome), 0.0)
        assert not one.established
    joined(one, other)
    frame = one.seal(payload)
    if mutate(frame) != frame:
        assert other.open(W, mutate(frame))[0] is None
    assert other.open(W, frame)[0] == payload
    back = other.seal(W, payload)
    assert back is not None
    if mutate(back) != back:
        assert not isinstance(one.open(mutate(back), 0.0), Data)
    assert one.open(back, 0.0) == Data(payload)


ROUTES = (b"1", b"2", b"3", b"a")


class Network(RuleBasedStateMachine):
    """An attacker who keeps every frame ever sent and hands any to anybody, between two workers and a master.

    The oracle is what was sealed: each end yields only what its counterpart sealed, each at most once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.frames: list[bytes] = []
        self.sealed: dict[str, list[bytes]] = {}
        self.opened: dict[str, list[bytes]] = {}
        self.numbers = count()

    @initialize()
    def begin(self) -> None:
        self.master = master(most_sessions=2)
        self.workers = {name: worker(name=name) for name in ("a", "b")}

    @rule(name=st.sampled_from("ab"))
    def hello(self, name: str) -> None:
        self.frames.append(self.workers[name].hello())

    @rule(name=st.sampled_from("ab"))
    def renew(self, name: str) -> None:
        self.workers[name].renew()

    @rule(name=st.sampled_from("ab"))
    def from_worker(self, name: str) -> None:
        if self.workers[name].ready:
            payload = b"%d" % next(self.numbers)
            self.sealed.setdefault(f"{name}>", []).append(payload)
            self.frames.append(self.workers[name].seal(payload))

    @rule(name=st.sampled_from("ab"))
    def from_master(self, name: str) -> None:
        payload = b"%d" % next(self.numbers)
        frame = self.master.seal(name.encode(), payload)
        if frame is not None:
            self.sealed.setdefault(f">{name}", []).append(payload)
            self.frames.append(frame)

    @rule(route=st.sampled_from(ROUTES), data=st.data())
    def to_master(self, route: bytes, data: st.DataObject) -> None:
        payload, reply = self.master.open(route, self._any_frame(data))
        if reply is not None:
            self.frames.append(reply)
        if payload is not None:
            name = self.master.name_of(route)
            assert name is not None
            self.opened.setdefault(f"{name.decode()}>", []).append(payload)

    @rule(name=st.sampled_from("ab"), data=st.data(), later=st.sampled_from([0.0, 0.4, 1.0]))
    def to_worker(self, name: str, data: st.DataObject, later: float) -> None:
        self.now += later
        opened = self.workers[name].open(self._any_frame(data), self.now)
        if isinstance(opened, Data):
            self.opened.setdefault(f">{name}", []).append(opened.payload)

    @rule(name=st.sampled_from("ab"), route=st.sampled_from(ROUTES))
    def join(self, name: str, route: bytes) -> None:
        """Let one handshake and one message through, so that sessions really stand: it always works."""
        one = self.workers[name]
        self.frames.append(one.hello())
        if self.master.open(route, self.frames[-1])[1] is None:
            # The master answered this very HELLO to nobody's use; the worker's next one is new.
            one.renew()
            self.frames.append(one.hello())
        _, reply = self.master.open(route, self.frames[-1])
        assert reply is not None
        self.frames.append(reply)
        assert isinstance(one.open(reply, self.now), Welcome)
        self.from_worker(name)
        payload, _ = self.master.open(route, self.frames[-1])
        assert self.master.route_of(name.encode()) == route
        assert payload == self.sealed[f"{name}>"][-1]
        self.opened.setdefault(f"{name}>", []).append(payload)

    @rule()
    def restart(self) -> None:
        self.master = master(most_sessions=2)

    def _any_frame(self, data: st.DataObject) -> bytes:
        return data.draw(st.sampled_from(self.frames)) if self.frames else b""

    @invariant()
    def nothing_is_forged_or_repeated(self) -> None:
        for way, payloads in self.opened.items():
            assert len(payloads) == len(set(payloads))
            assert set(payloads) <= set(self.sealed.get(way, []))

    @invariant()
    def memory_is_bounded(self) -> None:
        if hasattr(self, "master"):
            # As many that work as there may be, and as many that were begun.
            assert len(self.master) <= 4

    @invariant()
    def names_and_routes_agree(self) -> None:
        if hasattr(self, "master"):
            reached = {name: self.master.route_of(name) for name in (b"a", b"b")}
            assert all(route is None or self.master.name_of(route) == name for name, route in reached.items())


TestNetwork = Network.TestCase
TestNetwork.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
