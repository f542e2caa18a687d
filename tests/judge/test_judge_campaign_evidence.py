"""What a campaign reads from files: JUnit, bugs, smoke checks; and what probes saw over days."""

from __future__ import annotations

import json
import tomllib
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from campaign_made import run_facts
from hypothesis import given
from hypothesis import strategies as st

from loadgate.errors import StoreError
from loadgate.judge.campaign_evidence import (
    SMOKE,
    _rules,
    _seen,
    changed_files,
    digest,
    newest_smoke,
    note_faults,
    read_bugs,
    read_run,
    read_tests,
    run_ids,
    same_target,
)
from loadgate.judge.campaign_facts import Span
from loadgate.judge.campaign_seen import covered, downtimes, merged, observed
from loadgate.plan.campaign import Bugs, CampaignTests
from loadgate.plan.units import parse_duration
from loadgate.store.folder import RunFolder
from loadgate.store.watch import Reading, WatchWriter
from loadgate.watch import smoke_results

START = datetime(2026, 1, 5, 8, tzinfo=UTC)
HOST = "http://127.0.0.1:3000"
DAY = 86_400


def after(seconds: float) -> datetime:
    """Return a moment so many seconds after the start."""
    return START + timedelta(seconds=seconds)


# -- JUnit -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("xml", "counts"),
    [
        ("<testsuites/>", (0, 0, 0)),
        ('<testsuite tests="5"/>', (0, 0, 0)),
        ("<testsuite><testcase/><testcase><failure/></testcase></testsuite>", (2, 1, 0)),
        (
            "<testsuites><testsuite><testcase><error/><failure/></testcase></testsuite></testsuites>",
            (1, 1, 0),
        ),
        ("<testsuite><testcase><skipped/></testcase><testcase/></testsuite>", (2, 0, 1)),
        ('<testsuite errors="2"><testcase/></testsuite>', (1, 2, 0)),
        (
            '<testsuites tests="9" failures="3"><testsuite><testcase/></testsuite></testsuites>',
            (1, 3, 0),
        ),
        (
            '<testsuites><testsuite failures="1" errors="1"><testsuite failures="1"><testcase/></testsuite>'
            "</testsuite></testsuites>",
            (1, 2, 0),
        ),
        (
            '<testsuites failures="1"><testsuite failures="1"><testcase/></testsuite>'
            '<testsuite errors="2"><testcase/></testsuite></testsuites>',
            (2, 3, 0),
        ),
    ],
)
def test_cases_are_counted_not_believed(tmp_path: Path, xml: str, counts: tuple[int, int, int]) -> None:
    """A suite that claims five tests and holds none has none; claimed failures count all the same."""
    path = tmp_path / "unit.xml"
    path.write_text(xml)
    (facts,) = read_tests(CampaignTests(name="unit", junit=(path,)))
    assert (facts.tests, facts.failed, facts.skipped, facts.fault) == (*counts, "")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "the file is missing"),
        ("", "no JUnit file"),
        ("<html/>", "its root is <html>"),
        ("<testsuite>", "no JUnit file"),
        ('<testsuite failures="some"><testcase/></testsuite>', "its count of failures is no number: 'some'"),
        ('<testsuite errors=""><testcase/></testsuite>', "its count of errors is no number"),
        ('<testsuites failures="-1"><testsuite><testcase/></testsuite></testsuites>', "is no number: '-1'"),
        ('<!DOCTYPE x [<!ENTITY a "b">]><testsuite><testcase/></testsuite>', "declares entities"),
    ],
)
def test_a_file_that_is_no_junit_says_so(tmp_path: Path, content: str | None, told: str) -> None:
    """It never reads as passed."""
    path = tmp_path / "unit.xml"
    if content is not None:
        path.write_text(content)
    (facts,) = read_tests(CampaignTests(name="unit", junit=(path,)))
    assert told in facts.fault
    assert facts.tests == 0


# -- bugs --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "critical"),
    [
        ("[]", ()),
        ('{"critical": 0}', ()),
        ('{"critical": 2}', ("critical bug 1", "critical bug 2")),
        ('[{"severity": "Critical", "id": "B-1"}]', ("B-1",)),
        ('[{"severity": "critical", "state": "Closed"}, {"severity": "low"}]', ()),
        ('[{"severity": "critical", "state": "open", "title": "it burns"}]', ("it burns",)),
        ('[{"severity": " critical ", "id": "B-2"}]', ("B-2",)),
    ],
)
def test_open_critical_bugs_are_counted(content: str, critical: tuple[str, ...]) -> None:
    """In any case of the words; without a state an issue is open."""
    facts = read_bugs(Bugs(file=Path("b")), content.encode(), "b", START)
    assert (facts.critical, facts.fault) == (critical, "")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        "7",
        '{"critical": -1}',
        '{"critical": true}',
        '[{"id": 1}]',
        "[7]",
        '[{"severity": null}]',
        '[{"severity": " "}]',
        '[{"severity": 1}]',
        '[{"severity": [{"name": "critical"}]}]',
        '[{"severity": {"name": "critical"}}]',
    ],
)
def test_bugs_that_cannot_be_read_say_so(content: str) -> None:
    """An issue without a severity could be a critical one."""
    assert read_bugs(Bugs(file=Path("b")), content.encode(), "b", START).fault.startswith("cannot be read")


def test_the_list_may_lie_deeper() -> None:
    """By keys with dots; a key that is not there is a fault."""
    bugs = Bugs(file=Path("b"), items="data.issues", severity="level", critical=("p0",))
    body = json.dumps({"data": {"issues": [{"level": "P0", "id": 7}]}}).encode()
    assert read_bugs(bugs, body, "b", START).critical == ("7",)
    assert read_bugs(bugs, b'{"data": {}}', "b", START).fault


# -- targets, smoke checks, files --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("http://a", "http://a:80/", True),
        ("HTTPS://A", "https://a:443", True),
        ("http://a:3000", "http://a:3001", False),
        ("http://a", "https://a", False),
        ("http://a/v1", "http://a/v2", False),
        ("http://a", "http://b", False),
        ("http://a", "", False),
    ],
)
def test_a_target_is_scheme_host_port_and_path(one: str, other: str, same: bool) -> None:
    """However it is written."""
    assert same_target(one, other) is same


def smoke_file(root: Path, seconds: float, host: str = HOST, scenario: str = "load") -> Path:
    """Store an empty smoke check of a moment."""
    content = smoke_results.content_of(
        [], scenario=scenario, host=host, plan="", started_at=after(seconds), took=1
    )
    return smoke_results.store(root, content)


def test_the_newest_smoke_check_of_the_target_counts(tmp_path: Path) -> None:
    """Not a newer one of another target, nor of a scenario that may check less."""
    assert SMOKE == smoke_results.FOLDER
    assert newest_smoke(tmp_path, HOST, {"load"}) is None
    smoke_file(tmp_path, 0)
    wanted = smoke_file(tmp_path, 0)
    smoke_file(tmp_path, 60, "http://other")
    smoke_file(tmp_path, 90, scenario="laxer")
    found = newest_smoke(tmp_path, HOST, {"load"})
    assert found is not None
    assert found.file == f"smoke/{wanted.name}"


def test_an_unreadable_newest_smoke_check_is_no_older_one(tmp_path: Path) -> None:
    """It may have been bad."""
    smoke_file(tmp_path, 0)
    smoke_file(tmp_path, 60).write_text("{")
    with pytest.raises(StoreError, match="is no JSON"):
        newest_smoke(tmp_path, HOST, {"load"})


def test_changed_files_are_named(tmp_path: Path) -> None:
    """Edited and deleted ones; not those that are as they were."""
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text(name)
    known = {name: digest(tmp_path / name) or "" for name in ("a", "b", "c")}
    (tmp_path / "b").write_text("other")
    (tmp_path / "c").unlink()
    assert changed_files(tmp_path, known) == ["b was edited", "c was deleted"]


def test_a_verdict_of_another_run_is_refused(tmp_path: Path) -> None:
    """A folder into which somebody copied a good verdict."""
    folder = tmp_path / "load-1"
    folder.mkdir()
    (folder / "plan.json").write_text('{"scenario": {"stability": true}}')
    (folder / "verdict.json").write_text('{"run": "load-0", "verdict": "PASS"}')
    assert run_ids(tmp_path) == ["load-1"]
    with pytest.raises(StoreError, match="the verdict of another run, 'load-0'"):
        read_run(tmp_path, "load-1", START)


def rule(name: str, probe: str | None, **changes: object) -> dict[str, object]:
    """Return an alert rule as a plan's snapshot has it."""
    subject = {"probe": probe, "metric": None if probe else "response_time"}
    return {"name": name, "subject": subject, "limit": {"value": 1.0}, "for": 90.0, "every": 30.0, **changes}


def test_a_watch_follows_only_the_rules_about_probes() -> None:
    """There is no load that the others could look at; a rule takes its `for`, or its window if longer."""
    plan = {"alerts": [rule("down", "health"), rule("slow", None, every=120.0)]}
    assert [(one.name, one.takes) for one in _rules(plan, "watch")] == [("down", 90.0)]
    assert [(one.name, one.takes) for one in _rules(plan, "load")] == [("down", 90.0), ("slow", 120.0)]


def test_a_laxer_rule_of_one_name_is_another_rule() -> None:
    """Its condition tells it apart; a summary for people does not."""
    one, lax, told = (
        _rules({"alerts": [rule("down", "health", **changes)]}, "load")[0].condition
        for changes in ({}, {"limit": {"value": 2.0}}, {"summary": "it is down"})
    )
    assert one != lax
    assert one == told


@pytest.mark.parametrize(
    ("probe", "changes", "same"),
    [
        ({"name": "health", "http": "/health"}, {}, True),
        ({"name": "health", "http": "/anything"}, {}, False),
        ({"name": "health", "http": "/health"}, {"at_least": 1000}, False),
        ({"name": "health", "http": "/health"}, {"phases": ["drain"]}, False),
    ],
)
def test_a_rule_is_another_one_where_its_probe_asks_elsewhere(
    probe: dict[str, object], changes: dict[str, object], same: bool
) -> None:
    """The name of the probe is not enough, and neither is a rule that needs more to fire."""
    known = [{"name": "health", "http": "/health"}]
    plan = {"alerts": [rule("down", "health")], "scenario": {"probes": known}}
    other = {"alerts": [rule("down", "health", **changes)], "scenario": {"probes": [probe]}}
    assert (_rules(plan, "watch") == _rules(other, "watch")) is same


@pytest.mark.parametrize(("ended", "count"), [(None, 1), ("planned", 2)])
def test_a_note_may_be_being_written_while_a_run_goes_on(
    tmp_path: Path, ended: str | None, count: int
) -> None:
    """Line 1 is damaged in either case, and the torn last one only once nobody writes any more."""
    facts = run_facts("load", 0.0, 0.1, ended=ended)
    (tmp_path / facts.run).mkdir()
    (tmp_path / facts.run / "annotations.jsonl").write_bytes(b'damaged\n{"at": 1')
    assert len(note_faults(tmp_path, facts)) == count


# -- what probes saw ---------------------------------------------------------------------------------------


def up(*values: tuple[float, float | None]) -> list[Reading]:
    """Return readings of a health probe: (run time, value)."""
    return [Reading(at, "health", "up", value, "", 0.01) for at, value in values]


def test_a_downtime_lasts_until_the_next_good_reading() -> None:
    """Bad at 30 and 60, good at 90: a minute."""
    readings = up((0, 1), (30, 0), (60, 0), (90, 1), (120, 1))
    assert downtimes(readings, START) == ((after(30), after(90)),)


def test_a_downtime_at_the_end_lasts_to_the_last_bad_reading() -> None:
    """What came after it nobody knows."""
    assert downtimes(up((0, 1), (30, 0), (90, 0)), START) == ((after(30), after(90)),)


def test_a_reading_that_failed_is_neither_up_nor_down() -> None:
    """Its value is None; `up` itself is 0 when nobody answers."""
    assert downtimes(up((0, 1), (30, None), (60, 1)), START) == ()
    assert observed(up((0, None), (30, None)), START, 30) == ()


def test_nobody_looked_in_a_gap() -> None:
    """Of more than three intervals."""
    readings = up((0, 1), (30, 1), (120, 1), (211, 1), (240, 1))
    assert observed(readings, START, 30) == ((after(0), after(120)), (after(211), after(240)))


def seen_by(folder: Path, probes: list[dict[str, object]], readings: list[Reading]) -> tuple[Span, ...]:
    """Return when the target was observed, by the probes of a plan and what they read."""
    run = RunFolder(folder)
    with WatchWriter(run.watch_database) as writer:
        writer.readings(readings)
    return _seen(run, START, {"probes": probes})["observed"]


def every(step: int, begin: int, end: int, probe: str = "health") -> list[Reading]:
    """Return good readings of a probe at each step of [begin, end]."""
    return [Reading(float(at), probe, "up", 1.0, "", 0.01) for at in range(begin, end + 1, step)]


def test_a_slow_probe_bridges_no_gap(tmp_path: Path) -> None:
    """Health every 30 s and a certificate once a day; the watcher was dead from day 1 to day 3."""
    probes: list[dict[str, object]] = [{"name": "health", "every": 30}, {"name": "cert", "every": DAY}]
    readings = [*every(30, 0, 600), *every(30, 3 * DAY, 3 * DAY + 600), *every(DAY, 0, 3 * DAY, "cert")]
    seen = seen_by(tmp_path, probes, readings)
    assert covered(seen, START, after(4 * DAY)) == 1200


def test_a_fast_probe_that_never_reads_makes_no_gaps(tmp_path: Path) -> None:
    """The process is not of this machine; health is read every minute all the same."""
    probes: list[dict[str, object]] = [{"name": "health", "every": 60}, {"name": "process", "every": 10}]
    failed = [Reading(float(at), "process", "cpu", None, "no such process", 0.0) for at in range(0, 600, 10)]
    assert seen_by(tmp_path, probes, [*every(60, 0, 600), *failed]) == ((after(0), after(600)),)


def test_the_shipped_soak_is_observed_all_along(tmp_path: Path) -> None:
    """Each of its probes by its own interval, for two hours: no gap."""
    soak = tomllib.loads((Path(__file__).parents[2] / "scenarios" / "soak.toml").read_text())
    probes = [{**one, "every": parse_duration(one["every"])} for one in soak["probes"]]
    readings = [reading for one in probes for reading in every(int(one["every"]), 0, 7200, one["name"])]
    assert seen_by(tmp_path, probes, readings) == ((after(0), after(7200)),)


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 20)), max_size=8),
    st.integers(0, 70),
    st.integers(0, 70),
)
def test_covered_time_is_counted_second_by_second(spans: list[tuple[int, int]], low: int, high: int) -> None:
    """The oracle looks at each second by itself."""
    begin, end = min(low, high), max(low, high)
    moments = [(after(start), after(start + length)) for start, length in spans]
    expected = sum(any(s <= second < s + n for s, n in spans) for second in range(begin, end))
    assert covered(moments, after(begin), after(end)) == expected
    joined = merged(moments)
    assert all(one[1] < other[0] for one, other in pairwise(joined))
