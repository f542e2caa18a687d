"""The reference staging service as a test double: start it, switch faults, read its books, stop it.

with StagingService(envelope="plain") as service:
    service.add_fault("latency", delay="50ms", endpoint="emotion")
    httpx.get(f"{service.url}/health")
    assert service.counts()["routes"]["health"]["received"] == 1
"""

from __future__ import annotations

import dataclasses
import http.client
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from types import TracebackType
from typing import IO, Any, Self

import orjson

from loadgate.errors import LoadgateError, UsageError
from loadgate.exit_codes import ExitCode
from loadgate.staging.settings import Settings

_STOP_TIMEOUT = 3.0
_CONTROL_TIMEOUT = 5.0


class StagingError(LoadgateError):
    """The staging service did not start, or its control routes did not answer as they should."""


class StagingService:
    """Run the service in a process of its own, on a free port unless `port` is given.

    The keyword arguments are the fields of `Settings`. The process ends with this one, whatever
    happens to it. `start` and `stop` may also be called without `with`; `stop` may be called twice.
    """

    def __init__(self, *, start_timeout: float = 15.0, **settings: Any) -> None:
        settings.setdefault("port", 0)
        settings.setdefault("exit_with_parent", True)
        self.settings = Settings(**settings)
        self.host = self.settings.host
        self.port = self.settings.port
        self._start_timeout = start_timeout
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: IO[bytes] | None = None

    @property
    def url(self) -> str:
        """Return the base address, without a slash at its end."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @property
    def pid(self) -> int:
        """Return the process id of the service."""
        return self._running().pid

    @property
    def returncode(self) -> int | None:
        """Return the exit code of the service, None while it runs or before it started."""
        return None if self._process is None else self._process.poll()

    def start(self) -> Self:
        """Start the service and wait until it listens; raises StagingError, or UsageError as `serve` does."""
        if self._process is not None and self._process.poll() is None:
            raise StagingError("the staging service runs already", hint="Call stop() first.")
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # closed by stop()
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "loadgate.staging",
                orjson.dumps(dataclasses.asdict(self.settings)).decode(),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            start_new_session=True,  # an interrupt at the terminal is for us; we stop the service
        )
        try:
            ready = orjson.loads(self._first_line(self._process))
        except (orjson.JSONDecodeError, TimeoutError) as error:
            raise self._not_started(str(error)) from error
        self.host, self.port = ready["host"], ready["port"]
        return self

    def stop(self, timeout: float = _STOP_TIMEOUT) -> int:
        """End the service by its pid: SIGTERM, then SIGKILL after `timeout` seconds; return its exit code."""
        process = self._process
        if process is None:
            raise StagingError("the staging service was not started", hint="Call start() first.")
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._release()
        return process.returncode

    def kill(self) -> None:
        """End the service with SIGKILL, as a crash would."""
        process = self._running()
        process.kill()
        process.wait()
        self._release()

    def wait(self, timeout: float) -> int:
        """Wait until the service ends by itself; raises subprocess.TimeoutExpired after `timeout` seconds."""
        return self._running().wait(timeout)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # -- control --

    def add_fault(self, kind: str, **values: object) -> list[dict[str, Any]]:
        """Switch on a fault, for example `add_fault("error", status=503, share=0.1)`; return all faults."""
        faults: list[dict[str, Any]] = self.control("POST", "faults", {"kind": kind, **values})["faults"]
        return faults

    def faults(self) -> list[dict[str, Any]]:
        """Return the faults that are on."""
        faults: list[dict[str, Any]] = self.control("GET", "faults")["faults"]
        return faults

    def clear_faults(self, kind: str | None = None) -> int:
        """Switch off all faults, or those of a kind; return how many went."""
        return int(self.control("DELETE", "faults" if kind is None else f"faults?kind={kind}")["cleared"])

    def change(self, **values: object) -> dict[str, Any]:
        """Switch settings while it runs, for example `change(envelope="plain")`; return all of them."""
        return self.control("POST", "settings", values)

    def counts(self) -> dict[str, Any]:
        """Return the service's own books; see `docs/staging-service.md`."""
        return self.control("GET", "counts")

    def control(self, method: str, path: str, body: Mapping[str, object] | None = None) -> dict[str, Any]:
        """Send one control request; raises UsageError when the service refuses, StagingError otherwise."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=_CONTROL_TIMEOUT)
        try:
            connection.request(method, f"/_staging/{path}", None if body is None else orjson.dumps(body))
            response = connection.getresponse()
            answer = orjson.loads(response.read())
        except (OSError, http.client.HTTPException, orjson.JSONDecodeError) as error:
            raise StagingError(f"the staging service at {self.url} did not answer: {error}") from error
        finally:
            connection.close()
        if response.status != 200:
            raise UsageError(str(answer.get("error", response.status)), hint=str(answer.get("hint", "")))
        return dict(answer)

    # -- inside --

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise StagingError("the staging service was not started", hint="Call start() first.")
        return self._process

    def _first_line(self, process: subprocess.Popen[bytes]) -> bytes:
        """Read the ready line; raises TimeoutError."""
        assert process.stdout is not None
        end = time.monotonic() + self._start_timeout
        line = b""
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                if not selector.select(max(0.0, end - time.monotonic())):
                    raise TimeoutError(f"not ready after {self._start_timeout:g} s")
                piece = os.read(process.stdout.fileno(), 4096)
                if not piece:
                    break
                line += piece
        return line

    def _not_started(self, reason: str) -> LoadgateError:
        process = self._running()
        if process.poll() is None:
            try:
                process.wait(0.5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        text = ""
        if self._errors is not None:
            self._errors.seek(0)
            text = self._errors.read().decode("utf-8", "replace").strip()
        self._release()
        if process.returncode == ExitCode.USAGE:
            message, _, hint = text.partition("\n")
            return UsageError(message, hint=hint)
        last = text.splitlines()[-1] if text else reason
        return StagingError(f"the staging service did not start (exit {process.returncode}): {last}")

    def _release(self) -> None:
        if self._process is not None and self._process.stdout is not None:
            self._process.stdout.close()
        if self._errors is not None:
            self._errors.close()
            self._errors = None
