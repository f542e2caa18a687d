"""What a run may leave behind: the `[results]` table of a scenario."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, ValidationInfo

from loadgate.plan.fields import PlanModel, is_toml, number
from loadgate.plan.units import UnitError, format_bytes, parse_bytes

LEAST_BUDGET: Final = 20e6
"""Bytes below which no budget can be held: the databases, their logs and the verdict of the shortest run."""


def _size(value: Any, info: ValidationInfo) -> int:
    hint = 'for example "400MB"'
    if isinstance(value, str):
        size = parse_bytes(value)
    else:
        bare = number(value)
        if bare is None or is_toml(info):
            raise UnitError("must be a size with a unit", hint)
        size = bare
    if size < LEAST_BUDGET:
        raise UnitError(f"is less than {format_bytes(LEAST_BUDGET)}, which no run keeps to", hint)
    return round(size)


class Results(PlanModel):
    """How much a run may store."""

    budget: Annotated[int, BeforeValidator(_size)] | None = Field(
        default=None,
        description="bytes that the run's folder may take; older seconds are merged earlier to stay within",
        examples=["400MB"],
    )
