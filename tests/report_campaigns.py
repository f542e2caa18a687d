"""A made-up campaign for its reports: a FAIL, a restart, and hostile text wherever somebody can write."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from loadgate.judge.campaign import CampaignState, fold
from loadgate.judge.campaign_facts import RowFacts, RunFacts
from loadgate.judge.campaign_gather import Found
from loadgate.judge.decision import Decision, Trust, decide
from loadgate.plan.campaign import Campaign
from loadgate.store.campaign import Entry

START = datetime(2026, 1, 5, 8, tzinfo=UTC)
NASTY = "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'> | **bold** @everyone [x](http://evil)"
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


def seen_on(day: float) -> tuple[Decision, CampaignState, Found]:
    """Return the campaign so many days after its start."""
    now = START + timedelta(days=day)
    state = fold([entry for entry in entries() if entry.at <= now])
    decision = decide(state, Trust(notes=(NASTY,)), now)
    return decision, state, Found(notes=[NASTY])
