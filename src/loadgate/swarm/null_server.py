"""The null server: an HTTP responder that does nothing; what a request to it takes is the client's own.

It is a process of its own, and so independent of the event loop under test: in a native thread it would wait
for the interpreter lock whenever the worker is busy (up to 5 ms, `sys.getswitchinterval`), and what it took
would be its own wait as much as the worker's (docs/measurement.md has figures). It runs this very file as a
script, with the interpreter alone (`-I -S`), so that it starts in some tens of milliseconds and takes 11 MB.
For that it needs no more than the standard library; keep it so.

It answers any request with 200 and a small JSON document. It is made for Loadgate's own client: requests come
one after the other on a connection, with `Content-Length` or without a body. It listens on loopback only, on
a socket that its parent bound, and ends with its parent: its standard input is a pipe that ends then.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
import time

BODY = (
    b'{"ok":true,"status":"ok","id":"null","result":{"text":"null","label":"neutral","score":0.5,"items":[]},'
    b'"text":"null","cached":false,"data":[],"error":null,"processing_time_ms":0.0}'
)
_REPLY = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
    len(BODY),
    BODY,
)
_HEAD_REPLY = _REPLY[: -len(BODY)]
LISTENER = 3
"""The descriptor of the socket to listen at, as the parent hands it over."""
_READ = 256 * 1024
_MOST_HELD = 16 * 1024 * 1024
"""Bytes of one request; whoever sends more is cut off."""
_GONE_WITHIN = 1.0
"""Seconds that a killed server may take to be gone."""


def serve(listener: socket.socket, parent: int) -> None:
    """Answer what comes until the descriptor `parent` says that the parent has ended."""
    listener.setblocking(False)
    poll = select.epoll()
    poll.register(listener, select.EPOLLIN)
    poll.register(parent, select.EPOLLIN | select.EPOLLHUP)
    open_ones: dict[int, _Connection] = {}
    while True:
        for descriptor, _ in poll.poll():
            connection = open_ones.get(descriptor)
            if connection is not None:
                if not connection.answer():
                    del open_ones[descriptor]
                    connection.close()
            elif descriptor == parent:
                return
            else:
                # One that was gone before it was accepted is nobody's loss.
                with contextlib.suppress(OSError):
                    sock, _ = listener.accept()
                    open_ones[sock.fileno()] = _Connection(sock)
                    poll.register(sock, select.EPOLLIN)


class _Connection:
    """One connection, with what has come of a request that is not whole yet."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock = sock
        self._held = b""
        self.close = sock.close

    def answer(self) -> bool:
        """Read what has come and answer each whole request; False when the connection is over."""
        try:
            data = self._sock.recv(_READ)
            if not data:
                return False
            replies, self._held = replies_to(self._held + data if self._held else data)
            # A reply is far smaller than what a socket takes: who asks so fast without reading is cut off.
            taken = not replies or self._sock.send(replies) == len(replies)
            return taken and len(self._held) <= _MOST_HELD
        except BlockingIOError:
            return True
        except (OSError, ValueError):
            return False


def replies_to(data: bytes) -> tuple[bytes, bytes]:
    """Return the replies to all whole requests in `data`, and the rest; ValueError for a wrong length."""
    replies = []
    while data:
        end = data.find(b"\r\n\r\n")
        if end < 0:
            break
        whole = end + 4 + _body_length(data, end)
        if whole > len(data):
            break
        replies.append(_HEAD_REPLY if data.startswith(b"HEAD ") else _REPLY)
        data = data[whole:]
    return b"".join(replies), data


def _body_length(data: bytes, end: int) -> int:
    at = data.find(b"Content-Length: ", 0, end)
    if at < 0:
        return 0
    stop = data.find(b"\r\n", at)
    return int(data[at + 16 : stop])


class NullServer:
    """Start a null server, know its `port`, and end it. OSError when it cannot be started."""

    def __init__(self) -> None:
        listener = socket.socket()
        read_end, self._alive = os.pipe()
        try:
            listener.bind(("127.0.0.1", 0))
            # Whoever connects before the process listens waits in this queue.
            listener.listen(1024)
            self.port = int(listener.getsockname()[1])
            self.pid = _start(listener.fileno(), read_end)
        except BaseException:
            os.close(self._alive)
            raise
        finally:
            listener.close()
            os.close(read_end)
        self._open = True

    @property
    def url(self) -> str:
        """Return the server's base URL."""
        return f"http://127.0.0.1:{self.port}"

    def ended(self) -> bool:
        """Tell whether the server is gone, though it was not closed."""
        return self._open and _reap(self.pid)

    def close(self) -> None:
        """End the server; again is fine."""
        if not self._open:
            return
        self._open = False
        os.close(self._alive)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        # Killed, it is gone within a moment, or once a busy machine lets it; nothing else reaps it.
        for _ in range(1000):
            if _reap(self.pid):
                return
            os.sched_yield()
        ends = time.monotonic() + _GONE_WITHIN
        while not _reap(self.pid) and time.monotonic() < ends:
            time.sleep(0.001)


def _start(listener: int, parent: int) -> int:
    """Start the server's process and return its id; the two descriptors become its own."""
    command = [sys.executable, "-I", "-S", os.path.abspath(__file__)]
    environment = {key: os.environ[key] for key in ("LOADGATE_RUN",) if key in os.environ}
    return os.posix_spawn(
        sys.executable,
        command,
        environment,
        file_actions=[
            # Copies first: a descriptor to be copied may be one of the numbers that are written to.
            (os.POSIX_SPAWN_DUP2, listener, _HIGH),
            (os.POSIX_SPAWN_DUP2, parent, 0),
            (os.POSIX_SPAWN_DUP2, _HIGH, LISTENER),
            (os.POSIX_SPAWN_CLOSE, _HIGH),
        ],
        setsigmask=[],
        setsigdef=[signal.SIGTERM, signal.SIGINT],
    )


_HIGH = 250
"""A descriptor in between, which nothing else of the new process uses."""


def _reap(pid: int) -> bool:
    """Tell whether a child has ended, and forget it."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True  # an event loop that watches children was faster


def main() -> None:
    """Serve at the socket that was handed over; Ctrl-C is the parent's business."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with socket.socket(fileno=LISTENER) as listener:
        serve(listener, parent=0)


if __name__ == "__main__":
    main()
