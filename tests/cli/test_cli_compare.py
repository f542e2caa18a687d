"""`loadgate compare`: what it says of stored runs, what it refuses, and a real interleaved comparison."""

from __future__ import annotations

import json
import re
import shutil
from datetime import UTC, datetime

import jsonschema
import pytest
from made_runs import make_run, plan

from loadgate.cli.calibrate import calibration
from loadgate.cli.subjects import read_run
from loadgate.judge.comparison import schema
from loadgate.judge.effects import Floors
from loadgate.staging.server import StagingService
from loadgate.store.baselines import Baselines
from loadgate.store.database import RunReader
from loadgate.store.folder import RunFolder, list_runs

SPREAD = (0.98, 0.99, 1.0, 1.01, 1.02)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Five accepted runs around 20 ms, and candidates; made once, copied for each test."""
    folder = tmp_path_factory.mktemp("made")
    root = folder / "results"
    names = {f"base{n}": make_run(root, n, 20.0 * factor).id for n, factor in enumerate(SPREAD)}
    for number, (name, ms, more) in enumerate(
        [
            ("same", 20.0, {}),
            ("slow", 26.0, {}),
            ("again", 26.5, {}),
            ("cleared", 20.2, {}),
            ("failing", 20.0, {"failed": 3}),
            ("elsewhere", 20.0, {"endpoint": "creative"}),
            ("cut", 20.0, {"ended": "interrupted"}),
            ("newer", 26.0, {"changes": {"versions": {"loadgate": "0.2.0"}}}),
            ("mixed", 26.0, {"planned": plan(mix={"emotion": 2.0, "creative": 1.0})}),
        ],
        10,
    ):
        names[name] = make_run(root, number, ms, **more).id
    return folder, names


@pytest.fixture
def names(made, tmp_path):
    """Give the names of the runs, which are in the test's own folder."""
    folder, found = made
    shutil.copytree(folder / "results", tmp_path / "results")
    return found


@pytest.fixture
def main(told, names):
    """Promote the five runs as "main"."""
    told("baseline", "promote", *(names[f"base{n}"] for n in range(5)), "--name", "main").expect(0)


def stored(tmp_path, run, number=1):
    """Read a stored comparison."""
    name = "comparison.json" if number == 1 else f"comparison-{number}.json"
    return json.loads((tmp_path / "results" / run / name).read_bytes())


def test_a_run_like_its_baseline_passes(told, main, names, tmp_path) -> None:
    """Exit 0, every row PASS, and comparison.json beside the verdict."""
    told("compare", "main", names["same"]).expect(0, out="^PASS  ", err="")
    content = stored(tmp_path, names["same"])
    jsonschema.validate(content, schema())
    assert {row["verdict"] for row in content["rows"]} == {"PASS"}
    assert content["facts"]["baseline"]["name"] == "main"


def test_a_slower_run_awaits_its_rerun_and_then_fails(told, main, names, tmp_path) -> None:
    """+30 %: exit 31 at first, 20 once a second run shows it again; the first comparison stays."""
    told("compare", "main", names["slow"]).expect(31, out="awaits its confirming rerun")
    assert ["emotion", "p95"] in stored(tmp_path, names["slow"])["awaits_confirmation"]
    told("compare", "main", names["slow"], "--confirm", names["again"]).expect(20, out="^FAIL  ")
    content = stored(tmp_path, names["slow"], 2)
    jsonschema.validate(content, schema())
    (p95,) = [row for row in content["rows"] if row["statistic"] == "p95"]
    assert (p95["verdict"], p95["confirming"]["beyond_floor"]) == ("FAIL", True)


def test_a_rerun_that_is_fast_clears_it(told, main, names) -> None:
    """WARN: exit 0, and 10 with --strict."""
    words = ("compare", "main", names["slow"], "--confirm", names["cleared"])
    told(*words).expect(0, out="not confirmed")
    told(*words, "--strict").expect(10)


def test_one_run_against_one_cannot_fail(told, names) -> None:
    """Nobody knows how far like runs spread: exit 31, with the three ways out."""
    done = told("compare", names["base2"], names["slow"])
    done.expect(
        31, out="promote at least 5 baseline runs, calibrate this machine, or compare with --interleave"
    )


def test_errors_are_found(told, main, names) -> None:
    """3 % of errors where there were none, and a p99 that is infinite because of them."""
    done = told("compare", "main", names["failing"], "--json").expect(31)
    assert {tuple(row) for row in done.json["awaits_confirmation"]} == {
        ("emotion", "p99"),
        ("emotion", "error_rate"),
    }


def test_an_endpoint_that_is_gone_is_invalid(told, main, names) -> None:
    """Exit 30: there is nothing to compare."""
    told("compare", "main", names["elsewhere"]).expect(
        30, out="emotion had no request in 1 of 1 candidate runs"
    )


def test_a_run_that_was_cut_short_is_invalid(told, main, names) -> None:
    """On either side, and as the rerun: exit 30, no row is judged."""
    cut = told("compare", "main", names["cut"], "--json").expect(30).json
    assert (cut["rows"], "was cut short" in cut["reasons"][0]) == ([], True)
    told("compare", names["cut"], names["same"]).expect(30)
    told("compare", "main", names["slow"], "--confirm", names["cut"]).expect(30)


def test_unlike_runs_are_refused_with_their_differences(told, main, names, tmp_path) -> None:
    """Exit 2, nothing written; --force compares them and records what it overruled."""
    told("compare", "main", names["newer"]).expect(
        2, out="", err="loadgate: 0.1.0 in the baseline, 0.2.0 in the candidate"
    )
    assert not (tmp_path / "results" / names["newer"] / "comparison.json").exists()
    told("compare", "main", names["newer"], "--force").expect(
        31, out="unlike, and compared by force: loadgate"
    )
    content = stored(tmp_path, names["newer"])
    assert (content["forced"], [one["what"] for one in content["differences"]]) == (True, ["loadgate"])


def test_a_rerun_must_be_like_its_baseline_too(told, main, names) -> None:
    """A regression is not confirmed by another load."""
    told("compare", "main", names["slow"], "--confirm", names["mixed"]).expect(2, err="mix: ")


def test_a_run_is_not_compared_with_itself(told, main, names) -> None:
    """In its own baseline, as its own baseline, or as its own rerun: exit 2."""
    told("compare", "main", names["base0"]).expect(2, err="is in the baseline and in the candidate")
    told("compare", names["same"], names["same"]).expect(2, err="is in the baseline and in the candidate")
    words = ("compare", "main", names["slow"], "--confirm", names["slow"], "--force")
    told(*words).expect(2, err="is in the candidate and in the confirming rerun")


def test_what_is_neither_a_baseline_nor_a_run(told, main, names) -> None:
    """Exit 2, with the baselines that there are."""
    told("compare", "mian", names["same"]).expect(2, err=r"(?s)neither a baseline nor a run.*baselines: main")
    told("compare", "main@7", names["same"]).expect(2, err="there is no main@7")


def test_a_run_whose_verdict_was_edited_is_refused(told, names, tmp_path) -> None:
    """Its row fails and it says PASS: it makes no baseline, and is compared with nothing."""
    path = tmp_path / "results" / names["failing"] / "verdict.json"
    content = json.loads(path.read_bytes())
    content["objectives"][0]["verdict"] = "FAIL"
    path.write_text(json.dumps(content | {"verdict": "PASS", "exit_code": 0}))
    why = "cannot be believed: it says PASS, and what it was made of says FAIL"
    told("baseline", "promote", names["failing"], "--name", "main").expect(2, err=why)
    told("compare", names["same"], names["failing"]).expect(2, err=why)


def test_a_damaged_baseline_is_refused(told, main, names, tmp_path) -> None:
    """Cut, or of another format's version: exit 2 with the reason."""
    path = tmp_path / "baselines" / "main" / "1.baseline"
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    told("compare", "main", names["same"]).expect(2, err="is damaged: its checksum does not fit")
    path.write_bytes(whole.replace(b"baseline 1", b"baseline 9", 1))
    told("compare", "main", names["same"]).expect(2, err="format's version 9; this Loadgate reads version 1")


def test_a_baseline_can_be_the_candidate(told, main, names) -> None:
    """Two sets: the comparison is printed, and stored nowhere."""
    runs = [names["slow"], names["again"]]
    told("baseline", "promote", *runs, "--name", "next").expect(0)
    done = told("compare", "main", "next", "--json").expect(31)
    assert done.json["candidate_runs"] == runs


def test_markdown_is_written(told, main, names, tmp_path) -> None:
    """For a pull request; where it cannot be written, green is not green."""
    told("compare", "main", names["same"], "--markdown", tmp_path / "out.md").expect(0)
    assert (tmp_path / "out.md").read_text().startswith("### PASS: ")
    nowhere = tmp_path / "gone" / "out.md"
    told("compare", "main", names["same"], "--markdown", nowhere).expect(2, err="cannot write")
    told("compare", "main", names["slow"], "--markdown", nowhere).expect(31, err="cannot write")


def test_a_chosen_statistic_is_the_only_row(told, main, names) -> None:
    """And the level is not shared with others."""
    (row,) = told("compare", "main", names["slow"], "--statistic", "p95", "--json").expect(31).json["rows"]
    assert (row["statistic"], row["level"]) == ("p95", 0.05)


def test_a_higher_floor_lets_more_pass(told, main, names) -> None:
    """30 % slower is within a floor of 50 %, which is written down."""
    done = told("compare", "main", names["slow"], "--floor", "50%", "--json").expect(0)
    assert done.json["facts"]["floors"]["relative"] == 0.5


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("main",), "compare takes BASELINE and CANDIDATE"),
        (("a", "b", "c"), "compare takes BASELINE and CANDIDATE"),
        (("--interleave", "http://a", "http://b", "x.toml", "y.toml"), "--interleave takes one SCENARIO"),
        (("--interleave", "http://a", "http://b", "x.toml", "--force"), "--interleave takes one SCENARIO"),
        (("--interleave", "http://a", "http://b", "x.toml", "--block", "100ms"), "at least 1s"),
        (("a", "b", "--floor", "5"), "a floor '5' "),
        (("a", "b", "--floor-latency", "1"), "a floor '1' has no unit"),
    ],
)
def test_wrong_usage_says_what_is_right(told, words, reason) -> None:
    """Exit 2, before anything is looked at."""
    told("compare", *words).expect(2, out="", err=reason)


# ---- a calibration


def test_a_calibration_of_this_machine_lets_single_runs_be_compared(told, names, tmp_path) -> None:
    """It gives one run against one a spread; of other conditions it is no use."""
    runs = [read_run(RunFolder(tmp_path / "results" / names[f"base{n}"])) for n in range(5)]
    content = calibration(runs, Floors(), now=datetime(2026, 1, 5, tzinfo=UTC))
    Baselines(tmp_path / "baselines").add_calibration("load", content)
    done = told("compare", names["base2"], names["slow"], "--json").expect(31)
    assert ["emotion", "p95"] in done.json["awaits_confirmation"]
    assert done.json["facts"]["calibration"]["file"] == "load-1.json"
    words = ("compare", names["base2"], names["slow"], "--confirm", names["again"])
    told(*words).expect(20, out="load-1.json")
    other = told("compare", names["base2"], names["newer"], "--force", "--json").expect(31).json
    assert (other["facts"]["calibration"], other["awaits_confirmation"]) == (None, [])


# ---- interleaved, with a load


@pytest.mark.system
@pytest.mark.timeout(300)
def test_an_interleaved_comparison_keeps_its_runs_and_its_books(loadgate, service) -> None:
    """One block is four runs in the order A-B-B-A, each with balanced books that the hosts' own agree with.

    Two pairs are too few to say anything, whatever this machine does meanwhile: never green, never FAIL.
    """
    with StagingService() as other:
        hosts = (service.url, other.url)
        before = service.counts()["routes"]
        scenario = loadgate.scenario(service.url, hold="9s")
        words = ("compare", "--interleave", *hosts, scenario, "--blocks", "1", "--block", "2s")
        done = loadgate.run(*words, "--warmup", "1s", "--json", timeout=240)
        received = [sent_to(service, before), sent_to(other, {})]
    assert done.code in (30, 31), done
    content = done.json
    jsonschema.validate(content, schema())
    assert (content["baseline"], content["candidate"]) == (f"A {hosts[0]}", f"B {hosts[1]}")
    for part in ("A", "B", "B", "A"):
        assert re.search(rf"block 1 of 1, {part}: ", done.err), done
    (folder,) = (loadgate.folder / "results").glob("compare-short-*")
    assert json.loads((folder / "comparison.json").read_bytes()) == content
    runs = list_runs(folder)
    verdicts = [json.loads(run.verdict_path(1).read_bytes()) for run in runs]
    assert [verdict["host"] for verdict in verdicts] == [hosts[0], hosts[1], hosts[1], hosts[0]]
    assert {verdict["steady_seconds_planned"] for verdict in verdicts} == {2.0}
    sent = dict.fromkeys(hosts, 0)
    for run, verdict in zip(runs, verdicts, strict=True):
        books = verdict["books"]["run"]["*"]
        ends = ("ok", "failed", "timeout", "unsent", "unfinished", "lost")
        assert books["arrivals"] == sum(books[end] for end in ends)
        # 200 of the two seconds at 100/s, and 75 of the warm-up, half of which is a ramp.
        assert books["arrivals"] + books["missing"] == 275
        with RunReader(run.database) as reader:
            retries = reader.total().counts.get("retries", 0)
        sent[verdict["host"]] += books["arrivals"] - books["unsent"] + retries
    assert [sent[host] for host in hosts] == received
    assert list_runs(loadgate.folder / "results") == []


def sent_to(service: StagingService, before: dict[str, dict[str, int]]) -> int:
    """Count the requests that a service got since then on the routes of the traffic."""
    routes = service.counts()["routes"]
    return sum(
        routes.get(name, {"received": 0})["received"] - before.get(name, {"received": 0})["received"]
        for name in ("emotion", "creative", "reasoning")
    )
