"""Commands that start no load, as transcripts: the words, the exit status, what is on which stream."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from loadgate import __version__
from loadgate.cli.main import COMMANDS

ROOT = Path(__file__).parents[2]
GATE = ROOT / "scenarios" / "gate.toml"
STAGING_SLA = ROOT / "scenarios" / "sla" / "staging.toml"

BROKEN = """
name       = "broken"
locustfile = "nowhere.py"
sla        = "broken-sla.toml"
host       = "http://127.0.0.1:9"

[trafic]
model = "open"

[traffic]
users = 20

[[traffic.stages]]
rate = "100"
hold = "5s"
"""
BROKEN_SLA = """
[[objective]]
metric = "respons_time"
target = "< 50ms"
every  = "30s"
"""
EVERY_FAULT = (
    r"broken\.toml: traffic\.stages\[0\]\.rate: '100' has no unit \(.+1100/s",
    r"broken\.toml: trafic: unknown key 'trafic' \(did you mean 'traffic'\?\)",
    r"broken\.toml: locustfile: there is no locustfile",
    r"broken-sla\.toml: objective\[0\]\.metric: .*\(did you mean 'response_time'\?\)",
)
PASSED = '[[objective]]\nmetric="response_time"\nendpoint="emotion"\ntarget="< 50ms"\nevery="5s"\n'


@pytest.fixture
def broken(loadgate) -> Path:
    """A scenario with three faults, whose table has a fourth."""
    loadgate.write("broken-sla.toml", BROKEN_SLA)
    return loadgate.write("broken.toml", BROKEN)


# -- the command itself ------------------------------------------------------------------------------


def test_help_lists_every_command(told) -> None:
    """Each with a line of its own."""
    done = told("--help").expect(0, err="")
    listed = re.findall(r"^  ([a-z]+)  ", done.out.partition("Commands:")[2], re.MULTILINE)
    assert listed == sorted(COMMANDS)


@pytest.mark.parametrize("command", [*COMMANDS, "runs prune", "staging serve"])
def test_every_command_explains_itself(told, command) -> None:
    """--help and -h are the same text."""
    long = told(*command.split(), "--help").expect(0, out=rf"^Usage: loadgate {command} ", err="")
    assert told(*command.split(), "-h").out == long.out


def test_the_version_is_told(told) -> None:
    """On stdout, for scripts."""
    told("--version").expect(0, out=rf"^loadgate, version {re.escape(__version__)}\n$", err="")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("lod",), "No such command 'lod'"),
        (("run", "--fast", "x.toml"), "No such option:? '?--fast"),
        (("run",), "Missing argument 'SCENARIO'"),
        (("run", "x.toml", "--workers", "0"), "--workers"),
        (("completion", "tcsh"), "'tcsh' is not one of"),
        (("runs", "prune"), "Missing option '--keep'"),
        ((), "Commands:"),
    ],
)
def test_wrong_usage_is_told_on_stderr(told, words, said) -> None:
    """Exit 2 and nothing on stdout."""
    told(*words).expect(2, out="", err=said)


@pytest.mark.parametrize("start", [["-m", "loadgate"], ["-m", "loadgate.cli.main"]])
def test_it_runs_as_a_module(start) -> None:
    """`python -m loadgate` is the command, for a Python whose scripts are not on the path."""
    if start[1].endswith("main"):
        start = ["-c", "from loadgate.cli.main import main; main()"]
    done = subprocess.run([sys.executable, *start, "--version"], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (0, f"loadgate, version {__version__}\n"), done.stderr


# -- plans -------------------------------------------------------------------------------------------


def test_good_plans_are_validated(told) -> None:
    """One line for each file."""
    told("validate", GATE, STAGING_SLA).expect(0, out=r"gate\.toml: OK .*9 objectives.*\n.*staging\.toml: OK")


def test_everything_wrong_with_a_plan_is_told_at_once(told, broken) -> None:
    """Faults of the scenario and of its SLA table, each with file, key and hint; a good file beside is OK."""
    done = told("validate", broken, GATE).expect(2, out=r"^\S+gate\.toml: OK [^\n]+\n$")
    for fault in EVERY_FAULT:
        assert re.search(fault, done.err), done


def test_validate_prints_json(told, broken) -> None:
    """The same, for machines."""
    found = told("validate", broken, "--json").expect(2, err="").json
    assert {"trafic", "locustfile"} <= {problem["key"] for problem in found[0]["problems"]}


def test_objectives_are_explained_in_words(told) -> None:
    """With the evidence that each needs, and with a scenario whether its run can give it."""
    told("explain", STAGING_SLA).expect(0, out="9 objectives(?s:.)+Evidence +Needs", err="")
    told("explain", STAGING_SLA, "--scenario", GATE).expect(0, out="expected to give about")
    assert told("explain", STAGING_SLA, "--json").expect(0).json


def test_a_broken_table_is_not_explained(told, loadgate) -> None:
    """Exit 2 with file and key."""
    path = loadgate.write("broken-sla.toml", BROKEN_SLA)
    told("explain", path).expect(2, out="", err=r"broken-sla\.toml: objective\[0\]\.metric: ")


# -- errors before any load --------------------------------------------------------------------------


def test_run_tells_everything_wrong_with_a_plan(told, broken, tmp_path) -> None:
    """As `validate` does, with nothing on stdout, and no folder of a run is made."""
    done = told("run", broken).expect(2, out="")
    for fault in EVERY_FAULT:
        assert re.search(fault, done.err), done
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["--set", "traffic.usres=5"], r"--set: traffic\.usres: .*did you mean 'users'"),
        (["--set", "traffic.users=many"], r"--set: traffic\.users: must be a whole number"),
        (["--set", "nonsense"], "nonsense"),
        (["--sla", "none.toml"], r"none\.toml"),
        (["--host", "127.0.0.1:3000"], "--host"),
        (["--set", "http.headers.Authorization=env:LOADGATE_TEST_NO_TOKEN"], "LOADGATE_TEST_NO_TOKEN"),
        (["--set", "locustfile=none.py"], "there is no locustfile"),
    ],
)
def test_run_refuses_what_cannot_be_right(told, loadgate, tmp_path, change, said) -> None:
    """Exit 2 before any load, and no folder of a run is made."""
    told("run", loadgate.scenario("http://127.0.0.1:9"), *change).expect(2, out="", err=said)
    assert not (tmp_path / "results").exists()


def test_a_missing_scenario_is_told(told) -> None:
    """With its name."""
    told("run", "none.toml").expect(2, out="", err=r"none\.toml: there is no file")


def test_a_locustfile_that_cannot_be_imported_is_told(told, loadgate) -> None:
    """With the error that Python gave."""
    locustfile = loadgate.write("users.py", "import no_such_module\n")
    scenario = loadgate.scenario("http://127.0.0.1:9", locustfile=locustfile)
    told("run", scenario).expect(2, out="", err=r"users\.py cannot be imported(?s:.)+no_such_module")


def test_a_plan_for_stock_users_alone_is_refused(told, loadgate) -> None:
    """HttpUser classes follow no plan, so the run would offer nothing of it."""
    text = "from locust import HttpUser, task\nclass Stock(HttpUser):\n    @task\n    def go(self): pass\n"
    scenario = loadgate.scenario("http://127.0.0.1:9", locustfile=loadgate.write("stock.py", text))
    told("run", scenario).expect(2, out="", err=r"no user class that can follow a plan")


def test_a_mix_of_unknown_endpoints_is_told(told, loadgate) -> None:
    """With the name that comes near, and those that the locustfile has."""
    scenario = loadgate.scenario("http://127.0.0.1:9", sla=PASSED.replace("emotion", "creative"))
    scenario.write_text(scenario.read_text().replace("emotion = 5", "emotoin = 5"))
    said = r"traffic\.mix\.emotoin: .*did you mean 'emotion'\?.*creative, emotion, reasoning"
    told("run", scenario).expect(2, out="", err=said)


def test_an_objective_of_an_unknown_endpoint_is_told(told, loadgate) -> None:
    """With its file and the name that comes near: it would match nothing."""
    scenario = loadgate.scenario("http://127.0.0.1:9", sla=PASSED.replace("emotion", "emotoin"))
    told("run", scenario).expect(2, out="", err=r"sla\.toml: .*endpoint: .*did you mean 'emotion'")


@pytest.mark.system
@pytest.mark.parametrize("results", ["in-the-way", "/proc/results"])
def test_results_that_cannot_be_written_are_told_before_the_load(loadgate, service, results) -> None:
    """A file in the way, or a file system that takes none: exit 2."""
    loadgate.write("in-the-way", "a file")
    before = service.counts()["routes"].get("emotion", {}).get("received", 0)
    scenario = loadgate.scenario(service.url)
    loadgate.run("run", scenario, "--results", results).expect(2, out="", err=r"results folder.*\n +choose")
    assert service.counts()["routes"].get("emotion", {}).get("received", 0) == before


# -- init --------------------------------------------------------------------------------------------


def test_init_makes_a_folder_that_validates(told, tmp_path) -> None:
    """Scenarios, their tables and the locustfiles, ready to be run."""
    told("init", "mine").expect(0, out=r"^mine: \d+ files\n$", err="loadgate run scenarios/gate.toml")
    shipped = {path.name for path in (ROOT / "scenarios").glob("*.toml")}
    assert {path.name for path in (tmp_path / "mine" / "scenarios").glob("*.toml")} == shipped
    assert (tmp_path / "mine" / "locustfiles" / "staging.py").is_file()
    assert list((tmp_path / "mine" / "locustfiles" / "corpora").iterdir())
    assert (tmp_path / "mine" / "results").is_dir()
    assert not list((tmp_path / "mine").rglob("__pycache__"))
    told("validate", *sorted((tmp_path / "mine" / "scenarios").glob("*.toml"))).expect(0)


def test_init_overwrites_nothing(told, loadgate, tmp_path) -> None:
    """One file in the way, and nothing is copied."""
    mine = loadgate.write("mine/scenarios/gate.toml", "my own")
    told("init", "mine").expect(
        2, out="", err=r"mine already holds scenarios/gate\.toml\n +.*nothing was copied"
    )
    assert mine.read_text() == "my own"
    assert [path for path in (tmp_path / "mine").rglob("*") if path.is_file()] == [mine]


def test_init_tells_what_cannot_be_written(told, loadgate) -> None:
    """A file where a folder should be."""
    loadgate.write("mine", "a file")
    told("init", "mine").expect(2, out="", err="mine")
    told("init", "mine/deep").expect(2, out="", err="mine/deep cannot be written")


# -- completion --------------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_is_printed(told, shell) -> None:
    """For each shell, calling the command to complete itself."""
    told("completion", shell).expect(0, out=f"_LOADGATE_COMPLETE={shell}_complete", err="")


def test_bash_completes(told, tmp_path) -> None:
    """`loadgate ru` and the tab key offer `run` and `runs`."""
    (tmp_path / "script").write_text(told("completion", "bash").out)
    command = tmp_path / "loadgate"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m loadgate "$@"\n')
    command.chmod(0o755)
    script = f"""
        PATH={tmp_path}:$PATH; source {tmp_path}/script
        COMP_WORDS=(loadgate ru); COMP_CWORD=1
        _loadgate_completion loadgate
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=30)
    assert done.stdout.split() == ["run", "runs"], done.stderr


# -- what is imported --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "module", ["loadgate", "loadgate.__main__", *(home.split(":")[0] for home in COMMANDS.values())]
)
def test_no_command_imports_locust_or_gevent(module) -> None:
    """Importing Locust changes the whole process: only the generator's processes may."""
    check = f"import sys, {module}; print([m for m in ('locust', 'gevent') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, timeout=30)
    assert done.stdout == "[]\n", done.stderr


def test_the_command_starts_light() -> None:
    """A command's own imports come with its use: `--version` waits for neither numpy nor pydantic."""
    check = "import sys, loadgate.cli.main; print('numpy' in sys.modules, 'pydantic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, timeout=30)
    assert done.stdout == "False False\n", done.stderr


def test_an_interrupt_during_an_import_is_exit_130(tmp_path: Path) -> None:
    """Dataclasses execute strings when they are made; an interrupt that comes then is one like any other."""
    program = """
import click
from loadgate.cli import main

def interrupted(**_):
    try:
        exec("raise KeyboardInterrupt")
    except KeyboardInterrupt:
        raise click.exceptions.Abort from None

main.cli.main = interrupted
main.main(["runs"])
"""
    (tmp_path / "interrupted.py").write_text(program)
    command = [sys.executable, "-m", "interrupted"]
    done = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "loadgate: interrupted\n")
