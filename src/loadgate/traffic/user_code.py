"""Errors of the user's own code: told apart from bad answers of the target, with the place where they arose.

A turn whose own code raises is a failed arrival, so that the books balance, but it says nothing of the
target. Its kind begins with words that the judge knows (`measure.delta.OF_USER_CODE`) and that void the run.
"""

from __future__ import annotations

import json
import site
import sysconfig
from pathlib import Path
from traceback import extract_tb
from typing import Final

from loadgate.measure.delta import CHECK_RAISED, CODE_RAISED

_PACKAGE: Final = str(Path(__file__).resolve().parents[1])
_READS: Final = str(Path(__file__).with_name("values.py"))
_LIBRARIES: Final = (
    _PACKAGE,
    sysconfig.get_path("stdlib"),
    *site.getsitepackages(),
    site.getusersitepackages(),
)
UNREADABLE: Final = "the answer could not be read"
AFTER_FAILURE: Final = "a flow gave up after a failed answer"


def place_of(error: BaseException) -> str:
    """Say where in the user's own files an exception arose, such as "flow.py, line 12 in send"; else ""."""
    for frame in reversed(extract_tb(error.__traceback__)):
        if not frame.filename.startswith(_LIBRARIES) and not frame.filename.startswith("<frozen"):
            return f"{Path(frame.filename).name}, line {frame.lineno} in {frame.name}"
    return ""


def kind_of(raised: str, error: BaseException) -> str:
    """Return the kind of failure that an exception is: its type, and its place where that is known."""
    place = place_of(error)
    return f"{raised} {type(error).__name__}{f' ({place})' if place else ''}"


def kind_of_code(error: BaseException) -> str:
    """Return the kind of a task that raised."""
    return kind_of(CODE_RAISED, error)


def kind_of_check(error: BaseException, status: int) -> str:
    """Return the kind of an answer that a check raised over.

    A status that says failure, or a body that is not what it claims to be, is the target's failure and not
    the check's.
    """
    if status >= 400:
        return f"HTTP {status}"
    if _is_unreadable(error):
        return f"{UNREADABLE}: {type(error).__name__}"
    return kind_of(CHECK_RAISED, error)


def _is_unreadable(error: BaseException) -> bool:
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
        return True
    frames = extract_tb(error.__traceback__)
    return isinstance(error, ValueError) and bool(frames) and frames[-1].filename == _READS
