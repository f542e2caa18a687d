"""What each kind of probe reads: the answer of the target goes in, readings come out.

A value that is there has no error, and a value that is not there says why. The one exception is `up` of a
health probe: no answer, or a wrong one, is the reading 0 with the reason as its error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from loadgate.plan.probe import FIXED, OUTPUT, Probe
from loadgate.watch.parse import NoReading, Reason, as_number, as_share, at_path, clean, load, unwrap


class Answer(NamedTuple):
    """An HTTP answer: its status and its whole body."""

    status: int
    body: bytes


class Ended(NamedTuple):
    """How a command ended: exit status, or a signal's number below 0; its output, the end of its errors."""

    status: int
    out: bytes
    err: bytes


class Value(NamedTuple):
    """One reading of an attempt: `value` in SI units, or None with the reason in `error`."""

    reading: str
    value: float | None
    error: str = ""


class ReadingInfo(NamedTuple):
    """A reading's name, its unit, and what it means."""

    name: str
    unit: str
    meaning: str


HEALTH: Final = (
    ReadingInfo("up", "1 or 0", "1 when the service says in time that it is well"),
    ReadingInfo("uptime", "as the target gives it, seconds or milliseconds", "time since the target's start"),
    ReadingInfo("restarts", "count", "times that uptime went back since the run began"),
)
CACHE: Final = (
    ReadingInfo("hits", "count", "cache hits since the target's start"),
    ReadingInfo("misses", "count", "cache misses since the target's start"),
    ReadingInfo("hit_rate", "share, 0 to 1", "the target's own hit rate since its start"),
    ReadingInfo("entries", "count", "entries in the cache"),
    ReadingInfo("total_requests", "count", "look-ups since the target's start"),
)
PROCESS: Final = (
    ReadingInfo("cpu", "cores", "CPU seconds of the process tree per second since the last reading"),
    ReadingInfo("memory", "bytes", "resident memory (RSS) of the process tree, added up"),
    ReadingInfo("anon", "bytes", "the part of it that no file backs: what a leak grows"),
    ReadingInfo("processes", "count", "processes in the tree"),
    ReadingInfo("cores", "cores", "cores that the tree may use"),
    ReadingInfo(
        "restarts", "count", "times that other processes took the place of all roots since the run began"
    ),
)
COMMAND: Final = (
    ReadingInfo("value", "as the command prints it", "the number that the command prints, without `values`"),
    ReadingInfo("exit_status", "0 to 255", "the command's exit status"),
)
LOG: Final = (
    ReadingInfo("matches", "count", "lines that match since the last reading"),
    ReadingInfo("lines", "count", "lines since the last reading"),
    ReadingInfo("total", "count", "lines that match since the run began"),
)
READINGS: Final[Mapping[str, tuple[ReadingInfo, ...]]] = {
    "health": HEALTH,
    "cache": CACHE,
    "process": PROCESS,
    "prometheus": (),
    "command": COMMAND,
    "log": LOG,
    "json": (),
}
"""What the readings of each kind mean; `Probe.readings` says which ones a probe has."""

_CACHE_FIELDS: Final[tuple[tuple[str, str, Callable[[Any], float]], ...]] = (
    ("hits", "hits", as_number),
    ("misses", "misses", as_number),
    ("hit_rate", "hitRate", as_share),
    ("entries", "totalEntries", as_number),
    ("total_requests", "totalRequests", as_number),
)
_SAYS_UP: Final = ("ok", "ready", "success", "healthy")
_NO_WORDS: Final = frozenset({"", "0", "false", "no"})


def readings_of(probe: Probe) -> tuple[str, ...]:
    """Return the names of the readings that one attempt gives by itself.

    `Probe.readings` has those as well that several attempts tell together: restarts, and rates of counters.
    """
    fixed = (name for name in FIXED[probe.kind] if name != "restarts")
    return (*probe.named, *fixed)


def read_answer(probe: Probe, answer: Answer) -> tuple[Value, ...]:
    """Turn the answer to an HTTP probe into its readings; it never raises for what a target says."""
    try:
        if probe.kind == "health":
            return health(answer)
        return cache(answer) if probe.kind == "cache" else json_values(answer, probe.values)
    except NoReading as failure:
        return failed(probe, failure)


def failed(probe: Probe, failure: NoReading) -> tuple[Value, ...]:
    """Return the readings of an attempt that failed as a whole: no data, and a health probe is down."""
    values = (Value(name, None, failure.text) for name in readings_of(probe))
    if probe.kind == "health":
        return tuple(item._replace(value=0.0) if item.reading == "up" else item for item in values)
    return tuple(values)


def health(answer: Answer) -> tuple[Value, ...]:
    """Read `up` and `uptime`.

    Up is status 200, a JSON object in either envelope, and none of ok, ready, success and healthy (there or
    in `data`) says no.
    """
    try:
        document = accepted(answer)
        if not isinstance(document, dict):
            raise NoReading(Reason.NOT_UP, "the answer is JSON, but no object")
        data = document.get("data")
        for part in (document, data if isinstance(data, dict) else {}):
            for name in _SAYS_UP:
                if name in part and _says_no(part[name]):
                    raise NoReading(Reason.NOT_UP, f"'{name}' is {clean(repr(part[name]))[:40]}")
    except NoReading as failure:
        return Value("up", 0.0, failure.text), Value("uptime", None, failure.text)
    where = "uptime" if "uptime" in document or not isinstance(data, dict) else "data.uptime"
    return Value("up", 1.0), _value("uptime", document, where)


def cache(answer: Answer) -> tuple[Value, ...]:
    """Read the cache statistics; each field by itself, so that one that is missing costs only itself."""
    document = accepted(answer)
    return tuple(_value(name, document, f"data.{field}", convert) for name, field, convert in _CACHE_FIELDS)


def json_values(answer: Answer, values: Mapping[str, str]) -> tuple[Value, ...]:
    """Read the value at each path."""
    document = accepted(answer, unwrapped=False)
    return tuple(_value(name, document, path) for name, path in values.items())


def command_values(ended: Ended, values: Mapping[str, str]) -> tuple[Value, ...]:
    """Read what a command printed: one number, or with `values` the value at each path of its JSON.

    A command that did not end with 0 has an exit status, and no other reading.
    """
    if ended.status < 0:
        raise NoReading(Reason.ENDED, f"signal {-ended.status}{_last_words(ended)}")
    status = Value("exit_status", float(ended.status))
    try:
        if ended.status:
            raise NoReading(Reason.ENDED, f"exit status {ended.status}{_last_words(ended)}")
        if not values:
            return Value(OUTPUT, as_number(ended.out.decode("utf-8", "replace"))), status
        document = load(ended.out)
    except NoReading as failure:
        return *(Value(name, None, failure.text) for name in values or (OUTPUT,)), status
    return *(_value(name, document, path) for name, path in values.items()), status


def _last_words(ended: Ended) -> str:
    """Return the last line that a command wrote to its standard error, behind a colon."""
    lines = ended.err.decode("utf-8", "replace").strip().splitlines()
    return f": {clean(lines[-1])}" if lines else ""


def accepted(answer: Answer, *, unwrapped: bool = True) -> Any:
    """Return the JSON of a 200; NoReading STATUS with the target's own words for any other status."""
    if answer.status != 200:
        raise NoReading(Reason.STATUS, f"{answer.status} {said(answer.body)}".rstrip())
    document = load(answer.body)
    return unwrap(document) if unwrapped else document


def _value(name: str, document: Any, path: str, convert: Callable[[Any], float] = as_number) -> Value:
    try:
        found = at_path(document, path)
    except NoReading as failure:
        return Value(name, None, failure.text)
    try:
        return Value(name, convert(found))
    except NoReading as failure:
        return Value(name, None, f"{path}: {failure.text}")


def said(body: bytes) -> str:
    """Return the error text of a JSON body in either envelope, on one line and bounded, else nothing."""
    try:
        document = unwrap(load(body))
    except NoReading:
        return ""
    for name in ("error", "message"):
        said = document.get(name) if isinstance(document, dict) else None
        if isinstance(said, dict):
            said = said.get("message")
        if isinstance(said, str) and said.strip():
            return clean(said)
    return ""


def _says_no(value: object) -> bool:
    """Tell whether a value of `ok` or its like denies; only what is plainly a no does."""
    if isinstance(value, str):
        return value.strip().lower() in _NO_WORDS
    return value is None or value is False or value == 0
