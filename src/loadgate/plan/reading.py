"""Plan files as text: what is missing, unreadable, not UTF-8 or not TOML becomes a `Problem`."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from loadgate.plan.problems import Problem

_AT = re.compile(r"\(at (line \d+, column \d+|end of document)\)")


def read_text(path: Path, file: str, key: str, what: str = "file") -> tuple[str, Problem | None]:
    """Read a text file, or say why it cannot be read; `file` and `key` name the place that asked for it."""
    where = f" '{path}'" if key else ""
    relative = "; it is relative to the plan file" if key else ""
    try:
        return path.read_bytes().decode("utf-8-sig"), None
    except FileNotFoundError:
        return "", Problem(file, key, f"there is no {what}{where}", f"check the path{relative}")
    except IsADirectoryError:
        return "", Problem(file, key, f"the {what}{where} is a directory", "name a file")
    except UnicodeDecodeError as error:
        return "", Problem(
            file, key, f"the {what}{where} is not UTF-8 text (byte {error.start})", "save it as UTF-8"
        )
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return "", Problem(file, key, f"the {what}{where} cannot be read: {reason}", "check its permissions")


def parse_toml(text: str, file: str) -> tuple[dict[str, Any], Problem | None]:
    """Parse TOML, or name the line where it stops being TOML."""
    try:
        return tomllib.loads(text), None
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        match = _AT.search(message)
        reason = _AT.sub("", message).strip()
        place = match[1] if match else "somewhere"
        if place == "end of document":
            place = f"line {text.count(chr(10)) + 1}, at the end of the file"
        hint = (
            'text needs quotes: rate = "1100/s"' if "Invalid value" in reason or "newline" in reason else ""
        )
        return {}, Problem(file, "", f"syntax error in {place}: {reason}", hint)


def read_toml(
    path: Path, file: str, key: str = "", what: str = "file"
) -> tuple[dict[str, Any] | None, Problem | None]:
    """Read a TOML file; exactly one of the two results is None."""
    text, fault = read_text(path, file, key, what)
    if fault is not None:
        return None, fault
    raw, fault = parse_toml(text, file if not key else str(path))
    return (None, fault) if fault is not None else (raw, None)
