"""Overrides from the command line: `traffic.users=50`, `traffic.stages[0].rate=500/s`.

A value is read as TOML where it is TOML (numbers, true, lists, quoted text) and as plain text otherwise.
Overrides change the file's contents before they are checked, so they are held to the same rules.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from typing import Any

from loadgate.plan.problems import Problem

_KEY = re.compile(r"[A-Za-z_][\w-]*(?:\[\d+\])*(?:\.[A-Za-z_][\w-]*(?:\[\d+\])*)*", re.ASCII)
_PART = re.compile(r"([A-Za-z_][\w-]*)|\[(\d+)\]", re.ASCII)

SOURCE = "--set"


def apply(raw: dict[str, Any], overrides: Sequence[str]) -> tuple[list[str], list[Problem]]:
    """Change `raw` in place; return the keys that were set, and what could not be."""
    keys, problems = [], []
    for text in overrides:
        key, equals, value = text.partition("=")
        key = key.strip()
        if not equals or not _KEY.fullmatch(key):
            shown = key if equals else text
            hint = "write key=value, for example --set traffic.users=50"
            problems.append(Problem(SOURCE, shown, "is not an override", hint))
            continue
        parts = [int(index) if index else name for name, index in _PART.findall(key)]
        fault = _place(raw, parts, _value(value.strip()))
        if fault:
            problems.append(Problem(SOURCE, key, *fault))
        else:
            keys.append(key)
    return keys, problems


def _value(text: str) -> Any:
    """Read a value as TOML, or else as text."""
    try:
        read = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return read["value"] if set(read) == {"value"} else text


def _place(raw: dict[str, Any], parts: list[str | int], value: Any) -> tuple[str, str] | None:
    """Set one value; tables on the way are made, list entries are not. Return message and hint of a fault."""
    here: Any = raw
    for depth, part in enumerate(parts):
        last = depth == len(parts) - 1
        if isinstance(part, int):
            if not isinstance(here, list) or part >= len(here):
                size = len(here) if isinstance(here, list) else 0
                return f"there is no entry [{part}]", f"the list has {size}, counted from 0"
        elif not isinstance(here, dict):
            kind = "a list: name an entry, for example [0]" if isinstance(here, list) else "not a table"
            return f"'{part}' cannot be set here", f"the key before it is {kind}"
        if last:
            here[part] = value
        elif isinstance(part, int):
            here = here[part]
        else:
            here = here.setdefault(part, {})
    return None
