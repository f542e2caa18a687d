"""Faults on the wire: what a client sees of each."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable

import httpx
import pytest

from loadgate.errors import UsageError
from loadgate.staging.server import StagingService

pytestmark = pytest.mark.system

EMOTION = "/api/v1/emotions/analyze"
BODY = b'{"text":"broken"}'
REQUEST = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
    EMOTION.encode(),
    len(BODY),
    BODY,
)
Connect = Callable[[], socket.socket]


def read_head(sock: socket.socket) -> tuple[int, int, bytes]:
    """Return the status, the declared length and what has come of the body."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = sock.recv(65536)
        assert piece, "closed before the headers"
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    lengths = [int(line.split(b":")[1]) for line in lines if line.lower().startswith(b"content-length:")]
    return int(lines[0].split()[1]), lengths[0], body


def read_to_end(sock: socket.socket) -> bytes:
    """Return all that comes until the connection ends."""
    data = b""
    while piece := sock.recv(65536):
        data += piece
    return data


@pytest.mark.parametrize("status", [500, 503])
def test_an_error_fault_answers_its_status_for_its_endpoint_only(
    service: StagingService, client: httpx.Client, status: int
):
    """Others go on."""
    service.add_fault("error", status=status, endpoint="emotion")
    assert client.post(EMOTION, json={"text": "a"}).status_code == status
    assert client.post("/api/v1/reasoning/verify", json={"reasoning": "a"}).status_code == 200
    service.clear_faults("error")
    assert client.post(EMOTION, json={"text": "a"}).status_code == 200


def test_a_reset_is_a_reset_and_is_booked_as_unanswered():
    """The client sees ECONNRESET, not an orderly end; the books of a service of its own hold nothing else."""
    with StagingService(faults=("reset",)) as service:
        with socket.create_connection((service.host, service.port), timeout=5) as sock:
            sock.sendall(REQUEST)
            with pytest.raises(ConnectionResetError):
                sock.recv(1)
        emotion = service.counts()["routes"]["emotion"]
    assert emotion["statuses"] == {"unanswered": 1}
    assert emotion["in_progress"] == 0


def test_a_truncated_body_ends_before_its_length(service: StagingService, connect: Connect):
    """Half of what was declared, then the end."""
    service.add_fault("truncate")
    sock = connect()
    sock.sendall(REQUEST)
    status, length, body = read_head(sock)
    body += read_to_end(sock)
    assert status == 200
    assert len(body) == length // 2
    assert service.counts()["routes"]["emotion"]["damaged"]["truncate"] >= 1


def test_malformed_json_is_framed_well_and_does_not_parse(service: StagingService, client: httpx.Client):
    """The length is right, the status 200, the JSON broken."""
    service.add_fault("malformed")
    answer = client.post(EMOTION, json={"text": "a"})
    assert answer.status_code == 200
    with pytest.raises(json.JSONDecodeError):
        answer.json()


def test_a_wrong_length_spills_into_what_follows(service: StagingService, connect: Connect):
    """Ten bytes more than declared, on a connection that stays open."""
    service.add_fault("wrong_length", by=-10)
    sock = connect()
    sock.sendall(REQUEST)
    _, length, body = read_head(sock)
    while len(body) < length + 10:
        body += sock.recv(65536)
    assert len(body) == length + 10
    assert body.endswith(b"}")


def test_a_hang_accepts_and_never_answers_not_even_health(service: StagingService, client: httpx.Client):
    """Control still answers, and knows who is waiting."""
    service.add_fault("hang")
    with pytest.raises(httpx.ReadTimeout):
        client.get("/health", timeout=0.1)
    service.clear_faults()
    assert client.get("/health").status_code == 200


def test_a_slow_drip_sends_the_whole_body_in_the_end(service: StagingService, connect: Connect):
    """Slow, but correct; that it goes byte by byte is shown on the simulated loop."""
    service.add_fault("drip", every="1us")
    sock = connect()
    sock.sendall(REQUEST)
    _, length, body = read_head(sock)
    while len(body) < length:
        body += sock.recv(65536)
    assert len(body) == length
    assert json.loads(body)["type"] == "auto"


def test_added_latency_delays_an_answer(service: StagingService, client: httpx.Client):
    """A client with less patience than the latency gives up; the next without the fault does not."""
    client.post(EMOTION, json={"text": "patience"})
    service.add_fault("latency", delay="10s", endpoint="emotion")
    with pytest.raises(httpx.ReadTimeout):
        client.post(EMOTION, json={"text": "patience"}, timeout=0.1)
    assert client.get("/health", timeout=1).status_code == 200


def test_without_its_cache_every_answer_is_a_miss_and_counted_so(
    service: StagingService, client: httpx.Client
):
    """Twice the same text, no hit; back on, the older entry still serves."""
    client.post(EMOTION, json={"text": "cache off"})
    service.add_fault("cache_off")
    before = client.get("/api/v1/cache/stats").json()["content"]["data"]
    for _ in range(2):
        assert "cached" not in client.post(EMOTION, json={"text": "cache off"}).json()["content"]
    after = client.get("/api/v1/cache/stats").json()["content"]["data"]
    assert after["misses"] - before["misses"] == 2
    assert after["hits"] == before["hits"]
    service.clear_faults()
    assert client.post(EMOTION, json={"text": "cache off"}).json()["content"]["cached"] is True


def test_a_list_of_faults_is_taken_whole_or_not_at_all(service: StagingService, client: httpx.Client):
    """The second is wrong, so the first is not on either."""
    answer = client.post("/_staging/faults", json=[{"kind": "error"}, {"kind": "nonsense"}])
    assert answer.status_code == 400
    assert answer.json()["error"] == "unknown fault kind 'nonsense'"
    assert service.faults() == []


def test_a_fault_can_be_cleared_by_its_id(service: StagingService, client: httpx.Client):
    """The list gives the ids."""
    first, second = (service.add_fault("error", share=0.1)[-1]["id"] for _ in range(2))
    assert client.delete(f"/_staging/faults?id={first}").json()["cleared"] == 1
    assert [fault["id"] for fault in service.faults()] == [second]


def test_a_wrong_fault_is_refused_through_the_library(service: StagingService):
    """As UsageError, with the service's own hint."""
    with pytest.raises(UsageError, match="`delay` is missing"):
        service.add_fault("latency")
