"""Alerts beside a real run: faults that are switched on in its middle, and who hears of them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from inbox import Inbox
from loadgate.errors import StoreError
from loadgate.plan.plan import load_plan
from loadgate.staging.server import StagingService
from loadgate.store.database import RunReader
from loadgate.store.folder import RunFolder, list_runs
from loadgate.store.watch import AlertChange, WatchReader
from loadgate.watch.alert_feed import replay

pytestmark = pytest.mark.system

RULES = """
[[alert]]
name     = "slow"
when     = "emotion.response_time > 200ms"
every    = "2s"
for      = "4s"
severity = "high"
on_fire  = [{on_fire}]

[[alert]]
name     = "errors"
when     = "creative.error_rate > 20%"
every    = "2s"
severity = "high"

[[alert]]
name     = "down"
when     = "health.up < 1"
every    = "1s"
for      = "2s"
severity = "critical"
"""
MORE = """
[notify]
contact = "somebody"

[[notify.receiver]]
name = "hook"
kind = "webhook"
url  = "env:HOOK"

[rollback]
endpoints = { emotion = "/api/v1/emotions/analyze" }
off_text  = "disabled"

[[probes]]
name    = "health"
http    = "/health"
every   = "1s"
timeout = "500ms"
"""
BREAKS_AT, MENDED_AT = 5.0, 13.0


def anchor_of(database: Path) -> float | None:
    """Return the monotonic second of run time 0, once it is known."""
    with suppress(StoreError), RunReader(database) as reader:
        found = reader.value("anchor", None)
        return float(found["monotonic"]) if found else None
    return None


def changes_of(folder: RunFolder) -> list[AlertChange]:
    """Return what was said of the alerts while a run went on, as a replay says it: without ids."""
    with WatchReader(folder.watch_database) as reader:
        return [change._replace(wall=None, id=None) for change in reader.alerts()]


def play(running: Any, *steps: tuple[float, Callable[[], object]]) -> None:
    """Do something at each of some moments of run time, while the run goes on."""
    running.until(
        lambda: list_runs(running.results) and anchor_of(running.folder_of_run().database), "run time 0"
    )
    anchor = anchor_of(running.folder_of_run().database)
    assert anchor is not None
    for moment, step in steps:
        time.sleep(max(0.0, anchor + moment - time.monotonic()))
        step()


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    """A receiver of webhooks."""
    made = Inbox()
    yield made
    made.close()


def scenario_of(loadgate: Any, host: str, *, hold: str, on_fire: str = "") -> Path:
    path: Path = loadgate.scenario(host, rate=60, hold=hold, more=MORE)
    text = path.read_text().replace('"sla.toml"', '"sla.toml"\nalerts = "rules.toml"')
    path.write_text(text)
    loadgate.write("rules.toml", RULES.format(on_fire=on_fire))
    return path


def entries_of(inbox: Inbox) -> list[dict[str, Any]]:
    return [entry for mail in inbox.mails for entry in mail.content["entries"]]


def test_faults_of_a_run_fire_when_their_for_is_over(
    loadgate: Any, fresh_service: StagingService, inbox: Inbox
) -> None:
    """Each fires at its first violated window and `for`, is told once, is over after the fault, and told so.

    From 5 s to 13 s of run time emotion takes 400 ms more, half of the creative answers are errors, and the
    health check fails. A replay of the stored series says the same, and so does the verdict.
    """
    path = scenario_of(loadgate, fresh_service.url, hold="20s")
    running = loadgate.start("run", path, env={"HOOK": inbox.url})
    play(
        running,
        (BREAKS_AT, lambda: fresh_service.add_fault("latency", endpoint="emotion", delay="400ms")),
        (BREAKS_AT, lambda: fresh_service.add_fault("error", endpoint="creative", status=500, share="50%")),
        (BREAKS_AT, lambda: fresh_service.add_fault("error", endpoint="health", status=503)),
        (MENDED_AT, fresh_service.clear_faults),
    )
    running.wait()
    folder, plan = running.folder_of_run(), load_plan(path)
    said = changes_of(folder)
    assert replay(folder, plan.alerts, plan) == sorted(
        said, key=lambda one: (one.at, [rule.name for rule in plan.alerts].index(one.rule))
    )
    for rule, held in (("slow", 4.0), ("errors", 2.0), ("down", 2.0)):
        fired, resolved = (one for one in said if one.rule == rule and one.state in ("firing", "resolved"))
        assert fired.detail["since"] in (4.0, 5.0, 6.0), fired
        assert fired.at == fired.detail["since"] + held
        assert MENDED_AT < resolved.at <= 18.0, resolved
    told = Counter((entry["title"], entry["state"]) for entry in entries_of(inbox))
    assert told == Counter(
        (rule, state) for rule in ("slow", "errors", "down") for state in ("firing", "resolved")
    )
    alerts = {alert["rule"]: alert for alert in running.verdict()["alerts"]}
    assert {rule: alert["state"] for rule, alert in alerts.items()} == dict.fromkeys(alerts, "resolved")
    assert sorted(alerts) == ["down", "errors", "slow"]


def test_an_armed_run_is_ended_by_its_alert_and_the_endpoint_is_disabled(
    loadgate: Any, fresh_service: StagingService, inbox: Inbox
) -> None:
    """The load ends long before its time, then the endpoint is off, verified and told; the verdict names it.

    The run of 60 s fires after 10 s or so. It is no PASS, and exits by its verdict: FAIL, or INVALID where so
    little load proves nothing.
    """
    path = scenario_of(
        loadgate, fresh_service.url, hold="60s", on_fire='"stop-load", "disable-endpoint emotion"'
    )
    running = loadgate.start("run", path, "--arm", env={"HOOK": inbox.url})
    play(running, (BREAKS_AT, lambda: fresh_service.add_fault("latency", endpoint="emotion", delay="400ms")))
    done = running.wait()
    assert done.code in (20, 30), done
    verdict = running.verdict()
    assert (verdict["ended"], verdict["exit_code"]) == ("aborted", done.code)
    assert verdict["ended_at"] < 30
    assert any("slow" in reason for reason in verdict["reasons"]), verdict["reasons"]
    assert (running.folder_of_run().path / "evidence-2.json").exists()
    actions = [entry for entry in entries_of(inbox) if entry["state"] == "action"]
    assert [(entry["outcome"], entry["verified"]) for entry in actions][-1] == ("done", True)
    with WatchReader(running.folder_of_run().watch_database) as reader:
        results = [
            (stage.step, stage.detail["outcome"]) for stage in reader.actions() if stage.stage == "result"
        ]
    assert [outcome for _, outcome in results] == ["done"] * len(results)
    assert results[-1][0].startswith("disable-endpoint")


def test_a_run_that_is_not_armed_says_what_it_would_have_done(
    loadgate: Any, fresh_service: StagingService, inbox: Inbox
) -> None:
    """It goes on to its planned end, and the endpoint still answers."""
    path = scenario_of(
        loadgate, fresh_service.url, hold="20s", on_fire='"stop-load", "disable-endpoint emotion"'
    )
    running = loadgate.start("run", path, env={"HOOK": inbox.url})
    play(running, (BREAKS_AT, lambda: fresh_service.add_fault("latency", endpoint="emotion", delay="400ms")))
    running.wait()
    assert running.verdict()["ended"] == "planned"
    with WatchReader(running.folder_of_run().watch_database) as reader:
        outcomes = {
            stage.step: stage.detail["outcome"] for stage in reader.actions() if stage.stage == "result"
        }
    assert {outcome for step, outcome in outcomes.items() if "evidence" not in step} == {"dry"}
