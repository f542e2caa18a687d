"""`loadgate smoke`: a checklist, a stored result and an exit code."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from loadgate.staging.server import StagingService

pytestmark = pytest.mark.system

SHIPPED = Path(__file__).parents[2] / "scenarios" / "load.toml"
PROBES = """
    [[probes]]
    name  = "health"
    http  = "/health"
    every = "1s"
"""
SMOKE = """
    [smoke]
    refuse = ["missing"]

    [[smoke.request]]
    endpoint = "emotion"
    path     = "/api/v1/emotions/analyze"
    json     = { text = "Test message" }
    equals   = { success = true }
"""


@pytest.fixture(scope="module")
def clean() -> Iterator[StagingService]:
    """A release that tells nothing of its inside."""
    with StagingService(leak_stack=False) as service:
        yield service


def errors(path: Path) -> list[str]:
    """Return the messages of the red cases of a JUnit file."""
    root = ElementTree.fromstring(path.read_bytes())
    return [item.attrib["message"] for kind in ("failure", "error") for item in root.iter(kind)]


def test_the_shipped_scenario_passes_a_clean_release(told, clean, tmp_path):
    """One line per check, a stored result, and exit 0; with --strict a note is exit 10."""
    done = told("smoke", SHIPPED, "--host", clean.url, "--junit", tmp_path / "smoke.xml")
    done.expect(0, out=r"26 of 26 checks passed", err="")
    lines = done.out.splitlines()
    assert sum(line.startswith("✓ ") for line in lines) == 26
    assert re.fullmatch(r"stored in .*/results/smoke/load-\d{8}-\d{6}\.json", lines[-1])
    stored = json.loads(Path(lines[-1].removeprefix("stored in ")).read_bytes())
    assert (stored["result"], stored["exit_code"], stored["counts"]["passed"]) == ("WARN", 0, 26)
    assert errors(tmp_path / "smoke.xml") == []
    assert stored["took"] < 10
    told("smoke", SHIPPED, "--host", clean.url, "--strict").expect(10)


def test_a_release_that_leaks_fails(told, service, tmp_path):
    """Exit 20, in the checklist and in JUnit; as the built-in target does by default."""
    done = told("smoke", SHIPPED, "--host", service.url, "--junit", tmp_path / "smoke.xml")
    done.expect(
        20, out=r"(?m)^✗  emotion malformed JSON is refused +\S+ of 5s  gives away: 400 with a stack trace"
    )
    assert len(errors(tmp_path / "smoke.xml")) == 6


def test_json_holds_what_is_stored(told, clean, loadgate):
    """And where; nothing else is printed."""
    scenario = loadgate.scenario(clean.url, more=PROBES + SMOKE)
    done = told("smoke", scenario, "--json").expect(0, err="")
    found = done.json
    assert [(item["group"], item["name"]) for item in found["checks"]] == [
        ("target", "health"),
        ("emotion", "answers with valid data"),
        ("emotion", "a missing field is refused"),
        ("target", "still well afterwards"),
    ]
    stored = json.loads(Path(found.pop("stored")).read_bytes())
    assert stored == found


def test_a_scenario_with_nothing_to_check_is_not_green(told, clean, loadgate, tmp_path):
    """Exit 30, and red in JUnit."""
    scenario = loadgate.scenario(clean.url)
    told("smoke", scenario, "--junit", tmp_path / "smoke.xml").expect(30, out="nothing was checked")
    assert len(errors(tmp_path / "smoke.xml")) == 1


def test_a_target_that_cannot_be_reached_is_exit_40(told, loadgate, tmp_path):
    """An earlier JUnit file that was green does not stay; nothing is stored."""
    report = tmp_path / "smoke.xml"
    report.write_text("<testsuites/>")
    scenario = loadgate.scenario("http://127.0.0.1:9", more=PROBES)
    told("smoke", scenario, "--junit", report).expect(40, out="", err="cannot be reached.*connection refused")
    assert "cannot be reached" in errors(report)[0]
    assert list((tmp_path / "results" / "smoke").iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--set", "smoke.timeuot=1s"), "did you mean 'timeout'"),
        (("--set", "name=../x"), "is not a name"),
        (("--host", "ftp://x"), "not an http or https URL"),
        (("--wait", "60"), "has no unit"),
    ],
)
def test_a_wrong_plan_or_option_is_exit_2(told, clean, loadgate, arguments, words):
    """Before anything is asked."""
    scenario = loadgate.scenario(clean.url, more=PROBES + SMOKE)
    told("smoke", scenario, *arguments).expect(2, out="", err=words)


def test_a_missing_secret_is_exit_2(told, clean, loadgate):
    """Named, before anything is asked."""
    scenario = loadgate.scenario(
        clean.url, more='headers = { Authorization = "env:NO_SUCH_TOKEN" }\n' + PROBES
    )
    told("smoke", scenario).expect(2, err="NO_SUCH_TOKEN is not set")


def test_results_that_cannot_be_written_are_exit_2(told, clean, loadgate, tmp_path):
    """Before anything is asked."""
    (tmp_path / "file").write_text("")
    scenario = loadgate.scenario(clean.url, more=PROBES)
    told("smoke", scenario, "--results", tmp_path / "file").expect(2, out="", err="another results folder")


def test_a_request_that_demands_nothing_is_warned_of(told, clean, loadgate):
    """Any JSON would do; other warnings of the plan are about its load."""
    more = PROBES + SMOKE.replace("equals   = { success = true }", "")
    told("smoke", loadgate.scenario(clean.url, more=more)).expect(0, err="smoke.request.0..require: warning")


def test_colours_are_for_terminals(loadgate, clean):
    """A pipe gets none, with or without NO_COLOR, and marks that its encoding can write."""
    scenario = loadgate.scenario(clean.url, more=PROBES)
    done = loadgate.run("smoke", scenario, env={"PYTHONIOENCODING": "ascii"}).expect(0)
    assert done.out.startswith("+  health")
    assert "\x1b" not in done.out


def test_waiting_for_a_fresh_deployment(loadgate, tmp_path):
    """The service starts after the command."""
    with StagingService() as first:
        port = first.port
    scenario = loadgate.scenario(f"http://127.0.0.1:{port}", more=PROBES)
    running = loadgate.start("smoke", scenario, "--wait", "30s")
    running.until((tmp_path / "results" / "smoke").is_dir, "the beginning")
    with StagingService(port=port):
        running.wait().expect(0, out="1 of 1 check passed")


def test_an_interrupted_check_is_exit_130(loadgate, tmp_path):
    """While it waits; its JUnit file says that there is no result."""
    scenario = loadgate.scenario("http://127.0.0.1:9", more=PROBES)
    report = tmp_path / "smoke.xml"
    running = loadgate.start("smoke", scenario, "--wait", "60s", "--junit", report)
    running.until((tmp_path / "results" / "smoke").is_dir, "the beginning")
    os.kill(running.process.pid, signal.SIGTERM)
    running.wait(10).expect(130)
    assert errors(report) == ["the smoke check was ended before its end"]


def test_a_check_that_hangs_can_be_interrupted(loadgate, fresh_service):
    """Long before its own limit; nothing is stored."""
    fresh_service.add_fault("hang", endpoint="emotion")
    more = PROBES + SMOKE.replace("[smoke]", '[smoke]\n    timeout = "60s"')
    running = loadgate.start("smoke", loadgate.scenario(fresh_service.url, more=more))
    running.until(
        lambda: fresh_service.counts()["routes"].get("emotion", {}).get("in_progress"),
        "the request that hangs",
    )
    os.kill(running.process.pid, signal.SIGINT)
    running.wait(10).expect(130, out="")
    assert list((running.results / "smoke").iterdir()) == []


def test_commands_and_logs_are_checked_too(told, clean, loadgate, tmp_path):
    """A command relative to the scenario, and a log that is missing."""
    loadgate.write("queue.py", f"#!{sys.executable}\nprint(3)\n").chmod(0o755)
    more = """
        [[probes]]
        name    = "queue"
        kind    = "command"
        command = ["./queue.py"]
        every   = "1s"

        [[probes]]
        name    = "log"
        kind    = "log"
        file    = "no.log"
        pattern = "ERROR"
        every   = "1s"
    """
    done = told("smoke", loadgate.scenario(clean.url, more=more))
    done.expect(20, out=r"✓  probe queue .*value 3, exit_status 0")
    assert re.search(r"✗  probe log .*no such file: .*no\.log: No such file or directory", done.out)
