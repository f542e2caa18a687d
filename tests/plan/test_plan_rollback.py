"""The [rollback] table, and the words that name an action."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadgate.plan.plan import load_plan
from loadgate.plan.rollback import VERBS, Named, Rollback, check_rollback, parse_action, parse_limit
from loadgate.plan.units import UnitError
from loadgate.plan.validate import validate_file

BASE = '\n[[probes]]\nname = "process"\n'
ROLLBACK = Rollback(endpoints={"emotion": "/api/v1/emotions/analyze"})


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("stop-load", Named("stop-load")),
        ("revert", Named("revert")),
        ("disable-endpoint /a/b", Named("disable-endpoint", "/a/b")),
        ("disable-endpoint emotion", Named("disable-endpoint", "/api/v1/emotions/analyze")),
        ("enable-endpoint emotion", Named("enable-endpoint", "/api/v1/emotions/analyze")),
        ("rate-limit emotions 100", Named("rate-limit", "emotions", 100.0)),
        ("rate-limit emotions 0.5/s", Named("rate-limit", "emotions", 0.5)),
    ],
)
def test_actions_are_read(text: str, action: Named) -> None:
    """By path, or by the name that the plan has a path for."""
    assert parse_action(text, None, ROLLBACK) == action


def test_the_endpoint_of_the_rule_is_meant_where_none_is_named() -> None:
    """By its name in the plan."""
    assert parse_action("disable-endpoint", "emotion", ROLLBACK).argument == "/api/v1/emotions/analyze"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "is not an action"),
        ("reboot", "'reboot' is not an action"),
        ("stop-load now", "takes nothing after it"),
        ("revert HEAD", "takes nothing after it"),
        ("disable-endpoint", "names no endpoint"),
        ("disable-endpoint poetry", "the path of 'poetry' is not known"),
        ("disable-endpoint /a /b", "more than one endpoint"),
        ("disable-endpoint /a?b", "is not a path"),
        ("disable-endpoint //evil.example", "is not a path"),
        ("rate-limit emotions", "does not name a service and a limit"),
        ("rate-limit emotions 0", "is not a rate limit"),
        ("rate-limit emotions -1", "is not a rate limit"),
        ("rate-limit emotions inf", "is not a rate limit"),
        ("rate-limit emotions off", "is not a rate limit"),
        ("rate-limit a/b 1", "does not name a service and a limit"),
    ],
)
def test_what_is_no_action_is_refused(text: str, fault: str) -> None:
    """With what is wrong and a right one."""
    with pytest.raises(UnitError, match=fault) as caught:
        parse_action(text, None, ROLLBACK)
    assert caught.value.hint


def test_a_limit_is_lifted_by_hand_only() -> None:
    """No alert has a use for that."""
    assert parse_action("rate-limit emotions off", None, ROLLBACK, lifting=True) == Named(
        "rate-limit", "emotions"
    )


def test_a_limit_is_in_requests_per_second() -> None:
    """With or without saying so."""
    assert (parse_limit("100"), parse_limit("100/s")) == (100.0, 100.0)


def test_every_verb_is_an_action() -> None:
    """The list that others check against is the one that is read."""
    rest = {"disable-endpoint": " /a", "enable-endpoint": " /a", "rate-limit": " a 1"}
    assert [parse_action(verb + rest.get(verb, "")).verb for verb in VERBS] == list(VERBS)


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ('disable = "api/x"', "rollback.disable: 'api/x' is not a path"),
        ('endpoints = { emotion = "x" }', "rollback.endpoints: 'x' is not a path"),
        ('endpoints = { poetry = "/x" }', "rollback.endpoints.poetry: there is no endpoint 'poetry'"),
        ('host = "https://user:pw@x"', "rollback.host: holds credentials"),
        (
            'headers = { X-Token = "hush-hush" }',
            "rollback.headers.X-Token: X-Token holds a value that looks like a secret",
        ),
        ("off_status = [200]", "rollback.off_status: 200 is not the status of a refused request"),
        ("off_status = []", "rollback.off_status"),
        ('folder = "."', "rollback.folder: is not used"),
        ("[[rollback.revert]]\nrun = []", "rollback.revert[0].run"),
        ('[[rollback.revert]]\nrun = ["x"]\ntimeout = 5', "rollback.revert[0].timeout: 5 has no unit"),
        ('[rollback.limit_at]\nhttp = "/x"', "rollback.limit_at.value: is missing"),
        ('undo = "/x"', "rollback.undo: unknown key 'undo'"),
    ],
)
def test_what_is_wrong_is_named_with_its_key(write, lines: str, problem: str) -> None:
    """And never with a secret."""
    path = write((BASE, f"\n[rollback]\n{lines}\n{BASE}"))
    found = [f"{item.key}: {item.message}" for item in validate_file(path).problems]
    assert any(item.startswith(problem) for item in found), found
    assert not any("hush" in item or "pw@" in item for item in found)


def test_a_whole_table_is_read(write, tmp_path) -> None:
    """Commands, their folder, and where limits are read back."""
    lines = """
[rollback]
host = "http://127.0.0.1:3001/"
endpoints = { emotion = "/e" }
headers = { X-Admin = "env:ADMIN" }
folder = "service"
limit_at = { http = "/limits", value = "limits.{service}" }
[[rollback.revert]]
run = ["git", "revert", "--no-edit", "HEAD"]
[[rollback.revert]]
run = ["npm", "run", "dev"]
background = true
"""
    rollback = load_plan(write((BASE, lines + BASE))).scenario.rollback
    assert rollback.host == "http://127.0.0.1:3001"
    assert rollback.folder == tmp_path / "service"
    assert [command.background for command in rollback.revert] == [False, True]
    assert rollback.path_of("emotion") == "/e"
    assert rollback.path_of("/x") == "/x"
    assert rollback.path_of("x") is None


def test_the_shipped_scenarios_have_the_checklists_people_and_paths(scenarios: Path) -> None:
    """Channel, status page, and an endpoint's path by its name."""
    for name in ("gate", "load", "stress", "spike", "soak"):
        scenario = load_plan(scenarios / f"{name}.toml").scenario
        assert scenario.notify.channel == "#tooloo-deployment"
        assert scenario.notify.status_page == "https://status.example.com/tooloo"
        assert scenario.rollback.path_of("emotion") == "/api/v1/emotions/analyze"
        assert "git revert <commit-hash>" in scenario.rollback.manual


def test_an_endpoint_outside_an_unknown_mix_is_no_fault() -> None:
    """Without a mix the plan does not say which there are."""
    assert list(check_rollback("f", ROLLBACK, {})) == []
