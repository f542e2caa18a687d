"""What a smoke check came to, and where it is kept: one JSON file each, in `smoke/` below the results.

results/smoke/load-20261122-203512.json

They are never overwritten, and written whole or not at all.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import orjson

from loadgate import __version__
from loadgate.errors import StoreError
from loadgate.exit_codes import ExitCode
from loadgate.store.faults import told_as_store_errors
from loadgate.watch.smoke import Check, State

SCHEMA_VERSION: Final = 1
FOLDER: Final = "smoke"

_COLLISIONS: Final = 1_000
_NOT_IN_A_NAME: Final = re.compile(r"[^A-Za-z0-9._-]+")
_TIME: Final = re.compile(r"-(\d{8}-\d{6})(?:-(\d+))?\.json")


def content_of(
    checks: Sequence[Check],
    *,
    scenario: str,
    host: str,
    plan: str,
    started_at: datetime,
    took: float,
    waited: float = 0.0,
    strict: bool = False,
) -> dict[str, Any]:
    """Put a smoke check into plain values; `plan` is the plan's fingerprint, `took` and `waited` are seconds.

    The result is FAIL when any check failed, else INVALID when none passed, else WARN when one was skipped
    or has a note, else PASS; the exit code is 20, 30, 0 (10 when `strict`) and 0.
    """
    counts = {state.value: sum(check.state is state for check in checks) for state in State}
    result, code = "PASS", ExitCode.PASS
    if counts["failed"]:
        result, code = "FAIL", ExitCode.FAIL
    elif not counts["passed"]:
        result, code = "INVALID", ExitCode.INVALID
    elif counts["skipped"] or any(check.notes for check in checks):
        result, code = "WARN", ExitCode.WARN if strict else ExitCode.PASS
    return {
        "schema_version": SCHEMA_VERSION,
        "loadgate": __version__,
        "scenario": scenario,
        "host": host,
        "plan": plan,
        "started_at": started_at.astimezone(UTC).isoformat(timespec="milliseconds"),
        "waited": round(waited, 3),
        "took": round(took, 3),
        "result": result,
        "strict": strict,
        "exit_code": int(code),
        "counts": counts,
        "checks": [check.to_dict() for check in checks],
    }


def prepare(root: Path) -> Path:
    """Make the folder below the results, and so prove that it can be written; StoreError when it cannot."""
    folder = root / FOLDER
    with told_as_store_errors("write in", folder):
        folder.mkdir(parents=True, exist_ok=True)
        number, name = tempfile.mkstemp(prefix=".probe-", dir=folder)
        os.close(number)
        Path(name).unlink()
    return folder


def store(root: Path, content: dict[str, Any]) -> Path:
    """Write a smoke check as a file of its own and return its path; StoreError when that cannot be done."""
    folder = root / FOLDER
    stamp = datetime.fromisoformat(content["started_at"]).strftime("%Y%m%d-%H%M%S")
    stem = f"{_NOT_IN_A_NAME.sub('-', content['scenario'])[:80]}-{stamp}"
    with told_as_store_errors("write in", folder):
        folder.mkdir(parents=True, exist_ok=True)
        number, draft = tempfile.mkstemp(prefix=".draft-", dir=folder)
        try:
            with os.fdopen(number, "wb") as file:
                file.write(orjson.dumps(content, option=orjson.OPT_INDENT_2) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            # Only its owner may read what mkstemp makes.
            mask = os.umask(0)
            os.umask(mask)
            Path(draft).chmod(0o666 & ~mask)
            for attempt in range(1, _COLLISIONS):
                path = folder / (f"{stem}.json" if attempt == 1 else f"{stem}-{attempt}.json")
                try:
                    os.link(draft, path)  # unlike a rename, it never replaces another one
                except FileExistsError:
                    continue
                return path
        finally:
            Path(draft).unlink(missing_ok=True)
    raise StoreError(f"there are too many smoke checks of {stamp} in {folder}", hint="remove some")


def latest(root: Path, scenario: str | None = None) -> tuple[Path, dict[str, Any]] | None:
    """Return the newest stored smoke check, of one scenario or of any; None where there is none.

    StoreError when the newest file cannot be read: an older one must not stand in for it.
    """
    folder = root / FOLDER
    found: list[tuple[str, int, Path]] = []
    with told_as_store_errors("list", folder):
        for path in folder.glob("*.json") if folder.is_dir() else ():
            match = _TIME.search(path.name)
            stem = path.name[: match.start()] if match is not None else ""
            wanted = scenario is None or stem == _NOT_IN_A_NAME.sub("-", scenario)[:80]
            if match is not None and wanted:
                found.append((match[1], int(match[2] or 1), path))
    if not found:
        return None
    path = max(found)[2]
    with told_as_store_errors("read", path):
        body = path.read_bytes()
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise StoreError(f"{path} is no smoke check: {error}", hint="remove it, and check again") from error
    if not isinstance(content, dict) or content.get("schema_version") != SCHEMA_VERSION:
        raise StoreError(f"{path} is no smoke check of version {SCHEMA_VERSION}", hint="check again")
    return path, content
