"""Read numbers out of JSON answers: by path, from either envelope, and from text with a unit.

Nothing here is lenient in silence: what cannot be read raises `NoReading` with a named reason.
"""

from __future__ import annotations

import math
import re
from enum import StrEnum
from typing import Any, Final

import orjson

from loadgate.errors import LoadgateError
from loadgate.plan.units import BYTE_UNITS, UnitError, parse_bytes, parse_duration, parse_rate, parse_share

SHOWN: Final = 200
"""Characters of the target's own words that an error quotes."""

_STEP = re.compile(r"\.?([A-Za-z_][\w-]*)|\[(\d+)\]", re.ASCII)
_PLAIN = re.compile(r"[+-]?(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_ENVELOPE: Final = frozenset({"type", "content", "timestamp"})
_BYTE_WORDS = re.compile(r"\s*bytes?", re.IGNORECASE)


class Reason(StrEnum):
    """Why there is no reading; each is the beginning of the error text that is stored."""

    NOT_JSON = "not JSON"
    NO_FIELD = "no such field"
    NO_ITEM = "no such item"
    NOT_AN_OBJECT = "not an object"
    NOT_A_LIST = "not a list"
    NOT_A_NUMBER = "not a number"
    AMBIGUOUS = "no unit"
    STATUS = "answered"
    NOT_UP = "not up"
    TIMEOUT = "no answer in time"
    CONNECTION = "no answer"
    TOO_LARGE = "answer too large"
    NOT_LOCAL = "the target is not on this machine"
    NO_PROCESS = "no process"
    NO_PERMISSION = "no permission"
    FORWARDED = "only a forwarder listens"
    TOO_SOON = "too soon"
    NO_BASELINE = "no baseline"
    NOT_OFFERED = "not offered by this system"
    NO_SAMPLE = "no sample"
    SEVERAL = "several samples"
    CANNOT_RUN = "cannot be run"
    ENDED = "ended with"
    NO_FILE = "no such file"
    FAULT = "fault of the probe"


class NoReading(LoadgateError):
    """A reading could not be taken: `reason` names the case, the message is "reason: detail"."""

    def __init__(self, reason: Reason, detail: str = "", *, hint: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else str(reason), hint=hint)
        self.reason = reason

    @property
    def text(self) -> str:
        """Return message and hint on one line, as it is stored with the reading."""
        return f"{self.message}; {self.hint}" if self.hint else self.message


def load(body: bytes) -> Any:
    """Parse a JSON body; NoReading NOT_JSON when it is none."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        shown = clean(body[:SHOWN].decode("utf-8", "replace"))[:40]
        raise NoReading(Reason.NOT_JSON, f"{error} (begins with {shown!r})") from error


def unwrap(document: Any) -> Any:
    """Return what the wrapped envelope {"type", "content", "timestamp"} holds, anything else as it is."""
    if isinstance(document, dict) and document.keys() >= _ENVELOPE and isinstance(document["content"], dict):
        return document["content"]
    return document


def steps_of(path: str) -> tuple[str | int, ...]:
    """Split "processes[0].memory" into ("processes", 0, "memory"); ValueError when it is no path."""
    steps: list[str | int] = []
    position = 0
    while position < len(path):
        match = _STEP.match(path, position)
        if match is None or (position == 0 and path.startswith(".")):
            raise ValueError(f"'{path}' is not a path; for example \"processes[0].memory\"")
        steps.append(match[1] if match[1] is not None else int(match[2]))
        position = match.end()
    if not steps:
        raise ValueError('a path is empty; for example "processes[0].memory"')
    return tuple(steps)


def at_path(document: Any, path: str) -> Any:
    """Return the value at a path, in the content of a wrapped envelope or else in the document as it stands.

    NoReading (NO_FIELD, NO_ITEM, NOT_AN_OBJECT, NOT_A_LIST) names the step that failed.
    """
    steps = steps_of(path)
    inner = unwrap(document)
    try:
        return _walk(inner, steps)
    except NoReading:
        if inner is document:
            raise
        try:
            return _walk(document, steps)  # a path that was written from the whole answer
        except NoReading:
            pass
        raise


def _walk(value: Any, steps: tuple[str | int, ...]) -> Any:
    walked = ""
    for step in steps:
        where = f" in {walked}" if walked else ""
        if isinstance(step, int):
            if not isinstance(value, list):
                raise NoReading(Reason.NOT_A_LIST, f"{walked or 'the answer'} is {_kind(value)}")
            if step >= len(value):
                raise NoReading(Reason.NO_ITEM, f"[{step}]{where}, which has {len(value)}")
            walked += f"[{step}]"
        else:
            if not isinstance(value, dict):
                raise NoReading(Reason.NOT_AN_OBJECT, f"{walked or 'the answer'} is {_kind(value)}")
            if step not in value:
                raise NoReading(Reason.NO_FIELD, f"'{step}'{where}")
            walked += f".{step}" if walked else step
        value = value[step]
    return value


def as_number(value: Any) -> float:
    """Return a number, or text that holds one, in SI units; NoReading NOT_A_NUMBER for anything else.

    "8.33" is 8.33, "62.50%" is 0.625, "12ms" is 0.012, "100/s" is 100. "8.42 KB" is 8420: kB and KB are
    10^3 bytes, as everywhere in Loadgate, and KiB are 2^10. true and false are no numbers.
    """
    if isinstance(value, str):
        return _from_text(value.strip())
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise NoReading(Reason.NOT_A_NUMBER, _kind(value))
    return _finite(value)


def as_share(value: Any) -> float:
    """Return a share that says its unit ("62.50%" is 0.625).

    A bare number is refused (AMBIGUOUS), unless it is 0: 0.5 may be half, or half a percent.
    """
    if isinstance(value, str) and value.strip().endswith("%"):
        return as_number(value)
    number = as_number(value)
    if number == 0:
        return 0.0
    raise NoReading(Reason.AMBIGUOUS, f"{value!r} may be a share or a percentage")


def _from_text(text: str) -> float:
    if _PLAIN.fullmatch(text):
        return _finite(float(text))
    sign, size = (-1.0, text[1:]) if text.startswith("-") else (1.0, text)
    size = _BYTE_WORDS.sub("B", size) if _BYTE_WORDS.search(size) else size
    unit = size.lstrip("0123456789. ")
    parse = parse_duration
    if unit == "%":
        parse = parse_share
    elif unit in BYTE_UNITS:
        parse = parse_bytes
    elif "/" in unit:
        parse = parse_rate
    try:
        return sign * _finite(parse(size))
    except (UnitError, OverflowError):
        raise NoReading(Reason.NOT_A_NUMBER, f"the text {clean(text)[:40]!r}") from None


def _finite(number: float) -> float:
    try:
        result = float(number)
    except OverflowError:
        result = math.inf
    if not math.isfinite(result):
        raise NoReading(Reason.NOT_A_NUMBER, "beyond the range of a number")
    return result


def _kind(value: Any) -> str:
    """Name a JSON value's type for people."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    names = {dict: "an object", list: "a list", str: "text", int: "a number", float: "a number"}
    return names.get(type(value), type(value).__name__)


def clean(text: str) -> str:
    """Return text of the target on one line, without control characters, at most `SHOWN` characters."""
    printable = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(printable.split())[:SHOWN]
