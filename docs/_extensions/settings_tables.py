"""Every key of the plan files, from the models that read them: kind, default, bounds, and what it is."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator, Sized
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from loadgate.plan.alerts import AlertEntry
from loadgate.plan.campaign import Campaign
from loadgate.plan.fields import PerSecond, Seconds
from loadgate.plan.scenario import Scenario
from loadgate.plan.sla import Limit, Objective
from loadgate.plan.units import format_duration, format_rate

FILES: tuple[tuple[str, str, type[BaseModel]], ...] = (
    ("Scenario", "", Scenario),
    ("SLA table", "[[objective]]", Objective),
    ("Alert rules", "[[alert]]", AlertEntry),
    ("Campaign", "", Campaign),
)
"""Each kind of plan file: its title, the table its model is (none: the file itself), and the model."""

_BOUNDS = {Ge: ("ge", "at least"), Gt: ("gt", "more than"), Le: ("le", "at most"), Lt: ("lt", "less than")}
_PLAIN = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "`true`, `false`",
    Path: "path",
    Any: "any",
}


def settings_tables() -> str:
    """Return a heading for each kind of file, and below it a table for each TOML table in it."""
    parts = []
    for title, table, model in FILES:
        parts.append(f"## {title}\n")
        for heading, owner in _tables(table, model):
            parts.append((f"### {heading}\n\n" if heading else "") + _table(owner))
    return "\n".join(parts)


def _tables(path: str, model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    """Give each TOML table of a model with its heading, the model's own first."""
    yield path, model
    inside = path.strip("[]")
    for name, field in model.model_fields.items():
        nested, several = _nested(field.annotation)
        if nested is None or nested is Limit or _is_text(field):
            continue
        key = f"{inside}.{field.alias or name}" if inside else field.alias or name
        yield from _tables(f"[[{key}]]" if several else f"[{key}]", nested)


def _is_text(field: FieldInfo) -> bool:
    """Tell a model that TOML writes as text, such as a limit, from one that is a table."""
    return bool(field.examples) and isinstance(field.examples[0], str)


def _nested(annotation: Any) -> tuple[type[BaseModel] | None, bool]:
    """Find the model in an annotation, and whether there may be several of it."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, False
    for part in get_args(annotation):
        found, several = _nested(part)
        if found is not None:
            return found, several or get_origin(annotation) in (tuple, list)
    return None, False


def _table(model: type[BaseModel]) -> str:
    """Return the table of one model's keys."""
    lines = ["| key | value | default | meaning |", "|---|---|---|---|"]
    for name, field in model.model_fields.items():
        kind = _kind(field, _is_read(model, name))
        meaning = _cell(field.description or "")
        lines.append(f"| `{field.alias or name}` | {kind} | {_default(field)} | {meaning} |")
    return "\n".join([*lines, ""])


def _is_read(model: type[BaseModel], name: str) -> bool:
    """Tell whether the model reads a key's text itself, before its type is looked at."""
    readers = model.__pydantic_decorators__.field_validators.values()
    return any(reader.info.mode == "before" and name in reader.info.fields for reader in readers)


def _kind(field: FieldInfo, read: bool) -> str:
    """Say what a key takes, with its bounds and an example."""
    kind = _words(field.annotation, field.metadata)
    if read and kind in ("number", "table"):
        kind = "quantity"
    bounds = [
        f"{words} {_bound(getattr(mark, name), kind)}"
        for mark in _marks(field)
        for of, (name, words) in _BOUNDS.items()
        if isinstance(mark, of)
    ]
    return _cell(", ".join(filter(None, [kind, *dict.fromkeys(bounds), _example(field)])))


def _example(field: FieldInfo) -> str:
    """Show a value of a key, where the model has one and it is short."""
    sample = field.examples[0] if field.examples else None
    if sample is None or isinstance(sample, dict | list):
        return ""
    written = isinstance(sample, str) and not sample.startswith("[")  # a list is given as TOML
    return f'such as `"{sample}"`' if written else f"such as `{sample}`"


def _bound(value: float, kind: str) -> str:
    """Say a bound, of a duration with its unit."""
    return f'`"{format_duration(value)}"`' if kind == "duration" and value else f"{value:g}"


def _marks(field: FieldInfo) -> Iterator[Any]:
    """Give the bounds of a field, wherever in its annotation they stand."""
    yield from field.metadata
    for part in get_args(field.annotation):
        if get_origin(part) is Annotated:
            yield from part.__metadata__


def _words(annotation: Any, metadata: Any = ()) -> str:
    """Say in words what an annotation takes."""
    for quantity, word in ((Seconds, "duration"), (PerSecond, "rate")):
        if get_args(quantity)[1] in metadata:
            return word
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _words(inside[0], annotation.__metadata__)
    if origin is Literal:
        return ", ".join(f'`"{word}"`' for word in inside)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_words(part) for part in inside if part is not type(None)))
    if origin is tuple and inside[-1] is not Ellipsis:
        return "text"  # a pair, such as the range "1s..3s"
    if origin in (tuple, list, frozenset):
        return "list of tables" if _nested(annotation)[0] else f"list of {_words(inside[0])}"
    if origin is dict:
        return f"table of {_words(inside[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "table"
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return ", ".join(f'`"{word.value}"`' for word in annotation)
    return _PLAIN.get(annotation, "text")


def _default(field: FieldInfo) -> str:
    """Say a key's default as TOML writes it."""
    if field.is_required():
        return "required"
    if field.default_factory is not None and field.default_factory_takes_validated_data:
        return "follows from other keys"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        text = getattr(value, "text", "")
        return f'`"{text}"`' if text else "all defaults"
    if value is None or (isinstance(value, Sized) and not value):
        return "none"
    if isinstance(value, float) and _words(field.annotation, field.metadata) == "number":
        return f"`{value:.12g}` in SI units"
    if isinstance(value, tuple) and _words(field.annotation, field.metadata) == "text":
        return f'`"{"..".join(dict.fromkeys(map(format_duration, value)))}"`'
    return _cell(f"`{_toml(value, _words(field.annotation, field.metadata))}`")


def _toml(value: Any, kind: str) -> str:
    """Write a value as a plan file does."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list | frozenset):
        return "[" + ", ".join(_toml(part, "") for part in value) + "]"
    if kind.startswith("duration"):
        return f'"{format_duration(value)}"'
    if kind.startswith("rate"):
        return f'"{format_rate(value)}"'
    return f'"{value}"' if isinstance(value, str | Path) else f"{value}"


def _cell(text: str) -> str:
    """Make text fit a cell of a table."""
    return re.sub(r"(?<!\\)\|", r"\\|", text.replace("\n", " "))
