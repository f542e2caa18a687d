"""Annotations of a run: what people, or a deployment's script, say happened while it went on.

They come from other terminals, and each database has one writer, so they have a file of their own:
`annotations.jsonl`, one JSON object a line, which is only ever appended to.
"""

from __future__ import annotations

import fcntl
import math
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import orjson

from loadgate.errors import StoreError, UsageError
from loadgate.store.faults import told_as_store_errors
from loadgate.store.folder import RunFolder

KINDS: Final = ("note", "deployment")
LONGEST_TEXT: Final = 500
"""Characters of an annotation."""
MOST_BYTES: Final = 4 * 2**20
"""Size of the file from which on nothing is added, and up to which it is read."""
_NAME: Final = "annotations.jsonl"


@dataclass(frozen=True, slots=True)
class Annotation:
    """Something that happened: `at` in run time (None before the run has begun), `wall` as ISO time."""

    at: float | None
    wall: str
    kind: str
    text: str

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {"at": self.at, "wall": self.wall, "kind": self.kind, "text": self.text}


@dataclass(frozen=True, slots=True)
class Annotations:
    """What the file of a run holds, in order of time; `faults` say which lines could not be read."""

    entries: tuple[Annotation, ...] = ()
    faults: tuple[str, ...] = ()


def annotations_path(run: RunFolder) -> Path:
    """Name the file of a run's annotations."""
    return run.path / _NAME


def annotate(run: RunFolder, annotation: Annotation) -> None:
    """Add an annotation; it is on the disk when this returns. Several processes may do so at once.

    UsageError for one that could not be read again, or one too many. StoreError when it cannot be written.
    """
    content = annotation.to_dict()
    fault = _fault_of(content)
    if fault:
        raise UsageError(
            f"the annotation cannot be kept: {fault}", hint=f"write at most {LONGEST_TEXT} characters"
        )
    path = annotations_path(run)
    with told_as_store_errors("write", path):
        number = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(number, fcntl.LOCK_EX)
            size = os.fstat(number).st_size
            if size >= MOST_BYTES:
                raise UsageError(f"{path} is full: it holds {size} bytes", hint="annotate less often")
            # A line that a crash or a full disk cut short must not take this one with it.
            torn = size > 0 and os.pread(number, 1, size - 1) != b"\n"
            line = b"\n" * torn + orjson.dumps(content) + b"\n"
            if os.write(number, line) != len(line):
                raise StoreError(
                    f"{path} took only a part of the annotation", hint="see that the disk has room"
                )
            os.fsync(number)
        finally:
            os.close(number)


def read_annotations(run: RunFolder) -> Annotations:
    """Read the annotations of a run; a run without any has none. StoreError when the file cannot be read.

    A line that is torn or damaged is left out and told. What lies beyond `MOST_BYTES` is not read.
    """
    path = annotations_path(run)
    with told_as_store_errors("read", path):
        try:
            with path.open("rb") as file:
                raw = file.read(MOST_BYTES + 1)
        except FileNotFoundError:
            return Annotations()
    lines = raw[:MOST_BYTES].split(b"\n")
    entries, faults = list[Annotation](), list[str]()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        found = _parsed(line)
        if isinstance(found, Annotation):
            entries.append(found)
        else:
            torn = "is torn: it was being written" if number == len(lines) else found
            faults.append(f"{_NAME} line {number} {torn}; it is left out")
    if len(raw) > MOST_BYTES:
        faults.append(f"{_NAME} is larger than {MOST_BYTES} bytes; what lies beyond them is left out")
    return Annotations(tuple(sorted(entries, key=_moment)), tuple(faults))


def annotations_of(run: RunFolder) -> list[Annotation]:
    """Return the annotations of a run that can be read, in order of time."""
    return list(read_annotations(run).entries)


def _moment(annotation: Annotation) -> float:
    return annotation.at if annotation.at is not None else -math.inf


def _parsed(line: bytes) -> Annotation | str:
    """Return the annotation of a line, or what is wrong with it."""
    try:
        content = orjson.loads(line)
    except orjson.JSONDecodeError:
        return "is no JSON"
    if not isinstance(content, dict):
        return "is no JSON object"
    fault = _fault_of(content)
    if fault:
        return f"is no annotation: {fault}"
    at = content["at"]
    return Annotation(None if at is None else float(at), content["wall"], content["kind"], content["text"])


def _fault_of(content: Mapping[str, Any]) -> str:
    """Say what keeps plain values from being an annotation; nothing where they are one."""
    at, wall, kind, text = (content.get(key) for key in ("at", "wall", "kind", "text"))
    if at is not None and (isinstance(at, bool) or not isinstance(at, int | float) or not math.isfinite(at)):
        return "its run time is no number"
    if kind not in KINDS:
        return f"its kind is none of {', '.join(KINDS)}"
    if not isinstance(text, str) or not text.strip() or not text.isprintable():
        return "its text is empty, or holds control characters"
    if len(text) > LONGEST_TEXT:
        return f"its text has {len(text)} characters"
    if isinstance(wall, str):
        with suppress(ValueError):
            if datetime.fromisoformat(wall).tzinfo is not None:
                return ""
    return "its wall time is no ISO time with a zone"
