"""How the sockets of master and workers are set: bounded in cost, and quick to notice a dead peer."""

from __future__ import annotations

import logging
from socket import gaierror, getaddrinfo, has_dualstack_ipv6
from typing import Any, Final

import zmq

from loadgate.swarm import sealing

LINGER_MS: Final = 2_000
"""Milliseconds that what is under way has to leave, once a socket is closed."""
_DEAD_AFTER_MS = 5_000
"""Milliseconds without an answer to a ping of the socket's own, after which a connection is made anew."""
_log = logging.getLogger("loadgate.swarm")


def set_options(socket: Any, host: str, port: int) -> None:
    """Bound what a peer can cost, notice a dead one within seconds, and come back by itself."""
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, 30)
    if socket.type != zmq.ROUTER:
        # A worker's pings tell its master how long to believe in it without a word. The master's own, over
        # two connections to each of a thousand workers, would cost it more than what they report.
        socket.setsockopt(zmq.HEARTBEAT_IVL, _DEAD_AFTER_MS // 2)
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, _DEAD_AFTER_MS)
    socket.setsockopt(zmq.HEARTBEAT_TTL, 2 * _DEAD_AFTER_MS)
    socket.setsockopt(zmq.RECONNECT_IVL, 100)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 2_000)
    socket.setsockopt(zmq.CONNECT_TIMEOUT, 5_000)
    socket.setsockopt(zmq.MAXMSGSIZE, sealing.MOST_FRAME)
    socket.setsockopt(zmq.LINGER, LINGER_MS)
    if has_dualstack_ipv6() and not _ipv4_only(host, port):
        socket.setsockopt(zmq.IPV6, 1)


def _ipv4_only(host: str, port: int) -> bool:
    """Tell whether a name has IPv4 addresses only (zmqrpc.py, ipv4_only)."""
    if host == "*":
        return False
    try:
        return "Family.AF_INET6" not in str(getaddrinfo(host, port))
    except gaierror as error:
        _log.error("the address %s cannot be resolved: %s", host, error)
        return False
