"""What `loadgate smoke` asks of a target beside reading its probes once: requests, pages, refusals.

Everything here is declared by the scenario; the package itself knows no path of any target.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal

from pydantic import Field, StrictBool, StrictInt, ValidationInfo, field_validator

from loadgate.plan.address import check_path
from loadgate.plan.fields import PlanModel, Seconds, is_toml
from loadgate.plan.probe import is_value_path
from loadgate.plan.units import UnitError, UnitErrors, parse_bytes

Word = Literal["text", "number", "boolean", "list", "object", "any"]
Refusal = Literal["malformed", "missing", "wrong_type", "oversized", "unknown_route"]

METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
REFUSALS: Final[tuple[Refusal, ...]] = ("malformed", "missing", "wrong_type", "oversized", "unknown_route")
MOST_SENT: Final = 64 * 10**6
"""Bytes of the largest body that a smoke check may send."""

_ENDPOINT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)


def _default_method(data: dict[str, Any]) -> str:
    """Send a body with POST, and ask without one with GET."""
    return "GET" if data.get("body") is None else "POST"


def _default_field(data: dict[str, Any]) -> str | None:
    """Take the first field of the body."""
    body = data.get("body")
    return next(iter(body), None) if body else None


class SmokeRequest(PlanModel):
    """One request of an endpoint, and what a good answer to it holds."""

    endpoint: str = Field(description="name of the endpoint", examples=["emotion"])
    path: str = Field(description="path on the host", examples=["/api/v1/emotions/analyze"])
    body: dict[str, Any] | None = Field(default=None, alias="json", description="the body, a JSON object")
    method: str = Field(default_factory=_default_method, description="the HTTP method")
    status: Annotated[StrictInt, Field(ge=200, le=599)] = Field(
        default=200, description="status of a good answer"
    )
    require: dict[str, Word] = Field(
        default_factory=dict, description="what must be in the answer: path = type"
    )
    equals: dict[str, Any] = Field(default_factory=dict, description="values in the answer: path = value")
    repeat_cached: StrictBool = Field(
        default=False, description="ask again, and expect an answer from the cache"
    )
    cached: str = Field(default="cached", description="path of what is true in an answer from the cache")
    field: str | None = Field(
        default_factory=_default_field, description="the field that refusals leave out or change"
    )

    @field_validator("endpoint")
    @classmethod
    def _plain_name(cls, name: str) -> str:
        if not _ENDPOINT.fullmatch(name):
            raise UnitError(f"'{name}' is not a name", "letters, digits, '.', '-' and '_'")
        return name

    @field_validator("path")
    @classmethod
    def _on_host(cls, path: str) -> str:
        check_path(path)
        return path

    @field_validator("method")
    @classmethod
    def _known_method(cls, method: str) -> str:
        if method not in METHODS:
            raise UnitError(f"'{method}' is not one of {', '.join(METHODS)}", "in capitals")
        return method

    @field_validator("require", "equals")
    @classmethod
    def _paths(cls, wanted: dict[str, Any]) -> dict[str, Any]:
        faults: list[tuple[str | int, UnitError]] = [
            (path, UnitError(f"'{path}' is not a path", 'for example "data.items[0].name"'))
            for path in wanted
            if not is_value_path(path)
        ]
        if faults:
            raise UnitErrors(faults)
        return wanted

    @field_validator("cached")
    @classmethod
    def _cached_path(cls, path: str) -> str:
        if not is_value_path(path):
            raise UnitError(f"'{path}' is not a path", 'for example "meta.cached"')
        return path


class Smoke(PlanModel):
    """What is asked of the target beside reading its probes once."""

    request: tuple[SmokeRequest, ...] = Field(default=(), description="one request of each endpoint")
    processes: str | None = Field(default=None, description="path of the list of processes")
    pages: tuple[str, ...] = Field(default=(), description="paths of pages that must load")
    rate_limit: StrictBool = Field(default=False, description="whether answers must show a rate limit")
    refuse: tuple[Refusal, ...] = Field(default=REFUSALS, description="bad requests that must be refused")
    oversized: float = Field(default=2_000_000.0, description="size of the oversized body")
    timeout: Annotated[Seconds, Field(gt=0, le=60)] = Field(default=5.0, description="limit for one request")

    @field_validator("processes")
    @classmethod
    def _process_path(cls, path: str | None) -> str | None:
        if path is not None:
            check_path(path)
        return path

    @field_validator("pages")
    @classmethod
    def _page_paths(cls, pages: tuple[str, ...]) -> tuple[str, ...]:
        for page in pages:
            check_path(page)
        return pages

    @field_validator("oversized", mode="before")
    @classmethod
    def _size(cls, value: Any, info: ValidationInfo) -> Any:
        hint = 'for example "2MB"'
        if isinstance(value, str):
            value = parse_bytes(value)
        elif is_toml(info):
            raise UnitError("must be a size", hint)
        if not isinstance(value, int | float) or not 1 <= value <= MOST_SENT:
            raise UnitError("is not between 1B and 64MB", hint)
        return value
