"""Say an alert in words: as JSON, for Slack, and as a ticket.

What came from a target or a rule is text of others: control characters go, and what Slack or Markdown would
read as markup is escaped. No message holds an address or a token of a receiver.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from loadgate.plan.notify import Notify
from loadgate.plan.sla import Limit
from loadgate.plan.units import format_duration, format_number
from loadgate.store.watch import AlertChange
from loadgate.watch.daily import Summary, shown
from loadgate.watch.notices import Delivery, Entry

SCHEMA_VERSION: Final = 1
LINE_MOST: Final = 1000
"""Characters of one line of a message."""
_MENTION = re.compile(r"<(?:@[UW][A-Z0-9]{2,}|!(?:here|channel|everyone|subteam\^[A-Z0-9]+))>", re.ASCII)
_MARKDOWN = re.compile(r"([\\`*_\[\]<>|#])")
_MARKS: Final = {"firing": ":rotating_light:", "resolved": ":white_check_mark:", "flapping": ":warning:"}


@dataclass(frozen=True, slots=True)
class Sender:
    """Whose messages they are: the run, its scenario, and what the plan says of people."""

    run: str
    scenario: str
    notify: Notify


def entry_fields(entries: Sequence[Entry], sender: Sender, receiver: str) -> list[dict[str, Any]]:
    """Return the entries as plain values; an alert that fired and has resolved since is one of them."""
    merged: dict[object, list[Entry]] = {}
    for entry in entries:
        merged.setdefault(entry.alert if entry.action is None else entry.id, []).append(entry)
    return [_fields(group, sender, receiver) for group in merged.values()]


def message(delivery: Delivery, sender: Sender) -> dict[str, Any]:
    """Return a message as it goes to webhooks, commands and files of JSON lines."""
    if delivery.entries[0].summary is not None:
        return daily_message(delivery.entries[0].summary, sender, delivery.key, delivery.attempt)
    entries = entry_fields(delivery.entries, sender, delivery.receiver.name)
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "digest" if delivery.digest else "alert",
        "key": delivery.key,
        "attempt": delivery.attempt,
        "escalated": delivery.escalated,
        **_about(sender),
        "text": headline(entries, sender),
        "entries": entries,
    }


def daily_message(summary: Summary, sender: Sender, key: str, attempt: int = 1) -> dict[str, Any]:
    """Return the message of a daily summary: its text in Markdown, and its parts."""
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "daily",
        "key": key,
        "attempt": attempt,
        "escalated": False,
        **_about(sender),
        "text": one_line(summary.title),
        "entries": [],
        "summary": summary.to_dict(),
        "markdown": markdown(summary),
    }


def markdown(summary: Summary) -> str:
    """Write a summary in Markdown."""
    lines = [f"## {_plain(summary.title)}", ""]
    for part in summary.sections:
        lines += [f"**{_plain(part.title)}**", ""]
        lines += [*(f"- {_plain(line)}" for line in shown(part.lines)), ""]
    return "\n".join(lines)


def _slack_summary(summary: Summary) -> Iterator[str]:
    """Write a summary in Slack's markup, which has neither headings nor lists."""
    yield f":bar_chart: *{escape(summary.title)}*"
    for part in summary.sections:
        yield f"*{escape(part.title)}*"
        yield from (f"• {escape(line)}" for line in shown(part.lines))


def trial(sender: Sender, receiver: str) -> dict[str, Any]:
    """Return a message that only shows that a receiver can be reached."""
    text = f"This is a test by Loadgate for the scenario {sender.scenario}: nothing is wrong."
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "test",
        "key": f"{sender.run}/{receiver}",
        "attempt": 1,
        "escalated": False,
        **_about(sender),
        "text": text,
        "entries": [],
    }


def headline(entries: Sequence[dict[str, Any]], sender: Sender) -> str:
    """Say a message in one line."""
    if len(entries) == 1:
        one = entries[0]
        return f"{one['severity'].upper()} {one['state']}: {one['title']} (run {sender.run})"
    return f"{len(entries)} entries about run {sender.run}"


def slack_text(content: dict[str, Any]) -> str:
    """Write a message in Slack's markup, all of it escaped but for mentions in the plan's `contact`."""
    lines = []
    if content["escalated"]:
        lines.append("*Escalated*: nobody before you has taken this.")
    if content["kind"] == "test":
        lines.append(escape(content["text"]))
    elif content["kind"] == "daily":
        lines += _slack_summary(Summary.from_dict(content["summary"]))
    elif len(content["entries"]) > 1:
        lines.append(f"*{escape(content['text'])}*")
    for entry in content["entries"]:
        mark = _MARKS.get(entry["state"].split(",")[0], ":information_source:")
        lines.append(f"{mark} *{entry['severity'].upper()} {entry['state']}*: {escape(entry['title'])}")
        lines += [f"> {escape(line)}" for line in _facts(entry)]
    tail = [f"run `{escape(content['run'])}`"]
    if content["contact"]:
        tail.append(_with_mentions(content["contact"]))
    if content["channel"]:
        tail.append(escape(content["channel"]))
    if content["status_page"]:
        tail.append(f"<{escape(content['status_page'])}|status page>")
    return "\n".join([*lines, " · ".join(tail)])


def ticket(content: dict[str, Any], wall: str) -> str:
    """Write a message as the part of a ticket file, in Markdown; `wall` is the time of writing."""
    parts = []
    if content["kind"] == "test":
        parts.append(f"## {wall} test\n\n{_plain(content['text'])}\n")
    if content["kind"] == "daily":
        parts.append(content["markdown"])
    for entry in content["entries"]:
        facts = "\n".join(f"- {_plain(line)}" for line in _facts(entry))
        title = f"## {entry['wall'] or wall} {entry['severity']} {entry['state']}: {_plain(entry['title'])}"
        parts.append(f"{title}\n\n{facts}\n")
    about = [f"run {content['run']}", content["contact"], content["channel"], content["status_page"]]
    return "\n".join(parts) + "\n" + _plain(" · ".join(part for part in about if part)) + "\n\n"


def one_line(text: str) -> str:
    """Return text on one line, without control characters, at most `LINE_MOST` characters."""
    printable = "".join(character if character.isprintable() else " " for character in text[: 2 * LINE_MOST])
    return " ".join(printable.split())[:LINE_MOST]


def escape(text: str) -> str:
    """Escape what Slack would read as markup: &, < and >."""
    return one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def quantity(value: float | None, unit: str) -> str:
    """Write a value in SI for people in a unit such as "ms", "%", "req/s" or "MB"; "no data" for None."""
    if value is None:
        return "no data"
    suffix = {"req/s": "/s", "req/min": "/m", "req/h": "/h"}.get(unit, unit)
    try:
        return Limit(op="<", value=1.0, text=f"< 1{suffix}").spelled(value)
    except KeyError:  # a rate of another unit
        return format_number(value)


def _about(sender: Sender) -> dict[str, Any]:
    notify = sender.notify
    return {
        "run": sender.run,
        "scenario": sender.scenario,
        "contact": notify.contact,
        "channel": notify.channel,
        "status_page": notify.status_page,
    }


def _fields(group: Sequence[Entry], sender: Sender, receiver: str) -> dict[str, Any]:
    first, last = group[0], group[-1]
    keys = [entry.key(sender.run, receiver) for entry in group]
    if first.action is not None:
        return _of_action(first, keys)
    # What fired says more than what is over.
    telling = next((entry.change for entry in group if entry.transition != "resolved"), None) or last.change
    assert telling is not None
    states = list(dict.fromkeys(entry.transition for entry in group))
    detail = telling.detail
    unit = str(detail.get("unit", ""))
    ended = next((entry.at for entry in group if entry.transition == "resolved"), None)
    return {
        "keys": keys,
        "alert": first.alert,
        "title": one_line(first.rule),
        "severity": first.severity,
        "state": ", ".join(states),
        "at": telling.at,
        "wall": telling.wall,
        "resolved_at": ended,
        "metric": detail.get("metric"),
        "value": telling.value,
        "limit": detail.get("limit"),
        "unit": unit,
        "window": detail.get("window"),
        "since": detail.get("since"),
        "because": detail.get("because"),
        "infinite": bool(detail.get("infinite")),
        "summary": one_line(str(detail.get("summary") or "")),
        "text": _sentence(telling, unit),
    }


def _of_action(entry: Entry, keys: list[str]) -> dict[str, Any]:
    assert entry.action is not None
    detail = entry.action.detail
    outcome = str(detail.get("outcome", ""))
    verified = detail.get("verified")
    seen = ", verified" if outcome == "done" and verified else ""
    would = detail.get("would") or ()
    text = f"{entry.action.step}: {outcome}{seen}: {detail.get('text', '')}"
    return {
        "keys": keys,
        "alert": entry.alert or None,
        "title": one_line(f"{entry.action.step}: {outcome}"),
        "severity": entry.severity,
        "state": "action",
        "at": entry.at,
        "wall": entry.action.wall,
        "outcome": outcome,
        "verified": verified,
        "rule": entry.rule,
        "text": one_line(text),
        "commands": [str(line) for line in would],
    }


def _facts(entry: dict[str, Any]) -> list[str]:
    """Say what an entry is about, a line for each thing."""
    lines = [entry["text"]]
    if entry["state"] == "action":
        lines += [f"because of the alert '{entry['rule']}'"] if entry["rule"] else []
        return lines + [f"by hand: {line}" for text in entry["commands"] for line in text.splitlines()]
    if entry["summary"]:
        lines.insert(0, entry["summary"])
    if entry["resolved_at"] is not None and entry["since"] is not None:
        lasted = format_duration(round(max(0.0, entry["resolved_at"] - entry["since"]), 3))
        lines.append(f"over after {lasted}")
    return lines


def _window(window: Any) -> str:
    if not isinstance(window, list | tuple) or len(window) != 2:
        return ""
    return f", in run time {format_duration(float(window[0]))} to {format_duration(float(window[1]))}"


def _sentence(change: AlertChange, unit: str) -> str:
    """Return the sentence that the alert brought along, or else make one of its values."""
    detail = change.detail
    text = detail.get("text")
    if isinstance(text, str) and text:
        return one_line(text)
    value = "infinitely slow" if detail.get("infinite") else quantity(change.value, unit)
    limit = f", limit {quantity(detail['limit'], unit)}" if detail.get("limit") is not None else ""
    what = detail.get("metric") or change.rule
    return one_line(f"{what} is {value}{limit}{_window(detail.get('window'))}")


def _with_mentions(contact: str) -> str:
    """Escape a contact but for what pages people in Slack: <@U…>, <!here>, <!subteam^…>."""
    pieces, at = [], 0
    for match in _MENTION.finditer(contact):
        pieces += [escape(contact[at : match.start()]), match[0]]
        at = match.end()
    return " ".join(piece for piece in [*pieces, escape(contact[at:])] if piece)


def _plain(text: str) -> str:
    """Write text in Markdown so that nothing in it is markup."""
    return _MARKDOWN.sub(r"\\\1", one_line(text))
