"""`loadgate gate`: one command for CI, from the start of the service to one exit code."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgate.cli.interrupts import Interrupts
from loadgate.cli.report import Outputs, code_after
from loadgate.plan.plan import Plan
from loadgate.plan.scenario import Scenario

DATA = Path(__file__).parents[1] / "data" / "report"
SHIPPED_SMOKE = Path(__file__).parents[2] / "scenarios" / "smoke.toml"
BROKEN_SLA = '[[objective]]\nmetric = "respons_time"\ntarget = "< 50ms"\nevery  = "30s"\n'
HEALTH = """
    [[probes]]
    name  = "health"
    http  = "/health"
    every = "500ms"
"""
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(90)"


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch, tmp_path) -> None:
    """Run as on a machine that is not GitHub's, wherever these tests run, with temporary files of its own."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "GITHUB_OUTPUT", "GITHUB_WORKSPACE"):
        monkeypatch.delenv(name, raising=False)


def python(code: str) -> str:
    return shlex.join([sys.executable, "-c", code])


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def serve(port: int) -> str:
    return f"{sys.executable} -m loadgate staging serve --port {port}"


def errors_of(path: Path) -> list[dict[str, str]]:
    """Return type and message of each error of a JUnit file."""
    return [dict(error.attrib) for error in ElementTree.parse(path).iter("error")]


def pid_of_service(err: str) -> int:
    found = re.search(r"service: \S+ \(pid (\d+)\)", err)
    assert found is not None, err
    return int(found[1])


def lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


# -- before any load ---------------------------------------------------------------------------------


def test_without_a_scenario_anywhere_it_says_so(told) -> None:
    """Exit 2 with what to do, and the report says NO VERDICT."""
    said = r"there is no scenarios/gate\.toml here or above\n +name a scenario"
    told("gate", "--junit", "j.xml").expect(2, out="", err=said)
    [error] = errors_of(Path("j.xml"))
    assert error["type"] == "USAGE"


def test_the_gate_scenario_is_found_upwards(told, loadgate, tmp_path, monkeypatch) -> None:
    """From a folder deep in the project; here its target is a dead port, which is exit 40."""
    text = loadgate.scenario("http://127.0.0.1:9").read_text()
    loadgate.write("scenarios/gate.toml", text)
    loadgate.write("scenarios/sla.toml", (tmp_path / "sla.toml").read_text())
    deep = tmp_path / "src" / "deep"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    told("gate").expect(40, out="", err=r"127\.0\.0\.1 port 9: connection refused")


def test_a_broken_plan_is_in_every_report(told, loadgate, tmp_path, monkeypatch) -> None:
    """Exit 2; a green file of an earlier build is replaced, and GitHub gets an annotation for each fault."""
    for name in ("SUMMARY", "OUTPUT"):
        monkeypatch.setenv(f"GITHUB_{'STEP_' if name == 'SUMMARY' else ''}{name}", str(tmp_path / name))
    loadgate.write("j.xml", (DATA / "verdict-pass.xml").read_text())
    scenario = loadgate.scenario("http://127.0.0.1:9", sla=BROKEN_SLA)
    done = told("gate", scenario, "--junit", "j.xml", "--markdown", "g.md", "--github").expect(2)
    fault = "did you mean 'response_time'?"
    assert fault in done.err
    assert done.out.startswith("::error title=loadgate gate%3A no verdict::sla.toml: objective[0].metric: ")
    [error] = errors_of(tmp_path / "j.xml")
    assert fault in error["message"]
    for name in ("g.md", "SUMMARY"):
        assert "## NO VERDICT: short" in (tmp_path / name).read_text()
    assert (tmp_path / "OUTPUT").read_text() == "verdict=\nexit-code=2\nrun=\n"
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--junit", "sla.toml/j.xml"), r"sla\.toml/j\.xml cannot be written"),
        (("--markdown", "."), r"\. cannot be written"),
        (("--junit", "x", "--markdown", "./x"), "name the same file"),
        (("--start", ""), "--start: there is no command"),
        (("--start", "a 'b"), "--start: .*quot"),
        (("--start", "/no/such/program"), "--start: /no/such/program cannot be run"),
        (("--wait", "5"), "--wait"),
        (("--host", "127.0.0.1:3000"), "--host"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_started(told, loadgate, tmp_path, words, said) -> None:
    """Exit 2 and nothing on standard output."""
    told("gate", loadgate.scenario("http://127.0.0.1:9"), *words).expect(2, out="", err=said)
    assert not (tmp_path / "results").exists()


def test_a_place_that_github_names_must_be_writable(told, loadgate, monkeypatch) -> None:
    """Told before the load, as for the files that the command line names; without --github it is not used."""
    monkeypatch.setenv("GITHUB_OUTPUT", "/proc/none/output")
    scenario = loadgate.scenario("http://127.0.0.1:9")
    told("gate", scenario, "--github").expect(2, out="", err=r"/proc/none/output cannot be written")
    told("gate", scenario).expect(40)
    told("gate", scenario, "--no-github").expect(40)


def test_it_knows_where_it_runs(told, loadgate, monkeypatch) -> None:
    """Annotations come by themselves on GitHub, and not with --no-github."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    scenario = loadgate.scenario("http://127.0.0.1:9")
    told("gate", scenario).expect(40, out=r"^::error title=loadgate gate%3A no verdict::.*refused")
    told("gate", scenario, "--no-github").expect(40, out="")


def test_json_leaves_standard_output_alone(told, loadgate) -> None:
    """With --json annotations go to standard error, which GitHub reads as well."""
    done = told("gate", loadgate.scenario("http://127.0.0.1:9"), "--json", "--github").expect(40, out="")
    assert "\n::error title=" in f"\n{done.err}"


def test_a_target_that_never_comes_up_is_told(told, loadgate) -> None:
    """Exit 40 after --wait, with what came instead."""
    done = told("gate", loadgate.scenario("http://127.0.0.1:9"), "--wait", "300ms", "--junit", "j.xml")
    done.expect(40, out="", err=r"127\.0\.0\.1:9/ did not answer within 300ms: Connection refused")
    assert errors_of(Path("j.xml"))[0]["type"] == "UNREACHABLE"


@pytest.mark.system
def test_a_service_that_dies_is_told_with_its_last_words(told, loadgate, free_port) -> None:
    """Exit 40, in the report as well; no run is stored."""
    scenario = loadgate.scenario(f"http://127.0.0.1:{free_port}")
    start = python("print('no database'); raise SystemExit(3)")
    done = told("gate", scenario, "--start", start, "--junit", "j.xml", "--markdown", "g.md")
    done.expect(40, out="", err=r"ended before it answered at \S+ \(exit code 3\)(?s:.)+\| no database")
    assert "no database" in Path("j.xml").read_text()
    assert "`| no database`" in Path("g.md").read_text()
    assert not lives(pid_of_service(done.err))
    assert not Path("results").exists()


@pytest.mark.system
def test_a_service_that_hangs_is_ended(told, loadgate, free_port) -> None:
    """It never answers: exit 40 after --wait, and it is gone."""
    scenario = loadgate.scenario(f"http://127.0.0.1:{free_port}")
    start = python("import time; time.sleep(60)")
    done = told("gate", scenario, "--start", start, "--wait", "500ms").expect(40, err="it said nothing")
    assert not lives(pid_of_service(done.err))


@pytest.mark.system
def test_what_answers_already_is_not_measured(told, loadgate, service) -> None:
    """Exit 2: a service of an earlier job would be judged in place of this one's."""
    done = told("gate", loadgate.scenario(service.url, more=HEALTH), "--start", python("print('never')"))
    done.expect(2, out="", err="something answers at .*/health already")
    assert "pid" not in done.err


# -- reports never change a verdict, and never let one look greener -----------------------------------


@given(st.sampled_from([0, 10, 20, 30, 31, 130]), st.lists(st.text(), max_size=2))
def test_a_missing_report_costs_green_and_nothing_else(code: int, problems: list[str]) -> None:
    """The law of exit codes: 0 stays 0 only with every report written, any other stays itself."""
    assert code_after(code, problems) == (2 if code == 0 and problems else code)


@pytest.mark.parametrize(("case", "code"), [("pass", 2), ("fail", 20), ("invalid", 30), ("interrupted", 130)])
def test_a_report_that_fails_at_the_end_is_told(case, code, tmp_path, capsys, monkeypatch) -> None:
    """The others are written all the same, and what a later step reads is the gate's own exit code."""
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "out"))
    outputs = Outputs("gate", tmp_path, tmp_path / "g.md", github=True, annotate=lambda _: None)
    content = json.loads((DATA / f"verdict-{case}.json").read_bytes())
    scenario = {
        "name": "gate",
        "locustfile": "x.py",
        "host": "http://127.0.0.1:9",
        "traffic": {"users": 1, "stages": [{"rate": 1.0, "hold": 1.0}]},
    }
    plan = Plan(scenario=Scenario.model_validate(scenario))
    assert outputs.finish(content, plan, "loadgate gate") == code
    assert f"loadgate: {tmp_path} cannot be written" in capsys.readouterr().err
    assert (tmp_path / "g.md").is_file()
    assert f"exit-code={code}\n" in (tmp_path / "out").read_text()


# -- with a load -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gated(shared):
    """A gate over a service that it starts itself, with every report, as on GitHub and in a pipe."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    scenario = shared.scenario(f"http://127.0.0.1:{port}", hold="6s", more=HEALTH)

    def attempt():
        for name in ("summary.md", "out.txt"):
            (shared.folder / name).unlink(missing_ok=True)
        reports = ("--junit", "reports/junit.xml", "--markdown", "reports/gate.md")
        environment = {
            "GITHUB_ACTIONS": "true",
            "GITHUB_WORKSPACE": str(shared.folder),
            "GITHUB_STEP_SUMMARY": str(shared.folder / "summary.md"),
            "GITHUB_OUTPUT": str(shared.folder / "out.txt"),
            "NO_COLOR": "1",
            "TERM": "xterm-256color",
        }
        running = shared.start(
            "gate", scenario, "--start", serve(port), *reports, "--metrics-port", "0", env=environment
        )
        return running, running.wait()

    return shared.quiet(attempt)


@pytest.mark.system
def test_a_good_service_passes_the_gate(gated) -> None:
    """Exit 0; the last line says it all, and there is no colour."""
    running, done = gated
    run = running.folder_of_run()
    page = rf"run {re.escape(str(run.path))}; report {re.escape(str(run.report))}"
    said = rf"gate: PASS, exit code 0; {page}; junit reports/junit\.xml; markdown"
    done.expect(0, out=r"^PASS  short  ", err=said)
    assert done.err.rstrip().splitlines()[-1].startswith("gate: PASS")
    assert re.search(r"^metrics for Prometheus: http://127\.0\.0\.1:\d+/metrics$", done.err, re.MULTILINE)
    assert "\x1b" not in done.out + done.err


@pytest.mark.system
def test_every_report_is_of_that_run(gated, shared) -> None:
    """JUnit, Markdown, job summary, annotation and outputs name the run and its verdict."""
    running, done = gated
    run = running.folder_of_run().id
    root = ElementTree.parse(shared.folder / "reports" / "junit.xml").getroot()
    assert (root.attrib["failures"], root.attrib["errors"]) == ("0", "0")
    assert {prop.attrib["value"] for prop in root.iter("property") if prop.attrib["name"] == "run"} == {run}
    text = (shared.folder / "reports" / "gate.md").read_text()
    assert f"Run `{run}`" in text
    assert f"`{run}/report.html` among the kept results" in text
    assert f"Run it again: `loadgate gate {shared.folder / 'short.toml'}`." in text
    assert (shared.folder / "summary.md").read_text() == f"{text}\n"
    assert "::notice title=PASS short%2C exit code 0::2 of 2 objectives hold" in done.out
    assert (shared.folder / "out.txt").read_text() == f"verdict=PASS\nexit-code=0\nrun={run}\n"


@pytest.mark.system
def test_nothing_of_the_service_is_left(gated) -> None:
    """Neither its process nor its temporary log, which is with the run now."""
    running, done = gated
    assert not lives(pid_of_service(done.err))
    assert running.left() == []
    log = running.folder_of_run().logs / "service.log"
    assert '"ready":true' in log.read_text()
    found = re.search(r"output in (\S+)", done.err)
    assert found is not None
    assert not Path(found[1]).exists()


@pytest.mark.system
def test_the_shipped_smoke_scenario_passes_a_healthy_service(loadgate, free_port) -> None:
    """All eight rows of its own table, which 400 requests can show: exit 0 with --strict too."""
    words = ("--host", f"http://127.0.0.1:{free_port}", "--start", serve(free_port), "--strict")

    def attempt():
        running = loadgate.start("gate", SHIPPED_SMOKE, *words)
        return running, running.wait()

    running, done = loadgate.quiet(attempt)
    done.expect(0, out=r"(?s)^PASS  smoke .*8 of 8 objectives hold over 8s and 400 requests")
    assert running.verdict()["scenario"] == "smoke"


@pytest.mark.system
def test_a_slow_service_fails_the_gate(loadgate, free_port) -> None:
    """A latency of 100 ms against an alert at 50 ms: exit 20, red in JUnit, at the line of its objective."""
    sla = '[[objective]]\nmetric = "response_time"\nendpoint = "emotion"\ntarget = "< 20ms"\n'
    scenario = loadgate.scenario(
        f"http://127.0.0.1:{free_port}", sla=sla + 'alert = "> 50ms"\nevery = "30s"\n'
    )
    start = f"{serve(free_port)} --fault latency:delay=100ms"

    def attempt():
        running = loadgate.start(
            *("gate", scenario, "--start", start, "--junit", "j.xml", "--github"),
            env={"GITHUB_WORKSPACE": str(loadgate.folder)},
        )
        return running, running.wait()

    running, done = loadgate.quiet(attempt)
    done.expect(20, out=r"::error file=sla\.toml,line=1,title=FAIL emotion\.response_time p95::")
    [failure] = ElementTree.parse(loadgate.folder / "j.xml").iter("failure")
    assert failure.attrib["type"] == "FAIL"
    assert running.left() == []
    assert not lives(pid_of_service(done.err))


@pytest.mark.system
def test_a_deployment_that_comes_up_is_waited_for(loadgate, free_port) -> None:
    """With --wait alone: the service starts after the gate, which measures it and leaves it running."""
    scenario = loadgate.scenario(f"http://127.0.0.1:{free_port}", hold="2s", more=HEALTH)
    running = loadgate.start("gate", scenario, "--wait", "30s")
    running.until(lambda: psutil.Process(running.process.pid).is_running(), "its start")
    service = loadgate.start("staging", "serve", "--port", free_port)
    done = running.wait()
    assert "it answered after" in done.err, done
    assert running.verdict()["ended"] == "planned"
    assert service.process.poll() is None


@pytest.mark.system
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_the_load_leaves_nothing(loadgate, free_port, number) -> None:
    """Exit 130, judged and reported with that as the first reason, and the service is gone."""
    scenario = loadgate.scenario(f"http://127.0.0.1:{free_port}", hold="60s", more=HEALTH)

    def attempt():
        running = loadgate.start("gate", scenario, "--start", serve(free_port), "--junit", "j.xml")
        running.until_answered()
        running.process.send_signal(number)
        return running, running.wait(30)

    # A void run says that it is void in the first place: it is made again on a machine that was too busy.
    running, done = loadgate.quiet(attempt)
    done.expect(130, out="interrupted", err="gate: INVALID, exit code 130")
    error = errors_of(loadgate.folder / "j.xml")[0]
    assert error["type"] == "interrupted"
    assert re.match(r"the run was interrupted \(\S+ of 1m steady load were run\)", error["message"]), error
    assert running.left() == []
    assert not lives(pid_of_service(done.err))


@pytest.mark.system
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_it_waits_leaves_nothing(loadgate, free_port, number) -> None:
    """The service heeds no SIGTERM; a second signal ends it at once. Exit 130, and the report says so."""
    scenario = loadgate.scenario(f"http://127.0.0.1:{free_port}")
    running = loadgate.start("gate", scenario, "--start", python(DEAF), "--junit", "j.xml")
    command = psutil.Process(running.process.pid)
    running.until(command.children, "the service")
    [child] = command.children()
    running.process.send_signal(number)
    os.kill(running.process.pid, number)
    done = running.wait(30).expect(130, out="", err="loadgate: interrupted")
    assert "pid" in done.err
    assert list(loadgate.folder.glob("loadgate-service-*")) == []
    assert not lives(child.pid)
    assert errors_of(loadgate.folder / "j.xml")[0]["type"] == "INTERRUPTED"
    assert not running.results.exists()


@pytest.mark.system
def test_a_service_that_ends_during_the_run_is_told(loadgate, free_port) -> None:
    """It shuts down after a while: that is named, and the gate is not green."""
    scenario = loadgate.scenario(f"http://127.0.0.1:{free_port}", hold="5s", more=HEALTH)
    start = f"{serve(free_port)} --fault shutdown:after=6s"

    def attempt():
        running = loadgate.start("gate", scenario, "--start", start)
        return running, running.wait()

    running, done = loadgate.quiet(attempt)
    assert re.search(r"the service ended before its run did \(exit code 0\)", done.err), done
    assert done.code in (20, 31), done
    assert running.left() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_for_what_is_being_started(number) -> None:
    """It comes through once that has a name, by which it can be ended; later ones come through at once."""
    with Interrupts().caught() as interrupts:
        done = []

        def start() -> None:
            with interrupts.held():
                os.kill(os.getpid(), number)
                done.append("started")

        with pytest.raises(KeyboardInterrupt):
            start()
        assert done == ["started"]
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
