"""Alerts in words: timeline, summary and listing."""

from __future__ import annotations

from loadgate.plan.alerts import AlertRule
from loadgate.plan.burn import BurnRate, pairs_of
from loadgate.plan.conditions import Subject
from loadgate.plan.sla import Limit
from loadgate.report.alerts import listing, summary_lines, timeline
from loadgate.store.watch import AlertChange
from loadgate.watch.alert_summary import summary_of


def change(at: float, state: str, text: str = "it is so") -> AlertChange:
    """Return a change."""
    return AlertChange(at, "slow", "high", state, 0.3, {"text": text})


def test_a_timeline_has_a_line_for_each_change() -> None:
    """Run time, state, rule with severity, and the sentence."""
    assert timeline([change(30.0, "firing"), change(150.0, "resolved")]) == [
        "  30s  firing    slow (high)  it is so",
        "2m30s  resolved  slow (high)  it is so",
    ]


def test_silence_is_said() -> None:
    """An empty timeline is a finding too."""
    assert timeline([]) == ["no rule changed its state"]


def test_a_text_cannot_move_the_cursor() -> None:
    """Names and sentences hold what a plan or a target says."""
    (line,) = timeline([change(30.0, "firing", "a\x1b[2Jb\nc")])
    assert line.endswith("a?[2Jb c")


def test_a_summary_says_from_when_to_when() -> None:
    """And what was never resolved."""
    changes = [change(30.0, "firing"), change(60.0, "resolved"), change(90.0, "flapping")]
    assert summary_lines(summary_of(changes)) == [
        "slow (high) fired at 30s, resolved at 1m: it is so",
        "slow (high) fired at 1m30s, flapping, still firing at the end: it is so",
    ]


def test_rules_are_listed_with_their_limits() -> None:
    """A burn rate with its factors and windows; those left out with the reason."""
    subject = Subject(metric="error_rate")
    burn = BurnRate(budget=0.001, pairs=pairs_of(604_800.0, 0.001, ("fast", "medium")))
    rules = [
        AlertRule(
            name="a",
            severity="low",
            when="w",
            subject=subject,
            limit=Limit.parse("> 1%", "error_rate"),
            every=60.0,
        ),
        AlertRule(
            name="b", severity="high", when="b", subject=subject, burn=burn, every=10.0, **{"for": 30.0}
        ),
    ]
    assert [" ".join(line.split()) for line in listing(rules, [("c", "it is short")])] == [
        "rule severity when limit for every",
        "a low w > 1% at once 1m",
        "b high b 14.4x/14m or 6x/1h24m 30s 10s",
        "left out: c: it is short",
    ]
