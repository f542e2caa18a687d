"""Read the texts of a corpus from a file, strictly: every problem is named with its line."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from loadgate.errors import UsageError

PROBLEMS_SHOWN = 50
"""At most so many problems of a file are spelt out; the rest are counted."""


class Text(NamedTuple):
    """One text of a corpus, and its language ("en", "de", ...; "" where the file names none)."""

    text: str
    language: str


def read(path: Path, field: str = "text") -> tuple[Text, ...]:
    """Read the texts of a `.jsonl`, `.csv` or `.txt` file.

    Raise `UsageError` that names every problem with its line: a line that is blank, not UTF-8 or not of the
    format, a missing field, a value that is no string or empty, and a text that an earlier line has too.
    """
    readers = {".jsonl": _jsonl, ".ndjson": _jsonl, ".csv": _csv, ".txt": _txt}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise UsageError(
            f"{path} is of no kind that a corpus can be read from",
            hint="name it .jsonl (one object a line), .csv (with a header) or .txt (one text a line)",
        )
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror or error}",
            hint="a relative path starts at the folder of the file that declares the corpus",
        ) from error
    return checked(reader(_decoded(data, path), field), str(path))


_Row = tuple[str, Any, str]
"""Where a text stands ("line 7"), its value, and its language; a value of type `_Problem` is none."""


class _Problem(str):
    """What is wrong with a line, in the place of its text."""

    __slots__ = ()


def _decoded(data: bytes, path: Path) -> str:
    """Decode UTF-8 (with or without a byte order mark); name every line that is not."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        # No byte of a longer UTF-8 character is a line feed, so lines can be tried one by one.
        wrong = []
        for number, line in enumerate(data.split(b"\n"), 1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                wrong.append(f"line {number}: not UTF-8 ({error.reason})")
        raise unusable(str(path), wrong, "save the file as UTF-8") from None


def _lines(content: str) -> Iterator[tuple[int, str]]:
    """Yield number and text of each line; only line feeds part lines, as U+2028 may stand in a text."""
    lines = content.split("\n")
    if lines[-1] == "":
        lines.pop()
    for number, line in enumerate(lines, 1):
        yield number, line.removesuffix("\r")


def _jsonl(content: str, field: str) -> Iterator[_Row]:
    for number, line in _lines(content):
        place = f"line {number}"
        if not line.strip():
            yield place, _Problem("blank"), ""
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield place, _Problem(f"not JSON ({error})"), ""
            continue
        if not isinstance(value, dict):
            yield place, _Problem("not a JSON object"), ""
        elif field not in value:
            yield place, _Problem(f'no field "{field}"'), ""
        elif not isinstance(value.get("language", ""), str):
            yield place, _Problem('"language" is not a string'), ""
        else:
            yield place, value[field], value.get("language", "")


def _csv(content: str, field: str) -> Iterator[_Row]:
    rows = csv.reader(io.StringIO(content, newline=""), strict=True)
    number = 1
    header: list[str] | None = None
    try:
        for row in rows:
            place, number = f"line {number}", rows.line_num + 1  # a quoted cell may span lines
            if header is None:
                header = row
                if header.count(field) != 1:
                    yield (
                        place,
                        _Problem(f'the header has the column "{field}" {header.count(field)} times'),
                        "",
                    )
                    return
            elif len(row) != len(header):
                problem = f"{len(row)} cells under a header of {len(header)}" if row else "blank"
                yield place, _Problem(problem), ""
            else:
                language = row[header.index("language")] if "language" in header else ""
                yield place, row[header.index(field)], language
    except csv.Error as error:
        yield f"line {number}", _Problem(f"not CSV ({error})"), ""


def _txt(content: str, field: str) -> Iterator[_Row]:  # noqa: ARG001 - the readers share one signature
    for number, line in _lines(content):
        yield f"line {number}", line if line.strip() else _Problem("blank"), ""


def checked(rows: Iterable[_Row], source: str) -> tuple[Text, ...]:
    """Return the texts of the rows; raise `UsageError` with all problems when there are any."""
    texts: list[Text] = []
    problems: list[str] = []
    first: dict[str, str] = {}
    for place, value, language in rows:
        problem = _fault(value) or (f"the same text as {first[value]}" if value in first else "")
        if problem:
            problems.append(f"{place}: {problem}")
            continue
        first[value] = place
        texts.append(Text(value, language))
    if problems:
        raise unusable(source, problems, "mend these lines: each text is a string unlike all others")
    if not texts:
        raise unusable(source, ["it holds no text"], "give at least one text")
    return tuple(texts)


def _fault(value: object) -> str:
    """Say what keeps a value from being a text, "" when nothing does."""
    if isinstance(value, _Problem):
        return str(value)
    if not isinstance(value, str):
        return f"the text is not a string but {'null' if value is None else type(value).__name__}"
    if not value.strip():
        return "the text is empty"
    try:
        value.encode()
    except UnicodeEncodeError:
        return "the text holds half of a surrogate pair, which UTF-8 cannot say"
    return ""


def unusable(source: str, problems: list[str], hint: str) -> UsageError:
    """Make the error that names what is wrong with a corpus, up to `PROBLEMS_SHOWN` of it."""
    shown = problems[:PROBLEMS_SHOWN]
    more = len(problems) - len(shown)
    listed = "; ".join(shown) + (f"; and {more} more" if more else "")
    return UsageError(f"{source} cannot be used as a corpus: {listed}", hint=hint)
