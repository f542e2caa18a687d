"""The control: a null server that depends on nobody, and requests to it that tell what the generator adds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import gevent
import httpx
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgate.swarm import control as control_module
from loadgate.swarm.control import Control, ControlReading
from loadgate.swarm.null_server import BODY, NullServer, replies_to

POST = b"POST /x HTTP/1.1\r\nHost: here\r\nContent-Length: 3\r\n\r\nabc"
GET = b"GET /y?z=1 HTTP/1.1\r\nHost: here\r\n\r\n"
HEAD = b"HEAD / HTTP/1.1\r\n\r\n"


def until(condition: Callable[[], object], what: str) -> None:
    """Wait, for 10 s at the most, until something is so; greenlets go on meanwhile."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, f"no sign of {what}"
        gevent.sleep(0.005)


@given(st.lists(st.sampled_from([POST, GET, HEAD]), max_size=6), st.data())
def test_replies_do_not_depend_on_how_requests_are_split(requests: list[bytes], data: st.DataObject) -> None:
    """One reply for each request, whatever the pieces; nothing is left over."""
    whole = b"".join(requests)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=5)))
    held, replies = b"", b""
    for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        out, held = replies_to(held + whole[start:end])
        replies += out
    assert held == b""
    assert replies.count(b"HTTP/1.1 200 OK\r\n") == len(requests)
    assert replies.count(BODY) == len(requests) - requests.count(HEAD)


def test_a_wrong_length_ends_the_connection() -> None:
    """ValueError, which the server answers by closing."""
    with pytest.raises(ValueError):
        replies_to(b"POST / HTTP/1.1\r\nContent-Length: many\r\n\r\n")


@pytest.fixture
def server() -> Iterator[NullServer]:
    """A null server in its process."""
    running = NullServer()
    yield running
    running.close()


@pytest.mark.system
def test_any_request_has_a_plausible_answer(server: NullServer) -> None:
    """Another client reads it as well: any method and path, 200, a JSON object."""
    with httpx.Client(base_url=server.url, trust_env=False) as client:
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            answer = client.request(
                method, "/any/path?at=all", json={"text": "x"} if method != "GET" else None
            )
            assert (answer.status_code, answer.json()["ok"]) == (200, True)
        head = client.head("/")
        assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(BODY)))


@pytest.mark.system
def test_the_null_server_listens_on_loopback_only(server: NullServer) -> None:
    """It has one socket that listens, at 127.0.0.1."""
    until(lambda: _listening(server.pid), "a listening socket")
    assert _listening(server.pid) == [("127.0.0.1", server.port)]


def _listening(pid: int) -> list[tuple[str, int]]:
    found = psutil.Process(pid).net_connections("tcp")
    return [tuple(one.laddr) for one in found if one.status == psutil.CONN_LISTEN]


@pytest.mark.system
def test_closing_ends_the_server(server: NullServer) -> None:
    """Its process is gone at once, and leaves no zombie."""
    server.close()
    server.close()
    assert not psutil.pid_exists(server.pid)
    assert not server.ended()


@pytest.mark.system
def test_the_server_ends_with_its_parent() -> None:
    """A parent that is killed says nothing; its end of the pipe closes."""
    code = (
        "from loadgate.swarm.null_server import NullServer; import os, signal;"
        "print(NullServer().pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, timeout=30)
    assert done.returncode == -signal.SIGKILL
    pid = int(done.stdout)
    until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie", "the server's end")


@pytest.fixture
def control(monkeypatch: pytest.MonkeyPatch) -> Iterator[Control]:
    """A control that asks a hundred times a second."""
    monkeypatch.setattr(control_module, "SPACING", (0.005, 0.015))
    made = Control("worker-1")
    yield made
    made.close()


def gathered(control: Control, least: int) -> ControlReading:
    """Wait until some requests have ended, in one reading."""
    readings: list[ControlReading] = []

    def enough() -> bool:
        readings.append(control.take())
        return sum(reading.n for reading in readings) >= least

    until(enough, f"{least} control requests")
    return ControlReading(
        sum(reading.n for reading in readings),
        sum(reading.failures for reading in readings),
        max(reading.p50_us for reading in readings),
        max(reading.p99_us for reading in readings),
    )


@pytest.mark.system
def test_a_control_request_takes_some_time_and_succeeds(control: Control) -> None:
    """More than nothing; what was told once is not told again."""
    control.start()
    reading = gathered(control, 5)
    assert (reading.failures, reading.p99_us > 0) == (0, True)
    control.close()
    control.close()
    control.take()
    assert control.take() == ControlReading(0, 0, 0.0, 0.0)


@pytest.mark.system
def test_a_busy_event_loop_shows_in_the_control(control: Control) -> None:
    """What is due at the start of 200 ms without a turn for anybody else takes 180 ms at the least."""
    control.start()
    gathered(control, 2)
    busy_until = time.monotonic() + 0.2
    while time.monotonic() < busy_until:
        pass
    assert gathered(control, 1).p99_us > 180_000


@pytest.mark.system
def test_without_an_answer_it_is_a_failure_and_another_server_is_started(control: Control) -> None:
    """A killed server is noticed by the next request, and those after it have answers again."""
    control.start()
    gathered(control, 2)
    assert control._server is not None
    os.kill(control._server.pid, signal.SIGKILL)
    failed = gathered(control, 1)
    while not failed.failures:
        failed = gathered(control, 1)
    control.take()
    until(lambda: control.take().p50_us > 0, "an answer of the new server")


def test_a_server_that_cannot_be_started_is_a_failure_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control is never silent: nobody could tell it from one that saw nothing."""

    def refuse() -> NullServer:
        raise OSError("no process can be started")

    monkeypatch.setattr(control_module, "NullServer", refuse)
    monkeypatch.setattr(control_module, "SPACING", (0.005, 0.015))
    control = Control("worker-1")
    control.start()
    reading = gathered(control, 3)
    control.close()
    assert (reading.failures, reading.p99_us) == (reading.n, 0.0)


def test_requests_are_about_one_a_second_and_at_no_fixed_spacing() -> None:
    """0.5 to 1.5 s apart, drawn: a second on average."""
    low, high = control_module.SPACING
    assert (low, high, (low + high) / 2) == (0.5, 1.5, 1.0)
