"""Where a response ends: one test per rule of HTTP/1.1 framing, then laws over splits and garbage."""

from __future__ import annotations

from itertools import pairwise

import h11
import httptools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgate.traffic.http import faults
from loadgate.traffic.http.framing import Reader

OK = b"HTTP/1.1 200 OK\r\n"


def read(
    data: bytes, *, head_request: bool = False, end: bool = False, reader: Reader | None = None
) -> Reader:
    """Read one response with a reader of ample limits, and the end of the connection after it if `end`."""
    reader = reader or Reader(64 * 1024, 1024 * 1024)
    reader.begin(bodiless=head_request)
    if not (data and reader.feed(data)) and end:
        reader.end()
    return reader


def outcome(reader: Reader) -> tuple[object, ...]:
    """Return all that a split must not change."""
    return (reader.done, reader.fault, reader.status, reader.head, reader.body, reader.reusable)


def test_content_length_ends_the_body() -> None:
    """A Content-Length response is complete at its last byte and leaves the connection usable."""
    reader = read(OK + b"Content-Length: 5\r\n\r\nhello")
    assert outcome(reader) == (True, "", 200, OK + b"Content-Length: 5\r\n\r\n", b"hello", True)
    assert reader.size == 17 + 21 + 5


def test_chunked_body_is_joined() -> None:
    """Chunk sizes, extensions and trailers are not part of the body."""
    reader = read(
        OK + b"Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n6\r\n world\r\n0\r\nDigest: x\r\n\r\n"
    )
    assert (reader.done, reader.fault, reader.body, reader.reusable) == (True, "", b"hello world", True)


def test_body_without_length_ends_with_the_connection() -> None:
    """Without length or chunks the body goes on until the server closes, and the connection is spent."""
    reader = read(OK + b"\r\nhel")
    assert not reader.done
    reader.feed(b"lo")
    reader.end()
    assert (reader.done, reader.fault, reader.body, reader.reusable) == (True, "", b"hello", False)


def test_unclean_tls_end_does_not_complete_a_body() -> None:
    """A TLS connection cut without its closing message may have lost the rest of the body."""
    reader = read(OK + b"\r\nhello")
    reader.end(clean=False)
    assert reader.fault == faults.TRUNCATED


@pytest.mark.parametrize(
    "interim", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"]
)
def test_interim_responses_are_skipped(interim: bytes) -> None:
    """The final response after any number of 1xx ones is the response."""
    reader = read(interim + interim + OK + b"Content-Length: 2\r\n\r\nok")
    assert outcome(reader) == (True, "", 200, OK + b"Content-Length: 2\r\n\r\n", b"ok", True)
    assert reader.size == 2 * len(interim) + 17 + 21 + 2


def test_unasked_protocol_switch_is_malformed() -> None:
    """101 answers a question that this client never asks."""
    reader = read(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n")
    assert reader.fault == faults.MALFORMED


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
def test_bodiless_statuses_have_no_body(status: bytes) -> None:
    """204 and 304 end with their head, whatever length it announces."""
    reader = read(b"HTTP/1.1 " + status + b"\r\nContent-Length: 5\r\n\r\n")
    assert (reader.done, reader.fault, reader.body, reader.reusable) == (True, "", b"", True)


def test_response_to_head_has_no_body() -> None:
    """The answer to HEAD ends with its head, and the next response is read from its own start."""
    reader = read(OK + b"Content-Length: 5\r\n\r\n", head_request=True)
    assert (reader.done, reader.fault, reader.body, reader.reusable) == (True, "", b"", True)
    again = read(OK + b"Content-Length: 5\r\n\r\nhello", reader=reader)
    assert (again.fault, again.body) == ("", b"hello")


def test_http_1_0_closes_unless_it_says_otherwise() -> None:
    """HTTP/1.0 connections are spent after one response, but for Connection: keep-alive."""
    assert not read(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok").reusable
    assert read(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: Keep-Alive\r\n\r\nok").reusable


def test_connection_close_is_obeyed() -> None:
    """Connection: close ends the use of the connection, in any case and among other tokens."""
    assert not read(OK + b"Content-Length: 2\r\nCONNECTION: x, Close\r\n\r\nok").reusable


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"Content-Length: 2\r\n\r\nok!",
        b"Content-Length: 2\r\n\r\nok\r\n",
        b"Content-Length: 2\r\nConnection: close\r\n\r\nok!",
        b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nHTTP/1.1 204 x\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n\r\n",
    ],
)
def test_bytes_after_the_response_are_a_fault(head: bytes) -> None:
    """A response with bytes after it was framed wrongly, so it is not ok and nothing more is read from it."""
    reader = read(OK + head)
    assert (reader.done, reader.fault, reader.reusable) == (True, faults.MALFORMED, False)


def test_bytes_after_a_bodiless_response_are_a_fault() -> None:
    """A body where none may be is a fault, not the next response."""
    assert read(b"HTTP/1.1 204 No Content\r\n\r\nhello").fault == faults.MALFORMED
    assert read(OK + b"Content-Length: 2\r\n\r\nok", head_request=True).fault == faults.MALFORMED


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nok",
        b"Content-Length: 2, 2\r\n\r\nok",
        b"Content-Length: -2\r\n\r\nok",
        b"Content-Length: +2\r\n\r\nok",
        b"Content-Length: 0x2\r\n\r\nok",
        b"Content-Length: \r\n\r\nok",
        b"Content-Length: 99999999999999999999\r\n\r\nok",
        b"Content-Length : 2\r\n\r\nok",
        b"Content-Length: 2\r\n 3\r\n\r\nok",
        b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"Transfer-Encoding: gzip\r\n\r\nok",
        b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"TRANSFER-ENCODING: identity\r\n\r\nok",
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\nok\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n2\r\nokay\r\n0\r\n\r\n",
        b"no colon here\r\n\r\n",
        b"X: a\x00b\r\n\r\n",
        b"X: a\nContent-Length: 2\r\n\r\nok",
    ],
)
def test_ambiguous_framing_is_malformed(head: bytes) -> None:
    """Where two readers could disagree about the end of a response, it is not taken."""
    reader = read(OK + head)
    assert (reader.done, reader.fault, reader.reusable) == (True, faults.MALFORMED, False)


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00",
        b"hello\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 99 x\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"RTSP/1.0 200 OK\r\n\r\n",
        b"HTTP/0.9 200 OK\r\n\r\n",
    ],
)
def test_what_is_not_http_1_is_malformed(garbage: bytes) -> None:
    """Anything but an HTTP/1.0 or 1.1 status line is refused at once, not waited out."""
    assert read(garbage, end=True).fault == faults.MALFORMED


def test_chunked_in_http_1_0_is_malformed() -> None:
    """HTTP/1.0 knows no chunks, so who framed this is not known."""
    assert read(b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n").fault == faults.MALFORMED


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 2", OK + b"Content-Length: 5\r\n"])
def test_end_before_the_head_is_closed_early(sent: bytes) -> None:
    """A connection that ends before the head is complete gave no response."""
    assert read(sent, end=True).fault == faults.CLOSED_EARLY


@pytest.mark.parametrize(
    "sent",
    [
        b"Content-Length: 5\r\n\r\nhell",
        b"Content-Length: 5\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
    ],
)
def test_end_within_a_measured_body_is_truncated(sent: bytes) -> None:
    """A body shorter than its framing says is a failure with the status that came."""
    reader = read(OK + sent, end=True)
    assert (reader.fault, reader.status, reader.reusable) == (faults.TRUNCATED, 200, False)


def test_head_limit() -> None:
    """A head of exactly the limit is read, one byte more is refused, complete or not."""
    head = OK + b"Content-Length: 0\r\nX: " + b"a" * 57 + b"\r\n\r\n"
    assert len(head) == 17 + 19 + 3 + 57 + 4 == 100
    exact = Reader(100, 1000)
    exact.feed(head)
    assert (exact.done, exact.fault) == (True, "")
    for data in (head.replace(b"aa", b"aaa", 1), OK + b"X: " + b"a" * 100):
        over = Reader(100, 1000)
        over.feed(data)
        assert over.fault == faults.HEAD_TOO_LARGE


def test_endless_interim_responses_are_refused() -> None:
    """1xx heads count towards the head limit, so they cannot go on for ever."""
    reader = Reader(1000, 1000)
    assert any(reader.feed(b"HTTP/1.1 100 Continue\r\n\r\n") for _ in range(41))  # 41 * 25 > 1000
    assert reader.fault == faults.HEAD_TOO_LARGE


@pytest.mark.parametrize(
    "data", [b"Content-Length: 11\r\n\r\n" + b"x" * 11, b"\r\n" + b"x" * 11,
             b"Transfer-Encoding: chunked\r\n\r\nb\r\n" + b"x" * 11 + b"\r\n0\r\n\r\n"]
)  # fmt: skip
def test_body_limit(data: bytes) -> None:
    """A body over the limit is refused however it is framed; one of exactly the limit is read."""
    over = Reader(1000, 10)
    over.feed(OK + data)
    assert over.fault == faults.BODY_TOO_LARGE
    exact = Reader(1000, 11)
    exact.feed(OK + data)
    exact.end()
    assert (exact.fault, exact.body) == ("", b"x" * 11)


def test_memo_stands_for_a_kept_alive_length_framed_head_only() -> None:
    """The remembered head is one under which an equal head means an equal size."""
    reader = read(OK + b"Content-Length: 5\r\n\r\nhello")
    assert (reader.memo_head, reader.memo_size, reader.memo_status) == (
        OK + b"Content-Length: 5\r\n\r\n",
        43,
        200,
    )
    for data, is_head in (
        (OK + b"Content-Length: 6\r\n\r\n", True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", False),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", False),
        (OK + b"Content-Length: 6\r\nConnection: close\r\n\r\nclosed", False),
        (OK + b"Content-Length: 1\r\n\r\nab", False),
    ):
        fresh = read(data, head_request=is_head)
        assert fresh.memo_head == b"\x00"
    read(OK + b"\r\nrest", end=True, reader=reader)
    assert reader.memo_size == 43


@pytest.mark.parametrize(
    ("header", "limit"),
    [
        (b"Keep-Alive: timeout=5\r\n", 5.0),
        (b"keep-alive: max=9, timeout = 15\r\n", 15.0),
        (b"", float("inf")),
    ],
)
def test_idle_limit_is_what_keep_alive_says(header: bytes, limit: float) -> None:
    """Keep-Alive: timeout=N is learned from the first response of a connection."""
    assert read(OK + header + b"Content-Length: 0\r\n\r\n").idle_limit == limit


def test_keep_alive_max_zero_spends_the_connection() -> None:
    """Keep-Alive: max counts down; at 0 the server takes no further request."""
    reader = read(OK + b"Keep-Alive: timeout=5, max=1\r\nContent-Length: 0\r\n\r\n")
    assert reader.reusable
    assert not read(OK + b"Keep-Alive: timeout=5, max=0\r\nContent-Length: 0\r\n\r\n", reader=reader).reusable


@pytest.mark.parametrize(
    ("header", "exhausted"),
    [
        (b"X-RateLimit-Remaining: 0", True),
        (b"x-ratelimit-remaining: 0", True),
        (b"X-RATELIMIT-REMAINING: 0", True),
        (b"RateLimit-Remaining:0", True),
        (b"RateLimit-Remaining: 0;w=60", True),
        (b"X-RateLimit-Remaining: 10", False),
        (b"X-RateLimit-Remaining: 01", False),
        (b"X-Quota-Remaining: 0", False),
        (b"X-Note: maining: 0", False),
    ],
)
def test_exhausted_rate_limit_is_seen(header: bytes, exhausted: bool) -> None:
    """A remaining rate limit of 0 is noticed in any spelling; other headers and values are not it."""
    assert read(OK + header + b"\r\nContent-Length: 0\r\n\r\n").exhausted is exhausted


def test_rate_limit_that_runs_out_later_is_seen() -> None:
    """What the first response of a connection said does not hide what a later one says."""
    reader = read(OK + b"X-RateLimit-Remaining: 7\r\nContent-Length: 0\r\n\r\n")
    assert not reader.exhausted
    assert read(OK + b"X-RateLimit-Remaining: 0\r\nContent-Length: 0\r\n\r\n", reader=reader).exhausted


EXPRESS = (
    OK + b"ETag: W/\"1a\"\r\nX-RateLimit-Remaining: 12\r\nContent-Length: 5\r\n"
    b"Connection: keep-alive\r\nKeep-Alive: timeout=5\r\n\r\nhello"
)  # fmt: skip


def test_a_head_that_differs_harmlessly_resembles() -> None:
    """Other values, another length and an empty value are recognised, and the memo is then of that head."""
    reader = read(EXPRESS)
    other = EXPRESS.replace(b'W/"1a"', b"").replace(b"12", b"0").replace(b"Length: 5", b"Length: 2")[:-3]
    assert reader.resembles(other)
    assert (reader.memo_head, reader.memo_size, reader.memo_status) == (other[:-2], len(other), 200)
    assert (reader.memo_length, reader.memo_exhausted) == (len(other) - 2, True)
    assert reader.resembles(EXPRESS)
    assert not reader.memo_exhausted


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"200 OK", b"500 OK"),
        (b"HTTP/1.1", b"HTTP/1.0"),
        (b"Connection: keep-alive", b"Connection: close"),
        (b"timeout=5", b"timeout=1"),
        (b"ETag", b"Transfer-Encoding"),
        (b"ETag: ", b"Transfer-Encoding: chunked\r\nETag: "),
        (b"ETag: ", b"Content-Length: 5\r\nETag: "),
        (b"ETag: ", b"ETag : "),
        (b"ETag: ", b"ETag: a\n"),
        (b"ETag: ", b"ETag: a\r\n "),
        (b"ETag: ", b"ETag: \x01"),
        (b"Length: 5", b"Length: 4"),
        (b"Length: 5", b"Length: 6"),
        (b"Length: 5", b"Length: +5"),
        (b"Length: 5", b"Length: 5, 5"),
        (b"Length: 5", b"Length: "),
        (b"Length: 5", b"Length: 0000000000000005"),
        (b"hello", b"hello!"),
        (b"hello", b"hell"),
    ],
)
def test_a_head_that_may_be_framed_otherwise_does_not_resemble(old: bytes, new: bytes) -> None:
    """Anything that could move the end of the response, or of the connection, goes to the parser."""
    reader = read(EXPRESS)
    assert EXPRESS.count(old) == 1
    assert not reader.resembles(EXPRESS.replace(old, new))


def test_the_memo_keeps_its_own_status_when_no_more_is_learned() -> None:
    """After the lessons are over a like head still gets the status it says."""
    reader = read(EXPRESS)
    for number in range(20):
        read(EXPRESS.replace(b"200 OK", b"%d No" % (400 + number)), reader=reader)
    for number in range(20):
        data = EXPRESS.replace(b"200 OK", b"%d No" % (400 + number)).replace(b"1a", b"2b")
        if reader.resembles(data):
            assert reader.memo_status == 400 + number
    assert any(reader.resembles(EXPRESS.replace(b"200 OK", b"%d No" % (400 + n))) for n in range(20))


NAMES = st.sampled_from([b"Server", b"ETag", b"X-Request-Id", b"Date", b"Vary"])
VALUES = st.text('abc XYZ019,;=/"', max_size=20).map(lambda text: text.strip().encode())
HEADERS = st.lists(st.tuples(NAMES, VALUES), max_size=4).map(
    lambda rows: b"".join(name + b": " + value + b"\r\n" for name, value in rows)
)
BODY = st.binary(max_size=60)


@st.composite
def responses(draw: st.DrawFn) -> bytes:
    """Draw a valid response in any of the framings; b"" body or not, interim heads or not."""
    interim = draw(
        st.sampled_from([b"", b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 x\r\nLink: y\r\n\r\n"])
    )
    status = draw(st.sampled_from([b"200 OK", b"404 Not Found", b"500 x", b"429 Too Many Requests"]))
    head = interim + b"HTTP/1.1 " + status + b"\r\n" + draw(HEADERS)
    body = draw(BODY)
    framing = draw(st.sampled_from(["length", "chunked", "close", "none"]))
    if framing == "length":
        return head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    if framing == "chunked":
        cut = draw(st.integers(0, len(body)))
        parts = [part for part in (body[:cut], body[cut:]) if part]
        chunks = b"".join(b"%x;e=1\r\n%b\r\n" % (len(part), part) for part in parts)
        return head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
    if framing == "close":
        return head + b"Connection: close\r\n\r\n" + body
    return interim + b"HTTP/1.1 204 No Content\r\n" + draw(HEADERS) + b"\r\n"


@settings(max_examples=300, deadline=None)
@given(responses(), st.lists(st.integers(0, 400), max_size=8))
def test_splits_change_nothing(data: bytes, cuts: list[int]) -> None:
    """However a valid response is cut into receives, the same response is read."""
    whole = read(data, end=True)
    assert whole.fault == ""
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    split = Reader(64 * 1024, 1024 * 1024)
    for start, stop in pairwise(places):
        done = split.feed(data[start:stop])
        assert not done or stop == len(data)
    split.end()
    assert outcome(split) == outcome(whole)
    assert split.size == whole.size == len(data)


@pytest.mark.parametrize("chunks", [b"5\r\nhello\r\n1\r\n!\r\n0\r\nT: v\r\n\r\n", b"0\r\n\r\n"])
def test_every_single_split_position(chunks: bytes) -> None:
    """A chunked response behind an interim one survives a cut at each of its positions, and byte by byte."""
    data = b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"transfer-encoding: Chunked\r\n\r\n" + chunks
    expected = outcome(read(data))
    assert expected[1:3] == ("", 200)
    assert expected[4] == (b"hello!" if b"hello" in chunks else b"")
    for cut in range(1, len(data)):
        reader = Reader(1000, 1000)
        assert not reader.feed(data[:cut])
        assert reader.feed(data[cut:])
        assert outcome(reader) == expected
    reader = Reader(1000, 1000)
    assert [reader.feed(data[at : at + 1]) for at in range(len(data))] == [False] * (len(data) - 1) + [True]
    assert outcome(reader) == expected


@settings(max_examples=300, deadline=None)
@given(responses())
def test_h11_reads_the_same(data: bytes) -> None:
    """An independent implementation finds the same status, body and end."""
    oracle = h11.Connection(h11.CLIENT)
    oracle.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
    oracle.send(h11.EndOfMessage())
    oracle.receive_data(data)
    status, body, ended = 0, b"", False
    while not ended:
        event = oracle.next_event()
        if event is h11.NEED_DATA:
            oracle.receive_data(b"")
        elif isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        else:
            ended = isinstance(event, h11.EndOfMessage)
    reader = read(data, end=True)
    assert (reader.fault, reader.status, reader.body) == ("", status, body)
    assert reader.reusable == (oracle.their_state is h11.DONE)


@settings(max_examples=400, deadline=None)
@given(st.one_of(st.binary(max_size=200), responses().flatmap(
    lambda data: st.tuples(st.just(data), st.integers(0, len(data) - 1), st.binary(max_size=6)).map(
        lambda row: row[0][: row[1]] + row[2] + row[0][row[1] + 1 :]))))  # fmt: skip
def test_garbage_never_raises_and_always_ends(data: bytes) -> None:
    """Random and mutated bytes give a kind of failure or a response that llhttp also accepts; never more."""
    reader = read(data, end=True)
    assert reader.done
    assert reader.fault == "" or reader.fault in faults.KINDS
    if reader.fault == "":
        oracle = httptools.HttpResponseParser(object())
        oracle.feed_data(reader.head)
        assert oracle.get_status_code() == reader.status
        assert reader.size == len(data)


@settings(max_examples=150, deadline=None)
@given(st.lists(responses(), min_size=1, max_size=4))
def test_one_reader_reads_many_like_fresh_ones(stream: list[bytes]) -> None:
    """What a reader saw before does not change how it reads the next response."""
    reader = Reader(64 * 1024, 1024 * 1024)
    for data in stream:
        again = read(data, end=True, reader=reader)
        fresh = read(data, end=True)
        assert outcome(again) == outcome(fresh)
        if not again.reusable:
            break


@settings(max_examples=500, deadline=None)
@given(responses(), st.lists(st.tuples(st.integers(0, 400), st.binary(max_size=3)), min_size=1, max_size=3))
def test_what_resembles_is_read_the_same_by_the_parser(data: bytes, changes: list[tuple[int, bytes]]) -> None:
    """Whatever mutation the quick way accepts, llhttp and all rules accept too, with the same result."""
    reader = read(data, end=True)
    for at, new in changes:
        at %= len(data)
        data = data[:at] + new + data[at + 1 :]
    if reader.resembles(data):
        fresh = read(data)
        assert (fresh.done, fresh.fault, fresh.reusable) == (True, "", True)
        assert (fresh.status, fresh.head, len(data)) == (
            reader.memo_status,
            reader.memo_head,
            reader.memo_size,
        )
        assert (fresh.body, fresh.exhausted) == (data[reader.memo_length :], reader.memo_exhausted)
