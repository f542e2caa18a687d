"""`loadgate run`, from a scenario to a verdict: what it says, what it stores, and how it exits."""

from __future__ import annotations

import jsonschema
import pytest

from loadgate.judge.verdict import schema

pytestmark = pytest.mark.system

HEALTH = """
    [[probes]]
    name  = "health"
    http  = "/health"
    every = "500ms"
"""
SILENT_PROBE = """
    [[probes]]
    name  = "health"
    http  = "http://127.0.0.1:9/health"
    every = "500ms"
"""
UPTIME = """
[[objective]]
metric = "uptime"
target = ">= 99%"
alert  = "< 95%"
every  = "1s"
"""
ERRORS = """
[[objective]]
metric = "error_rate"
target = "< 0.1%"
alert  = "> 1%"
every  = "30s"
"""
IDLE = """
import time
from locust import task
from loadgate import LoadUser

class Idle(LoadUser):
    @task
    def think(self):
        time.sleep(0.1)
"""


@pytest.fixture(scope="module")
def passed(shared, service):
    """A run of 8 s at 100/s that was told to print JSON."""
    scenario = shared.scenario(service.url, hold="8s", more=HEALTH)

    def attempt():
        running = shared.start("run", scenario, "--json")
        return running, running.wait()

    return shared.quiet(attempt)


def test_a_good_service_passes(passed) -> None:
    """Every objective holds: exit 0, as verdict.json says too."""
    running, done = passed
    done.expect(0)
    verdict = running.verdict()
    assert (verdict["verdict"], verdict["exit_code"], verdict["ended"]) == ("PASS", 0, "planned")


def test_the_verdict_keeps_to_its_schema(passed) -> None:
    """What is written is what `verdict.schema.json` describes."""
    jsonschema.validate(passed[0].verdict(), schema())


def test_json_on_stdout_is_the_verdict_and_nothing_else(passed) -> None:
    """`--json` prints verdict.json to the byte; progress is on stderr."""
    running, done = passed
    assert done.out == running.folder_of_run().verdict_path(1).read_text()
    assert "load ended at" in done.err, done


def test_every_arrival_is_in_the_books(passed) -> None:
    """A constant 100/s for 8 s is 800 arrivals, and all of them were answered well."""
    total = passed[1].json["books"]["run"]["*"]
    assert (total["arrivals"], total["ok"], total["missing"]) == (800, 800, 0)


def test_the_folder_holds_all_of_the_run(passed) -> None:
    """The plan, both databases, the logs and the verdict."""
    names = {path.name for path in passed[0].folder_of_run().path.iterdir()}
    assert {"plan.json", "run.db", "watch.db", "log", "verdict.json"} <= names


def test_nothing_is_left_running(passed) -> None:
    """Master and worker end with the run."""
    assert passed[0].left() == []


def test_a_stored_run_is_judged_again(passed, shared) -> None:
    """The verdict is the same, and the first one is not overwritten."""
    running, _ = passed
    shared.run("verdict", "latest").expect(0, out=r"^PASS  short  run short-", err="")
    assert running.folder_of_run().verdict_path(2).is_file()


def test_the_run_is_listed(passed, shared) -> None:
    """`runs` names it with its verdict."""
    shared.run("runs").expect(0, out=rf"{passed[0].folder_of_run().id} +PASS ")


def test_a_service_of_errors_fails_though_probes_are_silent(loadgate, fresh_service) -> None:
    """Answers of 500 are a FAIL, which outranks the missing readings of a probe that nobody answers."""
    fresh_service.add_fault("error", status=500, share="100%")
    scenario = loadgate.scenario(fresh_service.url, hold="8s", sla=UPTIME + ERRORS, more=SILENT_PROBE)

    def attempt():
        running = loadgate.start("run", scenario)
        return running, running.wait()

    running, done = loadgate.quiet(attempt)
    done.expect(20, out=r"^FAIL ")
    rows = {row["name"]: row["verdict"] for row in running.verdict()["objectives"]}
    assert rows["error_rate"] == "FAIL"
    assert rows["uptime"] != "PASS"


def test_a_run_of_no_request_is_invalid(loadgate, service) -> None:
    """Users that never send anything give nothing to judge by: exit 30."""
    locustfile = loadgate.write("idle.py", IDLE)
    scenario = loadgate.scenario(service.url, locustfile=locustfile)
    text = scenario.read_text().replace('"open"', '"closed"').replace('rate = "100/s"', "users = 5")
    text = "\n".join(line for line in text.splitlines() if not line.startswith(("mix", "arrivals")))
    scenario.write_text(text.replace('hold = "4s"', 'hold = "2s"').replace("users    = 20\n", ""))
    running = loadgate.start("run", scenario)
    running.wait().expect(30, out=r"^INVALID ")
    assert {row["verdict"] for row in running.verdict()["objectives"]} == {"INVALID"}


def test_a_reader_that_leaves_does_not_end_the_run(loadgate, service) -> None:
    """`loadgate run ... 2>&1 | head -1` is still a whole run, and exits by its verdict."""
    running = loadgate.start("run", loadgate.scenario(service.url, hold="2s"))
    running.process.stdout.close()
    running.process.stderr.close()
    code = running.process.wait(60)
    verdict = running.verdict()
    assert (verdict["ended"], verdict["exit_code"]) == ("planned", code)
    assert verdict["books"]["run"]["*"]["arrivals"] == 200
