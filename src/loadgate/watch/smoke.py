"""What a smoke check holds an answer against: pure functions that give what was seen, or say what is wrong.

Each takes an answer that came whole; that none came, and why, is `NoReading`, as for a probe.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from loadgate.errors import LoadgateError
from loadgate.plan.smoke import Refusal, SmokeRequest
from loadgate.plan.units import format_bytes
from loadgate.watch.parse import NoReading, at_path, clean, load, unwrap
from loadgate.watch.probes import said
from loadgate.watch.smoke_leaks import Leak, leaks, pieces_of, telling_headers
from loadgate.watch.web import Exchange

UNKNOWN_ROUTE: Final = "/loadgate-smoke/no-such-route"
"""A path that no service has."""
INTRUDER: Final = {"loadgate": ["not", "of the type", "that is wanted"]}
"""What is put in a field of another type."""

_SAYS_NOTHING: Final = frozenset({401, 403, 404, 405, 407, 408, 410, 429})
"""Statuses that refuse a request for another reason than its body."""
_LIMITS: Final = re.compile(r"(?:x-)?rate-?limit(?:-.+)?")
_REMAINING: Final = re.compile(r"(?:x-)?rate-?limit(?:-requests)?-remaining")
_LIMIT: Final = re.compile(r"(?:x-)?rate-?limit(?:-requests)?-limit")


class State(StrEnum):
    """What came of a check."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


class Fault(StrEnum):
    """How an answer fails a check, beside the reasons for which there is no answer."""

    REDIRECT = "redirected"
    STATUS = "answered"
    VALUE = "not as required"
    NOT_CACHED = "not from the cache"
    NOT_HEALTHY = "not healthy"
    NOT_A_PAGE = "not a page"
    ACCEPTED = "not refused"
    UNRELATED = "refused for another reason"
    LEAK = "gives away"
    NO_LIMIT = "no rate limit"
    RESTARTED = "restarted"
    UNCLEAR = "cannot be told from a crash"


class CheckFailed(LoadgateError):
    """An answer is not what it should be; the message is "fault: detail"."""

    def __init__(self, fault: Fault, detail: str) -> None:
        super().__init__(f"{fault}: {detail}" if detail else str(fault))
        self.fault = fault


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the checklist: what was checked, what came of it, and what was seen.

    `reason` is a `Fault` or a `Reason` when it failed or was skipped; `limit` and `took` are seconds; `notes`
    are worth knowing and no fault.
    """

    group: str
    name: str
    state: State
    seen: str
    reason: str = ""
    limit: float = 0.0
    took: float = 0.0
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "group": self.group,
            "name": self.name,
            "state": str(self.state),
            "reason": self.reason,
            "seen": self.seen,
            "limit": self.limit,
            "took": round(self.took, 6),
            "notes": list(self.notes),
        }


@dataclass(frozen=True, slots=True)
class Sent:
    """A bad request: what it is, its body, and the pieces of it that an answer may echo."""

    refusal: Refusal
    body: bytes
    pieces: tuple[str, ...]


def valid(request: SmokeRequest, answer: Exchange) -> str:
    """Return what a good answer shows; CheckFailed or NoReading says what is wrong with it.

    Its status is the one that is asked for, it is JSON in either envelope, and everything in `require` and
    `equals` is there.
    """
    _status(answer, request.status)
    document = load(answer.body)
    for path, word in request.require.items():
        found = at_path(document, path)
        if not _is(word, found):
            raise CheckFailed(Fault.VALUE, f"{path} is {_shown(found)}, and must be {_WORDS[word]}")
    for path, wanted in request.equals.items():
        found = at_path(document, path)
        if not same(found, wanted):
            raise CheckFailed(Fault.VALUE, f"{path} is {_shown(found)}, and must be {_shown(wanted)}")
    number = len(request.require) + len(request.equals)
    how = "wrapped" if unwrap(document) is not document else "plain"
    fields = "1 field as required" if number == 1 else f"{number} fields as required"
    return f"{answer.status}, {fields if number else 'JSON'} ({how})"


def cached(request: SmokeRequest, answer: Exchange) -> str:
    """Return what a good answer from the cache shows: all of the first one, and that it is cached."""
    seen = valid(request, answer)
    try:
        mark = at_path(load(answer.body), request.cached)
    except NoReading as failure:
        raise CheckFailed(Fault.NOT_CACHED, f"asked again, and {failure.text}") from None
    if mark is not True:
        raise CheckFailed(Fault.NOT_CACHED, f"asked again, and '{request.cached}' is {_shown(mark)}")
    return f"{seen}, {request.cached}: true"


def page(answer: Exchange) -> str:
    """Return what a page that loaded shows: 200, HTML by its own word and by its looks, and not empty."""
    _status(answer, 200)
    kind = answer.header("content-type").partition(";")[0].strip().lower()
    if kind not in ("text/html", "application/xhtml+xml"):
        raise CheckFailed(Fault.NOT_A_PAGE, f"its type is {clean(kind)[:40] or 'not given'}")
    if not re.search(rb"<(?:!doctype html|html|head|body)\b", answer.body[:4096], re.IGNORECASE):
        raise CheckFailed(Fault.NOT_A_PAGE, f"it begins with {clean(repr(answer.body[:40]))}")
    return f"200, {format_bytes(len(answer.body))} of HTML"


def healthy_processes(answer: Exchange) -> str:
    """Return which processes there are; each must say that it is healthy, and there must be some."""
    _status(answer, 200)
    found = _processes(load(answer.body))
    if not isinstance(found, list) or not found:
        raise CheckFailed(Fault.NOT_HEALTHY, "the list of processes is empty")
    for index, process in enumerate(found):
        name = process.get("name", index) if isinstance(process, dict) else index
        if not isinstance(process, dict) or "healthy" not in process:
            raise CheckFailed(Fault.NOT_HEALTHY, f"process {clean(str(name))[:40]} does not say")
        if process["healthy"] is not True:
            raise CheckFailed(
                Fault.NOT_HEALTHY, f"process {clean(str(name))[:40]}: healthy is {_shown(process['healthy'])}"
            )
    return "1 process, healthy" if len(found) == 1 else f"{len(found)} processes, all healthy"


def bad_requests(request: SmokeRequest, wanted: Sequence[Refusal], oversized: float) -> tuple[Sent, ...]:
    """Make the bad requests of an endpoint that has a body: each like the good one, but for one thing."""
    if request.body is None:
        return ()
    body = dict(request.body)
    made: dict[Refusal, bytes] = {"malformed": to_json(body)[:-1]}
    bodies: list[Any] = [body]
    if request.field is not None:
        without = {key: value for key, value in body.items() if key != request.field}
        intruder: Any = "loadgate" if isinstance(body[request.field], dict) else INTRUDER
        made["missing"] = to_json(without)
        made["wrong_type"] = to_json({**body, request.field: intruder})
        bodies.append(intruder)
    filled = request.field if request.field is not None and isinstance(body[request.field], str) else "filler"
    words = "an oversized body "
    made["oversized"] = to_json({**body, filled: words * (int(oversized) // len(words) + 1)})
    pieces = (*pieces_of(*bodies), request.path, words.strip())
    return tuple(Sent(kind, made[kind], pieces) for kind in wanted if kind in made)


def refused(refusal: Refusal, answer: Exchange, sent: Iterable[str]) -> tuple[str, tuple[str, ...]]:
    """Return what a good refusal shows, and notes; CheckFailed when it is none, or tells too much.

    It is a 4xx that is about the body (any 4xx but 408 and 429, for a route that does not exist), without
    a stack, a file path, an exception, a database's words or an internal address in body or headers.
    """
    found = leaks(answer.body, answer.headers, (*sent, *([answer.own] if answer.own else ())))
    told = f"; it gives away {_listed(found)}" if found else ""
    status = answer.status
    if 200 <= status < 300:
        raise CheckFailed(Fault.ACCEPTED, f"{status}{told}")
    if 300 <= status < 400:
        raise CheckFailed(Fault.REDIRECT, f"{_redirect(answer)}{told}")
    if not 400 <= status < 500:
        raise CheckFailed(Fault.STATUS, f"{_answered(answer)}{told}")
    unrelated = (408, 429) if refusal == "unknown_route" else _SAYS_NOTHING
    if status in unrelated:
        raise CheckFailed(Fault.UNRELATED, f"{_answered(answer)}{told}")
    if found:
        raise CheckFailed(Fault.LEAK, f"{status} with {_listed(found)}")
    notes = tuple(f"the header {text} names what runs here" for text in telling_headers(answer.headers))
    return f"{status}, and tells nothing of its inside", notes


def rate_limit(answers: Sequence[Exchange]) -> tuple[str, tuple[str, ...]]:
    """Return how answers show a rate limit, and a note where it may not be in force; CheckFailed for none."""
    if any(answer.status == 429 for answer in answers):
        return "a request was refused with 429", ()
    names = sorted({name for answer in answers for name, _ in answer.headers if _LIMITS.fullmatch(name)})
    if not names:
        what = "no answer has a header of one" if answers else "no answer came that could show one"
        raise CheckFailed(Fault.NO_LIMIT, f"{what} (X-RateLimit-Limit, RateLimit, ...), and none was 429")
    left = {_number(answer, _REMAINING) for answer in answers}
    limit = {_number(answer, _LIMIT) for answer in answers}
    idle = len(answers) > 1 and left == limit and len(left) == 1 and None not in left
    note = (
        (f"all {len(answers)} answers say that nothing of the limit is used: is it in force?",)
        if idle
        else ()
    )
    return f"headers {', '.join(names)}", note


def restarted(before: float | None, after: float | None) -> None:
    """Compare uptimes before and after the bad requests; CheckFailed when it went back."""
    if before is not None and after is not None and after < before:
        raise CheckFailed(Fault.RESTARTED, f"uptime went back from {before:g} to {after:g}")


def same(found: Any, wanted: Any) -> bool:
    """Compare JSON values: true is not 1, but 1 is 1.0."""
    if isinstance(found, bool) or isinstance(wanted, bool):
        return found is wanted
    if isinstance(found, list) and isinstance(wanted, list):
        return len(found) == len(wanted) and all(same(*pair) for pair in zip(found, wanted, strict=True))
    if isinstance(found, dict) and isinstance(wanted, dict):
        return found.keys() == wanted.keys() and all(same(found[key], wanted[key]) for key in found)
    return bool(found == wanted)


_WORDS: Final[Mapping[str, str]] = {
    "text": "a text that is not empty",
    "number": "a number",
    "boolean": "true or false",
    "list": "a list",
    "object": "an object",
    "any": "something",
}


def _is(word: str, value: Any) -> bool:
    """Tell whether a JSON value is of a type as plans name it."""
    if word == "text":
        return isinstance(value, str) and bool(value.strip())
    if word == "number":
        return isinstance(value, int | float) and not isinstance(value, bool)
    if word == "any":
        return value is not None
    return isinstance(value, {"boolean": bool, "list": list, "object": dict}[word])


def _processes(document: Any) -> Any:
    """Return the list of processes: the answer itself, or below `processes` or `data.processes`."""
    if isinstance(document, list):
        return document
    try:
        return at_path(document, "data.processes")
    except NoReading:
        return at_path(document, "processes")


def _status(answer: Exchange, wanted: int) -> None:
    """Require a status."""
    if answer.status == wanted:
        return
    if 300 <= answer.status < 400:
        raise CheckFailed(Fault.REDIRECT, _redirect(answer))
    raise CheckFailed(Fault.STATUS, _answered(answer))


def _answered(answer: Exchange) -> str:
    return f"{answer.status} {said(answer.body)}".rstrip()


def _redirect(answer: Exchange) -> str:
    to = clean(answer.header("location"))[:80]
    return f"{answer.status} to {to}, which is not followed" if to else f"{answer.status} to nowhere"


def _listed(found: Sequence[Leak]) -> str:
    """Name the kinds of leaks, with the first one's words."""
    first, *others = found
    more = f"; also {', '.join(leak.kind for leak in others)}" if others else ""
    return f"{first.kind} ({first.excerpt}){more}"


def _number(answer: Exchange, name: re.Pattern[str]) -> int | None:
    """Return the number of the first header of that name."""
    value = next((value for key, value in answer.headers if name.fullmatch(key)), "")
    return int(value) if value.strip().isdecimal() else None


def _shown(value: Any) -> str:
    """Write a JSON value in a few words."""
    return clean(json.dumps(value, ensure_ascii=False))[:60]


def to_json(value: Any) -> bytes:
    """Write a JSON value as it is sent."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str).encode()
