"""`loadgate rollback` and `loadgate notify`, as transcripts against the reference service."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from loadgate.cli.main import run_cli
from loadgate.staging.server import StagingService

PATH = "/api/v1/emotions/analyze"
SCENARIO = """
name = "staging"
locustfile = "traffic.py"
host = "{host}"
[traffic]
users = 1
[[traffic.stages]]
rate = "1/s"
hold = "1m"
[http]
headers = {{ X-Key = "env:STAGING_KEY" }}
[rollback]
endpoints = {{ emotion = "{path}" }}
verify_within = "1s"
{rollback}
{notify}
"""


@pytest.fixture
def clean(service: StagingService) -> Iterator[StagingService]:
    """Give the service with every endpoint enabled, before and after."""
    yield service
    httpx.post(f"{service.url}/api/v1/system/enable-endpoint", json={"endpoint": PATH}).raise_for_status()
    httpx.post(f"{service.url}/api/v1/system/rate-limit", json={"rateLimit": None}).raise_for_status()


@pytest.fixture
def scenario(tmp_path: Path, clean: StagingService, monkeypatch: pytest.MonkeyPatch):
    """Give a function that writes a scenario; the working folder is its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STAGING_KEY", "s3cret-of-staging")

    def write(rollback: str = "", notify: str = "", host: str = "") -> str:
        (tmp_path / "traffic.py").write_text("class User: ...\n")
        text = SCENARIO.format(host=host or clean.url, path=PATH, rollback=rollback, notify=notify)
        (tmp_path / "load.toml").write_text(text)
        return str(tmp_path / "load.toml")

    return write


def disabled(service: StagingService) -> list[str]:
    """Return what the service holds to be disabled."""
    return list(service.control("GET", "settings")["disabled"])


@pytest.mark.system
class TestAgainstTheService:
    """What reaches the reference service."""

    def test_without_execute_only_the_command_is_printed(self, scenario, clean, capfd, monkeypatch) -> None:
        """The secret stays a name, and what is printed works when it is typed."""
        assert run_cli(["rollback", "disable-endpoint", "emotion", "--scenario", scenario()]) == 0
        out, err = capfd.readouterr()
        assert disabled(clean) == []
        assert "s3cret" not in out + err
        assert "nothing was done" in err
        assert '-H "X-Key: ${STAGING_KEY}"' in out
        words = shlex.split(out)
        assert words[0] == "curl"
        done = httpx.request(
            words[words.index("-X") + 1],
            next(word for word in words if word.startswith("http")),
            content=words[words.index("-d") + 1],
            headers={"Content-Type": "application/json"},
        )
        assert done.status_code == 200
        assert disabled(clean) == [PATH]

    def test_execute_does_it_and_looks(self, scenario, clean, capfd) -> None:
        """Disabled and enabled again, each verified."""
        plan = scenario()
        assert run_cli(["rollback", "disable-endpoint", "emotion", "--scenario", plan, "--execute"]) == 0
        assert "DONE, verified: disable-endpoint" in capfd.readouterr().err
        assert disabled(clean) == [PATH]
        assert run_cli(["rollback", "enable-endpoint", PATH, "--host", clean.url, "--execute"]) == 0
        assert disabled(clean) == []

    def test_a_limit_can_be_set_and_lifted(self, scenario, clean, capfd) -> None:
        """It says that it was not verified where the target does not tell its limits."""
        words = ["rollback", "rate-limit", "emotions"]
        assert run_cli([*words, "100", "--host", clean.url, "--execute"]) == 0
        assert "DONE, not verified" in capfd.readouterr().err
        assert clean.control("GET", "settings")["lowered"] == {"emotions": 100.0}
        plan = scenario('limit_at = { http = "/_staging/settings", value = "lowered.{service}" }')
        assert run_cli([*words, "off", "--scenario", plan, "--execute"]) == 0
        assert "DONE, verified" in capfd.readouterr().err
        assert clean.control("GET", "settings")["lowered"] == {}

    def test_json_has_it_all(self, scenario, capfd) -> None:
        """What would be typed, and what came of it."""
        words = ["rollback", "disable-endpoint", "emotion", "--scenario", scenario(), "--json"]
        assert run_cli(words) == 0
        (dry,) = json.loads(capfd.readouterr().out)["actions"]
        assert (dry["outcome"], dry["verified"]) == (None, None)
        assert run_cli([*words, "--execute"]) == 0
        content: dict[str, Any] = json.loads(capfd.readouterr().out)
        assert content["executed"] is True
        assert (content["actions"][0]["outcome"], content["actions"][0]["verified"]) == ("done", True)

    def test_an_action_that_the_target_refuses_fails(self, scenario, capfd) -> None:
        """Exit 20, with the target's own words."""
        words = ["rollback", "disable-endpoint", "/nowhere", "--scenario", scenario(), "--execute"]
        assert run_cli(words) == 20
        assert "answered 400" in capfd.readouterr().err

    def test_the_words_work_in_a_shell(self, clean) -> None:
        """As a process of its own."""
        done = subprocess.run(
            [sys.executable, "-m", "loadgate", "rollback", "revert", "--host", clean.url],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 2
        assert "neither commands nor manual steps" in done.stderr


def test_a_target_that_is_down_is_exit_40(capfd) -> None:
    """Nothing was changed."""
    words = ["rollback", "disable-endpoint", PATH, "--host", "http://127.0.0.1:9", "--execute"]
    assert run_cli(words) == 40
    assert "FAILED" in capfd.readouterr().err


def test_there_has_to_be_a_target(capfd) -> None:
    """A host or a scenario."""
    assert run_cli(["rollback", "disable-endpoint", PATH]) == 2
    assert "--scenario" in capfd.readouterr().err
    assert run_cli(["rollback", "disable-endpoint", PATH, "--host", "nonsense"]) == 2


@pytest.mark.parametrize(
    "words", [["disable-endpoint", "emotion"], ["rate-limit", "emotions", "-5"], ["rate-limit", "e", "x"]]
)
def test_what_is_no_action_is_wrong_usage(words: list[str], capfd) -> None:
    """A name without a scenario that knows it, and limits that are none."""
    assert run_cli(["rollback", *words, "--host", "http://127.0.0.1:9"]) == 2


def test_faults_elsewhere_in_the_scenario_are_not_in_the_way(tmp_path: Path, capfd) -> None:
    """In an emergency nobody mends a locustfile first; a fault of [rollback] itself is told."""
    plan = tmp_path / "load.toml"
    text = SCENARIO.format(host="http://127.0.0.1:9", path=PATH, rollback="", notify="")
    plan.write_text(text.replace("traffic.py", "missing.py"))
    assert run_cli(["rollback", "disable-endpoint", "emotion", "--scenario", str(plan)]) == 0
    plan.write_text(text.replace('"1s"', '"soon"'))
    assert run_cli(["rollback", "disable-endpoint", "emotion", "--scenario", str(plan)]) == 2
    assert "rollback.verify_within" in capfd.readouterr().err


def test_a_revert_runs_commands_or_shows_manual_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd
) -> None:
    """Steps for people cannot be executed."""
    monkeypatch.chdir(tmp_path)
    plan = tmp_path / "load.toml"
    text = SCENARIO.format(host="http://127.0.0.1:9", path=PATH, rollback="{}", notify="")
    plan.write_text(text.replace("{}", 'manual = "git revert <commit-hash>"'))
    assert run_cli(["rollback", "revert", "--scenario", str(plan)]) == 0
    assert capfd.readouterr().out == "git revert <commit-hash>\n"
    assert run_cli(["rollback", "revert", "--scenario", str(plan), "--execute"]) == 2
    note = tmp_path / "note"
    command = f'[[rollback.revert]]\nrun = ["touch", "{note}"]'
    plan.write_text(text.replace("{}", command).replace('headers = { X-Key = "env:STAGING_KEY" }', ""))
    assert run_cli(["rollback", "revert", "--scenario", str(plan)]) == 0
    assert not note.exists()
    assert run_cli(["rollback", "revert", "--scenario", str(plan), "--execute"]) == 0
    assert note.exists()


RECEIVERS = """
[[notify.receiver]]
name = "tickets"
kind = "file"
[[notify.receiver]]
name = "pager"
kind = "command"
command = ["false"]
"""


def test_receivers_can_be_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd) -> None:
    """One line each; exit 20 when one was not told, and `--receiver` chooses."""
    monkeypatch.chdir(tmp_path)
    plan = tmp_path / "load.toml"
    plan.write_text(SCENARIO.format(host="http://127.0.0.1:9", path=PATH, rollback="", notify=RECEIVERS))
    assert run_cli(["notify", "test", str(plan)]) == 20
    lines = capfd.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [["told", "tickets"], ["FAILED", "pager"]]
    assert "exit code 1" in lines[1]
    assert run_cli(["notify", "test", str(plan), "--receiver", "tickets", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)[0]["delivered"] is True
    assert (tmp_path / "tickets.md").read_text().count("nothing is wrong") == 2


def test_a_receiver_that_does_not_exist_is_wrong_usage(tmp_path: Path, capfd) -> None:
    """And so is a plan without any."""
    plan = tmp_path / "load.toml"
    plan.write_text(SCENARIO.format(host="http://127.0.0.1:9", path=PATH, rollback="", notify=RECEIVERS))
    assert run_cli(["notify", "test", str(plan), "--receiver", "boss"]) == 2
    assert "receivers: tickets, pager" in capfd.readouterr().err
    plan.write_text(SCENARIO.format(host="http://127.0.0.1:9", path=PATH, rollback="", notify=""))
    assert run_cli(["notify", "test", str(plan)]) == 2


def test_a_missing_secret_is_told_with_its_name(tmp_path: Path, capfd) -> None:
    """Exit 2, before anything is sent."""
    plan = tmp_path / "load.toml"
    hook = '[[notify.receiver]]\nname = "team"\nkind = "slack"\nurl = "env:NOT_THERE"'
    plan.write_text(SCENARIO.format(host="http://127.0.0.1:9", path=PATH, rollback="", notify=hook))
    assert run_cli(["notify", "test", str(plan)]) == 2
    assert "the environment variable NOT_THERE is not set" in capfd.readouterr().err
