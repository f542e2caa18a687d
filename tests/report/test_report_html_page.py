"""The page of a run: what it says, that nothing in it can run, and that a run in any state has one."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import loadgate.report.html.page as page_module
from loadgate.errors import UsageError
from loadgate.judge.gather import gather
from loadgate.judge.verdict import judge, write
from loadgate.measure.delta import Delta, Failure
from loadgate.report.html.collect import RunData, collect, common_extent
from loadgate.report.html.compare import compared, render_two
from loadgate.report.html.fleet import FleetParts
from loadgate.report.html.frame import frame_of
from loadgate.report.html.marks import marks_left_out, marks_of
from loadgate.report.html.page import library_file, render, script_json
from loadgate.report.html.report import render_run, write_report
from loadgate.report.html.summary import objective_of, summary_of
from loadgate.report.html.timeline import Span
from loadgate.report.html.view import happenings_table
from loadgate.store.annotations import Annotation
from loadgate.store.database import open_writer
from loadgate.store.folder import RunFolder, create_run
from report_runs import RATE, SCRIPT, START, make, window

MOST_BYTES = 3 * 2**20


class Page(HTMLParser):
    """What a browser would make of a page: its text, its elements, what it asks the network for."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._said: list[tuple[str, str]] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "img", "br", "rect", "path"):
            self._open.append(tag)

    def handle_endtag(self, tag) -> None:
        if tag in self._open:
            while self._open.pop() != tag:
                pass

    def handle_data(self, data) -> None:
        self._said.append((self._open[-1] if self._open else "", data))

    def inside(self, kind: str) -> str:
        """Return the text of all elements of a kind."""
        return "".join(text for own, text in self._said if own == kind)

    @property
    def words(self) -> str:
        """All that a reader sees."""
        told = " ".join(text for own, text in self._said if own not in ("script", "style"))
        return " ".join(told.split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """Return the attributes of every element of a kind."""
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, RunFolder]:
    """A run that passes, one that fails, and one that is void; no test changes them."""
    root = tmp_path_factory.mktemp("results")
    return {
        "PASS": make(root, "good"),
        "FAIL": make(root, "bad", failing=True, minute=1),
        "INVALID": make(root, "void", invalid=True, minute=2),
    }


@pytest.fixture(scope="module")
def pages(runs) -> dict[str, str]:
    """Their pages."""
    return {name: render_run(collect(run)) for name, run in runs.items()}


def data_of(text: str) -> dict:
    """Return what the charts of a page are drawn from."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


# ---- what it says


@pytest.mark.parametrize("verdict", ["PASS", "FAIL", "INVALID"])
def test_the_first_screen_has_every_row_of_the_verdict(runs, pages, verdict) -> None:
    """With the verdict's own words for value, target, alert and samples."""
    content = json.loads(runs[verdict].verdict_path(1).read_bytes())
    assert content["verdict"] == verdict
    words = Page(pages[verdict]).words
    assert words.index(verdict) < words.index("Objective")
    for row in content["objectives"]:
        for said in (row["name"], row["value_text"], row["target"], row["alert"], str(row["n"])):
            assert said in words
        if row["verdict"] != "PASS":
            assert " ".join(row["reason"].split()) in words


def test_a_void_run_says_that_its_rows_say_nothing(pages) -> None:
    """A green row of a void run must not be taken for a good target."""
    assert "The run is void: these rows say nothing about the target." in Page(pages["INVALID"]).words
    assert 'class="objectives voided"' in pages["INVALID"]
    assert "these rows say nothing" not in Page(pages["PASS"]).words


def test_a_row_of_the_table_is_as_the_console_has_it() -> None:
    """Worked out by hand from a row of verdict.json."""
    row = {
        "name": "emotion.response_time",
        "statistic": "p95",
        "value": 48.0,
        "value_text": "48ms",
        "infinite": False,
        "unit": "ms",
        "target": "< 50ms",
        "target_value": 50.0,
        "alert": "> 200ms",
        "alert_value": 200.0,
        "n": 1000,
        "interval": [45.0, 49.0],
        "worst_window": None,
        "time_in_violation": 0.0,
        "optional": True,
        "notes": [],
        "verdict": "PASS",
        "reason": "holds",
    }
    found = objective_of(row)
    assert (found.name, found.value, found.interval, found.samples) == (
        "emotion.response_time p95 (optional)",
        "48ms",
        "45 .. 49ms",
        "1000",
    )
    assert found.details == ()
    assert found.bar is not None
    assert found.bar.words == "48ms; target < 50ms, alert > 200ms"


def test_the_summary_reads_as_the_golden_file(runs, data) -> None:
    """The first screen of the run that fails, with a fixed clock, as text."""
    summary = summary_of(collect(runs["FAIL"]))
    lines = [f"{summary.symbol} {summary.verdict}  {summary.scenario}  {summary.run}", *summary.reasons]
    lines += [f"{label}: {text}" for label, text in summary.facts]
    for row in summary.objectives:
        lines.append(
            " | ".join((row.verdict, row.name, row.value, row.target, row.alert, row.interval, row.samples))
        )
        lines += [f"  {detail}" for detail in row.details]
    assert "\n".join(lines) + "\n" == (data / "report-html-fail.txt").read_text(encoding="utf-8")


def test_charts_hold_what_was_measured(runs, pages) -> None:
    """Offered and ok of every second, and the failures of the 15 s in which the target failed."""
    charts = {chart["id"]: chart for chart in data_of(pages["FAIL"])["charts"]}
    rate = {line["name"]: line["values"] for line in charts["rate"]["lines"]}
    assert rate["offered"] == [100.0] * 65
    assert [second for second, ok in enumerate(rate["ok"]) if ok == 60.0] == list(range(32, 47))
    (failed,) = charts["failures"]["lines"]
    assert sum(failed["values"]) == 600
    titles = [chart["title"] for chart in charts.values() if chart["id"].startswith("latency")]
    assert titles == ["All endpoints", "emotion", "reasoning", "creative"]
    emotion = charts["latency-1"]
    assert emotion["lines"][0]["infinite"] == list(range(32, 47))


def many_notes() -> RunData:
    """Return a run of 450 annotations, an alert that fired after them, and a silence at its end."""
    return RunData(
        "r",
        fleet=FleetParts(frame_of(0, 1000), (), (Span(900, 1000),)),
        alerts=({"rule": "down", "severity": "high", "fired_at": 800.0, "resolved_at": 810.0, "text": "x"},),
        annotations=tuple(Annotation(float(n), "", "note", f"n{n}") for n in range(450)),
    )


def test_alerts_and_gaps_are_drawn_before_annotations() -> None:
    """400 marks are drawn: the two that came last among them, and the number of the others is told."""
    marks = marks_of(many_notes())
    assert [mark.kind for mark in marks[-2:]] == ["alert", "gap"]
    assert [mark.start for mark in marks[:3]] == [0.0, 1.0, 2.0]
    assert len(marks) == 400
    assert marks_left_out(many_notes()) == "not drawn in the charts: 52 notes"
    words = Page(render_run(many_notes())).words
    assert "not drawn in the charts: 52 notes" in words


def test_alerts_and_gaps_are_listed_before_annotations() -> None:
    """Of 452 entries 200 are listed, in order of time, the alert and the silence among them."""
    table = happenings_table(many_notes())
    assert table is not None
    assert ([row[1] for row in table.rows[-2:]], len(table.rows)) == (["alert", "gap"], 200)
    assert table.more == "and 252 more entries"


def test_marks_are_phases_alerts_gaps_and_annotations(pages) -> None:
    """With their times; the alert of the failing run, and the silence of the void one."""
    marks = data_of(pages["FAIL"])["marks"]
    assert [(mark["text"], mark["start"], mark["end"]) for mark in marks if mark["kind"] == "phase"] == [
        ("ramp", 0, 5),
        ("steady", 5, 65),
    ]
    assert [(mark["start"], mark["end"]) for mark in marks if mark["kind"] == "alert"] == [(37.5, 57.5)]
    assert [mark["start"] for mark in marks if mark["kind"] == "note"] == [19.5, 29.25]
    gaps = [mark for mark in data_of(pages["INVALID"])["marks"] if mark["kind"] == "gap"]
    assert [(mark["start"], mark["end"]) for mark in gaps] == [(32, 40)]


# ---- safe, and all in one file


@pytest.mark.parametrize("verdict", ["PASS", "FAIL", "INVALID"])
def test_a_page_asks_nobody_for_anything(pages, verdict) -> None:
    """No source, no link out, no import; and its policy forbids what was overlooked. Under 3 MB."""
    page = Page(pages[verdict])
    assert [one for tag, one in page.tags if "src" in one or "srcset" in one or "action" in one] == []
    assert all(str(one["href"]).startswith("#") for one in page.all("a"))
    assert [one["href"] for one in page.all("link")] == ["data:,"]
    assert "@import" not in page.inside("style")
    assert not re.search(r"url\(", page.inside("style"))
    policy = next(one["content"] for one in page.all("meta") if one.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert len(pages[verdict].encode()) < MOST_BYTES


def test_the_policy_lets_only_the_page_s_own_script_run(pages) -> None:
    """The hash that it names is that of the one script without a type."""
    scripts = re.findall(r"<script>(.*?)</script>", pages["FAIL"], re.DOTALL)
    assert len(scripts) == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in pages["FAIL"].replace("&#39;", "'")


def test_what_a_target_sent_is_text(pages) -> None:
    """A sample, a kind, a message, an alert and an annotation with tags in them make no element."""
    page = Page(pages["FAIL"])
    assert len(page.all("script")) == 2
    assert page.all("img") == []
    assert [one for tag, one in page.tags if any(key.startswith("on") for key in one)] == []
    assert " ".join(SCRIPT.replace("\u2028", " ").split()) in page.words
    assert "window.hacked" not in page.inside("script").replace("\\u003e", ">").split('"charts"')[0]


def test_json_cannot_end_its_script() -> None:
    """Neither a tag nor a line separator of JavaScript stands in it as it came; it reads back the same."""
    value = {"text": SCRIPT + "\u2029&<!--"}
    written = script_json(value)
    assert not any(char in written for char in "<>&\u2028\u2029")
    assert json.loads(written) == value


def test_a_missing_chart_library_is_told_with_the_remedy(monkeypatch) -> None:
    """Instead of a page whose charts are blank."""
    page_module.library_file.cache_clear()
    page_module._charts.cache_clear()
    monkeypatch.setattr(page_module, "LIBRARY", "uplot-python-that-is-not-there")
    try:
        with pytest.raises(UsageError) as told:
            render("run.html", {})
    finally:
        page_module.library_file.cache_clear()
        page_module._charts.cache_clear()
    assert told.value.hint == "install it: pip install uplot-python-that-is-not-there"


def test_the_policy_names_the_script_of_the_page() -> None:
    """By its hash, so that no other can run."""
    page = render("compare.html", {"charts": []}, **nothing_compared())
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src" in page.replace("&#39;", "'")


def test_a_script_that_would_end_its_element_is_refused(monkeypatch) -> None:
    """Whatever it is."""
    monkeypatch.setattr(page_module, "_charts", lambda: "'</SCRIPT>'")
    with pytest.raises(UsageError, match="cannot be embedded"):
        render("compare.html", {"charts": []}, **nothing_compared())


def nothing_compared() -> dict:
    """Return what the page of two runs shows when there is nothing to show."""
    empty = {"sides": [], "spectra": [], "over_time": [], "latencies": [], "environments": []}
    return {"compared": compared(None, "nothing"), "more_marks": "", **empty}


def test_the_chart_library_keeps_its_licence(pages) -> None:
    """Its notice is in the page, as its licence asks."""
    assert "MIT Licensed" in library_file("uPlot.iife.js")
    assert "Leon Sorokin" in pages["PASS"]


# ---- runs in any state


def test_a_run_without_a_verdict_says_so_in_its_place(tmp_path) -> None:
    """And how to make one; what was measured is drawn all the same."""
    page = render_run(collect(make(tmp_path, judged=False, with_watch=False)))
    words = Page(page).words
    assert "? NO VERDICT" in words
    assert "judge it: loadgate verdict gate-20260105-080000" in words
    assert "no control room watched this run" in words
    assert any(chart["id"] == "latency-0" for chart in data_of(page)["charts"])


def test_an_empty_run_has_a_page(tmp_path) -> None:
    """It says that nothing was measured, and draws nothing."""
    page = render_run(collect(create_run(tmp_path, "empty", START)))
    assert "nothing was measured: the run database holds no window" in Page(page).words
    assert data_of(page)["charts"] == []


def test_a_run_of_the_first_version_has_a_page(tmp_path) -> None:
    """Its database is read through a copy that is brought up to date; the original stays as it was."""
    old = tmp_path / "old"
    shutil.copytree(Path(__file__).parents[1] / "data" / "run-v1", old)
    before = (old / "run.db").read_bytes()
    page = render_run(collect(RunFolder(old)))
    assert any(chart["id"].startswith("latency") for chart in data_of(page)["charts"])
    assert (old / "run.db").read_bytes() == before


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('{"schema_version": 1', "cannot be read"),
        ("[]", "is no verdict of version 1"),
        ('{"schema_version": 99}', "is no verdict of version 1"),
    ],
)
def test_a_damaged_verdict_is_never_shown(tmp_path, content, told) -> None:
    """The page says why, and has no verdict."""
    run = make(tmp_path, ramp=1, steady=5)
    run.verdict_path(1).write_text(content)
    words = Page(render_run(collect(run))).words
    assert "? NO VERDICT" in words
    assert told in words


def test_a_verdict_that_is_damaged_in_its_depth_is_never_shown_in_part(tmp_path) -> None:
    """One row without its keys: the page has no verdict at all, and says what is damaged."""
    run = make(tmp_path, ramp=1, steady=5)
    content = json.loads(run.verdict_path(1).read_bytes())
    content["objectives"] = [{"verdict": "PASS"}]
    run.verdict_path(1).write_text(json.dumps(content))
    words = Page(render_run(collect(run))).words
    assert "? NO VERDICT" in words
    assert "PASS" not in words
    assert "verdict.json is damaged" in words


@pytest.mark.parametrize(
    "damaged", [3, "none", ["an alert"], [None], [{"rule": "down"}], [{"fired_at": "noon"}]]
)
def test_damaged_alerts_of_a_verdict_end_no_report(runs, tmp_path, damaged) -> None:
    """Neither of one run nor of two: what was measured is drawn, and what is damaged is told."""
    run = RunFolder(tmp_path / runs["PASS"].id)
    shutil.copytree(runs["PASS"].path, run.path)
    content = json.loads(run.verdict_path(1).read_bytes()) | {"alerts": damaged}
    run.verdict_path(1).write_text(json.dumps(content))
    data = collect(run)
    for page in (render_run(data), render_two(collect(runs["FAIL"]), data, None, "not alike")):
        assert any(chart["id"].startswith("spectrum") for chart in data_of(page)["charts"])
        assert re.search(r"no alerts to show|nor its alerts", Page(page).words)


def test_a_damaged_verdict_costs_no_chart(runs, tmp_path) -> None:
    """Its books are gone: the verdict is blamed and left out, what was measured is drawn all the same."""
    run = RunFolder(tmp_path / runs["PASS"].id)
    shutil.copytree(runs["PASS"].path, run.path)
    content = json.loads(run.verdict_path(1).read_bytes()) | {"books": {}}
    run.verdict_path(1).write_text(json.dumps(content))
    page = render_run(collect(run))
    whole = render_run(collect(runs["PASS"]))
    names = [{chart["id"] for chart in data_of(text)["charts"]} for text in (page, whole)]
    assert names[0] == names[1]
    words = Page(page).words
    assert "verdict.json is damaged" in words
    assert "nothing that was measured" not in words


def test_what_is_damaged_is_left_out_and_told(tmp_path) -> None:
    """Pages of run.db in the middle: the seconds in them are missing and marked, the others are drawn."""
    run = make(tmp_path)
    raw = bytearray(run.database.read_bytes())
    middle = len(raw) // 2
    raw[middle : middle + 40_000] = bytes(40_000)
    run.database.write_bytes(raw)
    page = render_run(collect(run))
    assert re.search(r"what was measured from \S+ to \S+.* cannot be read", Page(page).words)
    found = data_of(page)
    assert any(mark["text"] == "what was measured here cannot be read" for mark in found["marks"])
    latency = next(chart for chart in found["charts"] if chart["id"] == "latency-0")
    assert any(value is not None for value in latency["lines"][0]["values"])


@pytest.mark.parametrize("name", ["run.db", "watch.db"])
def test_a_file_that_is_no_database_is_told(tmp_path, name) -> None:
    """The rest of the page stands."""
    run = make(tmp_path, ramp=1, steady=5)
    (run.path / name).write_bytes(b"no database at all")
    words = Page(render_run(collect(run))).words
    assert f"{name}: it is not a database" in words
    assert "objective" in words


def test_many_endpoints_and_kinds_of_failure_make_a_bounded_page(tmp_path) -> None:
    """Texts of 50 kB each are cut, twelve endpoints are drawn, and the page stays under 3 MB."""
    run = create_run(tmp_path, "many", START)
    window_of = window(0, "emotion", np.random.default_rng(1))
    windows = []
    for number in range(1000):
        own = window_of.copy()
        own.endpoint = f"end-{number}-{SCRIPT}"
        windows.append(own)
    failures = [
        Failure(
            f"end-{number}", "failed", f"kind {number}{'k' * 3000}", SCRIPT * 200, 5, 1.0, 9.0, ["x" * 50_000]
        )
        for number in range(1000)
    ]
    with open_writer(run.database) as writer:
        values = {
            "id": run.id,
            "anchor": {"monotonic": 0.0, "wall": 1.7e9, "boot_id": ""},
            "ended": "planned",
        }
        writer.commit([Delta(run.id, "w1", 0, 1, windows, failures)], run_values=values)
    write(run, judge(gather(run), now=START))
    page = render_run(collect(run))
    assert len(page.encode()) < MOST_BYTES
    assert sum(chart["id"].startswith("latency") for chart in data_of(page)["charts"]) == 13
    shown = Page(page)
    assert "The 12 busiest of 101 endpoints are drawn." in shown.words
    assert "more kinds with" in shown.words
    assert len(shown.all("script")) == 2


def test_the_report_is_written_whole_beside_the_run(runs, tmp_path) -> None:
    """No draft is left, and a second one replaces the first."""
    folder = RunFolder(Path(shutil.copytree(runs["PASS"].path, tmp_path / runs["PASS"].id)))
    before = {path.name for path in folder.path.iterdir()}
    path = write_report(folder)
    assert write_report(folder) == path == folder.path / "report.html"
    assert {path.name for path in folder.path.iterdir()} - before == {"report.html"}
    assert path.read_text(encoding="utf-8").endswith("</html>\n")


# ---- two runs


def test_two_runs_stand_beside_each_other(runs) -> None:
    """Both verdicts, and charts that lay one over the other in the same parts."""
    both = [runs["PASS"], runs["FAIL"]]
    extent = common_extent(*both)
    assert extent == (0, 65, 1)
    page = render_two(*(collect(run, extent) for run in both), None, "they are not alike <script>")
    words = Page(page).words
    assert "NOT COMPARED" in words
    assert "they are not alike <script>" in words
    assert "good-20260105-080000" in words
    charts = {chart["id"]: chart for chart in data_of(page)["charts"]}
    assert [line["name"] for line in charts["spectrum-0"]["lines"]] == ["baseline", "candidate"]
    assert charts["rate"]["lines"][0]["values"] == [100.0] * 65


def test_a_page_of_two_runs_tells_the_objectives_that_it_cuts(runs) -> None:
    """Of 201 objectives one that passes is left out beside the failed one, and the page says so."""
    data = collect(runs["PASS"])
    assert data.verdict is not None
    row = data.verdict["objectives"][0]
    rows = [row] * 200 + [row | {"verdict": "FAIL"}]
    many = replace(data, verdict={**data.verdict, "objectives": rows})
    words = Page(render_two(collect(runs["FAIL"]), many, None, "not alike")).words
    assert "and 1 more row: 1 PASS; all are in verdict.json" in words
    assert summary_of(many).objectives[0].verdict == "FAIL"


def test_a_comparison_is_told_in_its_own_words() -> None:
    """The rows that are worse first, each with its change as the console writes it."""
    row = {
        "endpoint": "emotion",
        "unit": "ms",
        "infinite": False,
        "interval": [0.05, 0.15],
        "floor": 0.05,
        "reason": "",
    }
    content = {
        "verdict": "FAIL",
        "candidate": "b",
        "baseline": "a",
        "how": "stored",
        "reasons": [],
        "differences": [],
        "facts": {"baseline": None, "calibration": None},
        "notes": ["a note"],
        "rows": [
            row | {"statistic": "p50", "baseline": 10.0, "candidate": 10.0, "change": 0.0, "verdict": "PASS"},
            row | {"statistic": "p95", "baseline": 20.0, "candidate": 22.0, "change": 0.1, "verdict": "FAIL"},
        ],
    }
    found = compared(content)
    assert (found.title, found.notes) == ("b against a (stored)", ("a note",))
    assert [one.cells for one in found.rows] == [
        ("emotion p95", "20ms", "22ms", "+10.0%", "+5.0% .. +15.0%", "5.0%"),
        ("emotion p50", "10ms", "10ms", "+0.0%", "+5.0% .. +15.0%", "5.0%"),
    ]


def test_nothing_is_drawn_of_runs_that_share_nothing() -> None:
    """Two runs that cannot be read at all still have a page."""
    page = render_two(RunData("a", missing=("gone",)), RunData("b"), None, "there is nothing to compare")
    assert data_of(page)["charts"] == []
    assert "The two runs have no endpoint in common." in Page(page).words


def test_every_endpoint_of_the_made_runs_is_drawn(pages) -> None:
    """So that the tests above look at what they mean to."""
    titles = {chart["title"] for chart in data_of(pages["PASS"])["charts"] if chart["id"].startswith("heat")}
    assert titles == {"All endpoints", *RATE}
