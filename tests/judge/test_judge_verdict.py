"""The verdict as a whole: verdict.json against its schema, exit codes, reasons, and the file."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from loadgate.errors import StoreError
from loadgate.exit_codes import ExitCode
from loadgate.judge.results import Grade, ObjectiveResult
from loadgate.judge.verdict import Verdict, exit_code, judge, schema, write
from loadgate.measure.delta import Failure
from loadgate.plan.scenario import VerdictPolicy
from loadgate.plan.timeline import Segment
from loadgate.store.folder import RunFolder

NOW = datetime(2026, 11, 22, 20, 40, tzinfo=UTC)


def table(make: Any) -> list[Any]:
    """Return four rows that a good run meets."""
    return [
        make.objective(endpoint="emotion", alert="> 200ms"),
        make.objective("error_rate", "< 0.1%", alert="> 1%"),
        make.objective("throughput", ">= 100/s", alert="< 50/s"),
        make.objective("uptime", ">= 99%", alert="< 95%"),
    ]


def up(make: Any, values: list[float | None] | None = None) -> dict[str, Any]:
    """Return a health probe and its readings."""
    values = [1.0] * 30 if values is None else values
    return {
        "probes": [make.probe("health", http="/health")],
        "readings": make.readings("health", "up", values),
    }


def good(make: Any, **changes: Any) -> Verdict:
    """Return the verdict of a good run, with what a test changes in it."""
    return judge(make.evidence(*table(make), **{**up(make), **changes}), now=NOW)


def case(make: Any, kind: str) -> Verdict:
    """Return the verdict of a kind of run."""
    slow = make.steady({300: 100})
    dead = make.steady({}, failed=100)
    made: dict[str, Callable[[], Verdict]] = {
        "pass": lambda: good(make),
        "warn": lambda: good(make, windows=make.steady({100: 100})),
        "fail": lambda: good(make, windows=slow),
        "invalid": lambda: good(make, probes=()),
        "dead": lambda: good(make, windows=dead, **up(make, [None] * 30)),
        "void": lambda: good(make, fleet=()),
        "empty": lambda: good(make, windows=(), fleet=()),
        "no objectives": lambda: judge(make.evidence(), now=NOW),
        "never steady": lambda: good(make, steady=(), ended="stopped"),
        "interrupted": lambda: good(make, ended="interrupted"),
        "limited": lambda: good(make, windows=make.steady({20: 10}, failed=90, rate_limited=90)),
        "open-ended": lambda: good(
            make, segments=(Segment(0, float("inf"), float("nan"), float("nan"), "steady"),)
        ),
        "failures": lambda: good(
            make, failures=(Failure("emotion", "failed", "http_500", "500", 3, 1.0, 2.0, []),)
        ),
    }
    return made[kind]()


KINDS = (
    "pass",
    "warn",
    "fail",
    "invalid",
    "dead",
    "void",
    "empty",
    "no objectives",
    "never steady",
    "interrupted",
    "limited",
    "open-ended",
    "failures",
)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_verdict_fits_the_schema(make: Any, kind: str) -> None:
    """verdict.json is valid JSON without NaN or infinity, and its schema describes it."""
    text = json.dumps(case(make, kind).to_dict(), allow_nan=False)
    validator = jsonschema.Draft202012Validator(schema())
    assert [error.message for error in validator.iter_errors(json.loads(text))] == []


def test_an_inconclusive_row_with_an_interval_fits_the_schema(make: Any) -> None:
    """Nothing estimates intervals yet; the format has the place for them."""
    row = ObjectiveResult(
        make.objective(), Grade.INCONCLUSIVE, "too few", value=0.04, n=9, interval=(0.03, 0.06)
    )
    content = good(make).to_dict() | {
        "objectives": [row.to_dict(0.0)],
        "verdict": "INCONCLUSIVE",
        "exit_code": 31,
    }
    jsonschema.Draft202012Validator(schema()).validate(content)
    assert content["objectives"][0]["interval"] == [30, 60]


def test_the_schema_is_one_and_refuses_a_pass_without_data(make: Any) -> None:
    """A PASS with a null value or no sample is not a verdict."""
    jsonschema.Draft202012Validator.check_schema(schema())
    content = good(make).to_dict()
    content["objectives"][0] |= {"value": None, "n": 0}
    assert not jsonschema.Draft202012Validator(schema()).is_valid(content)


@pytest.mark.parametrize(
    ("kind", "grade", "code", "void"),
    [
        ("pass", "PASS", 0, False),
        ("warn", "WARN", 0, False),
        ("fail", "FAIL", 20, False),
        ("invalid", "INVALID", 30, False),
        ("dead", "FAIL", 20, False),
        ("void", "INVALID", 30, True),
        ("empty", "INVALID", 30, True),
        ("no objectives", "INVALID", 30, False),
        ("never steady", "INVALID", 30, False),
        ("interrupted", "INVALID", 130, False),
        ("limited", "FAIL", 20, False),
    ],
)
def test_each_kind_of_run_has_its_verdict_and_exit_code(
    make: Any, kind: str, grade: str, code: int, void: bool
) -> None:
    """A dead target fails, a run of zero requests is INVALID, an interrupted one exits 130."""
    content = case(make, kind).to_dict()
    assert (content["verdict"], content["exit_code"], content["void"]) == (grade, code, void)


@pytest.mark.parametrize(
    ("grade", "ended", "strict", "code"),
    [
        ("PASS", "planned", True, 0),
        ("WARN", "planned", False, 0),
        ("WARN", "planned", True, 10),
        ("FAIL", "stopped", False, 20),
        ("INVALID", "died", False, 30),
        ("INCONCLUSIVE", "planned", False, 31),
        ("FAIL", "interrupted", False, 130),
        ("WARN", "interrupted", True, 130),
        ("FAIL", "aborted", True, 20),
    ],
)
def test_exit_codes(grade: str, ended: str, strict: bool, code: int) -> None:
    """Stopped and aborted runs exit by verdict, interrupted ones by 130."""
    assert exit_code(Grade(grade), ended, strict=strict) == ExitCode(code)


def test_a_command_that_was_interrupted_says_so_in_the_file(make: Any) -> None:
    """The signal came when the run had already ended as planned; file and process have one code."""
    row = make.objective()
    verdict = judge(make.evidence(row), interrupted=True, now=NOW)
    assert (verdict.grade, verdict.exit_code) == (Grade.PASS, ExitCode.INTERRUPTED)
    assert verdict.to_dict()["exit_code"] == 130


def test_the_core_keys_of_the_format_are_there(make: Any) -> None:
    """Others rely on these names; they never change."""
    content = good(make).to_dict()
    core = "schema_version run scenario verdict void ended exit_code reasons objectives"
    row = "metric endpoint statistic value unit target alert n interval worst_window verdict reason"
    assert set(core.split()) <= content.keys()
    assert set(row.split()) <= content["objectives"][0].keys()


def test_values_are_in_the_objectives_own_unit(make: Any) -> None:
    """20 ms beside "< 50ms", with the alert threshold of "0.2s" in ms too; times are UTC."""
    row = make.objective(endpoint="emotion", alert="> 0.2s")
    content = judge(make.evidence(row), now=NOW).to_dict()["objectives"][0]
    assert content["value"] == pytest.approx(20, rel=1e-3)
    assert (content["unit"], content["target"], content["target_value"]) == ("ms", "< 50ms", 50)
    assert (content["alert"], content["alert_value"]) == ("> 0.2s", pytest.approx(200))
    # 1795379712 is 2026-11-22T20:35:12 UTC; the first window begins 10 s later.
    assert content["worst_window"]["start_at"] == "2026-11-22T20:35:22.000Z"


def test_an_infinite_value_is_null_and_says_so(make: Any) -> None:
    """JSON has no infinity."""
    content = case(make, "dead").to_dict()["objectives"][0]
    assert (content["value"], content["infinite"], content["value_text"]) == (None, True, "infinite")
    assert (content["worst_window"]["value"], content["worst_window"]["infinite"]) == (None, True)


def test_a_pass_says_what_it_rests_on(make: Any) -> None:
    """Rows, seconds and requests."""
    assert case(make, "pass").reasons == ("4 of 4 objectives hold over 30s and 3000 requests",)


def test_reasons_name_the_worst_row_first(make: Any) -> None:
    """The FAIL comes before the INVALID row, and rows that pass are not in the list."""
    reasons = good(make, windows=make.steady({300: 100}), probes=()).reasons
    assert [reason.split(":")[0] for reason in reasons] == ["FAIL emotion.response_time", "INVALID uptime"]


def test_a_row_that_met_the_rate_limit_says_so(make: Any) -> None:
    """In its own reason, and once for the run with the addresses that would be needed."""
    verdict = case(make, "limited")
    failing = [row for row in verdict.rows if row.verdict is Grade.FAIL]
    assert failing
    assert all("rate limit was met" in row.reason for row in failing)
    assert any("source addresses" in reason for reason in verdict.reasons)
    assert verdict.findings[0].kind == "rate_limit"


def test_an_optional_row_may_lack_its_data(make: Any) -> None:
    """Uptime without a probe is INVALID and does not decide, but stays in the reasons."""
    verdict = good(make, probes=(), policy=VerdictPolicy(optional=("uptime",)))
    assert verdict.grade is Grade.PASS
    assert any(reason.startswith("INVALID uptime (optional)") for reason in verdict.reasons)


def test_without_objectives_the_reason_says_how_to_name_some(make: Any) -> None:
    """A run without a table is INVALID, never green."""
    assert "--sla" in case(make, "no objectives").reasons[0]


def test_judging_is_a_pure_function(make: Any) -> None:
    """The same evidence and the same moment give the same verdict, and the evidence is unchanged."""
    evidence = make.evidence(*table(make), **up(make))
    assert judge(evidence, now=NOW).to_dict() == judge(evidence, now=NOW).to_dict()


def test_books_and_latencies_are_reported_by_endpoint(make: Any) -> None:
    """All endpoints stand under "*"; the adjusted p99 is null, since 10 of 100 never got an answer."""
    windows = [*make.steady({20: 90}, failed=10), *make.steady({40: 50}, endpoint="creative")]
    content = good(make, windows=windows).to_dict()
    assert content["books"]["run"]["*"]["arrivals"] == 4500
    assert (
        content["books"]["steady"]["emotion"] | {"ok": 2700, "failed": 300}
        == content["books"]["steady"]["emotion"]
    )
    emotion = content["latencies"]["emotion"]["response"]
    assert (emotion["adjusted"]["p99_ms"], emotion["adjusted"]["infinite"]) == (None, 300)
    assert emotion["ok"]["max_ms"] == 20


def test_writing_again_never_overwrites(make: Any, tmp_path: Path) -> None:
    """The second verdict goes beside the first, and no draft is left."""
    run, verdict = RunFolder(tmp_path), good(make)
    assert write(run, verdict) == tmp_path / "verdict.json"
    first = (tmp_path / "verdict.json").read_bytes()
    assert write(run, case(make, "fail")) == tmp_path / "verdict-2.json"
    assert (tmp_path / "verdict.json").read_bytes() == first
    assert json.loads(first) == json.loads(json.dumps(verdict.to_dict()))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["verdict-2.json", "verdict.json"]


def test_a_new_verdict_is_the_newest(make: Any, tmp_path: Path) -> None:
    """It takes no place that became free below the newest one: nobody would read it there."""
    (tmp_path / "verdict-3.json").write_text("{}")
    assert write(RunFolder(tmp_path), good(make)) == tmp_path / "verdict-4.json"


def test_a_folder_that_is_gone_is_an_error_of_ours(make: Any, tmp_path: Path) -> None:
    """It names the folder and what to do."""
    with pytest.raises(StoreError, match="cannot write a verdict"):
        write(RunFolder(tmp_path / "gone"), good(make))
