"""The service as a process: start, ready line, signals, orphanhood, pressure, wrong starts."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable

import httpx
import orjson
import psutil
import pytest

from loadgate.cli.main import run_cli
from loadgate.errors import UsageError
from loadgate.staging.server import StagingError, StagingService
from loadgate.staging.vitals import Leak, burn


def wait_for(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    """Poll until `condition` holds; say whether it did."""
    end = time.monotonic() + seconds
    while not (held := condition()) and time.monotonic() < end:
        pass  # each look is a request, which takes its time
    return held


@pytest.mark.system
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly_with_connections_open(number: signal.Signals):
    """Exit 0, though one client is idle and another waits for an answer that never comes."""
    with (
        StagingService(faults=("hang:endpoint=health",)) as service,
        socket.create_connection((service.host, service.port)) as idle,
        socket.create_connection((service.host, service.port), timeout=5) as waiting,
    ):
        waiting.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert wait_for(lambda: "health" in service.counts()["routes"])
        os.kill(service.pid, number)
        assert service.wait(timeout=3) == 0
        assert idle.recv(1) == b""


@pytest.mark.system
def test_the_ready_line_names_where_it_listens():
    """One JSON line on stdout, then silence."""
    arguments = orjson.dumps({"port": 0}).decode()
    with subprocess.Popen(
        [sys.executable, "-m", "loadgate.staging", arguments], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        ready = orjson.loads(process.stdout.readline())
        assert set(ready) == {"ready", "host", "port", "pid"}
        assert ready["pid"] == process.pid
        answer = httpx.get(f"http://{ready['host']}:{ready['port']}/health")
        process.terminate()
        assert process.stdout.read() == b""
    assert answer.json()["ready"] is True
    assert process.returncode == 0


@pytest.mark.system
def test_it_ends_with_its_parent():
    """The parent is killed, which leaves it no chance to clean up."""
    script = (
        "from loadgate.staging.server import StagingService\n"
        "import sys, time\n"
        "service = StagingService().start()\n"
        "print(service.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        service = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    gone, _ = psutil.wait_procs([service], timeout=5)
    assert gone == [service]


@pytest.mark.system
def test_a_port_in_use_is_refused_with_a_hint(capsys: pytest.CaptureFixture[str]):
    """As UsageError through the library, as exit 2 through the command."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"port {port} on 127.0.0.1 is in use"):
            StagingService(port=port).start()
        code = run_cli(["staging", "serve", "--port", str(port)])
    told = capsys.readouterr().err
    assert code == 2
    assert f"port {port} on 127.0.0.1 is in use" in told
    assert "--port" in told


def test_a_missing_extra_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Exit 2 and the exact command."""
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert run_cli(["staging", "serve", "--port", "0"]) == 2
    assert "pip install 'loadgate[staging]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--fault", "nonsense"], "unknown fault kind 'nonsense'"),
        (["--fault", "latency:delay"], "`delay` is not key=value"),
        (["--keep-alive", "5"], "Invalid value for '--keep-alive'"),
        (["--host", "256.1.1.1"], "cannot listen on 256.1.1.1"),
    ],
)
def test_a_wrong_start_exits_2_and_says_why(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
):
    """Before anything listens."""
    assert run_cli(["staging", "serve", "--port", "0", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_importing_the_command_does_not_import_the_server():
    """The control room starts quickly, and without the extra."""
    script = (
        "import sys, loadgate.cli.staging; sys.exit('uvloop' in sys.modules or 'httptools' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


@pytest.mark.system
def test_a_shutdown_fault_ends_it_with_exit_0():
    """As an operator's stop would."""
    with StagingService() as service:
        service.add_fault("shutdown")
        assert service.wait(timeout=3) == 0


@pytest.mark.system
def test_a_leak_grows_the_memory_of_the_process():
    """200 MB per second is 20 MB after 0.1 s; /api/v1/system/processes shows it."""
    with StagingService() as service, httpx.Client(base_url=service.url) as client:

        def memory() -> int:
            return int(client.get("/api/v1/system/processes").json()["processes"][0]["memory"])

        before = memory()
        service.add_fault("leak", rate="200MB")
        assert wait_for(lambda: memory() > before + 20_000_000)


@pytest.mark.system
def test_a_killed_service_can_be_started_again():
    """Counters begin anew, as after a crash of the target."""
    service = StagingService().start()
    try:
        httpx.get(f"{service.url}/health")
        service.kill()
        service.start()
        assert service.counts()["received"] == 0
    finally:
        service.stop()
    assert service.stop() == 0


def test_a_service_that_was_not_started_says_so():
    """Instead of failing oddly."""
    with pytest.raises(StagingError, match="was not started"):
        StagingService().stop()


def test_a_leak_holds_its_rate_and_gives_back_when_cleared():
    """1000 bytes per second: 250 after a quarter, 1000 after one; 0 frees all."""
    leak = Leak()
    leak.grow(1000, 0.25)
    assert leak.size == 250
    leak.grow(1000, 0.75)
    assert leak.size == 1000
    leak.grow(0, 1)
    assert leak.size == 0


def test_a_burn_lasts_its_share_of_a_period():
    """Half of 10 ms: with a clock that ticks 1 ms per look, it looks until 5 ms have passed."""
    looks = iter(tick / 1000 for tick in range(100))
    burn(0.5, lambda: next(looks))
    assert next(looks) == 0.006
