"""Who is told of alerts, by what way, and how soon: the `[notify]` table of a scenario.

Addresses and tokens are secrets: a plan names where they are (`env:NAME`, `file:PATH`), and they are read
at the last moment. A snapshot of the plan therefore never holds one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationInfo, field_validator

from loadgate.plan.daily import parse_daily
from loadgate.plan.fields import PlanModel, PlanPath, Seconds, is_toml
from loadgate.plan.headers import PREFIX as ENV
from loadgate.plan.problems import PlanError, Problem
from loadgate.plan.sla import UnknownWord
from loadgate.plan.units import UnitError

FILE: Final = "file:"
SEVERITIES: Final = ("critical", "high", "medium", "low")
"""From the most urgent to the least."""
KINDS: Final = ("slack", "webhook", "command", "file")
LATEST_DIGEST: Final = 7200.0
"""Seconds after its first entry in which a digest must have been sent: "Alert within 2 hours"."""

Severity = Literal["critical", "high", "medium", "low"]
Positive = Annotated[Seconds, Field(gt=0)]

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_TOKEN_KEY = re.compile(r"token|secret|key|sig|auth|password|passwd|credential", re.IGNORECASE)
_TOKEN = re.compile(r"(?=[^/]*\d)(?=[^/]*[A-Za-z])[A-Za-z0-9_~.+=-]{16,}", re.ASCII)
_WEBHOOK_HOST = re.compile(r"(?:^|\.)hooks\.slack\.com$|(?:^|\.)webhook\.office\.com$|(?:^|\.)discord\.com$")


def _default_severities(data: dict[str, Any]) -> tuple[Severity, ...]:
    """Let a file take the tickets, and everything else what cannot wait for them."""
    return ("low",) if data.get("kind") == "file" else ("critical", "high", "medium")


def _default_format(data: dict[str, Any]) -> Literal["markdown", "jsonl"]:
    """Write JSON lines where the name of the file says so, and tickets in Markdown elsewhere."""
    path = data.get("path")
    return "jsonl" if path is not None and Path(path).suffix in (".jsonl", ".ndjson", ".json") else "markdown"


class Receiver(PlanModel):
    """One way to tell somebody."""

    name: str = Field(description="name of the receiver", examples=["team"])
    kind: str = Field(description="how it is told", examples=["slack"])
    url: str | None = Field(
        default=None, description="where to send it, for slack and webhook", examples=["env:SLACK_WEBHOOK"]
    )
    secret: str | None = Field(
        default=None, description="key that signs the body of a webhook", examples=["env:WEBHOOK_SECRET"]
    )
    command: tuple[str, ...] = Field(
        default=(), description="program and arguments; the message comes on its standard input"
    )
    path: PlanPath | None = Field(
        default=None, description="file to append to; without it, tickets.md in the run's folder"
    )
    format: Literal["markdown", "jsonl"] = Field(
        default_factory=_default_format, description="how a file is written"
    )
    severities: tuple[Severity, ...] = Field(
        default_factory=_default_severities, description="which alerts it is told of"
    )
    timeout: Positive = Field(default=10.0, description="limit for one attempt")

    @field_validator("name")
    @classmethod
    def _plain_name(cls, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise UnitError(f"'{name}' is not a name", "a letter, then letters, digits, - and _")
        return name

    @field_validator("kind")
    @classmethod
    def _known_kind(cls, kind: str) -> str:
        if kind not in KINDS:
            raise UnknownWord(kind, KINDS, "kind of receiver")
        return kind

    @field_validator("url")
    @classmethod
    def _no_secret_in_the_address(cls, url: str | None, info: ValidationInfo) -> str | None:
        if url is None:
            return None
        if is_named(url):
            return check_named(url, "url", info)
        if info.data.get("kind") == "slack" or holds_token(url):
            raise UnitError("holds a secret address", 'name where it is: url = "env:SLACK_WEBHOOK"')
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or re.search(r"[\s<>\"]", url):
            raise UnitError("is not an http or https URL", 'for example "env:WEBHOOK_URL"')
        return url

    @field_validator("secret")
    @classmethod
    def _named_secret(cls, secret: str | None, info: ValidationInfo) -> str | None:
        if secret is not None and not is_named(secret):
            raise UnitError("is written out", 'secrets are named: secret = "env:WEBHOOK_SECRET"')
        return check_named(secret, "secret", info) if secret is not None else None

    @field_validator("command")
    @classmethod
    def _words(cls, command: tuple[str, ...]) -> tuple[str, ...]:
        if any("\x00" in word for word in command) or (command and not command[0].strip()):
            raise UnitError("names no program", 'for example ["./page-on-call", "--staging"]')
        return command

    @field_validator("severities")
    @classmethod
    def _some_once(cls, severities: tuple[Severity, ...]) -> tuple[Severity, ...]:
        if not severities:
            raise UnitError("is empty, so it would never be told", 'for example ["critical", "high"]')
        if len(set(severities)) != len(severities):
            raise UnitError("names a severity twice", "each once")
        return severities


class Notify(PlanModel):
    """Whom an alert concerns, and who is told of it."""

    contact: str = Field(default="", description="who is on call", examples=["on-call staging"])
    channel: str = Field(default="", description="where it is talked about", examples=["#deployment"])
    status_page: str = Field(default="", description="where users are told", examples=["https://status/x"])
    digest: Positive = Field(
        default=LATEST_DIGEST - 300, description="how long medium alerts are collected for one message"
    )
    daily: str | None = Field(
        default=None,
        description="time of day at which every receiver is sent a summary of a run that goes on",
        examples=["08:00 Europe/Berlin"],
    )
    receiver: tuple[Receiver, ...] = Field(default=(), description="the receivers, in order of escalation")

    @field_validator("daily")
    @classmethod
    def _time_of_day(cls, daily: str | None, info: ValidationInfo) -> str | None:
        # A stored plan must be readable where the time zones are not installed.
        if daily is not None and is_toml(info):
            parse_daily(daily)
        return daily

    @field_validator("digest")
    @classmethod
    def _soon_enough(cls, digest: float) -> float:
        if digest > LATEST_DIGEST:
            raise UnitError("is more than 2h, the latest for a medium alert", 'for example "30m"')
        return digest

    @field_validator("status_page")
    @classmethod
    def _plain_page(cls, page: str) -> str:
        if page and (urlsplit(page).scheme not in ("http", "https") or re.search(r"[\s<>|\"]", page)):
            raise UnitError("is not an http or https URL", 'for example "https://status.example.com"')
        return page


def is_named(text: str) -> bool:
    """Tell whether text names the place of a secret (`env:NAME`, `file:PATH`) and holds none itself."""
    return text.startswith((ENV, FILE))


def check_named(text: str, key: str, info: ValidationInfo) -> str:
    """Return a named secret with its path made absolute; UnitError when it names nothing."""
    if text.startswith(ENV):
        if not _VARIABLE.fullmatch(text.removeprefix(ENV)):
            raise UnitError(
                "does not name an environment variable", f'for example {key} = "env:SLACK_WEBHOOK"'
            )
        return text
    path = text.removeprefix(FILE).strip()
    if not path or "\x00" in path:
        raise UnitError("does not name a file", f'for example {key} = "file:webhook.secret"')
    base = info.context.get("base") if info.context else None
    return f"{FILE}{Path(base) / path}" if base is not None else text


def holds_token(url: str) -> bool:
    """Tell whether a URL looks as if whoever knows it may use it."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    if parts.username is not None or parts.password is not None or _WEBHOOK_HOST.search(host):
        return True
    pieces = [piece.partition("=") for piece in parts.query.split("&") if piece]
    if any(_TOKEN_KEY.search(key) or _TOKEN.fullmatch(value) for key, _, value in pieces):
        return True
    return any(_TOKEN.fullmatch(piece) for piece in parts.path.split("/"))


def resolve_secret(text: str, key: str, environ: Mapping[str, str]) -> str:
    """Return the secret that `env:NAME` or `file:PATH` names, or text that is none as it is.

    Raises PlanError that names the variable or file that is missing or empty; never its content.
    """
    if text.startswith(ENV):
        variable = text.removeprefix(ENV)
        value = environ.get(variable, "").strip()
        if value:
            return value
        fault = "is empty" if variable in environ else "is not set"
        message, hint = f"the environment variable {variable} {fault}", f"export {variable}=..."
        raise PlanError([Problem("environment", key, message, hint)])
    if not text.startswith(FILE):
        return text
    path = Path(text.removeprefix(FILE))
    try:
        value = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise PlanError([Problem(str(path), key, f"cannot be read: {reason}", "one line of text")]) from error
    if not value:
        raise PlanError([Problem(str(path), key, "is empty", "one line of text")])
    return value


def check_notify(file: str, notify: Notify) -> Iterator[Problem]:
    """Check that each receiver has what its kind needs, that names are unique, and that somebody is told."""
    seen: dict[str, int] = {}
    for index, receiver in enumerate(notify.receiver):
        key = f"notify.receiver[{index}]"
        if receiver.name in seen:
            message = f"notify.receiver[{seen[receiver.name]}] is called '{receiver.name}' too"
            yield Problem(file, f"{key}.name", message, "give each receiver a name of its own")
        seen.setdefault(receiver.name, index)
        yield from _kind(file, key, receiver)
    if notify.daily is not None and not notify.receiver:
        hint = "add a [[notify.receiver]] to the scenario"
        yield Problem(file, "notify.daily", "has nobody to be sent to", hint, "warning")
    told = {severity for receiver in notify.receiver for severity in receiver.severities}
    untold = [severity for severity in SEVERITIES if severity not in told]
    if notify.receiver and untold:
        message = f"nobody is told of {' and '.join(untold)} alerts"
        yield Problem(file, "notify.receiver", message, "add them to the severities of one", "warning")


def _kind(file: str, key: str, receiver: Receiver) -> Iterator[Problem]:
    """Check the keys that belong to a receiver's kind."""
    wanted = {"slack": "url", "webhook": "url", "command": "command"}.get(receiver.kind)
    examples = {"url": 'url = "env:SLACK_WEBHOOK"', "command": 'command = ["./page-on-call"]'}
    if wanted is not None and not getattr(receiver, wanted):
        yield Problem(file, f"{key}.{wanted}", "is missing", f"for example {examples[wanted]}")
    allowed = {
        "slack": {"url"},
        "webhook": {"url", "secret"},
        "command": {"command"},
        "file": {"path", "format"},
    }[receiver.kind]
    for name in ("url", "secret", "command", "path", "format"):
        if name in receiver.model_fields_set and name not in allowed:
            yield Problem(
                file, f"{key}.{name}", f"has no meaning for a {receiver.kind} receiver", "leave it out"
            )
