"""Find where a response ends, from bytes alone: no sockets, no greenlets, no clock.

A `Reader` reads the responses of one connection, one after the other. llhttp (httptools) validates every
head and undoes chunking; this module adds the rules that a client must know and llhttp cannot: HEAD and
bodiless statuses, interim responses, bodies that end with the connection, limits, and that no byte may
follow the response. Everything that is not certain is a fault, since a response taken for another one
would make every later number of its connection wrong.

The reader remembers the last head it validated and the size of the response under it. A response that
starts with exactly those bytes and is exactly that long needs no parsing, because the same head means the
same framing (`memo_head`, `memo_size`: the caller compares, then slices the body off). `resembles` does the
same for heads that differ in nothing that matters to framing, such as a date or an ETag.
"""

from __future__ import annotations

import httptools

from loadgate.traffic.http.faults import (
    BODY_TOO_LARGE,
    CLOSED_EARLY,
    HEAD_TOO_LARGE,
    MALFORMED,
    TRUNCATED,
)
from loadgate.traffic.http.headscan import (
    NOTHING_ALIKE,
    allows_more,
    announces_length,
    idle_limit,
    likeness,
    says_max,
    says_nothing_remains,
    spells_remaining_oddly,
    transfer_codings,
)

_LESSONS = 8
"""How many kinds of head a connection is taught; one that keeps changing them is read by llhttp."""
_HEAD_END = b"\r\n\r\n"
_NEVER = b"\x00"  # no response starts with it
_UNASKED_SWITCH = "the server switches protocols, which was not asked for"


class _HeadOnly(Exception):
    """Stop llhttp at the end of a head whose body, if it announces one, is not there."""


class Reader:
    """Read responses of one connection. Call `begin`, then `feed` until it is True (or `end` at its close).

    Then `fault` is "" or a kind with `detail`, and `status`, `head`, `body`, `size` (bytes fed, leftovers
    included), `reusable` and `exhausted` (a rate limit says that nothing remains) describe the response.
    `idle_limit` is for how many seconds the server said it keeps an idle connection, else infinite.
    """

    __slots__ = (
        "_bodies",
        "_bodiless",
        "_body_size",
        "_chunked",
        "_completed",
        "_counts_down",
        "_extra",
        "_head_done",
        "_interim",
        "_keep",
        "_known",
        "_lessons",
        "_likeness",
        "_likeness_status",
        "_max_body",
        "_max_head",
        "_odd_remaining",
        "_parser",
        "_raw",
        "_stopped",
        "_tail",
        "body",
        "detail",
        "exhausted",
        "fault",
        "head",
        "idle_limit",
        "memo_exhausted",
        "memo_head",
        "memo_length",
        "memo_size",
        "memo_status",
        "reusable",
        "size",
        "status",
    )

    def __init__(self, max_head: int, max_body: int) -> None:
        self._max_head = max_head
        self._max_body = max_body
        self._parser = httptools.HttpResponseParser(self)
        self._bodies: list[bytes] = []
        self._known = self._counts_down = self._odd_remaining = False
        self._lessons = _LESSONS
        self._likeness = NOTHING_ALIKE
        self._likeness_status = 0
        self.idle_limit = float("inf")
        self.memo_head = _NEVER
        self.memo_length = self.memo_size = self.memo_status = 0
        self.memo_exhausted = False
        self.begin()

    def begin(self, *, bodiless: bool = False) -> None:
        """Get ready for the next response; `bodiless` when it answers a HEAD request."""
        self._bodiless = bodiless
        self._completed = self._head_done = self._stopped = False
        self._chunked = self._extra = self._keep = False
        self._raw = self._tail = b""
        self._interim = self._body_size = 0
        self._bodies.clear()
        self.status = self.size = 0
        self.head = self.body = b""
        self.fault = self.detail = ""
        self.reusable = self.exhausted = False

    # llhttp calls these ------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Note a further message where the response should have ended."""
        if self._completed:
            self._extra = True

    def on_headers_complete(self) -> None:
        """Note what the head says, and stop before a body that cannot be there."""
        self._head_done = True
        parser = self._parser
        self.status = status = parser.get_status_code()
        self._keep = parser.should_keep_alive()
        if self._bodiless or status < 200 or status == 204 or status == 304:
            self._stopped = True
            raise _HeadOnly

    def on_chunk_header(self) -> None:
        """Note that the body comes in chunks."""
        self._chunked = True

    def on_body(self, part: bytes) -> None:
        """Keep a part of the body."""
        self._bodies.append(part)
        self._body_size += len(part)

    def on_message_complete(self) -> None:
        """Note the end of the response."""
        self._completed = True

    # The connection calls these ----------------------------------------------------------------------

    def resembles(self, data: bytes) -> bool:
        """Tell whether `data` is one whole response with a head like one that was validated before.

        If so the memo is that of `data`. Not for responses to HEAD, and only where a response begins.
        """
        found = self._likeness.match(data)
        if found is None:
            return False
        end = found.end()
        if end + int(found[1]) != len(data) or end > self._max_head or len(data) - end > self._max_body:
            return False
        self.memo_head = head = data[:end]
        self.memo_length = end
        self.memo_size = len(data)
        self.memo_status = self._likeness_status
        self.memo_exhausted = (b"maining: 0" in head or self._odd_remaining) and says_nothing_remains(head)
        return True

    def feed(self, data: bytes) -> bool:
        """Take what was received; return True once the response is complete or can never be."""
        self.size += len(data)
        while True:
            in_head = not self._head_done
            if in_head:
                self._raw = self._raw + data if self._raw else data
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade:
                return self._fail(MALFORMED, _UNASKED_SWITCH)
            except httptools.HttpParserError as error:
                if self._completed:
                    return self._leftover()
                if not self._stopped:
                    return self._fail(MALFORMED, str(error))
                data = self._after_bodiless_head()
                if data:
                    continue
                return self._completed
            return self._advance(data, in_head)

    @property
    def done(self) -> bool:
        """Tell whether the response has ended, well or not."""
        return self._completed

    def end(self, *, clean: bool = True) -> None:
        """Take the end of the connection: only a body of unstated length is complete by it.

        `clean` is False when the end itself cannot be trusted (TLS without its closing message).
        """
        if self._completed:
            return
        if not self._head_done:
            self._fail(CLOSED_EARLY, f"the connection was closed after {self.size} bytes")
        elif announces_length(self.head) or transfer_codings(self.head):
            self._fail(TRUNCATED, f"the connection was closed after {self._body_size} bytes of the body")
        elif not clean:
            self._fail(TRUNCATED, "the TLS connection was cut, so the end of the body is not known")
        else:
            self._keep = False
            self._finish()

    def _advance(self, data: bytes, in_head: bool) -> bool:
        """Check limits and completeness after llhttp took everything without complaint."""
        if not self._head_done:
            if len(self._raw) + self._interim > self._max_head:
                return self._fail(HEAD_TOO_LARGE, f"no end of the head within {self._max_head} bytes")
            return False
        if in_head and not self._take_head():
            return True
        if self._body_size > self._max_body:
            return self._fail(BODY_TOO_LARGE, f"the body is longer than {self._max_body} bytes")
        if self._chunked or not self._completed:
            self._tail = (self._tail + data)[-6:]
        if not self._completed:
            return False
        if self._extra or not self._ends_exactly():
            return self._leftover()
        return self._finish()

    def _take_head(self) -> bool:
        """Cut the head out of what came; False (with a fault) when it is not one to trust."""
        raw = self._raw
        end = raw.find(_HEAD_END) + len(_HEAD_END)
        if end < len(_HEAD_END) or not raw.startswith((b"HTTP/1.1 ", b"HTTP/1.0 ")):
            self._fail(MALFORMED, "the head is not that of an HTTP/1 response")
            return False
        if end + self._interim > self._max_head:
            self._fail(HEAD_TOO_LARGE, f"the head is longer than {self._max_head} bytes")
            return False
        self.head = raw[:end]
        self._raw = b""
        if self._completed and not self._chunked:
            return True  # llhttp ends a body by itself only at its Content-Length or last chunk
        coding = transfer_codings(self.head)
        if coding and (coding != b"chunked" or raw.startswith(b"HTTP/1.0")):
            self._fail(MALFORMED, f"Transfer-Encoding {coding.decode('latin-1')!r} cannot be undone")
            return False
        return True

    def _after_bodiless_head(self) -> bytes:
        """Take a head without a body; return the bytes after an interim one, which start the next head."""
        raw = self._raw
        if not self._take_head():
            return b""
        self._parser = httptools.HttpResponseParser(self)  # the old one still waits for a body
        end = len(self.head)
        rest = raw[end:]
        if self.status == 101:
            self._fail(MALFORMED, _UNASKED_SWITCH)
        elif self.status < 200:
            self._interim += end
            self._head_done = self._stopped = False
            self.status = 0
            self.head = b""
            return rest
        elif rest:
            self._leftover()
        else:
            self._finish()
        return b""

    def _ends_exactly(self) -> bool:
        """Tell whether the last byte fed is the last of the response: llhttp swallows line ends after it."""
        if self._chunked:
            return self._tail.endswith(_HEAD_END) and self._tail != b"\r\n\r\n\r\n"
        return self.size == self._interim + len(self.head) + self._body_size

    def _leftover(self) -> bool:
        return self._fail(MALFORMED, "bytes follow the end of the response")

    def _fail(self, kind: str, detail: str) -> bool:
        self._completed = True
        self.fault = kind
        self.detail = detail
        self.reusable = False
        self._raw = b""
        self._bodies.clear()
        return True

    def _finish(self) -> bool:
        self._completed = True
        bodies = self._bodies
        self.body = body = bodies[0] if len(bodies) == 1 else b"".join(bodies)
        self.reusable = keep = self._keep
        head = self.head
        if not self._known:
            # Once per connection: what a server says about idle time and how it spells does not change.
            self._known = True
            self.idle_limit = idle_limit(head)
            self._counts_down = says_max(head)
            self._odd_remaining = spells_remaining_oddly(head)
        if b"maining: 0" in head or self._odd_remaining:
            self.exhausted = says_nothing_remains(head)
        if self._counts_down and keep:
            self.reusable = keep = allows_more(head)
        if keep and not self._chunked and not self._bodiless and self.status not in (204, 304):
            self.memo_head = head
            self.memo_length = len(head)
            self.memo_size = len(head) + len(body)
            self.memo_status = self.status
            self.memo_exhausted = self.exhausted
            if self._lessons and not self._counts_down:
                self._lessons -= 1
                self._likeness = likeness(head)
                self._likeness_status = self.status
        return True
