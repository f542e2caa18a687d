"""What can be done about a target that fails: the `[rollback]` table, and the words that name an action.

The system endpoints and the bodies that they take are those of the staging checklist; a service with others
names its own paths, or only commands and manual steps.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Final, Literal, NamedTuple

from pydantic import Field, StrictBool, StrictInt, field_validator

from loadgate.plan.address import check_url
from loadgate.plan.fields import PlanModel, PlanPath, Seconds
from loadgate.plan.headers import check_header
from loadgate.plan.problems import Problem
from loadgate.plan.units import UnitError, UnitErrors

Verb = Literal["stop-load", "disable-endpoint", "enable-endpoint", "rate-limit", "revert"]
VERBS: Final[tuple[Verb, ...]] = ("stop-load", "disable-endpoint", "enable-endpoint", "rate-limit", "revert")
Positive = Annotated[Seconds, Field(gt=0)]

_PATH = re.compile(r"/[!-~]*", re.ASCII)
_BAD_IN_PATH = re.compile(r"[\"<>\\^`{|}#?]|^//")
_WORD = re.compile(r"[A-Za-z0-9][\w.-]*", re.ASCII)


class Command(PlanModel):
    """A program that is run without a shell."""

    run: Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        description="program and arguments", examples=[["git", "revert", "--no-edit", "HEAD"]]
    )
    timeout: Positive = Field(default=60.0, description="limit, after which it is ended with its children")
    background: StrictBool = Field(
        default=False, description="start it and leave it running, as a service is"
    )

    @field_validator("run")
    @classmethod
    def _words(cls, run: tuple[str, ...]) -> tuple[str, ...]:
        if not run[0].strip() or any("\x00" in word for word in run):
            raise UnitError("names no program", 'for example ["npm", "run", "dev"]')
        return run


class ReadBack(PlanModel):
    """Where the target tells the rate limit of a service."""

    http: str = Field(description="path on the host", examples=["/api/v1/system/limits"])
    value: str = Field(
        description="where the number is in the answer; {service} stands for the service",
        examples=["limits.{service}"],
    )

    @field_validator("http")
    @classmethod
    def _is_path(cls, http: str) -> str:
        return check_path(http)


class Rollback(PlanModel):
    """The levers of a target, and how to see that they moved."""

    host: str | None = Field(
        default=None, description="where the system endpoints are; the scenario's host by default"
    )
    headers: dict[str, str] = Field(
        default_factory=dict, description="headers of these requests, beside those of [http]"
    )
    disable: str = Field(
        default="/api/v1/system/disable-endpoint", description="path that disables an endpoint"
    )
    enable: str = Field(default="/api/v1/system/enable-endpoint", description="path that enables it again")
    rate_limit: str = Field(default="/api/v1/system/rate-limit", description="path that limits a service")
    endpoints: dict[str, str] = Field(
        default_factory=dict, description="path of each endpoint, so that actions can use its name"
    )
    timeout: Positive = Field(default=5.0, description="limit for one request")
    verify_within: Positive = Field(default=10.0, description="how soon an action must show its effect")
    probe: Literal["GET", "POST"] = Field(
        default="POST", description="how an endpoint is asked whether it is disabled"
    )
    off_status: Annotated[tuple[StrictInt, ...], Field(min_length=1)] = Field(
        default=(503,), description="statuses of an endpoint that is disabled"
    )
    off_text: str = Field(default="", description="text that its answer holds then")
    limit_at: ReadBack | None = Field(default=None, description="where the rate limits can be read back")
    health: str | None = Field(
        default=None, description="path that answers 2xx once the service is well again, after a revert"
    )
    revert: tuple[Command, ...] = Field(default=(), description="commands that bring the old version back")
    folder: PlanPath | None = Field(default=None, description="where the commands are run")
    manual: str = Field(default="", description="steps for people, printed where there are no commands")

    @field_validator("headers")
    @classmethod
    def _headers(cls, headers: dict[str, str]) -> dict[str, str]:
        faults: list[tuple[str | int, UnitError]] = []
        for name, value in headers.items():
            try:
                check_header(name, value)
            except UnitError as error:
                faults.append((name, error))
        if faults:
            raise UnitErrors(faults)
        return headers

    @field_validator("host")
    @classmethod
    def _base_url(cls, host: str | None) -> str | None:
        if host is not None:
            check_url(host, query=False)
        return host.rstrip("/") if host is not None else None

    @field_validator("disable", "enable", "rate_limit", "health")
    @classmethod
    def _is_path(cls, path: str | None) -> str | None:
        return check_path(path) if path is not None else None

    @field_validator("endpoints")
    @classmethod
    def _paths(cls, endpoints: dict[str, str]) -> dict[str, str]:
        for path in endpoints.values():
            check_path(path)
        return endpoints

    def path_of(self, endpoint: str) -> str | None:
        """Return the path of an endpoint by its name, or of a path itself; None when it is not known."""
        return endpoint if endpoint.startswith("/") else self.endpoints.get(endpoint)


class Named(NamedTuple):
    """An action as a rule or a command line names it: `argument` and `value` are empty where it has none."""

    verb: Verb
    argument: str = ""
    value: float | None = None


def check_path(path: str) -> str:
    """Return a path on a host; UnitError when it is none."""
    if not _PATH.fullmatch(path) or _BAD_IN_PATH.search(path):
        raise UnitError(f"'{path}' is not a path", 'for example "/api/v1/emotions/analyze"')
    return path


def parse_action(
    text: str, endpoint: str | None = None, rollback: Rollback | None = None, *, lifting: bool = False
) -> Named:
    """Read an action such as "disable-endpoint /api/v1/emotions/analyze" or "rate-limit emotions 100".

    An endpoint may be called by its name where `rollback` has its path, and left out where `endpoint`, that
    of the alert's rule, says which. With `lifting` the limit may be "off", which no alert has a use for.
    UnitError names what is wrong and shows a right action.
    """
    verb, *words = text.split() or [""]
    hint = "stop-load, disable-endpoint PATH, enable-endpoint PATH, rate-limit SERVICE N, or revert"
    if verb in ("stop-load", "revert"):
        if words:
            raise UnitError(f"'{verb}' takes nothing after it", hint)
        return Named("stop-load" if verb == "stop-load" else "revert")
    if verb in ("disable-endpoint", "enable-endpoint"):
        if len(words) > 1:
            raise UnitError(f"'{text}' names more than one endpoint", "write one action for each")
        path = _path(words[0] if words else endpoint, verb, rollback)
        return Named("disable-endpoint" if verb == "disable-endpoint" else "enable-endpoint", path)
    if verb == "rate-limit":
        if len(words) != 2 or not _WORD.fullmatch(words[0]):
            raise UnitError(f"'{text}' does not name a service and a limit", '"rate-limit emotions 100"')
        if lifting and words[1] == "off":
            return Named("rate-limit", words[0])
        return Named("rate-limit", words[0], parse_limit(words[1]))
    raise UnitError(f"'{text}' is not an action", hint)


def parse_limit(text: str) -> float:
    """Read a rate limit in requests per second, such as "100" or "100/s"; UnitError for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(?:/s)?", text, re.ASCII)
    number = float(match[1]) if match else 0.0
    if not 0 < number < float("inf"):
        raise UnitError(f"'{text}' is not a rate limit", "requests per second, above 0: 100")
    return number


def _path(endpoint: str | None, verb: str, rollback: Rollback | None) -> str:
    if not endpoint:
        raise UnitError(f"'{verb}' names no endpoint", f'for example "{verb} /api/v1/emotions/analyze"')
    path = rollback.path_of(endpoint) if rollback is not None else None
    if path is None and endpoint.startswith("/"):
        path = endpoint
    if path is None:
        raise UnitError(
            f"the path of '{endpoint}' is not known", 'name it in [rollback]: endpoints = { name = "/path" }'
        )
    return check_path(path)


def check_rollback(file: str, rollback: Rollback, mix: Mapping[str, float]) -> Iterator[Problem]:
    """Check the table as a whole; `mix` are the endpoints of the traffic, empty where they are not known."""
    for status in rollback.off_status:
        if not 400 <= status <= 599:
            message = f"{status} is not the status of a refused request"
            yield Problem(file, "rollback.off_status", message, "for example [503]")
    for name in rollback.endpoints:
        if mix and name not in mix:
            hint = f"the endpoints of the mix: {', '.join(mix)}"
            yield Problem(file, f"rollback.endpoints.{name}", f"there is no endpoint '{name}'", hint)
    if rollback.folder is not None and not rollback.revert:
        yield Problem(file, "rollback.folder", "is not used", "add a [[rollback.revert]], or leave it out")
