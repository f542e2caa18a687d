"""Hosts on one machine: network namespaces that a bridge joins, each a machine to what runs in it.

A host has an address of its own, a loopback of its own, a host name and a boot id of its own, and
if asked a CLOCK_MONOTONIC of its own. Nothing leaves: the bridge lives in a namespace too, and no host
has a route but to its neighbours. A cable can be pulled in mid-run, which TCP sees as silence.

It takes root, CAP_SYS_ADMIN with CAP_NET_ADMIN, and Debian's iproute2; `available` tries it for real.
"""

from __future__ import annotations

import ctypes
import functools
import http.client
import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NamedTuple, Self

SUBNET = "10.77.0"
"""The same in every net: none of them sees another."""
_PREFIX = "lg"
_NAMES = Path("/run/netns")
_BOOT_ID = "/proc/sys/kernel/random/boot_id"
_CLONE_NEWNET = 0x40000000
_BECOME = f'echo "$1" >/proc/sys/kernel/hostname && mount --bind "$2" {_BOOT_ID} && shift 2 && exec "$@"'
"""Run inside a host's namespaces: take its name and its boot id, then become the command."""
_numbers = itertools.count(1)


class Availability(NamedTuple):
    """Whether this machine lets us make hosts, and if not, why."""

    permitted: bool
    reason: str


class NetError(Exception):
    """A namespace, link or address could not be made."""


class Host:
    """One machine of a net. `monotonic` seconds are added to its CLOCK_MONOTONIC."""

    def __init__(self, net: Net, name: str, address: str, *, monotonic: int, own_boot_id: bool) -> None:
        self.name = name
        self.address = address
        self.namespace = net.namespace(name)
        self.started: list[subprocess.Popen[Any]] = []
        self._net = net
        self._boot_id = net.folder / f"{name}.boot_id"
        same = Path(_BOOT_ID).read_text(encoding="ascii")
        self._boot_id.write_text(f"{uuid.uuid4()}\n" if own_boot_id else same, encoding="ascii")
        self._shift = ["unshare", "--time", "--monotonic", str(monotonic), "--fork", "--kill-child"]
        if not monotonic:
            self._shift = []

    def popen(
        self, command: Sequence[str], env: Mapping[str, str] | None = None, **options: Any
    ) -> subprocess.Popen[Any]:
        """Start a command on this host, in a session of its own; the net ends it if nobody else does."""
        inside = ["unshare", "--uts", *self._shift, "sh", "-c", _BECOME, "sh", self.name, str(self._boot_id)]
        process = subprocess.Popen(
            ["ip", "netns", "exec", self.namespace, *inside, *command],
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            **options,
        )
        self.started.append(process)
        return process

    def run(self, command: Sequence[str], timeout: float = 10.0) -> str:
        """Run a command on this host to its end and return what it printed; NetError when it fails."""
        process = self.popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            end(process)
            out, err = process.communicate()
            raise NetError(f"{self.name}: {' '.join(command)} took over {timeout:g} s: {err}") from None
        if process.returncode:
            raise NetError(f"{self.name}: {' '.join(command)}: {err.strip() or process.returncode}")
        return str(out)

    def cut(self) -> None:
        """Pull this host's cable: what is sent either way vanishes, and nobody is told."""
        _ip("-n", self._net.switch, "link", "set", "dev", self.name, "down")

    def mend(self) -> None:
        """Plug the cable back in."""
        _ip("-n", self._net.switch, "link", "set", "dev", self.name, "up")

    def delay(self, milliseconds: int) -> None:
        """Delay what reaches this host; NetError where the kernel has no netem."""
        _run("tc", "-n", self._net.switch, *f"qdisc replace dev {self.name} root netem".split(),
             "delay", f"{milliseconds}ms")  # fmt: skip

    def connect(self, port: int, timeout: float = 5.0) -> socket.socket:
        """Connect to a port of this host's own loopback, from this process.

        A socket belongs to the namespace in which it was made, so a thread of its own goes there for it.
        """

        def inside() -> socket.socket:
            enter_network(_NAMES / self.namespace)
            return socket.create_connection(("127.0.0.1", port), timeout=timeout)

        with ThreadPoolExecutor(1) as thread:
            return thread.submit(inside).result()

    def get_json(self, port: int, path: str) -> Any:
        """GET a JSON document from this host's loopback."""
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.sock = self.connect(port)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read()
            if response.status != 200:
                raise NetError(f"{self.name}: GET {path} was answered with {response.status}")
            return json.loads(body)
        finally:
            connection.close()


class Net:
    """Hosts behind one switch; a context manager that leaves nothing behind, however it is left."""

    def __init__(self) -> None:
        self._mark = f"{_PREFIX}{os.getpid()}x{next(_numbers)}"
        self.switch = self.namespace("switch")
        self.folder = Path()
        self.hosts: dict[str, Host] = {}
        self._made: list[str] = []

    def namespace(self, name: str) -> str:
        """Return the system-wide name of a host's namespace, unique to this process and net."""
        return f"{self._mark}-{name}"

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix=f"{self._mark}-"))
        try:
            self._add(self.switch)
            _ip("-n", self.switch, "link", "add", "name", "bridge", "type", "bridge")
            _ip("-n", self.switch, "link", "set", "bridge", "up")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def host(self, name: str, *, monotonic: int = 0, own_boot_id: bool = True) -> Host:
        """Add a host with the next free address. Its name is at most 15 characters, as a link's is."""
        address = f"{SUBNET}.{len(self.hosts) + 1}"
        namespace = self.namespace(name)
        self._add(namespace)
        peer = ("type", "veth", "peer", "name", "eth0", "netns", namespace)
        _ip("-n", self.switch, "link", "add", "name", name, *peer)
        _ip("-n", self.switch, "link", "set", "dev", name, "master", "bridge", "up")
        _ip("-n", namespace, "link", "set", "lo", "up")
        _ip("-n", namespace, "address", "add", f"{address}/24", "dev", "eth0")
        _ip("-n", namespace, "link", "set", "eth0", "up")
        self.hosts[name] = Host(self, name, address, monotonic=monotonic, own_boot_id=own_boot_id)
        return self.hosts[name]

    def close(self) -> None:
        """End every process that was started here, and take the hosts down; again is fine."""
        with ExitStack() as last:
            # Each of these is done, whatever becomes of the others.
            last.callback(shutil.rmtree, self.folder, ignore_errors=True)
            while self._made:
                last.callback(_ip, "netns", "delete", self._made.pop())
            for host in self.hosts.values():
                for process in host.started:
                    last.callback(end, process)

    def _add(self, namespace: str) -> None:
        _ip("netns", "add", namespace)
        self._made.append(namespace)


def end(process: subprocess.Popen[Any]) -> None:
    """Kill a process that `Host.popen` started, with its session, unless it has ended by itself."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def enter_network(namespace: Path) -> None:
    """Move the calling thread into a network namespace, for the rest of its life."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.setns(descriptor, _CLONE_NEWNET):
            number = ctypes.get_errno()
            raise NetError(f"cannot enter {namespace.name}: {os.strerror(number)}")
    finally:
        os.close(descriptor)


def sweep() -> None:
    """Take down what test processes that were killed have left: everything named by a pid that is gone."""
    for line in _ip("netns", "list").splitlines():
        name = line.split()[0]
        if not _is_left_over(name):
            continue
        try:
            for pid in _ip("netns", "pids", name).split():
                os.kill(int(pid), signal.SIGKILL)
            _ip("netns", "delete", name)
        except (NetError, ProcessLookupError):
            continue  # another test process sweeps at the same moment
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*x*-*"):
        if _is_left_over(folder.name):
            shutil.rmtree(folder, ignore_errors=True)


def _is_left_over(name: str) -> bool:
    found = re.match(rf"{_PREFIX}(\d+)x\d+-", name)
    return found is not None and not Path(f"/proc/{found[1]}").exists()


@functools.cache
def available() -> Availability:
    """Tell whether hosts can be made here, having made one."""
    if sys.platform != "linux":
        return Availability(False, "network namespaces are Linux's")
    if os.geteuid() != 0:
        return Availability(False, "making network namespaces takes root")
    for tool, package in (("ip", "iproute2"), ("unshare", "util-linux"), ("mount", "mount")):
        if shutil.which(tool) is None:
            return Availability(False, f"there is no `{tool}` (Debian's package {package})")
    try:
        sweep()
        with Net() as net:
            here, there = net.host("here"), net.host("there", monotonic=1000)
            name = there.run(["cat", "/proc/sys/kernel/hostname"]).strip()
            if name != "there":
                raise NetError(f"a host is called {name!r} and not 'there'")
            here.cut()
            here.mend()
            with suppress(ConnectionRefusedError):
                here.connect(1).close()
    except (NetError, OSError, subprocess.TimeoutExpired) as error:
        return Availability(False, str(error))
    return Availability(True, "")


def _ip(*arguments: str) -> str:
    return _run("ip", *arguments)


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    if done.returncode:
        raise NetError(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")
    return done.stdout
