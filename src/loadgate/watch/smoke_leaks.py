"""Find what an error answer tells about the inside of a server: stack frames, file paths, SQL, addresses.

Pure functions over text. What the answer only echoes of our own request is no leak, so that is taken out
first. An error code of an API, such as "ValidationError", is none either: only names that a language itself
or its runtime gives count. Every pattern is bounded, so that no answer can make it slow.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from loadgate.watch.parse import NoReading, clean, load

EXCERPT: Final = 80
"""Characters of an answer that are quoted."""
SEARCHED: Final = 64 * 1024
"""Bytes of an answer that are searched; who asks takes a longer one for a fault of its own."""
ECHO_LEAST: Final = 6
"""Characters from which a piece of our request counts as echoed; shorter ones occur by themselves."""
DEEPEST: Final = 64


class Leak(NamedTuple):
    """What an answer gives away: the kind, and an excerpt on one line."""

    kind: str
    excerpt: str


_STACK: Final = (
    # JavaScript: "at handle (/srv/app/layer.js:95:5)", "at JSON.parse (<anonymous>)"
    r"\bat (?:async )?(?:new )?[\w.$<>\[\] ]{1,200}\((?:[^()\n]{1,300}:\d+:\d+|<anonymous>|native)\)",
    r"\bat (?:async )?(?:file://)?/[^\s:()]{1,300}:\d+:\d+",
    # Python
    r"Traceback \(most recent call last\)",
    r"File \"[^\"\n]{1,300}\", line \d+",
    # Java, Kotlin, Scala
    r"\bat [\w.$]{1,200}\((?:[\w$]{1,100}\.(?:java|kt|scala|groovy)(?::\d+)?|Native Method|Unknown Source)\)",
    r"\bCaused by: [\w.$]{3,200}",
    # .NET
    r"\bat [\w.`<>\[\],]{1,200}\([^()\n]{0,300}\) in [^\n]{1,300}:line \d+",
    r"\bat (?:System|Microsoft)\.[\w.`]{1,200}\(",
    # PHP
    r"#\d+ [^\s()]{1,300}\.php\(\d+\)",
    r"\b(?:Fatal error|Parse error|Warning|Notice): [^\n]{1,300} in [^\s]{1,300} on line (?:<b>)?\d+",
    # Ruby
    r"\.rb:\d+:in [`'\u2018]",
    # Go, Rust
    r"\bgoroutine \d+ \[",
    r"\bpanic: [^\n]{1,200}",
    r"[\w./-]{1,200}\.go:\d+ ?\+0x[0-9a-f]+",
    r"thread '[^'\n]{1,100}' panicked at",
)
_EXCEPTION: Final = (
    r"\b(?:Type|Reference|Syntax|Range|Eval|URI|Aggregate)Error(?:: |$)",
    r"\b(?:Key|Attribute|Index|Value|Name|UnboundLocal|ZeroDivision|JSONDecode|UnicodeDecode|ModuleNotFound|Import"
    r"|Recursion|Runtime|Assertion|Lookup|OS)Error\b[:(]",
    r"\b(?:NullPointer|ClassCast|IllegalArgument|IllegalState|NumberFormat|ArrayIndexOutOfBounds|NullReference"
    r"|InvalidOperation|ArgumentNull|HttpMessageNotReadable|JsonParse)Exception\b",
    r"\b(?:java|javax|jakarta|kotlin|scala|org|com|io|net)(?:\.[a-z_]\w{0,60}){1,8}\.[A-Z]\w{0,80}(?:Exception|Error)\b",
    r"\bSystem(?:\.\w{1,60}){0,5}\.\w{1,60}Exception\b",
    r"\b(?:NoMethodError|ActionController::|ActiveRecord::|ActionView::)",
    r"\bUncaught (?:Error|Exception|TypeError)\b",
    r"runtime error: ",
    r"\bGo (?:struct field|value of type)\b",
    r"\bjava\.(?:lang|util|io)\.[A-Z]\w{1,80}\b",
    r"Cannot read propert(?:y|ies) of (?:undefined|null)",
    r"\bis not a function\b|\bundefined is not an? ",
    r"'NoneType' object",
)
_SEGMENT: Final = r"/[\w.@+-]{1,100}"
_CODE: Final = r"\.(?:py|rb|php|java|jar|go|rs|cs|ini|env|conf|db|sqlite|[cm]?[jt]sx?:\d+)\b"
"""Endings of files that a service has and does not serve; a script may be served, so it needs a line."""
_PATH: Final = (
    rf"(?<![\w/.:-])/(?:etc|proc|srv){_SEGMENT}(?:{_SEGMENT}){{0,20}}",
    rf"(?<![\w/.:-])/(?:home|root|var|usr|opt|tmp|Users|private){_SEGMENT}(?:{_SEGMENT}){{1,20}}",
    rf"(?<![\w/.:-])(?:{_SEGMENT}){{2,20}}{_CODE}",
    r"\bfile:///[^\s\"'<>]{1,300}",
    r"\b[A-Za-z]:\\{1,2}(?:[\w .@$()-]{1,100}\\{1,2}){1,20}[\w .@$()-]{1,100}",
    r"\b(?:node_modules|site-packages|dist-packages|vendor/bundle|__pycache__)/[\w.@+/-]{1,200}",
    r"\bnode:internal/[\w/]{1,100}",
)
_SQL: Final = (
    r"SQLSTATE\[?",
    r"\bORA-\d{5}\b",
    r"You have an error in your SQL syntax",
    r"\b(?:psycopg2?|sqlite3|pymysql|mysqldb|asyncpg|sqlalchemy)\.\w",
    r"\bSQLITE_[A-Z]{3,20}\b",
    r"\bPG::\w{3,40}",
    r"near \"[^\"\n]{1,100}\": syntax error",
    r"syntax error at or near",
    r"Unclosed quotation mark (?:after|before)",
    r"duplicate key value violates unique constraint",
    r"\brelation \"[^\"\n]{1,100}\" does not exist",
    r"\bER_[A-Z]{3,20}_[A-Z_]{2,40}\b",
    r"\bE11000 duplicate key\b|\bMongo(?:Server|Network)?Error\b",
    r"\b(?:SELECT|INSERT INTO|UPDATE|DELETE FROM)\s[^\n]{1,200}\s(?:FROM|VALUES|SET|WHERE)\s",
)
_OCTET: Final = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
_ADDRESS: Final = (
    rf"(?<![\d.])(?:(?:10|127)\.{_OCTET}|192\.168|172\.(?:1[6-9]|2\d|3[01]))\.{_OCTET}\.{_OCTET}\b(?!\.\d)(?::\d+)?",
    r"\bE(?:CONNREFUSED|CONNRESET|NOTFOUND|HOSTUNREACH|TIMEDOUT|AI_AGAIN)\b",
    r"\blocalhost:\d{2,5}\b",
    r"\b[\w-]{1,60}(?:\.[\w-]{1,60}){0,4}\.(?:svc|internal|cluster)\.(?:cluster\.)?local\b",
)

KINDS: Final[dict[str, re.Pattern[str]]] = {
    "a stack frame": re.compile("|".join(_STACK)),
    "a database error": re.compile("|".join(_SQL), re.ASCII),
    "an exception": re.compile("|".join(_EXCEPTION), re.ASCII | re.MULTILINE),
    "a file path": re.compile("|".join(_PATH), re.ASCII),
    "an internal address": re.compile("|".join(_ADDRESS), re.ASCII),
}
"""What is looked for, the most telling first."""
_STACK_KEYS: Final = frozenset({"stack", "stacktrace", "backtrace", "traceback", "exceptionstack"})
_TRACE_KEYS: Final = frozenset({"trace", "exception", "debug", "debuginfo"})
"""Keys that also have innocent uses: only lists, objects and several lines below them count."""
_TELLING: Final = ("x-powered-by", "x-aspnet-version", "x-aspnetmvc-version", "x-generator", "x-runtime")
_VERSION: Final = re.compile(r"[A-Za-z][\w.-]*/\d")
_PUBLIC: Final = frozenset(
    {
        "access-control-allow-origin",
        "alt-svc",
        "content-security-policy",
        "content-security-policy-report-only",
        "link",
        "location",
        "nel",
        "report-to",
        "set-cookie",
    }
)
"""Headers that hold addresses and paths for a browser, by design."""
_LINKS: Final = re.compile(r"\b(?:href|src|action)\s*=\s*(?:\"[^\"]{0,2000}\"|'[^']{0,2000}')", re.IGNORECASE)


def leaks(body: bytes, headers: Iterable[tuple[str, str]], sent: Iterable[str] = ()) -> tuple[Leak, ...]:
    """Return what an answer gives away, at most one of each kind, the most telling first.

    `sent` are pieces of the request, and of our own address, that an answer may echo.
    """
    text = body[:SEARCHED].decode("utf-8", "replace")
    document = _document(body)
    found = dict(_keys(document)) if document is not None else {}
    for piece in _pieces(text, document, headers):
        without = unechoed(piece, sent)
        for kind, pattern in KINDS.items():
            match = pattern.search(without) if kind not in found else None
            if match is not None:
                found[kind] = Leak(kind, _excerpt(without, match))
    order = ["a stack trace", *KINDS]
    return tuple(sorted(found.values(), key=lambda leak: order.index(leak.kind)))


def unechoed(text: str, sent: Iterable[str]) -> str:
    """Take out of a text what it only says after us; a mark takes its place, so that nothing joins up."""
    for piece in sorted({piece for piece in sent if len(piece) >= ECHO_LEAST}, key=len, reverse=True):
        text = text.replace(piece, "\u2026")
    return text


def telling_headers(headers: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """Return the headers that name what runs behind an answer, and its version: worth removing, no fault."""
    return tuple(
        f"{name}: {clean(value)[:EXCERPT]}"
        for name, value in headers
        if name in _TELLING or (name == "server" and _VERSION.search(value))
    )


def _pieces(text: str, document: Any, headers: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Give the texts to look in: those of its JSON, the body (read as HTML where it may be), the headers."""
    if document is not None:
        yield "\n".join(_texts(document))
    if "<" in text:
        bare = _LINKS.sub(" ", re.sub(r"<br\s*/?>", "\n", text))
        yield html.unescape(bare).replace("\xa0", " ")
    else:
        yield text
    yield "\n".join(value for name, value in headers if name not in _PUBLIC)


def _document(body: bytes) -> Any:
    try:
        return load(body)
    except NoReading:
        return None


def _texts(value: Any, depth: int = 0) -> Iterator[str]:
    """Give every text in a JSON value, decoded."""
    if isinstance(value, str):
        yield value[:SEARCHED]
    elif depth < DEEPEST and isinstance(value, list | dict):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner, depth + 1)


def _keys(value: Any, depth: int = 0) -> Iterator[tuple[str, Leak]]:
    """Find JSON keys that hold a stack, wherever they are."""
    if depth >= DEEPEST or not isinstance(value, list | dict):
        return
    if isinstance(value, list):
        for inner in value:
            yield from _keys(inner, depth + 1)
        return
    for key, inner in value.items():
        name = re.sub(r"[^a-z]", "", key.lower())
        several = isinstance(inner, list | dict) or (isinstance(inner, str) and "\n" in inner.strip())
        if inner and (name in _STACK_KEYS or (name in _TRACE_KEYS and several)):
            shown = inner if isinstance(inner, str) else _first_text(inner)
            yield "a stack trace", Leak("a stack trace", f'"{clean(key)[:20]}": {_short(shown)}')
            return
        yield from _keys(inner, depth + 1)


def _first_text(value: Any) -> str:
    return next(_texts(value), "...")


def _excerpt(text: str, match: re.Match[str]) -> str:
    """Quote what matched, with a little of what comes before it on its line."""
    start = max(match.start() - 20, text.rfind("\n", 0, match.start()) + 1)
    return _short(text[start : match.end()])


def _short(text: str) -> str:
    shown = clean(text)
    return shown if len(shown) <= EXCERPT else f"{shown[:EXCERPT]}..."


def pieces_of(*values: object) -> Sequence[str]:
    """Return the texts of a request that an answer may echo: texts as they are, and all those within JSON."""
    found: list[str] = []
    for value in values:
        found += _texts(value)
    return found
