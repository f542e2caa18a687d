"""The daily summary: when it is due, whom it reaches, and how it reads."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgate.plan.daily import parse_daily
from loadgate.plan.notify import Notify
from loadgate.plan.units import UnitError
from loadgate.store.watch import AlertChange, Notice
from loadgate.watch.daily import Section, Summary, to_send
from loadgate.watch.messages import Sender, markdown, message, slack_text, ticket
from loadgate.watch.notices import Answer, Backlog, days_told, summary_entry

SUMMARY = Summary("soak: 1d of 7d", (Section("Run", ("running", "a <b> & *c*")), Section("Disk", ("1MB",))))
NOTIFY = Notify.model_validate(
    {
        "receiver": [
            {"name": "team", "kind": "webhook", "url": "http://127.0.0.1:9/hook"},
            {"name": "tickets", "kind": "file"},
        ]
    }
)


def utc(text: str) -> datetime:
    """Return a moment in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


LONG_AGO = utc("2020-01-01T00:00")


@pytest.mark.parametrize(
    ("zone", "before", "at", "day"),
    [
        ("08:00", "2026-11-24T07:59:59", "2026-11-24T08:00:00", "2026-11-24"),
        # In winter Berlin is an hour ahead of UTC, in summer two.
        ("08:00 Europe/Berlin", "2026-01-15T06:59:59", "2026-01-15T07:00:00", "2026-01-15"),
        ("08:00 Europe/Berlin", "2026-07-15T05:59:59", "2026-07-15T06:00:00", "2026-07-15"),
        # The days on which the clock changes: 29 March and 25 October 2026, at 01:00 UTC.
        ("08:00 Europe/Berlin", "2026-03-29T05:59:59", "2026-03-29T06:00:00", "2026-03-29"),
        ("08:00 Europe/Berlin", "2026-10-25T06:59:59", "2026-10-25T07:00:00", "2026-10-25"),
        # 02:30 does not come on 29 March: it is half an hour after the jump. On 25 October it comes twice.
        ("02:30 Europe/Berlin", "2026-03-29T01:29:59", "2026-03-29T01:30:00", "2026-03-29"),
        ("02:30 Europe/Berlin", "2026-10-25T00:29:59", "2026-10-25T00:30:00", "2026-10-25"),
        # The day is that of the zone: 08:00 in Auckland is the evening before in UTC.
        ("08:00 Pacific/Auckland", "2026-01-14T18:59:59", "2026-01-14T19:00:00", "2026-01-15"),
    ],
)
def test_it_is_due_by_the_clock_on_the_wall(zone: str, before: str, at: str, day: str) -> None:
    """At that second, and not before; in summer and winter, and on the days between."""
    daily = parse_daily(zone)
    yesterday = (datetime.fromisoformat(day) - timedelta(days=1)).date().isoformat()
    assert to_send(daily, LONG_AGO, utc(before), ()) == yesterday
    assert to_send(daily, LONG_AGO, utc(at), ()) == day
    assert to_send(daily, LONG_AGO, utc(at), {day}) is None


@given(
    st.sampled_from(["00:00 UTC", "02:30 Europe/Berlin", "01:30 America/New_York", "23:59 Pacific/Auckland"]),
    st.lists(st.integers(1, 200_000), min_size=1, max_size=60),
)
def test_each_day_is_sent_once_at_most_and_never_early(text: str, steps: list[int]) -> None:
    """A law over both changes of the clock in a year, and control rooms that are away for days."""
    daily, began = parse_daily(text), utc("2026-03-20T12:00")
    now, told = began, list[str]()
    for step in steps:
        now += timedelta(seconds=step)
        day = to_send(daily, began, now, told)
        if day is not None:
            assert daily.due_on(datetime.fromisoformat(day).date()) <= now
            told.append(day)
    assert len(told) == len(set(told))
    assert told == sorted(told)
    # Nobody was away for longer than a day: then no day between two is left out.
    if max(steps) < 80_000 and told:
        first, last = (datetime.fromisoformat(day) for day in (told[0], told[-1]))
        assert len(told) == (last - first).days + 1


def test_what_was_missed_is_made_up_for_once() -> None:
    """Away from Monday to Thursday noon, only Thursday's is sent; late, and not again."""
    daily, began = parse_daily("08:00"), utc("2026-11-23T09:00")
    assert to_send(daily, began, utc("2026-11-26T12:00"), ()) == "2026-11-26"
    assert to_send(daily, began, utc("2026-11-26T12:01"), {"2026-11-26"}) is None


def test_nothing_is_due_of_a_time_before_the_run() -> None:
    """It began at nine: the summary of eight o'clock was not missed."""
    daily, began = parse_daily("08:00"), utc("2026-11-24T09:00")
    assert to_send(daily, began, utc("2026-11-24T23:00"), ()) is None
    assert to_send(daily, began, utc("2026-11-25T08:00"), ()) == "2026-11-25"


def test_a_clock_that_goes_back_sends_nothing_again() -> None:
    """It was sent, and then the clock is set back by a day and a half: that day was told too."""
    daily, told = parse_daily("08:00"), {"2026-11-23", "2026-11-24"}
    assert to_send(daily, LONG_AGO, utc("2026-11-24T07:00"), told) is None


@pytest.mark.parametrize(
    "text", ["8", "8:00", "24:00", "08:60", "08:00 Nowhere/Else", "08:00 ../etc", "08:00 UTC x"]
)
def test_what_is_no_time_of_day_is_refused(text: str) -> None:
    """With an example of one."""
    with pytest.raises(UnitError, match="for example"):
        parse_daily(text)


# -- whom it reaches


def sent(backlog: Backlog, now: float) -> list[tuple[str, list[str]]]:
    """Return what is due, by receiver."""
    return [(one.receiver.name, [entry.transition for entry in one.entries]) for one in backlog.due(now)]


def test_every_receiver_gets_it_at_once_whatever_its_severities() -> None:
    """A file that takes low alerts alone, and a webhook that takes all others and collects medium ones."""
    backlog = Backlog(NOTIFY, "run")
    backlog.take_summary(summary_entry("2026-11-24", SUMMARY, 100.0))
    assert sent(backlog, 100.0) == [("team", ["daily:2026-11-24"]), ("tickets", ["daily:2026-11-24"])]


def test_it_is_a_message_of_its_own_after_the_alerts() -> None:
    """What is urgent does not wait for it, and is not mixed with it."""
    backlog = Backlog(NOTIFY, "run")
    backlog.take_summary(summary_entry("2026-11-24", SUMMARY, 100.0))
    backlog.take_alert(AlertChange(100.0, "down", "critical", "firing", None, {}, id=7))
    first = backlog.due(100.0, busy=("tickets",))
    assert [entry.transition for entry in first[0].entries] == ["firing"]
    for notice in backlog.settle(first[0], Answer(True), 100.0):
        backlog.take_notice(notice)
    assert sent(backlog, 100.0)[0] == ("team", ["daily:2026-11-24"])


def test_after_a_restart_only_those_without_it_get_it() -> None:
    """The webhook was down, so its attempt failed; the file has it."""
    notices = [
        Notice(1.0, "k", "tickets", "delivered", {"covers": [[0, "daily:2026-11-24"]]}),
        Notice(1.0, "k", "team", "failed", {"covers": [[0, "daily:2026-11-24"]]}),
        Notice(2.0, "k", "team", "delivered", {"covers": [[3, "firing"]]}),
    ]
    told = days_told(notices)
    assert told == {"2026-11-24": {"tickets"}}
    backlog = Backlog(NOTIFY, "run")
    backlog.take_summary(summary_entry("2026-11-24", SUMMARY, 100.0), told["2026-11-24"])
    assert sent(backlog, 100.0) == [("team", ["daily:2026-11-24"])]


def test_a_receiver_that_is_down_is_tried_again_and_given_up() -> None:
    """As for any other entry: within two hours."""
    backlog = Backlog(NOTIFY, "run")
    backlog.take_summary(summary_entry("2026-11-24", SUMMARY, 0.0), {"tickets"})
    now, stages = 0.0, list[str]()
    while (at := backlog.next_at()) is not None:
        now = max(now, at)
        (delivery,) = backlog.due(now)
        for notice in backlog.settle(delivery, Answer(False, "down"), now):
            stages.append(notice.stage)
            backlog.take_notice(notice)
    assert stages[-1] == "given up"
    assert 6_000 < now <= 7_200


# -- how it reads


def content() -> dict[str, Any]:
    """Return the message of a summary."""
    backlog = Backlog(NOTIFY, "run")
    backlog.take_summary(summary_entry("2026-11-24", SUMMARY, 100.0), {"tickets"})
    (delivery,) = backlog.due(100.0)
    return message(delivery, Sender("run", "soak", NOTIFY))


def test_as_json_it_has_its_parts_and_its_markdown() -> None:
    """With a key by which a receiver can tell a repetition."""
    found = content()
    assert (found["kind"], found["key"]) == ("daily", "run/0/daily:2026-11-24/team")
    assert found["summary"]["sections"][1] == {"title": "Disk", "lines": ["1MB"]}
    assert found["markdown"] == markdown(SUMMARY)
    assert Summary.from_dict(found["summary"]) == SUMMARY


def test_as_markdown_nothing_in_it_is_markup() -> None:
    """Headings and lists are ours; what the target said is text."""
    assert markdown(SUMMARY) == (
        "## soak: 1d of 7d\n\n**Run**\n\n- running\n- a \\<b\\> & \\*c\\*\n\n**Disk**\n\n- 1MB\n"
    )
    assert ticket(content(), "2026-11-24T08:00:00Z").startswith("## soak: 1d of 7d\n\n**Run**\n")


def test_in_slack_it_has_neither_headings_nor_lists() -> None:
    """Bold titles and bullets; &, < and > are escaped."""
    lines = slack_text(content()).splitlines()
    assert lines[:4] == [
        ":bar_chart: *soak: 1d of 7d*",
        "*Run*",
        "• running",
        "• a &lt;b&gt; &amp; *c*",
    ]


def test_a_long_section_is_cut() -> None:
    """Twenty lines, and how many more there are."""
    long = Summary("t", (Section("s", tuple(str(number) for number in range(25))),))
    lines = markdown(long).splitlines()
    assert lines[-1] == "- and 5 more: see \\`loadgate status --json\\`"
    assert len(lines) == 4 + 21
