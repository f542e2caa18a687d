"""Alerts beside a real run: faults that are switched on in its middle, and who hears of them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from loadgate_command import Done, Loadgate, Running

from beside import beside
from inbox import Inbox
from loadgate.errors import StoreError
from loadgate.plan.plan import load_plan
from loadgate.staging.server import StagingService
from loadgate.store.database import RunReader
from loadgate.store.folder import RunFolder, list_runs
from loadgate.store.watch import AlertChange, WatchReader
from loadgate.watch.alert_feed import replay

# All runs are played before the first test, on a machine that may be busy with others.
pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

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


def scenario_of(loadgate: Any, host: str, *, hold: str, on_fire: str = "") -> Path:
    path: Path = loadgate.scenario(host, rate=60, hold=hold, more=MORE)
    text = path.read_text().replace('"sla.toml"', '"sla.toml"\nalerts = "rules.toml"')
    path.write_text(text)
    loadgate.write("rules.toml", RULES.format(on_fire=on_fire))
    return path


def entries_of(inbox: Inbox) -> list[dict[str, Any]]:
    return [entry for mail in inbox.mails for entry in mail.content["entries"]]


# -- the stories --------------------------------------------------------------------------------


@dataclass
class Played:
    """One run with its plan, what came of it, and who was told what."""

    path: Path
    running: Running
    done: Done
    told: list[dict[str, Any]]

    def results(self) -> list[tuple[str, dict[str, Any]]]:
        """Return the steps that were taken on alerts, and how each came out."""
        with WatchReader(self.running.folder_of_run().watch_database) as reader:
            return [(stage.step, dict(stage.detail)) for stage in reader.actions() if stage.stage == "result"]

    def was_void(self) -> bool:
        """Tell whether nothing was done since a busy machine made the load late: right, and not the point."""
        return any("the run is void" in str(detail.get("text")) for _, detail in self.results())


def slow(target: StagingService) -> tuple[float, Callable[[], object]]:
    return BREAKS_AT, lambda: target.add_fault("latency", endpoint="emotion", delay="400ms")


def faults(loadgate: Loadgate, target: StagingService, hook: dict[str, str]) -> tuple[Path, Running]:
    """From 5 s to 13 s emotion takes 400 ms more, half of creative are errors, and the health check fails."""
    path = scenario_of(loadgate, target.url, hold="20s")
    running = loadgate.start("run", path, env=hook)
    play(
        running,
        slow(target),
        (BREAKS_AT, lambda: target.add_fault("error", endpoint="creative", status=500, share="50%")),
        (BREAKS_AT, lambda: target.add_fault("error", endpoint="health", status=503)),
        (MENDED_AT, target.clear_faults),
    )
    return path, running


def armed(loadgate: Loadgate, target: StagingService, hook: dict[str, str]) -> tuple[Path, Running]:
    """A run of 60 s that its alert ends after 10 s or so."""
    path = scenario_of(loadgate, target.url, hold="60s", on_fire='"stop-load", "disable-endpoint emotion"')
    running = loadgate.start("run", path, "--arm", env=hook)
    play(running, slow(target))
    return path, running


def unarmed(loadgate: Loadgate, target: StagingService, hook: dict[str, str]) -> tuple[Path, Running]:
    """The same without being armed."""
    path = scenario_of(loadgate, target.url, hold="20s", on_fire='"stop-load", "disable-endpoint emotion"')
    running = loadgate.start("run", path, env=hook)
    play(running, slow(target))
    return path, running


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Future[Played]]:
    """Play them, two at a time, each with a target and a receiver of its own."""
    folder = tmp_path_factory.mktemp("alerts")

    def once(story: Callable[..., tuple[Path, Running]], attempt: int) -> Played:
        place = folder / f"{story.__name__}-{attempt}"
        place.mkdir()
        inbox = Inbox()
        try:
            with StagingService() as target, Loadgate(place) as loadgate:
                path, running = story(loadgate, target, {"HOOK": inbox.url})
                done = running.wait(90)
        finally:
            inbox.close()
        return Played(path, running, done, entries_of(inbox))

    def tell(story: Callable[..., tuple[Path, Running]]) -> Played:
        found = once(story, 1)
        return once(story, 2) if found.was_void() else found

    return beside({story.__name__: partial(tell, story) for story in (faults, armed, unarmed)}, at_once=2)


# -- what they show -----------------------------------------------------------------------------


def test_faults_of_a_run_fire_when_their_for_is_over(played: Mapping[str, Future[Played]]) -> None:
    """Each fires at its first violated window and `for`, is told once, is over after the fault, and told so.

    A replay of the stored series says the same, and so does the verdict.
    """
    run = played["faults"].result()
    folder, plan = run.running.folder_of_run(), load_plan(run.path)
    said = changes_of(folder)
    assert replay(folder, plan.alerts, plan) == sorted(
        said, key=lambda one: (one.at, [rule.name for rule in plan.alerts].index(one.rule))
    )
    for rule, held in (("slow", 4.0), ("errors", 2.0), ("down", 2.0)):
        fired, resolved = (one for one in said if one.rule == rule and one.state in ("firing", "resolved"))
        assert fired.detail["since"] in (4.0, 5.0, 6.0), fired
        assert fired.at == fired.detail["since"] + held
        assert MENDED_AT < resolved.at <= 18.0, resolved
    told = Counter((entry["title"], entry["state"]) for entry in run.told)
    assert told == Counter(
        (rule, state) for rule in ("slow", "errors", "down") for state in ("firing", "resolved")
    )
    alerts = {alert["rule"]: alert for alert in run.running.verdict()["alerts"]}
    assert {rule: alert["state"] for rule, alert in alerts.items()} == dict.fromkeys(alerts, "resolved")
    assert sorted(alerts) == ["down", "errors", "slow"]


def test_an_armed_run_is_ended_by_its_alert_and_the_endpoint_is_disabled(
    played: Mapping[str, Future[Played]],
) -> None:
    """The load ends long before its time, then the endpoint is off, verified and told; the verdict names it.

    It is no PASS, and exits by its verdict: FAIL, or INVALID where so little load proves nothing.
    """
    run = played["armed"].result()
    running, done = run.running, run.done
    assert done.code in (20, 30), done
    verdict = running.verdict()
    assert (verdict["ended"], verdict["exit_code"]) == ("aborted", done.code)
    assert verdict["ended_at"] < 30
    assert any("slow" in reason for reason in verdict["reasons"]), verdict["reasons"]
    assert (running.folder_of_run().path / "evidence-2.json").exists()
    actions = [entry for entry in run.told if entry["state"] == "action"]
    assert [(entry["outcome"], entry["verified"]) for entry in actions][-1] == ("done", True)
    results = run.results()
    assert [detail["outcome"] for _, detail in results] == ["done"] * len(results)
    assert results[-1][0].startswith("disable-endpoint")


def test_a_run_that_is_not_armed_says_what_it_would_have_done(played: Mapping[str, Future[Played]]) -> None:
    """It goes on to its planned end, and the endpoint still answers."""
    run = played["unarmed"].result()
    assert run.running.verdict()["ended"] == "planned"
    outcomes = {step: detail["outcome"] for step, detail in run.results()}
    assert {outcome for step, outcome in outcomes.items() if "evidence" not in step} == {"dry"}
