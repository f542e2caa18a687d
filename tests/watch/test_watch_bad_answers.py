"""What no target should answer, over real connections: a named failed reading, bounded in time and memory."""

from __future__ import annotations

import asyncio
import gzip
import threading
import tracemalloc

import pytest

from loadgate.plan.probe import Probe
from loadgate.watch.parse import NoReading, Reason
from loadgate.watch.probes import Value, failed
from loadgate.watch.readers import Readers

OK = "200 OK"
HTML = b"<!doctype html><html><body><h1>Welcome to nginx!</h1></body></html>"
LARGE = b"x" * 10_000_000
PROBES = {
    "health": Probe(name="health", http="/health", every=1.0),
    "cache": Probe(name="cache", http="/stats", every=1.0),
    "json": Probe(name="target", kind="json", http="/x", values={"memory": "memory"}, every=1.0),
    "prometheus": Probe(name="prom", kind="prometheus", http="/prom", values={"memory": "m"}, every=1.0),
}


def framed(body: bytes, status: str = OK, *headers: str) -> bytes:
    """Return a whole answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


BAD = {
    "HTML": (framed(HTML), "not JSON"),
    "a redirect": (framed(b"", "302 Found", "Location: /login"), "answered: 302"),
    "a 502 of a proxy": (framed(HTML, "502 Bad Gateway"), "answered: 502"),
    "half a JSON": (framed(b'{"ok":true,"uptime":12'), "not JSON"),
    "half a body": (b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"ok":true', "no answer"),
    "nothing": (b"", "no answer"),
    "no body": (framed(b""), "not JSON"),
    "another protocol": (b"SSH-2.0-OpenSSH_9.6\r\n", "no answer"),
    "10 MB, said so": (framed(LARGE), "answer too large"),
    "10 MB without a length": (b"HTTP/1.1 200 OK\r\n\r\n" + LARGE, "answer too large"),
    "10 MB in little": (
        framed(gzip.compress(LARGE), OK, "Content-Encoding: gzip"),
        "answer too large",
    ),
    "a broken package": (framed(b"no gzip", OK, "Content-Encoding: gzip"), "no answer"),
    "half a package": (framed(gzip.compress(LARGE[:1000])[:20], OK, "Content-Encoding: gzip"), "no answer"),
}


def read(host: str, probe: Probe, make_plan, limit: float = 5.0) -> tuple[Value, ...]:
    """Take one reading, as the runner does."""

    async def once() -> tuple[Value, ...]:
        readers = Readers(make_plan(host, probe).scenario, {})
        try:
            return await readers.read(probe, limit)
        except NoReading as failure:
            return failed(probe, failure)
        finally:
            await readers.aclose()
            readers.close()

    return asyncio.run(once())


@pytest.mark.parametrize("kind", PROBES)
@pytest.mark.parametrize("case", BAD)
def test_a_bad_answer_is_a_named_failed_reading(raw_server, make_plan, case, kind):
    """No value anywhere, and the reason; only `up` is 0, since a health probe knows then."""
    sent, reason = BAD[case]
    server = raw_server(sent)
    for value in read(server.url, PROBES[kind], make_plan):
        assert value.value == (0.0 if value.reading == "up" else None)
        assert value.error.startswith(reason), value.error


def test_a_packed_answer_is_read_though_it_was_not_asked_for(raw_server, make_plan):
    """Some proxies pack whatever they are told."""
    body = gzip.compress(b'{"memory": 12}')
    server = raw_server(framed(body, OK, "Content-Encoding: gzip"))
    assert read(server.url, PROBES["json"], make_plan) == (Value("memory", 12.0),)
    assert b"Accept-Encoding: identity" in server.requests[0]


@pytest.mark.parametrize("case", ["10 MB, said so", "10 MB without a length", "10 MB in little"])
def test_ten_megabytes_are_not_loaded(raw_server, make_plan, case):
    """Of a body that says its size nothing is read, and of any other at most the bound of 4 MiB."""
    server = raw_server(BAD[case][0])
    tracemalloc.start()
    try:
        read(server.url, PROBES["json"], make_plan)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < (2_000_000 if case == "10 MB, said so" else 14_000_000)


def test_an_answer_that_never_ends_costs_no_more_than_the_limit(make_plan):
    """A byte at a time, for ever: the limit is for the whole attempt, not for each byte."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listening:
        stop = threading.Event()

        def drip() -> None:
            taken, _ = listening.accept()
            with taken:
                taken.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n")
                try:
                    while not stop.wait(0.02):
                        taken.sendall(b" ")
                except OSError:
                    return

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        (value,) = read(url, PROBES["json"], make_plan, limit=0.2)
        stop.set()
        thread.join(5)
    assert value.value is None
    assert value.error.startswith(Reason.TIMEOUT)


def test_several_queries_fail_each_for_itself(raw_server, make_plan):
    """Two readings of one probe; the server is asked once for each."""
    body = b'{"status":"success","data":{"resultType":"vector","result":[]}}'
    server = raw_server(framed(body))
    probe = Probe(
        name="prom", kind="prometheus", http="/p", values={"memory": "mem", "cpu": "cpu"}, every=1.0
    )
    memory, cpu = read(server.url, probe, make_plan)
    assert memory.error.startswith("no sample")
    assert cpu.error.startswith("no sample")
    targets = sorted(request.split(b" ")[1] for request in server.requests)
    assert targets == [b"/p/api/v1/query?query=cpu", b"/p/api/v1/query?query=mem"]
