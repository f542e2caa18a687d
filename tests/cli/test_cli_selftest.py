"""`loadgate selftest` says whether the gate stops what it must: it must itself be able to say no."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import pytest
from loadgate_command import Loadgate

from beside import beside
from loadgate.cli.selftest import judge_case, judge_twins
from loadgate.cli.selftest_cases import CASES, ROWS, Case
from loadgate.exit_codes import ExitCode
from loadgate.plan.plan import load_plan
from loadgate.plan.problems import PlanError

CASE = Case(
    "errors", "2 % of the answers are errors", ExitCode.FAIL, failed=("error_rate",), reason="error_rate is"
)


def said(grade: str = "FAIL", *, void: bool = False, reason: str = "error_rate is 2%", **rows: str) -> str:
    """Write what `loadgate run --json` prints; rows PASS unless told otherwise."""
    verdicts = {**dict.fromkeys(ROWS, "PASS"), "error_rate": "FAIL", **rows}
    objectives = [{"name": name, "verdict": verdict} for name, verdict in verdicts.items()]
    return json.dumps({"verdict": grade, "void": void, "reasons": [reason], "objectives": objectives})


def outcome(stdout: str, code: int = 20) -> Any:
    return judge_case(CASE, code, stdout, "")


def test_a_breach_that_was_stopped_for_its_reason_is_right() -> None:
    """The row fails, all others pass, and the reason names it."""
    assert (outcome(said()).word, outcome(said()).wrong) == ("right", ())


@pytest.mark.parametrize(
    ("stdout", "code", "part"),
    [
        (said("PASS", error_rate="PASS"), 0, "exited 0, not 20"),
        (said(error_rate="WARN"), 20, "error_rate is WARN, not FAIL"),
        (said(memory="FAIL"), 20, "memory is FAIL, not PASS"),
        (said(reason="something else"), 20, "nothing said"),
        (said(void=True, reason="error_rate is 2%; the load was not the planned one"), 20, "the run is void"),
        ("Traceback (most recent call last):", 70, "exited 70, not 20"),
    ],
)
def test_a_gate_that_lets_a_breach_through_is_wrong(stdout: str, code: int, part: str) -> None:
    """A PASS, the wrong row, the wrong reason, a void run, a crash: none of them is taken for a stop."""
    found = outcome(stdout, code)
    assert found.word == "WRONG"
    assert any(part in text for text in found.wrong), found.wrong


def test_a_machine_that_is_too_busy_is_not_blamed_on_the_gate() -> None:
    """The run says itself that its generator was saturated."""
    busy = said(
        "INVALID", void=True, reason="the run is void: the generator was saturated: 1% of requests late"
    )
    assert outcome(busy, 30).word == "busy"


def test_every_case_has_a_plan_that_can_be_run(tmp_path) -> None:
    """All but the misspelt one load without an error; that one is refused."""
    from loadgate.cli.selftest import _write

    for case in CASES:
        folder = tmp_path / case.name
        folder.mkdir()
        path = _write(case, folder, "http://127.0.0.1:3000")
        if case.exit_code is ExitCode.USAGE:
            with pytest.raises(PlanError, match=r"emotoin"):
                load_plan(path)
        else:
            load_plan(path)


# ---- two like services

(TWINS,) = [case for case in CASES if case.twins]


def compared(grade: str = "PASS", *notes: str, rows: bool = True, **grades: str) -> str:
    """Write what `loadgate compare --json` prints of five statistics; rows have the verdict `grade`."""
    found = [
        {
            "endpoint": endpoint,
            "statistic": statistic,
            "verdict": grades.get(endpoint, grade) if statistic == "p95" else "PASS",
            "reason": "20ms to 26ms",
            "spread": [{"source": "inside"}, {"source": "pairs"}],
        }
        for endpoint in ("emotion", "creative", "reasoning")
        for statistic in ("p50", "p95", "mean", "error_rate", "throughput")
    ]
    return json.dumps(
        {"verdict": grade, "reasons": ["so"], "rows": found if rows else [], "notes": list(notes)}
    )


@pytest.mark.parametrize(("grade", "code"), [("PASS", 0), ("WARN", 0), ("INCONCLUSIVE", 31)])
def test_like_services_that_are_not_told_apart_are_right(grade: str, code: int) -> None:
    """Whatever this machine's noise leaves open, as long as nobody is blamed."""
    found = judge_twins(TWINS, code, compared(grade), "")
    assert (found.word, found.verdict, found.wrong) == ("right", grade, ())


@pytest.mark.parametrize(
    ("stdout", "code", "part"),
    [
        (compared("FAIL"), 20, "emotion p95 is FAIL"),
        # A FAIL is wrong however busy the machine was, and whatever the exit code says.
        (compared("FAIL", "block 1 of 2, B is left out with its pair: void"), 20, "emotion p95 is FAIL"),
        (compared("PASS", creative="FAIL"), 0, "creative p95 is FAIL"),
        (compared(rows=False), 0, "emotion p50 was not compared"),
        (compared().replace("pairs", "inside"), 0, "reasoning throughput was not compared"),
        ("Traceback (most recent call last):", 70, "exited 70, not 0 or 31"),
    ],
)
def test_a_comparison_that_blames_or_sees_nothing_is_wrong(stdout: str, code: int, part: str) -> None:
    """Nobody compared is nobody blamed: that proves nothing of the comparison."""
    found = judge_twins(TWINS, code, stdout, "")
    assert found.word == "WRONG"
    assert any(part in text for text in found.wrong), found.wrong


def test_pairs_that_were_void_are_the_machine_s_doing() -> None:
    """Too few are left to compare: busy, not wrong."""
    note = "block 1 of 2, B is left out with its pair: void"
    assert judge_twins(TWINS, 31, compared("INCONCLUSIVE", note, rows=False), "").word == "busy"
    assert judge_twins(TWINS, 30, compared("INVALID", note, rows=False), "").word == "busy"


@pytest.fixture(scope="module")
def selftested(tmp_path_factory):
    """Run both side by side, each in a folder of its own."""
    folder = tmp_path_factory.mktemp("selftest")

    def run(name, *cases):
        (folder / name).mkdir()
        with Loadgate(folder / name) as loadgate:
            words = [word for case in cases for word in ("--case", case)]
            return loadgate.run("selftest", *words, "--json", timeout=420)

    commands = {"twins": partial(run, "twins", "twins"), "cases": partial(run, "cases", "errors", "misspelt")}
    return beside(commands, at_once=2)


@pytest.mark.system
@pytest.mark.timeout(450)
def test_two_like_services_are_not_told_apart(selftested) -> None:
    """Eight real runs, A-B-B-A: nobody is worse, on the busiest machine."""
    done = selftested["twins"].result()
    assert done.code in (0, 31), done
    (case,) = done.json["cases"]
    assert case["outcome"] in ("right", "busy")
    assert case["verdict"] != "FAIL"


@pytest.mark.system
@pytest.mark.timeout(450)
def test_two_cases_come_out_right_on_the_real_gate(selftested) -> None:
    """A real run with errors is stopped with exit 20, a misspelt endpoint with exit 2."""
    done = selftested["cases"].result()
    assert done.code in (0, 31), done
    cases = {case["case"]: case for case in done.json["cases"]}
    assert cases["misspelt"]["outcome"] == "right"
    assert cases["errors"]["outcome"] in ("right", "busy")
