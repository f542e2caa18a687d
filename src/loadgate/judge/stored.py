"""The stored verdict of a run: the newest verdict.json, read and checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from loadgate.errors import StoreError
from loadgate.judge.verdict import SCHEMA_VERSION, schema
from loadgate.store.folder import RunFolder


def latest_verdict(folder: RunFolder) -> tuple[Path, dict[str, Any]]:
    """Read the newest verdict of a run; StoreError when there is none, or it is none of this version."""
    number = 1
    while folder.verdict_path(number + 1).is_file():
        number += 1
    path = folder.verdict_path(number)
    if not path.is_file():
        raise StoreError(f"run {folder.id} has no verdict", hint=f"make one: loadgate verdict {folder.id}")
    hint = f"judge the run again: loadgate verdict {folder.id}"
    try:
        content = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise StoreError(f"{path} cannot be read: {error}", hint=hint) from error
    if not isinstance(content, dict) or content.get("schema_version") != SCHEMA_VERSION:
        raise StoreError(f"{path} is no verdict of version {SCHEMA_VERSION}", hint=hint)
    missing = [key for key in schema()["required"] if key not in content]
    if missing:
        raise StoreError(f"{path} lacks {', '.join(missing)}", hint=hint)
    return path, content
