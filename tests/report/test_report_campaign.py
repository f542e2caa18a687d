"""A campaign for people: one page that needs nothing else, Markdown, and the console."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser

import pytest

import loadgate.report.html.page as page_module
from loadgate.exit_codes import ExitCode
from loadgate.judge.campaign import CampaignState, fold
from loadgate.judge.campaign_gather import Found
from loadgate.judge.decision import Decision, Trust, decide
from loadgate.report import campaign as console
from loadgate.report import campaign_markdown
from loadgate.report.campaign_overview import overview
from loadgate.report.html import campaign as campaign_page
from loadgate.report.html.campaign_strip import strip_of
from report_campaigns import START, entries, seen_on


@pytest.fixture
def seen() -> tuple[Decision, CampaignState, Found]:
    """The campaign on day 4."""
    return seen_on(3)


class Page(HTMLParser):
    """Note the elements of a page and where its links go, and check that each element is closed."""

    VOID = frozenset({"meta", "br", "link"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.names: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def read(text: str) -> Page:
    """Read a page."""
    page = Page()
    page.feed(text)
    assert page.open == []
    return page


def test_the_page_stands_alone(seen) -> None:
    """Well-formed, one script, which is its own, nothing loaded; whatever others wrote is text."""
    text = campaign_page.render(*seen)
    page = read(text)
    assert not {"img", "iframe"} & set(page.names)
    assert page.names.count("script") == 1
    assert all(link.startswith("#") or link == "data:," for link in page.links)
    assert "&lt;script&gt;window.hacked" in text
    assert "default-src &#39;none&#39;; script-src &#39;sha256-" in text


def test_the_page_needs_no_chart_library(seen, monkeypatch) -> None:
    """Whoever has not installed one still has the page for the meeting."""
    monkeypatch.setattr(page_module, "library_file", lambda name: pytest.fail(f"{name} was read"))
    assert "uPlot" not in campaign_page.render(*seen)


def test_evidence_that_is_there_is_linked(seen) -> None:
    """A run's name leads to what the caller says; what is nowhere has no link."""
    text = campaign_page.render(*seen, lambda one: f"../{one}" if one.startswith("soak-1/") else "")
    assert "../soak-1/verdict.json" in read(text).links


def test_the_head_is_that_of_the_book() -> None:
    """Evidence that was found by looking, and is not written yet, has no hash that anybody could check."""
    written = [replace(entry, hash=str(entry.seq) * 64) for entry in entries()]
    state = fold([*written[:-1], replace(written[-1], hash="")])
    decision = decide(state, Trust(), START + timedelta(days=3))
    assert overview(decision, state, Found())["head"] == {"seq": 4, "hash": "4" * 64}


def test_the_strip_shows_days_where_they_are(seen) -> None:
    """Six days: the FAILed run is from day 2 (1/6), the restart at 2 days (1/3), now at 3 (1/2)."""
    strip = strip_of(overview(*seen))
    assert [(one.left, one.text) for one in strip.days][:2] == [(0.0, "1"), (16.67, "2")]
    assert [(one.left, one.look) for one in strip.counting] == [(16.67, "fail")]
    assert {(one.look, one.left) for one in strip.marks} == {("stop", 18.06), ("restart", 33.33)}
    assert strip.now == 50.0
    assert [(one.left, one.width, one.look) for one in strip.phases] == [
        (0.0, 83.33, "now"),
        (83.33, 16.67, "to-come"),
    ]


def test_the_clock_on_the_strip_is_its_running_cycle(seen) -> None:
    """Since the restart (2 of 6 days) until now (3 of 6); the week that it needs ends beyond the strip."""
    behind, ahead = strip_of(overview(*seen)).clock
    assert (behind.left, behind.width, behind.look) == (33.33, 16.67, "pass")
    assert (ahead.left, ahead.width, ahead.look) == (50.0, 50.0, "ahead")
    (stopped,) = strip_of(overview(*seen_on(1.5))).clock
    assert stopped.look == "fail"


def test_a_campaign_that_lasts_too_long_is_still_on_its_strip() -> None:
    """Forty days after the start of one of six, the strip reaches to now and labels every third day."""
    strip = strip_of(overview(*seen_on(40)))
    assert strip.now == 100.0
    assert [one.text for one in strip.days] == [str(day) for day in range(1, 41, 3)]


def test_the_page_says_it_all(seen) -> None:
    """Decision, day, clock with stop and restart, objectives by day, run, refusal, head."""
    text = campaign_page.render(*seen)
    for told in (
        "<title>HOLD: campaign made</title>",
        "evidence is missing",
        "day 4 of 6",
        'title="stop: run soak-1 ended FAIL"',
        "restart by qa",
        "Day 2",
        "250ms",
        "refused",
        f"5:{'0' * 64}",
    ):
        assert told in text


def test_markdown_shows_what_others_wrote_as_it_is(seen) -> None:
    """No markup, mention or link of theirs works."""
    text = campaign_markdown.render(*seen)
    assert "# HOLD: campaign made" in text
    assert "@everyone" not in text
    assert "http://evil" not in text
    assert "**bold**" not in text
    assert "stopped: run soak-1 ended FAIL" in text


def test_the_console_says_where_it_stands(seen) -> None:
    """Calendar, clock, and what a decision would lack."""
    lines = list(console.status_lines(*seen))
    assert lines[0].startswith("campaign made on http://127.0.0.1:3000: day 4 of 6, phase 1")
    assert "(cycle 2, since 2026-01-07 08:00)" in lines[1]
    assert any(line.startswith("  decision HOLD now") for line in lines)


def test_a_decision_is_told_with_every_reason(seen) -> None:
    """The word first, then each item of matrix and criteria, and the notes."""
    lines = list(console.decision_lines(seen[0]))
    assert lines[0] == "HOLD (evidence is missing)"
    assert any("qa refused before the clock was started again" in line for line in lines)
    bad = replace(seen[0], exit_code=ExitCode.FAIL)
    assert next(console.decision_lines(bad)) == "HOLD"


def test_every_entry_has_a_line_of_history() -> None:
    """Number, time, kind, hash, and what it says, on one line each."""
    lines = console.history_lines(entries())
    assert len(lines) == 5
    assert "soak-1: FAIL" in lines[1]
    assert "qa: refused: " in lines[2]
