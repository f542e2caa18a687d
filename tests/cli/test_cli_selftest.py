"""`loadgate selftest` says whether the gate stops what it must: it must itself be able to say no."""

from __future__ import annotations

import json
from typing import Any

import pytest

from loadgate.cli.selftest import judge_case
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


@pytest.mark.system
def test_two_cases_come_out_right_on_the_real_gate(loadgate) -> None:
    """A real run with errors is stopped with exit 20, a misspelt endpoint with exit 2."""
    done = loadgate.run("selftest", "--case", "errors", "--case", "misspelt", "--json", timeout=100)
    assert done.code in (0, 31), done
    cases = {case["case"]: case for case in done.json["cases"]}
    assert cases["misspelt"]["outcome"] == "right"
    assert cases["errors"]["outcome"] in ("right", "busy")
