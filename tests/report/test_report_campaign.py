"""A campaign for people: one page that needs nothing else, Markdown, and the console."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import pytest

from loadgate.exit_codes import ExitCode
from loadgate.judge.campaign import CampaignState, fold
from loadgate.judge.campaign_facts import RowFacts, RunFacts
from loadgate.judge.campaign_gather import Found
from loadgate.judge.decision import Decision, Trust, decide
from loadgate.plan.campaign import Campaign
from loadgate.report import campaign as console
from loadgate.report import campaign_markdown, campaign_page
from loadgate.store.campaign import Entry

START = datetime(2026, 1, 5, 8, tzinfo=UTC)
NASTY = "<script>alert(1)</script> | **bold** @everyone [x](http://evil)"
PLAN = {
    "name": "made",
    "host": "http://127.0.0.1:3000",
    "roles": ["qa"],
    "decision": {"sign_off": ["qa"], "performance": ["soak"]},
    "bugs": {"file": "/bugs.json"},
    "tests": [{"name": "unit", "junit": ["/unit.xml"]}],
    "phase": [{"name": "one", "title": NASTY, "length": 5 * 86_400.0}, {"name": "two", "length": 86_400.0}],
    "line": [{"id": "a-line", "text": NASTY, "attest": ["qa"]}],
}


def entries() -> list[Entry]:
    """Return a book with a run that FAILed on day 2, a refusal, and a restart on day 3."""
    run = RunFacts(
        run="soak-1",
        scenario="soak",
        host="http://127.0.0.1:3000",
        mode="load",
        stability=True,
        monitored=True,
        started_at=START + timedelta(days=1),
        ended_at=START + timedelta(days=1, hours=2),
        ended="planned",
        verdict="FAIL",
        reasons=(NASTY,),
        rows=(RowFacts("emotion.response_time", "FAIL", "250ms", "< 50ms"),),
    )
    plan = Campaign.model_validate(PLAN).model_dump(mode="json")
    contents = [
        (0.0, "start", {"plan": plan, "sha256": "", "file": "made.toml", "scenarios": {"soak": "p"}}),
        (1.1, "run", run.content()),
        (1.2, "sign-off", {"role": "qa", "note": NASTY, "agrees": False}),
        (
            2.0,
            "restart",
            {
                "hotfix": NASTY,
                "role": "qa",
                "plan": plan,
                "sha256": "",
                "file": "made.toml",
                "scenarios": {"soak": "p"},
            },
        ),
        (2.1, "attest", {"line": "a-line", "role": "qa", "note": NASTY, "holds": True}),
    ]
    return [
        Entry(number, START + timedelta(days=days), "boot", days * 86_400, kind, content, "0" * 64)
        for number, (days, kind, content) in enumerate(contents, 1)
    ]


@pytest.fixture
def seen() -> tuple[Decision, CampaignState, Found]:
    """The campaign on day 4."""
    state = fold(entries())
    return decide(state, Trust(notes=(NASTY,)), START + timedelta(days=3)), state, Found(notes=[NASTY])


class Page(HTMLParser):
    """Count the elements of a page, and check that each is closed."""

    VOID = {"meta", "br"}

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.names: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.names.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_stands_alone(seen) -> None:
    """Well-formed, no script, no link, nothing loaded; whatever others wrote is text."""
    text = campaign_page.render(*seen)
    page = Page()
    page.feed(text)
    assert page.open == []
    assert not {"script", "link", "img", "iframe", "a", "b/"} & set(page.names)
    assert "&lt;script&gt;alert(1)" in text
    assert "default-src &#39;none&#39;" in text or "default-src 'none'" in text


def test_the_page_says_it_all(seen) -> None:
    """Decision, day, clock with stop and restart, objectives by day, run, refusal, head."""
    text = campaign_page.render(*seen)
    for told in (
        "HOLD</span> campaign made",
        "day 4 of 6",
        "stop: run soak-1 ended FAIL",
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
