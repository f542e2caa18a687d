"""Two weeks of a campaign in simulated time: a NO-GO on day 5, a restart, and GO on day 13."""

from __future__ import annotations

import re
import shutil
import sqlite3
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import orjson
import pytest
from campaign_world import HOUR, START, World, simulated
from made_runs import SLA, make_run

from loadgate.cli import campaign
from loadgate.judge.gather import gather
from loadgate.judge.verdict import judge, write
from loadgate.plan.plan import load_plan
from loadgate.plan.sla import Limit
from loadgate.store.campaign import head_of


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, dict[str, tuple[int, str]]]]:
    """The two weeks, told once: what each decision said, by its name, and the world at the end."""
    world = World(tmp_path_factory.mktemp("weeks"))
    told: dict[str, tuple[int, str]] = {}
    with pytest.MonkeyPatch.context() as patch, simulated(world, patch):
        # The load of day 5, at 4 d and 6 h, answers after 30 s.
        world.slow.add(START + timedelta(days=4, hours=6))
        told["start"] = world.run("start", world.campaign)
        told["again"] = world.run("start", world.campaign)
        while world.now < START + timedelta(days=4, hours=12):
            world.run("run-due")
            world.later(hours=6)
        told["sign early"] = world.run("sign-off", "--role", "qa", "--note", "so far so good")
        world.evidence()
        told["day 5"] = world.run("decide")
        told["restart"] = world.run("restart", "--role", "operations", "--hotfix", "a1b2c3, cache locks")
        world.later(minutes=1)
        world.evidence()
        world.load("load", world.now, 600.0)
        world.smoke(world.now)
        world.later(hours=6)
        while world.now < START + timedelta(days=12):
            world.run("run-due")
            world.later(hours=6)
        world.evidence()
        for role in ("qa", "product"):
            world.run("sign-off", "--role", role, "--note", "seen the report")
        world.run("attest", "backup", "--role", "operations", "--note", "tag staging-backup-20260105")
        world.run("attest", "accepted", "--role", "product", "--note", "session of day 12")
        told["day 12"] = world.run("decide")
        world.later(hours=12)
        world.run("run-due")
        world.evidence()
        told["day 13"] = world.run("decide")
        told["report"] = world.run("report", "--markdown", world.folder / "report.md")
        yield world, told


@pytest.fixture
def after(story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A copy of the world after the GO, for one test to spoil."""
    world, _ = story
    copy = world.copied(tmp_path / "results")
    with simulated(copy, monkeypatch):
        yield copy


def soak_of(world: World) -> Path:
    """Return the folder of the soak that the GO rests on."""
    found = [
        path.parent
        for path in world.results.glob("*/verdict.json")
        if orjson.loads(path.read_bytes())["scenario"] == "soak"
    ]
    (only,) = found
    return only


def test_the_fifth_day_is_a_no_go(story) -> None:
    """The load of day 5 FAILed, which stops the clock: HOLD, exit 20, with the run's name."""
    code, text = story[1]["day 5"]
    assert code == 20
    assert text.startswith("HOLD\n")
    assert "the clock stopped: run load-20260109-140000 ended FAIL" in text


def test_a_campaign_starts_once(story) -> None:
    """The second start is refused with the time of the first."""
    assert story[1]["start"][0] == 0
    code, text = story[1]["again"]
    assert code == 2
    assert "was started already on 2026-01-05 08:00 UTC" in text


def test_a_signature_of_before_the_restart_counts_no_more(story) -> None:
    """Before the week of the second cycle is full nothing is bad, and evidence is missing: exit 30."""
    assert story[1]["sign early"][0] == 0
    code, text = story[1]["day 12"]
    assert code == 30
    assert "HOLD (evidence is missing)" in text
    assert "no run of soak since the clock was started" in text


def test_the_thirteenth_day_is_a_go(story) -> None:
    """The soak of the second cycle began 5 d after the start and took a week: GO once it has ended."""
    code, text = story[1]["day 13"]
    assert code == 0, text
    assert text.startswith("GO\n")


def test_the_stress_run_and_the_soak_do_not_overlap(story) -> None:
    """Six hours into day 6 both are due: the stress run goes first, and the soak when it is over."""
    started = {one["key"]: one["at"] for one in story[0].json("status")["started"]}
    assert started["extended-load/stress"].startswith("2026-01-10T08:01")
    assert started["extended-load/soak@2"].startswith("2026-01-10T14:01")


def test_nothing_was_started_twice(story) -> None:
    """Every entry of the calendar has one intent, and the soak of the first cycle none."""
    world, _ = story
    keys = [one["content"]["key"] for one in world.json("history") if one["kind"] == "intent"]
    assert len(keys) == len(set(keys))
    assert "extended-load/soak@1" not in keys
    assert [key for key in keys if key.startswith("load-testing/load")] == [
        f"load-testing/load#{day}" for day in range(1, 6)
    ]


def test_the_book_verifies_and_its_decisions_can_be_made_again(after) -> None:
    """All three decisions follow from the entries before them."""
    code, text = after.run("verify")
    assert code == 0, text


def test_the_page_shows_all_of_it(story) -> None:
    """One HTML file without anything from elsewhere: decision, clock, days, runs, sign-offs."""
    world, told = story
    page = (world.results / "campaign" / "weeks" / "report.html").read_text()
    markdown = (world.folder / "report.md").read_text()
    assert told["report"][0] == 0
    assert "session of day 12" in markdown
    for text in ("a1b2c3, cache locks", "Objectives by day", "session of day 12", "load-20260109-140000"):
        assert text in page
    assert not any(word in page for word in ('http-equiv="refresh', "src=", "http://evil", "<img"))
    links = set(re.findall(r'href="([^"#]+)"', page)) - {"data:,"}
    folder = world.results / "campaign" / "weeks"
    assert "../../load-20260109-140000/verdict.json" in links
    assert all((folder / link).resolve().is_file() for link in links)


# -- what must never be GO ---------------------------------------------------------------------------------


def refuses(world: World, code: int, *texts: str) -> str:
    """Hold a decision, which must be no GO and name what is wrong."""
    found, told = world.run("decide")
    assert found == code, told
    assert told.startswith("HOLD")
    for text in texts:
        assert text in told
    return told


def test_edited_evidence_is_named(after) -> None:
    """One byte of a verdict that the book points to."""
    path = soak_of(after) / "verdict.json"
    path.write_bytes(path.read_bytes() + b"\n")
    refuses(after, 30, f"{path.parent.name}/verdict.json was edited")
    assert "was edited" in after.run("verify")[1]


def test_a_checklist_on_edited_evidence_is_not_all_met(after) -> None:
    """Every line is met, exit 0; with one byte more in a verdict the same lines are not to be believed."""
    assert after.run("checklist")[0] == 0
    path = soak_of(after) / "verdict.json"
    path.write_bytes(path.read_bytes() + b"\n")
    code, text = after.run("checklist")
    assert code == 30, text
    assert f"{path.parent.name}/verdict.json was edited" in text
    trust = [item for item in after.json("checklist") if item["group"] == "trust"]
    assert [item["key"] for item in trust] == ["evidence"]


@pytest.mark.parametrize("change", ["edited", "deleted"])
def test_evidence_that_was_changed_stays_changed(after, change: str) -> None:
    """However often somebody looks: a second verdict beside it does not make the book take up the change."""
    path = soak_of(after) / "verdict.json"
    good = path.read_bytes()
    if change == "edited":
        path.write_bytes(good + b"\n")
    else:
        path.unlink()
    path.with_name("verdict-2.json").write_bytes(good)
    for _ in range(2):
        refuses(after, 30, f"{path.parent.name}/verdict.json was {change}")
    assert after.run("verify")[0] == 20


def test_an_edited_plan_of_a_run_that_goes_on_stays_edited(after) -> None:
    """Looked at before it was judged, edited then, judged at last: the edit is named at each look."""
    run = after.load("load", after.now - timedelta(minutes=30), 1500.0)
    kept = (run.path / "verdict.json").read_bytes()
    (run.path / "verdict.json").unlink()
    after.run("decide")
    plan = run.path / "plan.json"
    plan.write_bytes(plan.read_bytes() + b"\n")
    (run.path / "verdict.json").write_bytes(kept)
    for _ in range(2):
        refuses(after, 30, f"{run.id}/plan.json was edited")


def test_a_verdict_that_is_better_than_its_rows_is_no_evidence(after) -> None:
    """A run of slow answers, whose verdict somebody set to PASS before the campaign first looked at it."""
    run = after.load("load", after.now - timedelta(minutes=30), 1500.0, ms=30_000.0)
    path = run.path / "verdict.json"
    content = orjson.loads(path.read_bytes())
    assert content["verdict"] == "FAIL"
    path.write_bytes(orjson.dumps(content | {"verdict": "PASS", "exit_code": 0}))
    refuses(after, 30, f"run {run.id} cannot be read")


def test_a_verdict_that_was_removed_before_the_first_look_is_missed(after) -> None:
    """The second one says PASS; what the first one said nobody knows."""
    run = after.load("load", after.now - timedelta(minutes=30), 1500.0)
    path = run.path / "verdict.json"
    path.rename(path.with_name("verdict-2.json"))
    refuses(after, 30, "is gone, and was made before another verdict of the run")


@pytest.mark.parametrize("change", ["edited", "deleted"])
def test_changed_evidence_of_before_a_restart_is_named_by_verify(after, change: str) -> None:
    """The decision does not rest on the load of day 5 any more, and the book still points to it."""
    path = after.results / "load-20260109-140000" / "verdict.json"
    if change == "edited":
        path.write_bytes(path.read_bytes() + b"\n")
    else:
        path.unlink()
    code, text = after.run("verify")
    assert code == 20, text
    assert f"load-20260109-140000/verdict.json was {change}" in text
    assert "as they were written" not in text
    assert after.run("decide")[0] == 0


def test_deleted_evidence_is_named(after) -> None:
    """A run's folder that is gone."""
    run = soak_of(after)
    shutil.rmtree(run)
    refuses(after, 30, f"{run.name}/verdict.json was deleted")


def test_an_edited_entry_is_named(after) -> None:
    """The hotfix of the restart is rewritten in the database, past its triggers."""
    path = after.results / "campaign" / "weeks" / "campaign.db"
    with sqlite3.connect(path) as book:
        book.execute("DROP TRIGGER entry_stays")
        book.execute(
            "UPDATE entry SET content = replace(content, 'cache locks', 'nothing') WHERE kind = 'restart'"
        )
    refuses(after, 30, "(restart) was changed")
    code, text = after.run("verify")
    assert code == 20
    assert "(restart) was changed" in text
    assert after.run("sign-off", "--role", "qa", "--note", "x")[0] == 2


def test_a_decision_that_is_in_no_book_is_never_go(after, monkeypatch: pytest.MonkeyPatch) -> None:
    """The chain does not hold at the first look, and does at the second: nothing is written, so no GO."""
    before = len(after.json("history"))
    monkeypatch.setattr(campaign, "verify_chain", lambda _: ["entry 3 is missing"])
    refuses(after, 30, "entry 3 is missing")
    assert len(after.json("history")) == before


def test_a_book_that_was_cut_short_is_named(after) -> None:
    """The newest entry is gone: `head` still tells of it, and so does one that was kept."""
    folder = after.results / "campaign" / "weeks"
    kept = head_of(folder)
    with sqlite3.connect(folder / "campaign.db") as book:
        book.execute("DROP TRIGGER entry_remains")
        book.execute("DELETE FROM entry WHERE seq = ?", (kept.seq,))
    assert "it was cut short" in after.run("verify")[1]
    (folder / "head").write_text(str(head_of(folder)))
    assert after.run("verify")[0] == 0
    code, text = after.run("verify", "--head", kept)
    assert code == 20
    assert "the head that was kept" in text


def test_a_clock_that_went_back_is_named(after) -> None:
    """The wall clock is set back by an hour; no GO until a restart, also once it is right again."""
    boot = after.stamp
    after.stamp = lambda: type(boot())(after.now - timedelta(hours=1), "other boot", 5.0)  # type: ignore[method-assign]
    refuses(after, 30, "the wall clock went backward by 3600 s")
    after.stamp = boot  # type: ignore[method-assign]
    after.later(hours=1)
    refuses(after, 30, "the wall clock went backward by 3600 s")


def test_a_clock_that_was_set_forward_is_named(after) -> None:
    """A day passes by the wall clock and a second by the machine's own, within one boot."""
    boot = after.stamp()
    after.stamp = lambda: type(boot)(after.now + timedelta(days=1), boot.boot, boot.monotonic + 1)  # type: ignore[method-assign]
    refuses(after, 30, "was set forward by 86399 s")


def test_a_critical_alert_takes_the_go_back(after) -> None:
    """A watch of the same target ends with one: the clock stops at the moment when it fired."""
    after.watched(after.now - timedelta(hours=2), HOUR, alerts=True)
    told = refuses(after, 20, "alert down (critical) fired in run load-")
    assert "Monitoring healthy" in told


def test_a_run_of_another_target_never_counts(after) -> None:
    """It is neither evidence nor a stop; it is named."""
    after.load("load", after.now - timedelta(hours=1), 600.0, ms=30_000.0, host="http://10.9.9.9:3000")
    code, text = after.run("decide")
    assert code == 0
    assert "is of another target (http://10.9.9.9:3000): it does not count" in text


def test_a_watch_of_a_scenario_of_ones_own_shows_nothing_good(after) -> None:
    """It says that it counts, and is none of the calendar's: it is named, and watched nothing."""
    text = (after.folder / "soak.toml").read_text().replace('"soak"', '"mine"').replace("/health", "/other")
    mine = after.write("mine.toml", text)
    before = after.json("decide")["clock"]["observed"]
    run = make_run(
        after.results,
        (after.now - START).total_seconds() / 60 + 5,
        planned=load_plan(mine),
        verdict=False,
        changes={"mode": "watch", "scenario": "mine", "ended_at_run_time": 86_400.0},
    )
    after.watch_database(run, 86_400.0)
    after.later(days=1, minutes=10)
    told = after.json("decide")
    assert any(run.id in note and "another plan" in note for note in told["trust"]["notes"])
    assert told["clock"]["observed"] < before - 0.1


def test_a_later_fail_takes_the_go_back(after) -> None:
    """A run that counts, is worse than its alert threshold, and ended after the GO."""
    after.load("load", after.now - timedelta(hours=1), 600.0, ms=30_000.0)
    refuses(after, 20, "the clock stopped: run load-")


def test_judging_again_by_a_laxer_table_helps_nobody(after) -> None:
    """The worst verdict that was ever written for a run is the one that counts."""
    run = after.load("load", after.now - timedelta(hours=1), 600.0, ms=30_000.0)
    content = orjson.loads((run.path / "verdict.json").read_bytes())
    rows = [row | {"verdict": "PASS"} for row in content["objectives"]]
    better = content | {"verdict": "PASS", "exit_code": 0, "objectives": rows}
    (run.path / "verdict-2.json").write_bytes(orjson.dumps(better))
    refuses(after, 20, "ended FAIL")


def test_a_run_that_only_a_laxer_table_judged_was_not_judged(after) -> None:
    """Answers of 30 s against a target of 1 s, and a table of 100 s: its PASS says nothing."""
    run = after.load("load", after.now - timedelta(hours=1), 600.0, ms=30_000.0)
    (run.path / "verdict.json").unlink()
    lax = [SLA.model_copy(update={"target": Limit.parse("< 100s", "response_time")})]
    verdict = judge(gather(run, objectives=lax), now=after.now)
    assert verdict.grade.value == "PASS"
    write(run, verdict)
    refuses(after, 30, f"loadgate verdict {run.id}")


def test_a_damaged_verdict_is_named(after) -> None:
    """Of a run that is not in the book yet: what it would have said is not known."""
    run = after.load("load", after.now - timedelta(hours=1), 600.0)
    (run.path / "verdict.json").write_text("{")
    refuses(after, 30, f"run {run.id} cannot be read")


def test_a_run_that_nobody_judged_is_named(after) -> None:
    """It ended, and its verdict was taken away before anybody looked."""
    run = after.load("load", after.now - timedelta(hours=1), 600.0)
    (run.path / "verdict.json").unlink()
    refuses(after, 30, f"loadgate verdict {run.id}")


def test_an_annotated_deployment_starts_the_clock_again(after) -> None:
    """What runs then is another release: its week begins, and everything is asked for anew."""
    note = {"at": None, "wall": after.now.isoformat(), "kind": "deployment", "text": "release 2"}
    (soak_of(after) / "annotations.jsonl").write_bytes(orjson.dumps(note) + b"\n")
    after.later(hours=1)
    told = refuses(after, 30, "signed before the clock was started again")
    assert "cycle" not in told
    assert after.json("status")["clock"]["cycle"] == 3


def test_a_damaged_note_is_no_lack_of_deployments(after) -> None:
    """A line of the soak's notes cannot be read: it may have been a deployment, also at the second look."""
    (soak_of(after) / "annotations.jsonl").write_bytes(b'{"kind": "deploy\n')
    for _ in range(2):
        refuses(after, 30, "annotations.jsonl line 1 is no JSON")


def test_a_deployment_that_was_taken_out_is_named(after) -> None:
    """It was in the book; a note that is added later is no fault, and one that is gone is."""
    path = soak_of(after) / "annotations.jsonl"
    note = {"at": None, "wall": after.now.isoformat(), "kind": "deployment", "text": "release 2"}
    first = orjson.dumps(note) + b"\n"
    path.write_bytes(first)
    after.later(minutes=1)
    assert "was edited" not in refuses(after, 30, "signed before the clock was started again")
    path.write_bytes(first + orjson.dumps(note | {"kind": "note", "text": "all is well"}) + b"\n")
    assert after.run("verify")[0] == 0
    path.write_bytes(b"")
    for _ in range(2):
        refuses(after, 30, "a deployment that was noted in it is gone")
    path.unlink()
    assert "annotations.jsonl was deleted" in after.run("verify")[1]


def test_a_smoke_check_that_turns_bad_takes_the_go_back(after) -> None:
    """The newest one counts."""
    after.smoke(after.now - timedelta(minutes=5), limited=False)
    refuses(after, 20, "smoke: target rate limit")


def test_a_waiver_is_printed_and_expires(after) -> None:
    """With it the decision is GO and says so; a day after its end it is HOLD and says that."""
    after.smoke(after.now - timedelta(minutes=5), limited=False)
    until = (after.now + timedelta(hours=12)).isoformat()
    words = ("waive", "rate-limit", "--owner", "product", "--reason", "the proxy limits", "--expires")
    assert after.run(*words, "2020-01-01")[0] == 2
    assert after.run(*words, until)[0] == 0
    code, text = after.run("decide")
    assert (code, text.splitlines()[0]) == (0, "GO, with 1 waiver")
    assert "waived by product, until" in text
    after.later(hours=13)
    after.evidence()
    refuses(after, 20, "the waiver has expired")
