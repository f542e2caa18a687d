"""`loadgate gate --baseline`: what is refused before any load, and the one exit code of run and comparison.

The runs are stored ones that a test hands out in the place of real ones; the last test makes real ones.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import sys
from pathlib import Path
from xml.etree import ElementTree

import click
import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_runs import make_run, plan

from loadgate.cli import gate as gating
from loadgate.cli.control_room import Judged
from loadgate.cli.gate_regression import WORST_FIRST, joined
from loadgate.errors import TargetUnreachable
from loadgate.exit_codes import ExitCode
from loadgate.judge.comparison import schema
from loadgate.judge.results import SEVERITY
from loadgate.swarm.past import this_machine

SPREAD = (0.98, 0.99, 1.0, 1.01, 1.02)
HERE = {"machine": this_machine()}


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch, tmp_path) -> None:
    """Run as on a machine that is not GitHub's, with baselines of its own."""
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path))
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "GITHUB_OUTPUT", "LOADGATE_BASELINES"):
        monkeypatch.delenv(name, raising=False)


class Rooms:
    """Stand in for `ControlRoom`: hand out stored runs, one after the other, and count them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.plan = plan()
        self.runs: list[dict[str, object] | BaseException] = []
        self.made: list[str] = []
        self.requests: list[object] = []

    def __call__(self, request):
        self.requests.append(request)
        return self

    def judged(self):
        chosen = self.runs[len(self.made)]
        self.made.append("tried")
        if isinstance(chosen, BaseException):
            raise chosen
        options = {"changes": HERE, **chosen}
        folder = make_run(self.root, 30 + len(self.made), **options)
        self.made[-1] = folder.id
        content = json.loads(folder.verdict_path(1).read_bytes())
        click.echo(f"{content['verdict']}  printed by the control room")
        return Judged(self.plan, folder, content, content["exit_code"])


@pytest.fixture
def rooms(tmp_path, monkeypatch) -> Rooms:
    """Put stored runs in the place of real ones."""
    made = Rooms(tmp_path / "results")
    monkeypatch.setattr(gating, "ControlRoom", made)
    return made


@pytest.fixture
def main(told, tmp_path) -> None:
    """Promote five runs around 20 ms as "main"."""
    runs = [
        make_run(tmp_path / "results", n, 20.0 * factor, changes=HERE).id for n, factor in enumerate(SPREAD)
    ]
    told("baseline", "promote", *runs, "--name", "main").expect(0)


def gate(told, *words):
    """Gate against "main"; the scenario's file is not read."""
    return told("gate", "load.toml", "--baseline", "main", *words)


def compared(tmp_path, run, number=1):
    """Read a stored comparison."""
    name = "comparison.json" if number == 1 else f"comparison-{number}.json"
    content = json.loads((tmp_path / "results" / run / name).read_bytes())
    jsonschema.validate(content, schema())
    return content


def red(path: Path) -> dict[str, str]:
    """Return the type of each case that is red in a JUnit file, by suite and name."""
    return {
        f"{suite.get('name')}: {case.get('name')}": str(fault.get("type"))
        for suite in ElementTree.parse(path).iter("testsuite")
        for case in suite.iter("testcase")
        for fault in case
        if fault.tag in ("failure", "error")
    }


SLOW, SLOW_AGAIN, LIKE = {"ms": 26.0}, {"ms": 26.5}, {"ms": 20.1}


# -- one exit code -----------------------------------------------------------------------------------


def test_a_run_like_its_baseline_passes(told, main, rooms, tmp_path) -> None:
    """Exit 0, once; the comparison is printed below the verdict, and in every report."""
    rooms.runs = [LIKE]
    done = gate(told, "--junit", "j.xml", "--markdown", "g.md", "--github")
    done.expect(0, out=r"(?s)^PASS  printed by.*\nPASS  load-\S+ against main@1 \(stored\)")
    assert done.err.rstrip().splitlines()[-1].startswith("gate: PASS, exit code 0; run ")
    assert "comparison.json" in done.err
    assert (len(rooms.made), red(Path("j.xml"))) == (1, {})
    text = Path("g.md").read_text()
    assert text.startswith("## PASS: load")
    assert f"### PASS: {rooms.made[0]} against main@<!-- -->1 (stored)" in text
    assert "--baseline main" in text
    assert "::notice title=PASS regression%3A" in done.out
    suites = {suite.get("name"): suite for suite in ElementTree.parse("j.xml").iter("testsuite")}
    # p50, p95, p99, mean, error_rate, throughput, and the comparison itself.
    assert suites["regression"].get("tests") == "7"


def test_a_regression_is_confirmed_by_a_second_run(told, main, rooms, tmp_path) -> None:
    """+30 % twice: exit 20 though the SLA table holds; the awaiting comparison stays beside the final one."""
    rooms.runs = [SLOW, SLOW_AGAIN]
    done = gate(told, "--junit", "j.xml", "--markdown", "g.md", "--github").expect(20)
    first, second = rooms.made
    assert compared(tmp_path, first)["verdict"] == "INCONCLUSIVE"
    final = compared(tmp_path, first, 2)
    assert (final["verdict"], final["confirming_runs"]) == ("FAIL", [second])
    assert red(Path("j.xml"))["regression: emotion p95"] == "FAIL"
    assert "run: the run" not in red(Path("j.xml"))
    assert Path("g.md").read_text().startswith("## FAIL: load")
    assert "::error title=FAIL emotion p95::" in done.out
    assert "gate: FAIL, exit code 20" in done.err
    # The verdict of the run itself is what its own table says.
    verdict = json.loads((tmp_path / "results" / first / "verdict.json").read_bytes())
    assert verdict["verdict"] == "PASS"


def test_a_second_run_that_is_fast_clears_it(told, main, rooms) -> None:
    """WARN: exit 0, and 10 with --strict, where JUnit is red as well."""
    rooms.runs = [SLOW, LIKE, SLOW, LIKE]
    gate(told, "--junit", "j.xml").expect(0, out="not confirmed", err="gate: WARN, exit code 0")
    assert red(Path("j.xml")) == {}
    gate(told, "--junit", "j.xml", "--strict").expect(10, err="gate: WARN, exit code 10")
    assert red(Path("j.xml"))["regression: emotion p95"] == "WARN"


def test_without_a_rerun_it_awaits_one(told, main, rooms) -> None:
    """Exit 31 after one run, with the way to confirm it by hand."""
    rooms.runs = [SLOW]
    gate(told, "--no-rerun", "--junit", "j.xml").expect(31, out="awaits its confirming rerun .*--confirm")
    assert red(Path("j.xml"))["regression: emotion p95"] == "INCONCLUSIVE"


def test_a_run_that_fails_is_not_made_again(told, main, rooms, tmp_path) -> None:
    """1.5 s where the table allows one: exit 20 already, which no rerun can change."""
    rooms.runs = [{"ms": 1500.0}]
    done = gate(told).expect(20, err="gate: FAIL, exit code 20")
    assert len(rooms.made) == 1
    assert compared(tmp_path, rooms.made[0])["awaits_confirmation"] != []
    assert "made again" not in done.err


def test_a_rerun_that_fails_its_own_table_fails_the_gate(told, main, rooms) -> None:
    """Two seconds where one is allowed: the target has failed, whatever the first run was."""
    rooms.runs = [SLOW, {"ms": 2000.0}]
    done = gate(told, "--markdown", "g.md").expect(20)
    assert f"the confirming rerun {rooms.made[1]} is FAIL" in Path("g.md").read_text()
    assert len(rooms.made) == 2, done


@pytest.mark.parametrize("ended", ["died", "interrupted"])
def test_a_run_that_was_cut_short_is_never_compared_green(told, main, rooms, tmp_path, ended) -> None:
    """No row is judged, and the comparison is INVALID."""
    rooms.runs = [LIKE | {"ended": ended}]
    done = gate(told, "--junit", "j.xml").expect(130 if ended == "interrupted" else 30)
    content = compared(tmp_path, rooms.made[0])
    assert (content["verdict"], content["rows"]) == ("INVALID", []), done
    assert red(Path("j.xml"))["regression: the comparison"] == "INVALID"


# -- a rerun that does not come to its end -----------------------------------------------------------


@pytest.mark.parametrize(
    ("second", "code", "reason"),
    [
        (LIKE | {"ended": "died"}, 31, "the confirming rerun cannot be used: .* was cut short"),
        (TargetUnreachable("nobody answers"), 31, "could not be made: nobody answers"),
        (KeyboardInterrupt(), 130, "interrupted before the confirming rerun was made"),
        (LIKE | {"ended": "interrupted"}, 130, "interrupted before the confirming rerun was made"),
    ],
)
def test_a_rerun_that_says_nothing_settles_nothing(told, main, rooms, tmp_path, second, code, reason) -> None:
    """What looked worse still awaits its confirmation, and the reports say why."""
    rooms.runs = [SLOW, second]
    done = gate(told, "--junit", "j.xml", "--markdown", "g.md").expect(code, out=reason)
    assert f"gate: INCONCLUSIVE, exit code {code}" in done.err
    content = compared(tmp_path, rooms.made[0], 2)
    assert ["emotion", "p95"] in content["awaits_confirmation"]
    assert red(Path("j.xml"))["regression: emotion p95"] == "INCONCLUSIVE"


# -- before any load ---------------------------------------------------------------------------------


def test_what_cannot_be_compared_is_told_before_the_load(told, main, rooms, tmp_path) -> None:
    """A missing baseline or generation, a damaged one, another format: exit 2, no run, red reports."""
    for name, said in [
        ("mian", "there is no baseline 'mian' in .*\n +did you mean main"),
        ("main@7", "there is no main@7"),
    ]:
        told("gate", "load.toml", "--baseline", name, "--junit", "j.xml").expect(2, out="", err=said)
    path = tmp_path / "baselines" / "main" / "1.baseline"
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    gate(told).expect(2, out="", err="is damaged: its checksum does not fit")
    path.write_bytes(whole.replace(b"baseline 1", b"baseline 9", 1))
    gate(told, "--junit", "j.xml").expect(2, out="", err="format's version 9; this Loadgate reads version 1")
    assert red(Path("j.xml")) == {"run: the run": "USAGE"}
    assert rooms.made == []


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        (plan(mix={"emotion": 2.0, "creative": 1.0}), "mix: emotion 100% in the baseline"),
        (plan(stages=[{"rate": 100.0, "hold": 30.0}]), "duration: 10s steady in the baseline, 30s steady"),
        (plan(users=11), "users: 10 in the baseline, 11 in the candidate"),
        (plan(stages=[{"rate": 101.0, "hold": 10.0}]), "level: "),
    ],
)
def test_an_unlike_plan_is_told_before_the_load(told, main, rooms, changed, what) -> None:
    """Exit 2, with each difference and how to get a baseline of such runs."""
    rooms.plan = changed
    done = gate(told).expect(2, out="", err=what)
    assert "loadgate baseline promote RUN... --name main" in done.err
    assert rooms.made == []


def test_a_difference_that_only_the_run_shows_is_never_green(told, main, rooms, tmp_path) -> None:
    """It was made on another machine, say: exit 2 after the run, INVALID in the reports, nothing stored."""
    other = {"machine": {"node": "there", "system": "Plan 9", "cores": 1}}
    rooms.runs = [LIKE | {"changes": other}]
    done = gate(told, "--junit", "j.xml", "--markdown", "g.md")
    done.expect(2, out=r"the run is not like main@1", err="gate: INVALID, exit code 2")
    assert red(Path("j.xml")) == {"regression: the comparison": "INVALID"}
    assert "machine: " in Path("g.md").read_text()
    assert list((tmp_path / "results" / rooms.made[0]).glob("comparison*.json")) == []


@pytest.mark.parametrize(
    "words", [("--no-rerun",), ("--floor", "9%"), ("--statistic", "p95"), ("--baselines", "b")]
)
def test_an_option_that_would_do_nothing_is_refused(told, rooms, words) -> None:
    """Without --baseline there is nothing to compare."""
    told("gate", "load.toml", *words).expect(2, out="", err=f"{words[0]} goes with --baseline")


def test_a_run_that_is_compared_does_not_end_early(told, main, rooms) -> None:
    """`stop_when_certain` would make it shorter than its baseline; it is told, and off."""
    verdict = rooms.plan.scenario.verdict.model_copy(update={"stop_when_certain": True})
    scenario = rooms.plan.scenario.model_copy(update={"verdict": verdict})
    rooms.plan = rooms.plan.model_copy(update={"scenario": scenario})
    rooms.runs = [LIKE]
    gate(told).expect(0, err="stop_when_certain is off")
    assert rooms.requests[-1].overrides == ("verdict.stop_when_certain=false",)


# -- machines ----------------------------------------------------------------------------------------


def test_json_is_one_document(told, main, rooms) -> None:
    """That of the first run's verdict, as the control room prints it, whatever is compared and made again."""
    rooms.runs = [SLOW, SLOW_AGAIN]
    done = gate(told, "--json").expect(20)
    assert done.out == "PASS  printed by the control room\n"
    assert [request.as_json for request in rooms.requests] == [True, False]


def test_github_gets_the_gate_s_verdict(told, main, rooms, tmp_path, monkeypatch) -> None:
    """The step's outputs are those of the whole, so that a later step cannot take a regression for a PASS."""
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "out"))
    rooms.runs = [SLOW, SLOW_AGAIN]
    gate(told, "--github").expect(20)
    assert (tmp_path / "out").read_text() == f"verdict=FAIL\nexit-code=20\nrun={rooms.made[0]}\n"


# -- the law of joining ------------------------------------------------------------------------------

CODES = {"FAIL": 20, "INVALID": 30, "INCONCLUSIVE": 31, "WARN": 0, "PASS": 0}
GRADES = st.sampled_from(list(CODES))


def side(verdict: str, strict: bool = False) -> dict[str, object]:
    """Return what a verdict and a comparison have in common."""
    code = 10 if verdict == "WARN" and strict else CODES[verdict]
    return {"verdict": verdict, "exit_code": code, "reasons": ["so"], "baseline": "main@1", "run": "r"}


@given(GRADES, GRADES, st.none() | GRADES, st.booleans())
def test_the_worse_of_both_decides(one: str, other: str, again: str | None, strict: bool) -> None:
    """Verdict and exit code of the worst side by the table; of a rerun only its FAIL counts."""
    found = joined(side(one, strict), side(other, strict), side(again, strict) if again else None)
    order = [str(grade) for grade in SEVERITY]
    sides = [one, other, *(["FAIL"] if again == "FAIL" else [])]
    worst = min(sides, key=order.index)
    assert found["verdict"] == worst
    assert found["exit_code"] == side(worst, strict)["exit_code"]
    # Green when and only when both sides are.
    assert (found["exit_code"] == 0) == all(side(each, strict)["exit_code"] == 0 for each in sides)


def test_every_exit_code_has_its_rank() -> None:
    """None is unknown to the order, and an interruption comes before all."""
    assert sorted(WORST_FIRST) == sorted(ExitCode)
    assert WORST_FIRST[0] is ExitCode.INTERRUPTED
    assert WORST_FIRST[-1] is ExitCode.PASS


# -- with a load -------------------------------------------------------------------------------------

SLA = '[[objective]]\nmetric = "error_rate"\ntarget = "< 50%"\nevery  = "30s"\n'


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.system
def test_a_slow_release_is_run_twice_and_stopped(loadgate) -> None:
    """Against the baseline of a fast one: two starts of the service, two runs, exit 20 by the comparison.

    The baseline is one real run and four copies of it, which is what its conditions are checked against
    before the load; 300 ms more in every answer are a regression on the busiest machine.
    """
    scenario = loadgate.scenario(f"http://127.0.0.1:{free_port()}", hold="3s", sla=SLA)
    port = scenario.read_text().split("127.0.0.1:")[1].split('"')[0]
    serve = f"{sys.executable} -m loadgate staging serve --port {port}"

    def attempt(*words):
        running = loadgate.start("gate", scenario, *words)
        return running, running.wait(120)

    running, done = loadgate.quiet(lambda: attempt("--start", serve))
    done.expect(0)
    first = running.folder_of_run()
    copies = [first.path.with_name(f"copy-{number}") for number in range(4)]
    for copy in copies:
        shutil.copytree(first.path, copy)
    loadgate.run("baseline", "promote", first.id, *[copy.name for copy in copies], "--name", "main").expect(0)

    slow = f"{serve} --fault latency:delay=300ms"
    words = ("--baseline", "main", "--statistic", "p50", "--junit", "j.xml", "--start", slow)
    running, done = loadgate.quiet(lambda: attempt(*words))
    done.expect(
        20, out="(?s)^PASS  short .*\nPASS  short .*\nFAIL  short-.* against main@1", err="made again"
    )
    services = re.findall(r"service: \S+ \(pid (\d+)\)", done.err)
    assert len(set(services)) == 2
    rerun = running.folder_of_run()
    content = next(
        json.loads(path.read_bytes())
        for path in running.results.glob("*/comparison-2.json")
        if rerun.id in path.read_text()
    )
    assert (content["verdict"], content["confirming_runs"]) == ("FAIL", [rerun.id])
    assert (rerun.logs / "service.log").is_file()
    assert red(loadgate.folder / "j.xml")["regression: emotion p50"] == "FAIL"
    assert running.left() == []
