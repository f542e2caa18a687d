"""What a message says, and that nothing in it is taken for markup."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgate.plan.notify import Notify, Receiver
from loadgate.store.watch import ActionStage, AlertChange
from loadgate.watch.messages import (
    LINE_MOST,
    Sender,
    escape,
    message,
    one_line,
    quantity,
    slack_text,
    ticket,
    trial,
)
from loadgate.watch.notices import Backlog

TEAM = Receiver(name="team", kind="command", command=("team",))
NOTIFY = Notify(
    contact="on-call staging <!here>",
    channel="#deployment",
    status_page="https://status.example.com/x",
    receiver=(TEAM,),
)
SENDER = Sender("load-1", "load", NOTIFY)
DETAIL = {
    "limit": 0.2,
    "unit": "ms",
    "metric": "emotion response_time p95",
    "window": [60.0, 90.0],
    "since": 30.0,
    "because": "threshold",
    "text": "emotion p95 is 312ms, over 200ms",
    "summary": "Emotion detection answers too slowly.",
}


def content(*changes: AlertChange, actions: tuple[ActionStage, ...] = ()) -> dict:
    """Make the message that these changes lead to."""
    log = Backlog(NOTIFY, "load-1")
    for change in changes:
        log.take_alert(change)
    for action in actions:
        log.take_action(action)
    return message(log.due(10_000.0)[0], SENDER)


def fired(rule: str = "emotion spike", number: int = 7, **detail: object) -> AlertChange:
    """Make an alert that fires."""
    return AlertChange(
        90.0, rule, "critical", "firing", 0.312, DETAIL | detail, "2026-11-24T09:01:30Z", number
    )


def test_a_message_has_all_that_the_checklist_wants() -> None:
    """Value, limit, window, run, contact, channel and status page."""
    found = content(fired())
    (entry,) = found["entries"]
    assert (entry["value"], entry["limit"], entry["unit"], entry["window"]) == (
        0.312,
        0.2,
        "ms",
        [60.0, 90.0],
    )
    assert (found["run"], found["channel"]) == ("load-1", "#deployment")
    assert found["contact"] == "on-call staging <!here>"
    assert found["status_page"] == "https://status.example.com/x"
    assert found["key"] == "load-1/7/firing/team"


def test_slack_says_it_in_words() -> None:
    """To the letter; a mention in the plan's contact pages people."""
    assert slack_text(content(fired())) == (
        ":rotating_light: *CRITICAL firing*: emotion spike\n"
        "> Emotion detection answers too slowly.\n"
        "> emotion p95 is 312ms, over 200ms\n"
        "run `load-1` · on-call staging <!here> · #deployment · <https://status.example.com/x|status page>"
    )


def test_values_alone_make_a_sentence() -> None:
    """Of an alert that brings none; what is infinite is not "no data"."""
    assert content(fired(text=""))["entries"][0]["text"] == (
        "emotion response_time p95 is 312ms, limit 200ms, in run time 1m to 1m30s"
    )
    endless = fired(text="", infinite=True)._replace(value=None)
    assert "is infinitely slow, limit 200ms" in content(endless)["entries"][0]["text"]


def test_what_has_ended_is_one_entry_and_says_how_long_it_lasted() -> None:
    """From the moment the condition began (30 s) to its end (150 s)."""
    ended = AlertChange(150.0, "emotion spike", "critical", "resolved", 0.1, {}, None, 8)
    found = content(fired(), ended)
    (entry,) = found["entries"]
    assert entry["state"] == "firing, resolved"
    assert entry["keys"] == ["load-1/7/firing/team", "load-1/7/resolved/team"]
    assert "over after 2m" in slack_text(found)
    assert entry["value"] == 0.312


def test_a_ticket_is_markdown() -> None:
    """With a heading for each entry."""
    text = ticket(content(fired()), "2026-11-24T09:02:00Z")
    assert text.startswith("## 2026-11-24T09:01:30Z critical firing: emotion spike\n\n- Emotion detection")
    assert "run load-1 · on-call staging" in text


def test_an_action_says_what_it_came_to_and_whether_it_was_seen() -> None:
    """With the alert that it was for, and the commands where it was not armed."""
    done = ActionStage(
        100.0,
        "disable-endpoint /x",
        "result",
        {"outcome": "done", "verified": True, "text": "answered 200"},
        7,
        id=3,
    )
    dry = ActionStage(
        100.0,
        "rate-limit a 1",
        "result",
        {"outcome": "dry", "text": "not armed", "would": ["curl -X POST u"]},
        7,
        id=4,
    )
    text = slack_text(content(fired(), actions=(done, dry)))
    assert "disable-endpoint /x: done, verified: answered 200" in text
    assert "because of the alert 'emotion spike'" in text
    assert "by hand: curl -X POST u" in text


def test_a_trial_says_that_nothing_is_wrong() -> None:
    """It must frighten nobody."""
    found = trial(SENDER, "team")
    assert found["kind"] == "test"
    assert "nothing is wrong" in slack_text(found)
    assert "nothing is wrong" in ticket(found, "now")


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.312, "ms", "312ms"),
        (0.012, "%", "1.2%"),
        (998.5, "req/s", "998.5 req/s"),
        (1.2e9, "GB", "1.2GB"),
        (0.0, "", "0"),
        (None, "ms", "no data"),
        (90.0, "s", "90s"),
        (2.0, "furlongs", "2furlongs"),
    ],
)
def test_values_are_written_in_their_unit(value: float | None, unit: str, text: str) -> None:
    """They are kept in SI."""
    assert quantity(value, unit) == text


@given(st.text(max_size=80))
def test_no_text_of_others_is_markup_in_slack(text: str) -> None:
    """No bare <, > or & is left of it, and no line begins that it did not begin with."""
    found = escape(text)
    assert not {"<", ">", "\n", "\r"} & set(found)
    assert found.replace("&amp;", "").replace("&lt;", "").replace("&gt;", "").count("&") == 0


def test_a_rule_cannot_page_the_channel() -> None:
    """Only the plan's contact may hold a mention."""
    text = slack_text(content(fired("<!channel> & <@U012AB3CD>", text="<!here>")))
    assert "&lt;!channel&gt; &amp; &lt;@U012AB3CD&gt;" in text
    assert text.count("<!here>") == 1  # the contact's


def test_a_line_is_bounded_and_has_no_control_characters() -> None:
    """A target may say anything."""
    assert one_line("a\x1b[31m\r\nb\x00" + "c" * 5000) == ("a [31m b " + "c" * 5000)[:LINE_MOST]
