"""What differs between two plans, by key: whether what is asked for is what a stored run follows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from loadgate.plan.plan import Plan

_LONGEST: Final = 60
"""Characters of a value that are shown."""
_MAY_BE_SECRET: Final = ("headers", "notify", "rollback")
"""Parts of a key whose values are not shown."""


def differences(one: Plan, other: Plan) -> list[str]:
    """Say where two plans differ, as "traffic.users: 4 and 8"; empty where they ask for the same.

    The scenario, the rows and the alert rules count, and what the recorded trace held; not the text of the
    files that they were read from, nor the warnings.
    """
    return list(_between("", _asked(one), _asked(other)))


def _asked(plan: Plan) -> dict[str, Any]:
    content = plan.model_dump(mode="json", by_alias=True, include={"scenario", "objectives", "alerts"})
    scenario: dict[str, Any] = content.pop("scenario")
    trace = plan.scenario.traffic.trace
    return scenario | content | {"trace_sha256": plan.files.get(str(trace)) if trace is not None else None}


def _between(key: str, one: Any, other: Any) -> Iterator[str]:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for name in sorted({*one, *other}):
            yield from _between(f"{key}.{name}" if key else name, one.get(name), other.get(name))
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, (left, right) in enumerate(zip(one, other, strict=True), 1):
            yield from _between(f"{key}[{number}]", left, right)
    elif one != other:
        is_open = not any(word in key for word in _MAY_BE_SECRET)
        yield f"{key}: {_shown(one)} and {_shown(other)}" if is_open else f"{key} differs"


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return f"{len(value)} of them"
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
