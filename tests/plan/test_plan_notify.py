"""The [notify] table: receivers by kind, secrets that are named and never written, and its reference page."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgate.plan.fields import PlanModel
from loadgate.plan.notify import (
    Notify,
    Receiver,
    check_notify,
    holds_token,
    resolve_secret,
)
from loadgate.plan.plan import load_plan
from loadgate.plan.problems import PlanError
from loadgate.plan.rollback import Command, ReadBack, Rollback
from loadgate.plan.strict import keys_of
from loadgate.plan.validate import validate_file

PAGE = (Path(__file__).parents[2] / "docs" / "plans.md").read_text()
BASE = '\n[[probes]]\nname = "process"\n'
SLACK_URL = "https://hooks.slack.com/services/T01/B02/abcdefghijklmnop12345678"


@pytest.fixture
def problems(write):
    """Give a function that validates a scenario with these lines, and returns its problems."""

    def check(lines: str) -> list[str]:
        path = write((BASE, f"\n{lines}\n{BASE}"))
        return [f"{item.key}: {item.message}" for item in validate_file(path).problems]

    return check


def receiver(*lines: str) -> str:
    """Write a receiver."""
    return "\n".join(["[[notify.receiver]]", 'name = "team"', *lines])


@pytest.mark.parametrize(
    ("heading", "model"),
    [
        ("### [notify]", Notify),
        ("### [[notify.receiver]]", Receiver),
        ("### [rollback]", Rollback),
        ("### [rollback.limit_at]", ReadBack),
        ("### [[rollback.revert]]", Command),
    ],
)
def test_every_key_has_its_row_in_the_page(heading: str, model: type[PlanModel]) -> None:
    """The same keys, none more; and each has a description, of which hints are made."""
    section = PAGE.split(f"\n{heading}\n", 1)[1].split("\n#", 1)[0]
    rows = [line.split("|")[1].strip(" `") for line in section.splitlines() if line.startswith("| `")]
    assert rows == keys_of(model)
    assert all(field.description for field in model.model_fields.values())


def test_a_plan_that_says_nothing_tells_nobody(write) -> None:
    """Nothing has to be there."""
    assert load_plan(write()).scenario.notify == Notify()


def test_every_kind_can_be_written(write, tmp_path) -> None:
    """Paths are relative to the plan; a file takes low alerts, all others what is more urgent."""
    lines = """
[notify]
contact = "on call"
digest = "30m"
[[notify.receiver]]
name = "team"
kind = "slack"
url = "env:SLACK_WEBHOOK"
[[notify.receiver]]
name = "bus"
kind = "webhook"
url = "file:bus.secret"
secret = "env:BUS_KEY"
[[notify.receiver]]
name = "pager"
kind = "command"
command = ["./page", "now"]
severities = ["critical"]
[[notify.receiver]]
name = "log"
kind = "file"
path = "alerts.jsonl"
"""
    notify = load_plan(write((BASE, lines + BASE))).scenario.notify
    team, bus, pager, log = notify.receiver
    assert notify.digest == 1800.0
    assert team.severities == ("critical", "high", "medium")
    assert bus.url == f"file:{tmp_path / 'bus.secret'}"
    assert pager.command == ("./page", "now")
    assert (log.path, log.format, log.severities) == (tmp_path / "alerts.jsonl", "jsonl", ("low",))


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ('kind = "slak"', "notify.receiver[0].kind: unknown kind of receiver 'slak'"),
        ('kind = "slack"', "notify.receiver[0].url: is missing"),
        (f'kind = "slack"\nurl = "{SLACK_URL}"', "notify.receiver[0].url: holds a secret address"),
        (f'kind = "webhook"\nurl = "{SLACK_URL}"', "notify.receiver[0].url: holds a secret address"),
        ('kind = "webhook"\nurl = "ftp://x"', "notify.receiver[0].url: is not an http or https URL"),
        (
            'kind = "webhook"\nurl = "env:NO-NAME"',
            "notify.receiver[0].url: does not name an environment variable",
        ),
        ('kind = "webhook"\nurl = "file:"', "notify.receiver[0].url: does not name a file"),
        (
            'kind = "webhook"\nurl = "env:X"\nsecret = "hush"',
            "notify.receiver[0].secret: is written out",
        ),
        (
            'kind = "slack"\nurl = "env:X"\nsecret = "env:Y"',
            "notify.receiver[0].secret: has no meaning for a slack receiver",
        ),
        ('kind = "command"', "notify.receiver[0].command: is missing"),
        ('kind = "command"\ncommand = [""]', "notify.receiver[0].command: names no program"),
        (
            'kind = "file"\nseverities = []',
            "notify.receiver[0].severities: is empty, so it would never be told",
        ),
        (
            'kind = "file"\nseverities = ["urgent"]',
            "notify.receiver[0].severities[0]: 'urgent' is not one of",
        ),
        ('kind = "file"\ntimeout = 5', "notify.receiver[0].timeout: 5 has no unit"),
        ('kind = "file"\npat = "x"', "notify.receiver[0].pat: unknown key 'pat'"),
    ],
)
def test_what_is_wrong_is_named_with_its_key(problems, lines: str, problem: str) -> None:
    """And never with the secret."""
    found = problems(receiver(*lines.splitlines()))
    assert any(item.startswith(problem) for item in found), found
    assert not any("abcdefghijklmnop" in item or "hush" in item for item in found)


def test_a_digest_is_sent_within_two_hours(problems) -> None:
    """The checklist's limit for a medium alert."""
    assert any("more than 2h" in item for item in problems('[notify]\ndigest = "3h"'))


def test_two_receivers_have_two_names() -> None:
    """Notices go by them."""
    twice = Notify(receiver=(Receiver(name="a", kind="file"), Receiver(name="a", kind="file")))
    assert any("is called 'a' too" in item.message for item in check_notify("f", twice))


def test_severities_that_nobody_is_told_of_are_a_warning() -> None:
    """With receivers, and not all of them covered."""
    (problem,) = check_notify("f", Notify(receiver=(Receiver(name="a", kind="file"),)))
    assert problem.message == "nobody is told of critical and high and medium alerts"
    assert not problem.is_error


@pytest.mark.parametrize(
    ("url", "secret"),
    [
        (SLACK_URL, True),
        ("https://hooks.slack.com/x", True),
        ("https://user:pass@example.com/", True),
        ("https://example.com/hook?token=x", True),
        ("https://example.com/hook?id=abcdef0123456789", True),
        ("https://example.com/h/abcdef0123456789abcd", True),
        ("http://127.0.0.1:9000/alerts", False),
        ("https://alerts.example.com/api/v1/notifications?team=staging", False),
    ],
)
def test_what_looks_like_a_token_is_known(url: str, secret: bool) -> None:
    """Long words of letters and digits, keys of that name, known hosts, credentials."""
    assert holds_token(url) is secret


@given(st.text(max_size=60))
def test_any_text_may_be_an_address(text: str) -> None:
    """The answer is yes or no, never a crash."""
    assert holds_token(text) in (True, False)


def test_a_secret_comes_from_the_environment_or_a_file(tmp_path) -> None:
    """Without white space around it; anything else is itself."""
    (tmp_path / "s").write_text(" hush\n")
    assert resolve_secret("env:X", "k", {"X": "v"}) == "v"
    assert resolve_secret(f"file:{tmp_path / 's'}", "k", {}) == "hush"
    assert resolve_secret("http://x", "k", {}) == "http://x"


def test_a_secret_that_is_missing_is_named_and_never_shown(tmp_path) -> None:
    """The variable or the file, and the key of the plan."""
    (tmp_path / "empty").write_text("\n")
    for text, word in (
        ("env:X", "is not set"),
        ("env:E", "is empty"),
        (f"file:{tmp_path / 'empty'}", "is empty"),
    ):
        with pytest.raises(PlanError, match=word) as caught:
            resolve_secret(text, "notify.receiver.team.url", {"E": " "})
        assert "notify.receiver.team.url" in str(caught.value)
