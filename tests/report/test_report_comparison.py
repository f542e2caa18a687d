"""A comparison for people: the table on a terminal and in a log, and Markdown."""

from __future__ import annotations

from typing import Any

from loadgate.report.calibration import render as render_calibration
from loadgate.report.comparison import MOST_ROWS, markdown, render
from loadgate.report.html.compare import MOST_ROWS as MOST_ON_PAGE
from loadgate.report.html.compare import compared

PASSED: dict[str, Any] = {
    "endpoint": "emotion",
    "statistic": "p95",
    "unit": "ms",
    "baseline": 27.0683,
    "candidate": 26.527,
    "change": -0.02,
    "infinite": False,
    "interval": [-0.056, 0.017],
    "floor": 0.05,
    "verdict": "PASS",
    "reason": "27.0683ms to 26.527ms (-2%), within the floor of 5%; it may be worse by up to 1.7%",
}
FAILED = PASSED | {
    "statistic": "p99",
    "candidate": 35.199,
    "change": 0.3004,
    "interval": [0.253, 0.35],
    "verdict": "FAIL",
    "reason": "27.0683ms to 35.199ms (+30.04%), and +31% in the confirming rerun",
}
ERRORS = PASSED | {
    "statistic": "error_rate",
    "unit": "%",
    "baseline": 0.0,
    "candidate": 3.0,
    "change": 0.03,
    "interval": [0.0183, 0.0417],
    "floor": 0.001,
    "verdict": "INCONCLUSIVE",
    "reason": "0% to 3% (+3 points): awaits its confirming rerun",
}
ENDLESS = PASSED | {
    "statistic": "mean",
    "candidate": None,
    "change": None,
    "infinite": True,
    "interval": [None, None],
    "verdict": "WARN",
    "reason": "27ms to infinite",
}
MISSING = PASSED | {
    "endpoint": "creative",
    "statistic": "requests",
    "unit": "",
    "baseline": None,
    "candidate": None,
    "change": None,
    "interval": None,
    "floor": None,
    "verdict": "INVALID",
    "reason": "creative had no request in 1 of 1 candidate runs",
}


def content(*rows: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Return a comparison of these rows."""
    return {
        "how": "stored",
        "baseline": "main@2",
        "candidate": "load-1",
        "baseline_runs": ["a", "b"],
        "candidate_runs": ["load-1"],
        "confirming_runs": [],
        "verdict": "FAIL",
        "reasons": [
            f"{row['verdict']} {row['endpoint']} {row['statistic']}: {row['reason']}" for row in rows
        ],
        "rows": list(rows),
        "differences": [],
        "notes": [],
        "facts": {"baseline": None, "calibration": None},
        **changes,
    }


def lines(given: dict[str, Any], width: int | None = None) -> list[str]:
    """Render a comparison as plain lines."""
    return [line.plain for line in render(given, None, width, {})]


def test_the_table_has_a_row_for_each_statistic() -> None:
    """With both values, the change, its bounds and the floor; under one that did not pass the reason."""
    assert lines(content(PASSED, FAILED)) == [
        "FAIL  load-1 against main@2 (stored)",
        "",
        "RESULT  ENDPOINT  STATISTIC   BASELINE  CANDIDATE  CHANGE        95% BOUNDS  FLOOR",
        "PASS    emotion   p95        27.0683ms   26.527ms   -2.0%    -5.6% .. +1.7%   5.0%",
        "FAIL    emotion   p99        27.0683ms   35.199ms  +30.0%  +25.3% .. +35.0%   5.0%",
        "    27.0683ms to 35.199ms (+30.04%), and +31% in the confirming rerun",
        "",
        "baseline: 2 runs (a, b)",
        "candidate: 1 run (load-1)",
    ]


def test_error_rates_change_by_points() -> None:
    """3 % from nothing is no percentage."""
    row = next(line for line in lines(content(ERRORS)) if "error_rate" in line)
    assert row.split()[3:] == ["0%", "3%", "+3.00", "pt", "+1.83", "pt", "..", "+4.17", "pt", "0.10", "pt"]


def test_what_has_no_number_says_so() -> None:
    """Infinite, or nothing at all; never an empty cell or a zero."""
    shown = lines(content(ENDLESS, MISSING))
    assert "infinite" in next(line for line in shown if line.startswith("WARN"))
    assert next(line for line in shown if line.startswith("INVALID")).split()[3:] == ["-"] * 5


def test_a_narrow_terminal_gets_short_rows() -> None:
    """Nothing is wider than the terminal."""
    shown = lines(content(PASSED, FAILED), 60)
    assert max(map(len, shown)) <= 60
    assert "FAIL  emotion p99  +30.0%" in shown


def test_what_has_to_be_known_is_told() -> None:
    """What was overruled, the age of the baseline, and that it was promoted by force."""
    facts = {
        "baseline": {"name": "main", "generation": 2, "age": 90061.0, "forced": ["x ended FAIL"]},
        "calibration": {"file": "gate-1.json"},
    }
    unlike = [{"what": "workers", "baseline": "1", "candidate": "2"}]
    shown = lines(content(PASSED, facts=facts, differences=unlike, notes=["p99 is not compared"]))
    assert shown[5:9] == [
        "note: unlike, and compared by force: workers: 1 in the baseline, 2 in the candidate",
        "note: baseline main@2, 1d1h1m1s old, promoted by force (x ended FAIL)",
        "note: this machine's noise: gate-1.json",
        "note: p99 is not compared",
    ]


def test_markdown_is_a_table_with_the_worst_first() -> None:
    """The reasons of what did not pass are folded away below it."""
    assert markdown(content(PASSED, FAILED)).splitlines() == [
        "### FAIL: load-1 against main@<!-- -->2 (stored)",
        "",
        "",
        "| result | row | baseline | candidate | change | 95% bounds | floor |",
        "|---|---|---:|---:|---:|---:|---:|",
        "| FAIL | emotion p99 | 27.0683ms | 35.199ms | +30.0% | +25.3% .. +35.0% | 5.0% |",
        "| PASS | emotion p95 | 27.0683ms | 26.527ms | -2.0% | -5.6% .. +1.7% | 5.0% |",
        "",
        "<details><summary>why</summary>",
        "",
        "- FAIL emotion p99: 27.0683ms to 35.199ms (+30.04%), and +31% in the confirming rerun",
        "",
        "</details>",
    ]


def test_markdown_takes_names_as_text() -> None:
    """A name cannot end a cell, or bring markup or lines of its own."""
    odd = FAILED | {"endpoint": "a|b<img>\n*c*"}
    row = next(line for line in markdown(content(odd)).splitlines() if line.startswith("| FAIL"))
    assert "a\\|b\\<img\\> \\*c\\*" in row
    assert row.replace("\\|", "").count("|") == 8


def test_markdown_of_many_rows_is_cut() -> None:
    """Those that pass go first, and it says how many."""
    rows = [PASSED | {"endpoint": f"e{n}"} for n in range(60)]
    text = markdown(content(*rows, FAILED))
    assert "and 21 more rows, none of them worse" in text
    assert text.count("\n| PASS") == 39
    assert "| FAIL | emotion p99" in text


def rows(number: int, **changes: Any) -> list[dict[str, Any]]:
    """Return so many rows that differ in their endpoint."""
    return [PASSED | {"endpoint": f"e{n}"} | changes for n in range(number)]


def test_a_page_of_two_runs_cuts_no_failed_row_for_a_warning() -> None:
    """After 200 warnings the failed row still comes first, and the cut warning and pass are counted."""
    warned = rows(MOST_ON_PAGE, verdict="WARN")
    found = compared(content(*warned, *rows(1), FAILED))
    assert [row.verdict for row in found.rows[:2]] == ["FAIL", "WARN"]
    assert found.more == "and 2 more rows: 1 WARN, 1 PASS"


def test_a_page_of_two_runs_says_none_worse_only_where_that_is_so() -> None:
    """Of 201 failed rows the one that is cut is worse; of 201 that pass it is not."""
    failed = compared(content(*rows(MOST_ON_PAGE + 1, verdict="FAIL")))
    assert failed.more == "and 1 more row: 1 FAIL"
    assert compared(content(*rows(MOST_ON_PAGE + 1))).more == "and 1 more row, none of them worse"


def test_markdown_of_a_comparison_tells_failed_rows_that_it_cuts() -> None:
    """In the table, and in the reasons below it."""
    lines = markdown(content(*rows(MOST_ROWS + 2, verdict="FAIL"), *rows(3))).splitlines()
    assert "and 5 more rows: 2 FAIL, 3 PASS" in lines
    assert "- and 2 more rows: 2 FAIL" in lines


def test_a_calibration_says_the_noise_and_the_way() -> None:
    """Standard deviations as shares, then the comparison that is long enough."""
    noise = {"total": 0.05, "within": 0.03, "between": 0.04, "floor": 0.0707, "df": 5, "seconds": 60.0}
    given = {
        "scenario": "gate",
        "runs": ["a"] * 6,
        "seconds": 60.0,
        "noise": {"emotion": {"p95": noise, "error_rate": noise | {"within": None, "total": 0.001}}},
        "detects": {"statistic": "p95", "change": 0.2, "probability": 0.95},
        "recommended": {
            "emotion": {"interleave": {"blocks": 8, "seconds": 15.0}, "stored": None, "reason": ""},
            "creative": {"interleave": None, "stored": None, "reason": "use a quieter machine"},
        },
        "interleave": None,
    }
    shown = list(render_calibration(given))
    assert shown[0] == "gate: noise of 6 runs of 1m steady load"
    assert shown[3].split() == ["emotion", "p95", "4.08%", "3.05%", "5.13%", "7.33%"]
    assert shown[4].split()[2:] == ["4.000", "pt", "-", "0.100", "pt", "7.070", "pt"]
    assert shown[6:] == [
        "to detect +20% in a p95 with 95% probability:",
        "  emotion: 8 interleaved blocks of 15s (8m of load); or no number of baseline runs is enough",
        "  creative: use a quieter machine",
    ]
