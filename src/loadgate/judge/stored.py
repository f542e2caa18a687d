"""The stored verdict of a run: the newest verdict.json, read and checked.

What is checked is that it can be believed as far as it goes: its keys, its words, that it is of this run, and
that it is no better than its own rows, by the rules that it was made with (`judge/run.overall` and
`judge/verdict.judge`). A file that was cut, merged or edited must never be told as a PASS.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from loadgate.errors import StoreError
from loadgate.exit_codes import ExitCode
from loadgate.judge.evidence import SHORT_BY
from loadgate.judge.results import SEVERITY, Grade, worst
from loadgate.judge.verdict import SCHEMA_VERSION, exit_code, schema
from loadgate.store.folder import RunFolder


def latest_verdict(folder: RunFolder) -> tuple[Path, dict[str, Any]]:
    """Read the newest verdict of a run: that with the highest number, whatever is missing below it.

    Raises StoreError when there is none, or it cannot be read, is none of this version, is that of another
    run, or says something better than its own rows do.
    """
    path, content = believable_verdict(folder)
    if content["run"] != folder.id:
        raise StoreError(
            f"{path} is the verdict of another run, {content['run']!r}",
            hint=f"judge the run again: loadgate verdict {folder.id}",
        )
    return path, content


def believable_verdict(folder: RunFolder) -> tuple[Path, dict[str, Any]]:
    """Read it as `latest_verdict` does, also in a copy of a run's folder that has another name."""
    hint = f"judge the run again: loadgate verdict {folder.id}"
    try:
        number = folder.newest_verdict()
    except OSError as error:
        raise StoreError(f"{folder.path} cannot be listed: {error}", hint="see its rights") from error
    if not number:
        raise StoreError(f"run {folder.id} has no verdict", hint=f"make one: loadgate verdict {folder.id}")
    path = folder.verdict_path(number)
    try:
        content = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise StoreError(f"{path} cannot be read: {error}", hint=hint) from error
    if not isinstance(content, dict) or content.get("schema_version") != SCHEMA_VERSION:
        raise StoreError(f"{path} is no verdict of version {SCHEMA_VERSION}", hint=hint)
    missing = [key for key in schema()["required"] if key not in content]
    if missing:
        raise StoreError(f"{path} lacks {', '.join(missing)}", hint=hint)
    fault = next(contradictions(content), None)
    if fault is not None:
        raise StoreError(f"{path} cannot be believed: {fault}", hint=hint)
    return path, content


def contradictions(content: Mapping[str, Any]) -> Iterator[str]:
    """Say where a verdict is better than what it was made of; nothing for one that agrees with itself.

    One that is worse than its rows does not mislead anybody to a release, and is let through.
    """
    try:
        grade = Grade(content["verdict"])
        rows = [(Grade(row["verdict"]), bool(row.get("optional"))) for row in content["objectives"]]
        drifts = [Grade(result["verdict"]) for result in content.get("drift") or ()]
        follows = _follows(content, rows, drifts)
        wanted = exit_code(grade, str(content["ended"]), strict=bool(content["strict"]))
        code = int(content["exit_code"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        yield f"its verdicts are damaged ({error!r})"
        return
    if SEVERITY.index(grade) > SEVERITY.index(follows):
        yield f"it says {grade.value}, and what it was made of says {follows.value}"
    elif code != wanted and code == ExitCode.PASS:
        yield f"its exit code is {code}, and that of {grade.value} is {int(wanted)}"


def _follows(content: Mapping[str, Any], rows: list[tuple[Grade, bool]], drifts: list[Grade]) -> Grade:
    """Return the best verdict that follows from the rows, the drift, and how much of the plan was run."""
    if content["void"] or not rows:
        return Grade.INVALID
    deciding = [grade for grade, optional in rows if not optional or grade is Grade.FAIL]
    if not deciding:
        passed = any(grade is Grade.PASS for grade, _ in rows)
        deciding = [Grade.PASS if passed else Grade.INVALID]
    grade = worst(deciding)
    # A run without a plan may be stopped at any time; every other end than the planned one cuts it short.
    short = content["steady_seconds_planned"] - content["steady_seconds"] > SHORT_BY
    whole = (
        not content["running"]
        and content["ended"] in ("planned", "stopped")
        and not (short and content.get("decided") is None)
    )
    if grade is not Grade.FAIL and not whole:
        grade = Grade.INVALID
    return worst([grade, *drifts])
