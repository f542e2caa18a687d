"""Faults of the models in the words of a plan file: keys as in TOML, a hint, "did you mean"."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from loadgate.plan.problems import Problem
from loadgate.plan.sla import UnknownWord
from loadgate.plan.units import UnitError, UnitErrors

Model = TypeVar("Model", bound=BaseModel)

_TYPES: Final[dict[str, tuple[str, str]]] = {
    "string_type": ("must be text", "put it in quotes"),
    "int_type": ("must be a whole number", "without quotes or a decimal point"),
    "int_from_float": ("must be a whole number", "without a decimal point"),
    "float_type": ("must be a number", "without quotes, for example 5"),
    "finite_number": ("must be a finite number", "for example 5"),
    "bool_type": ("must be true or false", "without quotes"),
    "tuple_type": ("must be a list", "for example [...], or a table in double brackets: [[{key}]]"),
    "dict_type": ("must be a table", "for example {{ name = ... }}, or [{key}] on a line of its own"),
    "model_type": ("must be a table", "write [{key}] on a line of its own, or {{ name = ... }}"),
    "model_attributes_type": ("must be a table", "write [{key}] on a line of its own, or {{ name = ... }}"),
}


def nearest(word: str, known: Iterable[str]) -> str:
    """Return `did you mean 'x'?` for the nearest known word, or nothing."""
    words = list(known)
    folded = {item.lower(): item for item in words}
    if word.lower() in folded:
        return f"did you mean '{folded[word.lower()]}'?"
    close = difflib.get_close_matches(word.lower(), list(folded), n=1, cutoff=0.6)
    return f"did you mean '{folded[close[0]]}'?" if close else ""


def suggest(word: str, known: Sequence[str], what: str) -> str:
    """Return a hint for an unknown word: the nearest one, or else all of them."""
    return nearest(word, known) or (f"{what}: {', '.join(known)}" if known else f"there are no {what}")


def key_of(parts: Iterable[str | int]) -> str:
    """Join a location to a key: ("traffic", "stages", 1, "rate") is `traffic.stages[1].rate`."""
    key = ""
    for part in parts:
        key += f"[{part}]" if isinstance(part, int) else f".{part}" if key else str(part)
    return key


def keys_of(model: type[BaseModel]) -> list[str]:
    """List a model's keys as TOML writes them."""
    return [field.alias or name for name, field in model.model_fields.items()]


def problems_of(
    error: ValidationError, model: type[BaseModel], file: str, prefix: tuple[str | int, ...] = ()
) -> list[Problem]:
    """Turn every fault of a validation into a Problem; `prefix` is where the model sits in the file."""
    problems = []
    for detail in error.errors(include_url=False):
        fault = detail.get("ctx", {}).get("error")
        if isinstance(fault, UnitErrors):
            where = (*prefix, *detail["loc"])
            problems += [
                Problem(file, key_of((*where, at)), one.message, one.hint) for at, one in fault.faults
            ]
        elif detail["type"] != "default_factory_not_called":
            problems.append(_problem(detail, model, file, prefix))
    return problems


def salvage(
    model: type[Model], raw: Any, context: dict[str, Any], essential: Sequence[str], filling: dict[str, Any]
) -> Model | None:
    """Validate a faulty table without its faulty keys, so that its rules can still be checked.

    Nothing comes back when an `essential` key is faulty; `filling` stands in for other keys.
    """
    try:
        return model.model_validate(raw, context=context)
    except ValidationError as error:
        faulty = {str(detail["loc"][0]) for detail in error.errors(include_url=False) if detail["loc"]}
    if not isinstance(raw, dict) or faulty & set(essential):
        return None
    rest = {key: value for key, value in raw.items() if key not in faulty}
    try:
        return model.model_validate(filling | rest, context=context)
    except ValidationError:
        return None


def _problem(
    detail: ErrorDetails, model: type[BaseModel], file: str, prefix: tuple[str | int, ...]
) -> Problem:
    """Turn one fault into a Problem."""
    loc, kind = detail["loc"], detail["type"]
    key = key_of((*prefix, *loc))
    last = str(loc[-1]) if loc else ""
    context = detail.get("ctx", {})
    owner = _model_at(model, loc[:-1])
    if kind == "extra_forbidden":
        known = keys_of(owner) if owner else []
        return Problem(file, key, f"unknown key '{last}'", suggest(last, known, "known keys"))
    if kind == "missing":
        return Problem(file, key, "is missing", _example(owner, last))
    if kind == "literal_error":
        message, hint = _choice(detail["input"], _choices(owner, last), last)
        return Problem(file, key, message, hint)
    if kind == "value_error":
        return Problem(file, key, *_words(context.get("error"), detail["msg"]))
    if kind in _TYPES:
        message, hint = _TYPES[kind]
        return Problem(file, key, message, hint.format(key=key))
    for name, words in (("gt", "more than"), ("ge", "at least"), ("lt", "less than"), ("le", "at most")):
        if name in context:
            return Problem(file, key, f"must be {words} {context[name]:g}", _example(owner, last))
    return Problem(file, key, detail["msg"], _example(owner, last))


def _words(fault: Any, fallback: str) -> tuple[str, str]:
    """Return message and hint of a fault that a validator raised."""
    if isinstance(fault, UnknownWord):
        close = nearest(fault.word, fault.known)
        return fault.message, close or fault.hint
    if isinstance(fault, UnitError):
        return fault.message, fault.hint
    return (str(fault) if fault is not None else fallback), ""


def _choice(value: Any, choices: list[str], key: str) -> tuple[str, str]:
    """Say that a word is not one of the choices."""
    if not isinstance(value, str):
        return "must be one of " + ", ".join(choices), "in quotes"
    if key == "kind":
        return f"'{value}' is not a kind of probe", nearest(value, choices) or f'add kind = "{choices[-1]}"'
    return f"'{value}' is not one of {', '.join(choices)}", nearest(value, choices)


def _model_at(model: type[BaseModel], loc: Sequence[str | int]) -> type[BaseModel] | None:
    """Follow a location through nested models; None where it leaves them."""
    current: type[BaseModel] | None = model
    for part in loc:
        if isinstance(part, int) or current is None:
            continue
        field = next((f for n, f in current.model_fields.items() if part in (n, f.alias)), None)
        current = _nested(field.annotation) if field is not None else None
    return current


def _nested(annotation: Any) -> type[BaseModel] | None:
    """Find the model in an annotation such as tuple[Stage, ...]."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _nested(part)) is not None), None)


def _choices(owner: type[BaseModel] | None, name: str) -> list[str]:
    """List the words that a Literal field takes."""
    field = owner.model_fields.get(name) if owner else None
    return [str(word) for word in get_args(field.annotation)] if field is not None else []


def _example(owner: type[BaseModel] | None, name: str) -> str:
    """Show a right value of a key, where the model has one."""
    field = None
    if owner is not None:
        field = next((f for n, f in owner.model_fields.items() if name in (n, f.alias)), None)
    if field is None or not field.examples:
        return (field.description or "") if field is not None else ""
    sample = field.examples[0]
    return f"for example {name} = " + (f'"{sample}"' if isinstance(sample, str) else str(sample))
