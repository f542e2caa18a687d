"""`loadgate runs` and `loadgate verdict` on stored runs, which start no load."""

from __future__ import annotations

import json
import subprocess
import sys

import jsonschema
import pytest

from loadgate.judge.verdict import schema

BROKEN_SLA = """
[[objective]]
metric = "respons_time"
target = "< 50ms"
every  = "30s"
"""
PASSED = """
[[objective]]
metric   = "response_time"
endpoint = "emotion"
target   = "< 50ms"
every    = "5s"
"""
FAILED = PASSED.replace("50ms", "500us")
WARNED = FAILED + 'alert = "> 1s"\n'


# -- stored runs -------------------------------------------------------------------------------------


def test_no_runs_are_no_error(told) -> None:
    """A hint on stderr; for machines an empty list."""
    told("runs").expect(0, out="", err="no runs in .*loadgate demo")
    assert told("runs", "--json").expect(0, err="").json == []


def test_runs_are_listed_newest_first(told, stored) -> None:
    """With how they ended; a damaged one is listed as such."""
    old, new = stored(1), stored(2, "interrupted")
    stored(3).database.write_bytes(b"not a database")
    lines = told("runs").expect(0, err="").out.splitlines()
    assert "cannot be read" in lines[1]
    assert [line.split()[0] for line in lines[2:]] == [new.id, old.id]
    assert ["interrupted" in line for line in lines[2:]] == [True, False]


def test_runs_are_listed_as_json(told, stored) -> None:
    """One object for each run."""
    run = stored()
    [row] = told("runs", "--json").expect(0, err="").json
    assert (row["run"], row["ended"], row["verdict"]) == (run.id, "planned", None)


def test_prune_keeps_the_newest(told, stored) -> None:
    """And prints the ids of those that went."""
    old, new = stored(1), stored(2)
    told("runs", "prune", "--keep", 1).expect(0, out=rf"^{old.id}\n$", err="")
    assert (old.path.exists(), new.path.exists()) == (False, True)
    told("runs", "prune", "--keep", 1).expect(0, out="", err="")


@pytest.mark.parametrize(
    "words",
    [("--results", "elsewhere", "prune", "--keep", 0), ("prune", "--keep", 0, "--results", "elsewhere")],
)
def test_prune_keeps_to_the_folder_that_is_named(told, stored, words) -> None:
    """Whether --results stands before or after the word."""
    run = stored()
    told("runs", *words).expect(0, out="", err="")
    assert run.path.exists()


def test_a_verdict_on_nothing_is_wrong_usage(told) -> None:
    """Exit 2 with what to do."""
    told("verdict", "latest").expect(2, out="", err=r"there is no run in .*\n +start one with `loadgate run`")


def test_an_unknown_run_is_told_with_those_near(told, stored) -> None:
    """Exit 2."""
    run = stored()
    told("verdict", run.id[:-1] + "9").expect(2, out="", err=rf"there is no run .*\n +did you mean {run.id}")


def test_a_damaged_run_is_told(told, stored) -> None:
    """Exit 2 with the file, and no verdict."""
    run = stored()
    run.database.write_bytes(b"not a database")
    told("verdict", run.id).expect(2, out="", err=r"run\.db")
    assert not run.verdict_path(1).exists()


def test_a_run_without_objectives_is_invalid(told, stored) -> None:
    """Nothing to judge by is never a PASS."""
    told("verdict", stored().id).expect(30, out="^INVALID (?s:.)*name an SLA table with --sla")


@pytest.mark.parametrize(
    ("sla", "strict", "code", "verdict"),
    [
        (PASSED, [], 0, "PASS"),
        (PASSED, ["--strict"], 0, "PASS"),
        (WARNED, [], 0, "WARN"),
        (WARNED, ["--strict"], 10, "WARN"),
        (FAILED, [], 20, "FAIL"),
        (PASSED.replace("emotion", "emotoin"), [], 30, "INVALID"),
    ],
)
def test_the_exit_code_is_the_verdicts(told, stored, loadgate, sla, strict, code, verdict) -> None:
    """1000 requests of 1 ms, held against 50 ms, against 500 µs with an alert at 1 s, and without one."""
    run = stored()
    table = loadgate.write("table.toml", sla)
    told("verdict", "latest", "--sla", table, *strict).expect(code, out=rf"^{verdict} ", err="")
    content = json.loads(run.verdict_path(1).read_bytes())
    assert (content["verdict"], content["exit_code"]) == (verdict, code)
    jsonschema.validate(content, schema())


def test_an_interrupted_run_stays_interrupted(told, stored, loadgate) -> None:
    """Judged again it still exits 130."""
    stored(ended="interrupted")
    told("verdict", "latest", "--sla", loadgate.write("table.toml", PASSED)).expect(130, out="interrupted")


def test_judging_again_overwrites_nothing(told, stored, loadgate) -> None:
    """The second verdict is verdict-2.json, and `runs` shows the newest."""
    run = stored()
    told("verdict", run.path, "--sla", loadgate.write("table.toml", FAILED)).expect(20)
    first = run.verdict_path(1).read_bytes()
    told("verdict", run.path, "--sla", loadgate.write("table.toml", PASSED)).expect(0)
    assert run.verdict_path(1).read_bytes() == first
    assert json.loads(run.verdict_path(2).read_bytes())["verdict"] == "PASS"
    told("runs").expect(0, out=rf"{run.id} +PASS ")


def test_a_verdict_as_json_is_the_file(told, stored, loadgate) -> None:
    """To the byte, and nothing else."""
    run = stored()
    done = told("verdict", run.id, "--json", "--sla", loadgate.write("table.toml", PASSED)).expect(0, err="")
    assert done.out == run.verdict_path(1).read_text()


def test_a_broken_table_leaves_no_verdict(told, stored, loadgate) -> None:
    """Exit 2 with file and key."""
    run = stored()
    table = loadgate.write("broken-sla.toml", BROKEN_SLA)
    told("verdict", run.id, "--sla", table).expect(2, out="", err=r"broken-sla\.toml: objective\[0\]\.metric")
    assert not run.verdict_path(1).exists()


# -- where output goes -------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["| true", "2>&1 | true", ">/dev/full", ">&-", "2>&-", ">&- 2>&-"])
def test_a_failed_verdict_stays_failed_whoever_reads_it(stored, loadgate, tmp_path, end) -> None:
    """A reader that leaves, a full disk or a closed stream does not turn exit 20 into another."""
    stored()
    table = loadgate.write("table.toml", FAILED)
    command = f"{sys.executable} -m loadgate verdict latest --results results --sla {table} {end}"
    script = command + '; exit "${PIPESTATUS[0]}"'
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=30)
    assert done.returncode == 20, done.stderr
    assert "Traceback" not in done.stderr
