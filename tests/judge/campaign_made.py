"""Made-up campaigns: a plan of a few lines, entries at given hours, and the state that follows from them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from loadgate.judge.campaign import CampaignState, fold
from loadgate.judge.campaign_facts import (
    AlertFacts,
    RowFacts,
    RuleFacts,
    RunFacts,
    SmokeFacts,
    TestFacts,
    iso,
)
from loadgate.judge.decision import Decision, Trust, decide
from loadgate.plan.campaign import Campaign
from loadgate.store.campaign import Entry

START = datetime(2026, 1, 5, 8, tzinfo=UTC)
HOST = "http://127.0.0.1:3000"

PLAN: dict[str, Any] = {
    "name": "made",
    "host": HOST,
    "roles": ["qa", "ops"],
    "clock": {"length": 7 * 86_400.0},
    "decision": {"sign_off": ["qa"], "performance": ["soak"]},
    "bugs": {"file": "/reports/bugs.json", "fresh": 86_400.0},
    "tests": [{"name": "unit", "junit": ["/reports/unit.xml"]}],
    "phase": [{"name": "all", "length": 14 * 86_400.0}],
}

SCENARIOS = dict.fromkeys(("soak", "load", "gate", "stress"), "p")
STABLE = ["load", "soak"]


def at(days: float = 0.0, hours: float = 0.0) -> datetime:
    """Return a moment of the campaign."""
    return START + timedelta(days=days, hours=hours)


class Book:
    """Entries in the making."""

    def __init__(self, **changes: Any) -> None:
        plan = Campaign.model_validate({**PLAN, **changes})
        self.entries: list[Entry] = []
        self.plan = plan.model_dump(mode="json")
        self.add(
            "start",
            START,
            **self._asked(),
        )

    def _asked(self) -> dict[str, Any]:
        """Return what a start and a restart say of the campaign."""
        calendar = {"scenarios": SCENARIOS, "stable": STABLE, "smokes": ["load"]}
        return {"plan": self.plan, "sha256": "", "file": "made.toml"} | calendar

    def add(self, kind: str, moment: datetime, **content: Any) -> Book:
        """Add an entry."""
        seconds = (moment - START).total_seconds()
        self.entries.append(Entry(len(self.entries) + 1, moment, "boot", seconds, kind, content))
        return self

    def facts(self, kind: str, moment: datetime, content: Mapping[str, Any]) -> Book:
        """Add an entry about evidence."""
        return self.add(kind, moment, **content)

    def run(self, name: str, days: float, length: float, **changes: Any) -> Book:
        """Add a run that began on a day of the campaign and took so many days; it ends PASS and counts."""
        made = run_facts(name, days, length, **changes)
        return self.facts("run", max(made.ended_at, self.entries[-1].at), made.content())

    def restart(self, moment: datetime) -> Book:
        """Start the clock again."""
        return self.add(
            "restart",
            moment,
            hotfix="fix",
            role="ops",
            **self._asked(),
        )

    def tests(self, moment: datetime, **changes: Any) -> Book:
        """Add the JUnit file of a moment: ten tests, all passed."""
        made = TestFacts(
            **{
                "name": "unit",
                "file": "/reports/unit.xml",
                "made_at": moment,
                "tests": 10,
                "failed": 0,
                "skipped": 0,
                "sha256": "",
                **changes,
            }
        )
        return self.facts("tests", moment, made.content())

    def bugs(self, moment: datetime, *critical: str, fault: str = "") -> Book:
        """Add the bugs of a moment."""
        content = {"source": "bugs.json", "made_at": iso(moment), "total": 3, "critical": list(critical)}
        return self.add("bugs", moment, **content, sha256="", fault=fault)

    def smoke(self, moment: datetime, *checks: tuple[str, str], scenario: str = "load") -> Book:
        """Add a smoke check of a moment, with the state of each check."""
        made = SmokeFacts(
            f"smoke/{iso(moment)}.json",
            scenario,
            HOST,
            "PASS",
            moment,
            tuple((name, state, "seen") for name, state in checks),
            {},
        )
        return self.facts("smoke", moment, made.content())

    def sign(self, moment: datetime, role: str = "qa", *, agrees: bool = True) -> Book:
        """Sign as a role."""
        return self.add("sign-off", moment, role=role, note="seen", agrees=agrees)

    def state(self) -> CampaignState:
        """Fold what was written."""
        return fold(self.entries)

    def decide(self, moment: datetime, trust: Trust | None = None) -> Decision:
        """Decide at a moment."""
        return decide(self.state(), trust or Trust(), moment)


def run_facts(name: str, days: float, length: float, **changes: Any) -> RunFacts:
    """Return the facts of a run that passed, counts, and was watched all along."""
    began, ended = at(days), at(days + length)
    facts: dict[str, Any] = {
        "run": f"{name}-{iso(began)}",
        "scenario": name,
        "host": HOST,
        "mode": "load",
        "stability": True,
        "monitored": True,
        "started_at": began,
        "ended_at": ended,
        "ended": "planned",
        "verdict": "PASS",
        "plan": "p",
        "steady_seconds": length * 86_400,
        "rows": (RowFacts("error_rate", "PASS", "0%", "< 0.1%"),),
        "observed": ((began, ended),),
        "rules": (RuleFacts("down", 300.0, "c"),),
    }
    return RunFacts(**{**facts, **changes})


def alert(moment: datetime, severity: str = "critical", resolved: datetime | None = None) -> AlertFacts:
    """Return an alert that fired."""
    return AlertFacts("down", severity, moment, resolved, "it is down")


def ready() -> Book:
    """Return a campaign that is a GO on day 8: a soak of a week from its first hour, all else in place."""
    return ready_by()


def ready_by(**changes: Any) -> Book:
    """Return the same of a campaign with something changed in its plan."""
    return Book(**changes).run("soak", 0.0, 7.0).tests(at(7, 1)).bugs(at(7, 1)).sign(at(7, 2))
