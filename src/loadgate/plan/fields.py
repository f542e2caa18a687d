"""Field types of the plan models: quantities that TOML must write with a unit, and paths.

The validation context decides how strict a field is. `{"toml": True, "base": Path}` is a file that a
person wrote: quantities must be text with a unit, and paths are relative to `base`. Without it (the
stored snapshot, or a model built in Python) plain SI numbers are taken as well.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationInfo

from loadgate.plan.units import UnitError, parse_duration, parse_rate


class PlanModel(BaseModel):
    """Base of every plan model: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, hide_input_in_errors=True)


def is_toml(info: ValidationInfo) -> bool:
    """Tell whether the value comes from a file that a person wrote."""
    return bool(info.context and info.context.get("toml"))


def number(value: Any) -> float | None:
    """Return a finite number as float; None when `value` is not one (a bool is not)."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _quantity(
    parse: Callable[[str], float], what: str, example: str
) -> Callable[[Any, ValidationInfo], float]:
    """Make a validator that reads text with a unit, and bare SI numbers only outside of TOML."""

    def validate(value: Any, info: ValidationInfo) -> float:
        if isinstance(value, str):
            return parse(value)
        bare = number(value)
        if bare is None:
            raise UnitError(f"must be {what}", f"write text with a unit, for example {example}")
        if is_toml(info):
            raise UnitError(f"{value} has no unit", f"write text with a unit, for example {example}")
        if bare < 0:
            raise UnitError(f"{value} is negative", f"for example {example}")
        return bare

    return validate


def _path(value: Any, info: ValidationInfo) -> Path:
    """Read a path; in TOML it is relative to the file that names it."""
    if isinstance(value, Path):
        return value
    if not isinstance(value, str) or not value.strip():
        raise UnitError("must be a path", 'for example "../locustfiles/staging.py"')
    if "\x00" in value:
        raise UnitError("is not a path (it holds a zero byte)", "write the path of a file")
    base = info.context.get("base") if info.context else None
    return Path(os.path.abspath(Path(base) / value)) if base is not None else Path(value)


Seconds = Annotated[float, BeforeValidator(_quantity(parse_duration, "a duration", '"30s"'))]
PerSecond = Annotated[float, BeforeValidator(_quantity(parse_rate, "a rate", '"1100/s"'))]
PlanPath = Annotated[Path, BeforeValidator(_path)]
