"""A probe of the plan: what is read of the target from outside the load, how often, within which limit."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field, ValidationInfo, field_validator

from loadgate.plan.address import check_target
from loadgate.plan.fields import PlanModel, PlanPath, Seconds
from loadgate.plan.units import UnitError

Kind = Literal["health", "cache", "process", "prometheus", "command", "log", "json"]

FIXED: Final[Mapping[str, tuple[str, ...]]] = {
    "health": ("up", "uptime", "restarts"),
    "cache": ("hits", "misses", "hit_rate", "entries", "total_requests"),
    "process": ("cpu", "memory", "anon", "processes", "cores", "restarts"),
    "prometheus": (),
    "command": ("exit_status",),
    "log": ("matches", "lines", "total"),
    "json": (),
}
"""The readings that each kind has by itself; `values` and `counters` add others."""
CHOSEN: Final = ("json", "prometheus", "command")
"""The kinds whose readings are named by `values`."""
OUTPUT: Final = "value"
"""The reading of a command that prints one number."""
RATE: Final = "_rate"
"""What follows the name of a counter in the name of its growth per second."""
MARKS: Final = ("{since}", "{epoch}")
"""What a log's command has in place of the moment from which lines are wanted."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*", re.ASCII)
_READING = re.compile(r"[A-Za-z_][\w-]*", re.ASCII)
_VALUE_PATH = re.compile(r"(?:[A-Za-z_][\w-]*|\[\d+\])(?:\.[A-Za-z_][\w-]*|\[\d+\])*", re.ASCII)


def is_value_path(path: str) -> bool:
    """Tell whether text is a path into JSON, such as "processes[0].memory"."""
    return _VALUE_PATH.fullmatch(path) is not None


def check_command(command: tuple[str, ...], base: Path | None) -> tuple[str, ...]:
    """Return a command whose program, where it is a relative path, is relative to the plan's folder.

    A program without a slash is looked up in PATH. No words at all are no command; UnitError when the first
    one is empty.
    """
    if not command:
        return ()
    if not command[0].strip():
        raise UnitError("names no program", 'for example command = ["./queue-length", "--number"]')
    if any("\x00" in word for word in command):
        raise UnitError("holds a zero byte", "write a program and its arguments")
    program = command[0]
    if base is not None and "/" in program:
        program = str(base / program)
    return (program, *command[1:])


def _default_kind(data: dict[str, Any]) -> str | None:
    """Let a probe called health, cache or process be of that kind."""
    return data.get("name")


def _default_timeout(data: dict[str, Any]) -> float:
    """Give a reading 5 s, or the interval where that is shorter."""
    return min(5.0, float(data.get("every", 5.0)))


class Probe(PlanModel):
    """A reading of the target from outside the load."""

    name: str = Field(description="name of the probe", examples=["health"])
    kind: Kind = Field(default_factory=_default_kind, description="what is read", validate_default=True)
    http: str | None = Field(
        default=None, description="path on the host, or a whole URL", examples=["/health"]
    )
    process: str | None = Field(default=None, description="which process", examples=["listening"])
    command: tuple[str, ...] = Field(default=(), description="a program and its arguments; no shell")
    file: PlanPath | None = Field(default=None, description="the file of a log")
    pattern: str | None = Field(default=None, description="what matches in the lines of a log")
    values: dict[str, str] = Field(default_factory=dict, description="readings by path, or by query")
    counters: tuple[str, ...] = Field(default=(), description="which of the values only grow")
    every: Annotated[Seconds, Field(gt=0)] = Field(description="interval of the readings", examples=["30s"])
    timeout: Annotated[Seconds, Field(gt=0)] = Field(
        default_factory=_default_timeout, description="limit for one reading"
    )

    @property
    def named(self) -> tuple[str, ...]:
        """Return the readings that this probe's own keys name: `values`, or the number of a command."""
        if self.kind not in CHOSEN:
            return ()
        return (OUTPUT,) if self.kind == "command" and not self.values else tuple(self.values)

    @property
    def readings(self) -> tuple[str, ...]:
        """Return the names of the readings that one attempt gives."""
        return (*self.named, *(f"{name}{RATE}" for name in self.counters), *FIXED[self.kind])

    @field_validator("name")
    @classmethod
    def _plain_name(cls, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise UnitError(f"'{name}' is not a name", "a letter, then letters, digits, - and _; no dot")
        return name

    @field_validator("http")
    @classmethod
    def _path_or_url(cls, http: str | None) -> str | None:
        if http is not None:
            check_target(http)
        return http

    @field_validator("process")
    @classmethod
    def _which_process(cls, process: str | None, info: ValidationInfo) -> str | None:
        base = info.context.get("base") if info.context else None
        if process is None or process == "listening" or re.fullmatch(r"pid:[1-9]\d*", process):
            return process
        if process.startswith("pidfile:") and len(process) > len("pidfile:"):
            path = Path(process.removeprefix("pidfile:"))
            return f"pidfile:{Path(base) / path}" if base is not None else process
        raise UnitError(
            f"'{process}' names no process", 'use "listening", "pid:1234" or "pidfile:service.pid"'
        )

    @field_validator("command")
    @classmethod
    def _program(cls, command: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        base = info.context.get("base") if info.context else None
        return check_command(command, Path(base) if base is not None else None)

    @field_validator("pattern")
    @classmethod
    def _expression(cls, pattern: str | None) -> str | None:
        hint = 'a regular expression, for example "ERROR|FATAL"'
        if pattern is None:
            return None
        try:
            # Logs may hold any bytes, so they are not decoded.
            expression = re.compile(pattern.encode())
        except (re.error, ValueError) as error:
            raise UnitError(f"'{pattern}' is not a regular expression: {error}", hint) from None
        if expression.search(b""):
            raise UnitError(f"'{pattern}' matches every line", hint)
        return pattern

    @field_validator("values")
    @classmethod
    def _paths(cls, values: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        queries = info.data.get("kind") == "prometheus"
        for name, what in values.items():
            if not _READING.fullmatch(name):
                raise UnitError(f"'{name}' is not the name of a reading", "letters, digits, - and _; no dot")
            if queries and not what.strip():
                raise UnitError(
                    f"the query of {name} is empty", 'for example "process_resident_memory_bytes"'
                )
            if not queries and not is_value_path(what):
                raise UnitError(f"'{what}' of {name} is not a path", 'for example "processes[0].memory"')
        return values
