"""A comparison for people: a table on standard output, and Markdown for a pull request.

Both render the content of comparison.json and nothing else.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from rich.text import Text

from loadgate.plan.units import format_duration, format_number, format_rate, format_share
from loadgate.report.cut import left_out, verdict_of, worst_first
from loadgate.report.markup import escaped
from loadgate.report.text import STYLES, clean, columns, console_for, is_terminal, symbols_for, wrapped

HEADINGS: Final = (
    "RESULT",
    "ENDPOINT",
    "STATISTIC",
    "BASELINE",
    "CANDIDATE",
    "CHANGE",
    "95% BOUNDS",
    "FLOOR",
)
RIGHT: Final = (3, 4, 5, 6, 7)
INDENT: Final = "    "
MOST_ROWS: Final = 40
"""Rows of the Markdown table; the best are left out first."""

_SPELLED_TO: Final = 100.0


def print_comparison(content: Mapping[str, Any], path: Path | None) -> None:
    """Print a comparison on stdout; `path` is the file it was written to, None where there is none."""
    console = console_for(sys.stdout)
    terminal = is_terminal(sys.stdout)
    symbols = symbols_for(sys.stdout) if terminal else {}
    for line in render(content, path, console.width if terminal else None, symbols):
        console.print(line)


def render(
    content: Mapping[str, Any], path: Path | None, width: int | None, symbols: Mapping[str, str]
) -> Iterator[Text]:
    """Give the lines; `width` None does not break them, and empty `symbols` sets none."""
    verdict = content["verdict"]
    mark = f"{symbols[verdict]} {verdict}" if verdict in symbols else verdict
    yield Text.assemble((mark, STYLES[verdict]), "  ", (title(content), "bold"))
    for reason in own_reasons(content):
        yield from (Text(line) for line in wrapped(reason, width, "  ", "    "))
    yield Text()
    if content["rows"]:
        yield from _table(content["rows"], width, symbols)
        yield Text()
    yield from _facts(content, path, width)


def markdown(content: Mapping[str, Any]) -> str:
    """Return a comparison as Markdown, ending with a newline."""
    lines = [f"### {content['verdict']}: {escaped(title(content))}", ""]
    lines += [f"- {escaped(reason)}" for reason in own_reasons(content)]
    rows = worst_first(content["rows"], verdict_of)
    if rows:
        lines += ["", "| result | row | baseline | candidate | change | 95% bounds | floor |"]
        lines += ["|---|---|---:|---:|---:|---:|---:|"]
    for row in rows[:MOST_ROWS]:
        name = f"{row['endpoint']} {row['statistic']}"
        written = (row["verdict"], name, *cells(row))
        lines.append(f"| {' | '.join(escaped(cell) for cell in written)} |")
    if len(rows) > MOST_ROWS:
        lines += ["", more_rows(rows[MOST_ROWS:])]
    bad = [row for row in rows if row["verdict"] != "PASS"]
    if bad:
        lines += ["", "<details><summary>why</summary>", ""]
        lines += [f"- {escaped(_reason_of(row))}" for row in bad[:MOST_ROWS]]
        lines += [f"- {more_rows(bad[MOST_ROWS:])}"] if bad[MOST_ROWS:] else []
        lines += ["", "</details>"]
    told = list(notes(content))
    if told:
        lines += ["", *(f"- {escaped(note)}" for note in told)]
    return "\n".join(lines) + "\n"


def more_rows(rows: Sequence[Mapping[str, Any]]) -> str:
    """Say what rows were left out; that none is worse only where all of them pass. "" of none."""
    return left_out([verdict_of(row) for row in rows], passing="none of them worse")


def own_reasons(content: Mapping[str, Any]) -> list[str]:
    """Return the reasons that are not those of a single row."""
    told = {_reason_of(row) for row in content["rows"]}
    return [clean(reason) for reason in content["reasons"] if reason not in told]


def evidence(row: Mapping[str, Any]) -> Iterator[str]:
    """Give the lines that hold a row's change against its floor: one fact each."""
    baseline, candidate, change, bounds, floor = cells(row)
    yield f"baseline: {baseline}"
    yield f"candidate: {candidate}"
    yield f"change: {change}"
    yield f"95% bounds: {bounds}"
    yield f"floor: {floor}"


def row_name(row: Mapping[str, Any]) -> str:
    """Return how people call a row: "emotion p95"."""
    return f"{clean(row['endpoint'])} {row['statistic']}"


def title(content: Mapping[str, Any]) -> str:
    """Say what was compared with what."""
    return f"{clean(content['candidate'])} against {clean(content['baseline'])} ({content['how']})"


def _reason_of(row: Mapping[str, Any]) -> str:
    """Return the reason that the comparison gives for a row."""
    return f"{row['verdict']} {row['endpoint']} {row['statistic']}: {row['reason']}"


def _table(
    rows: Sequence[Mapping[str, Any]], width: int | None, symbols: Mapping[str, str]
) -> Iterator[Text]:
    """Give the rows in columns, with the reason under each that does not pass; stacked where it is narrow."""
    marks = [f"{symbols[row['verdict']]} {row['verdict']}" if symbols else row["verdict"] for row in rows]
    written = [
        (mark, clean(row["endpoint"]), row["statistic"], *cells(row))
        for mark, row in zip(marks, rows, strict=True)
    ]
    heading, *lines = columns([HEADINGS, *written], RIGHT)
    if width is not None and max(map(len, (heading, *lines))) > width:
        lines = [f"{cell[0]}  {cell[1]} {cell[2]}  {cell[5]}" for cell in written]
    else:
        yield Text(heading, style="bold")
    for row, mark, line in zip(rows, marks, lines, strict=True):
        text = Text(line)
        text.stylize(STYLES[row["verdict"]], 0, len(mark))
        yield text
        if row["verdict"] != "PASS":
            yield from (Text(part) for part in wrapped(clean(row["reason"]), width, INDENT, INDENT + "  "))


def cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the baseline, the candidate, the change, its bounds and the floor of a row as texts."""
    bounds = row["interval"]
    endless = row["infinite"]
    known = bounds is not None and not endless
    return (
        _value(row, row["baseline"]),
        _value(row, row["candidate"]),
        "infinite" if endless else _change(row, row["change"]),
        f"{_change(row, bounds[0])} .. {_change(row, bounds[1])}" if known else "-",
        "-" if row["floor"] is None else _change(row, row["floor"]).lstrip("+"),
    )


def _value(row: Mapping[str, Any], value: float | None) -> str:
    if value is None:
        return "-"
    gap = " " if row["unit"].startswith("req") else ""
    return f"{format_number(value)}{gap}{row['unit']}"


def _change(row: Mapping[str, Any], change: float | None) -> str:
    """Write a change as a signed percentage, that of an error rate in points."""
    if change is None:
        return "-"
    if row["statistic"] == "error_rate":
        return f"{change * 100 + 0.0:+.2f} pt"
    return f"{change * 100 + 0.0:+.1f}%" if change < _SPELLED_TO else "over 100 times"


def _facts(content: Mapping[str, Any], path: Path | None, width: int | None) -> Iterator[Text]:
    for note in notes(content):
        yield from (Text(line) for line in wrapped(f"note: {clean(note)}", width, "", "  "))
    for key, what in (
        ("baseline_runs", "baseline"),
        ("candidate_runs", "candidate"),
        ("confirming_runs", "rerun"),
    ):
        runs = content[key]
        if runs:
            named = f"{what}: {len(runs)} run{'s' * (len(runs) > 1)} ({', '.join(map(clean, runs))})"
            yield from (Text(line) for line in wrapped(named, width, "", "  "))
    if path is not None:
        yield Text(f"written to {path}")


def notes(content: Mapping[str, Any]) -> Iterator[str]:
    """Give what a reader has to know: what was overruled, the age of the baseline, and the notes."""
    for difference in content["differences"]:
        yield (
            f"unlike, and compared by force: {difference['what']}: {difference['baseline']} in the baseline, "
            f"{difference['candidate']} in the candidate"
        )
    kept = content["facts"].get("baseline")
    if kept:
        age = format_duration(float(int(kept["age"])))
        forced = f", promoted by force ({'; '.join(kept['forced'])})" if kept["forced"] else ""
        yield f"baseline {kept['name']}@{kept['generation']}, {age} old{forced}"
    calibration = content["facts"].get("calibration")
    if calibration:
        yield f"this machine's noise: {calibration['file']}"
    yield from content["notes"]


# ---- baselines


def print_baselines(rows: Sequence[Mapping[str, Any]], root: Path) -> None:
    """Print a list of baselines on stdout; say on stderr when there are none."""
    if not rows:
        console_for(sys.stderr).print(
            f"no baselines in {clean(root)}: keep runs with `loadgate baseline promote RUN... --name NAME`"
        )
        return
    cells = [
        (
            f"{clean(row['name'])}@{row['generation']}",
            str(len(row["runs"])),
            format_duration(float(int(row["age"]))),
            "by force" if row["forced"] else "-",
        )
        for row in rows
    ]
    for line in columns([("BASELINE", "RUNS", "AGE", "FORCED"), *cells], (1,)):
        console_for(sys.stdout).print(Text(line))


def print_baseline(content: Mapping[str, Any]) -> None:
    """Print one generation of a baseline on stdout: its runs, its values, what is to be known of it."""
    console = console_for(sys.stdout)
    age = format_duration(float(int(content["age"])))
    generations = ", ".join(map(str, content["generations"]))
    console.print(Text(f"{clean(content['name'])}@{content['generation']}", style="bold"))
    console.print(Text(f"promoted {content['made_at']}, {age} ago; generations: {generations}"))
    for reason in content["forced"]:
        console.print(Text(f"by force: {clean(reason)}"))
    for note in content["drift"]:
        console.print(Text(f"drift: {clean(note)}"))
    rows = [(clean(run["run"]), run["verdict"], format_duration(run["seconds"])) for run in content["runs"]]
    for line in columns([("RUN", "VERDICT", "STEADY"), *rows]):
        console.print(Text(line))
    cells = [
        (clean(endpoint), statistic, *_range(statistic, values))
        for endpoint, found in content["values"].items()
        for statistic, values in found.items()
    ]
    for line in columns([("ENDPOINT", "STATISTIC", "LOWEST", "HIGHEST"), *cells], (2, 3)):
        console.print(Text(line))


def _range(statistic: str, values: Sequence[float | None]) -> tuple[str, str]:
    """Return the lowest and the highest of some values (SI) as texts."""
    known = sorted(value for value in values if value is not None)
    if len(known) < len(values) or not known:
        return (_si(statistic, known[0]) if known else "-", "infinite or missing")
    return _si(statistic, known[0]), _si(statistic, known[-1])


def _si(statistic: str, value: float) -> str:
    if statistic == "error_rate":
        return format_share(value)
    return format_rate(value) if statistic == "throughput" else format_duration(value)
