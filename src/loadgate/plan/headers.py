"""Headers of a plan: secrets are named (`env:NAME`), never written, and resolved at the last moment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from loadgate.plan.problems import PlanError, Problem
from loadgate.plan.units import UnitError

if TYPE_CHECKING:
    from loadgate.plan.scenario import Http

PREFIX: Final = "env:"

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_SECRET_NAME = re.compile(
    r"authori[sz]ation|cookie|token|secret|api-?_?key|apikey|password|passwd|credential|session|signature|x-auth",
    re.IGNORECASE,
)
_SECRET_VALUE = re.compile(
    r"(?:bearer|basic|digest|token|apikey)\s+\S|(?:sk|pk|ghp|gho|xox[abp])[-_]\w{8}", re.I
)
_FRAMING: Final = ("content-length", "transfer-encoding", "connection", "expect", "upgrade")


def check_header(name: str, value: str) -> None:
    """Refuse what is not a header, what the client sets itself, and secrets that are written out.

    Raises UnitError; its text never holds the value.
    """
    if not _TOKEN.fullmatch(name):
        raise UnitError(f"'{name}' is not the name of a header", "letters, digits and -")
    if name.lower() in _FRAMING:
        raise UnitError(f"{name} is set by the client for each request", "leave it out")
    if value.startswith(PREFIX):
        if not _VARIABLE.fullmatch(value.removeprefix(PREFIX)):
            raise UnitError(
                f"{name} does not name an environment variable", 'for example "env:STAGING_TOKEN"'
            )
        return
    if _SECRET_NAME.search(name) or _SECRET_VALUE.search(value):
        raise UnitError(
            f"{name} holds a value that looks like a secret",
            f'secrets come from the environment: {name} = "env:STAGING_TOKEN"',
        )
    if not _VALUE.fullmatch(value):
        raise UnitError(
            f"the value of {name} holds a character that no header may hold", "one line of Latin-1"
        )


def resolve_headers(http: Http, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the headers with every `env:NAME` replaced by its value from `environ`.

    Raises PlanError that names each variable that is missing, empty or not a header value; never its value.
    """
    resolved, problems = {}, []
    for name, value in http.headers.items():
        if not value.startswith(PREFIX):
            resolved[name] = value
            continue
        variable = value.removeprefix(PREFIX)
        secret = environ.get(variable, "")
        fault = "is not set" if variable not in environ else "is empty" if not secret.strip() else ""
        if not fault and not _VALUE.fullmatch(secret):
            fault = "holds a line break or a character that no header may hold"
        if fault:
            message = f"the environment variable {variable} {fault}"
            problems.append(Problem("environment", f"http.headers.{name}", message, f"export {variable}=..."))
        resolved[name] = secret
    if problems:
        raise PlanError(problems)
    return resolved
