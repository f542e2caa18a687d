"""Decide who is told what, and when: a function of what the watch database holds, and of the time.

Nothing here is remembered that the database does not have: alerts and results of actions are what is to be
told, notices are what was told, and a backlog that is made anew from all of them goes on as the one before.
A message that was sent and whose notice was not written is sent again, with the same keys: at least once.

Severities and their deadlines are the staging checklist's:

    critical   at once; when nobody has taken it after a minute, the next receiver gets it too, and so on
    high       at once; the next receiver after 30 minutes
    medium     collected for one message, which is sent within two hours of its first entry
    low        to the ticket file (a file is always written at once); elsewhere collected as medium is
"""

from __future__ import annotations

import hashlib
import heapq
import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, NamedTuple

from loadgate.plan.notify import SEVERITIES, Notify, Receiver
from loadgate.store.watch import ActionStage, AlertChange, Notice
from loadgate.watch.daily import PREFIX, Summary

DELIVERED: Final = "delivered"
FAILED: Final = "failed"
GIVEN_UP: Final = "given up"
TOLD_OF: Final = ("firing", "resolved", "flapping")
"""States of an alert that somebody is told of."""
ESCALATE_AFTER: Final = {"critical": 60.0, "high": 1800.0}
"""Seconds after which an entry that nobody has taken goes to one receiver more, and to the next one then."""
GIVE_UP_AFTER: Final = {"critical": 3600.0, "high": 3600.0, "medium": 7200.0, "low": 7200.0}
"""Seconds after which a receiver that does not take an entry is no longer asked to."""
ENTRIES_MOST: Final = 20
"""Entries of one message."""
WAITING_MOST: Final = 1000
"""Entries that wait for one receiver; of more, the least urgent and oldest are given up."""
FIRST_WAIT: Final = 2.0
LONGEST_WAIT: Final = 300.0
LONGEST_ASKED: Final = 900.0
"""Seconds of a `Retry-After` that are honoured; a receiver that asks for more gets no more."""
_ACTED_AFTER: Final = 3.0
"""Seconds that the result of an action waits for those of the same ladder, to be one message."""
_REMEMBERED: Final = 1000
_URGENCY: Final = {severity: number for number, severity in enumerate(SEVERITIES)}

_Row = AlertChange | ActionStage | Notice


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing to tell: an alert that changed, what an action came to, or the summary of a day.

    `alert` is the id of the row with which the alert began; `transition` is the state, or for an action
    "acted:" and the id of its row, or for a summary "daily:" and the day.
    """

    alert: int
    transition: str
    rule: str
    severity: str
    at: float
    change: AlertChange | None = None
    action: ActionStage | None = None
    summary: Summary | None = None

    @property
    def id(self) -> tuple[int, str]:
        """Return what tells it from all other entries of the run."""
        return self.alert, self.transition

    def key(self, run: str, receiver: str) -> str:
        """Return the idempotency key: the same however often it is sent."""
        return f"{run}/{self.alert}/{self.transition}/{receiver}"


class Delivery(NamedTuple):
    """A message that is due: the entries of one receiver, the most urgent first."""

    receiver: Receiver
    entries: tuple[Entry, ...]
    key: str
    attempt: int
    escalated: bool
    digest: bool


class Answer(NamedTuple):
    """How an attempt went. `final`: another one would go the same way. `retry_after` in seconds."""

    ok: bool
    text: str = ""
    final: bool = False
    retry_after: float | None = None


@dataclass(slots=True)
class _Item:
    """An entry that waits for one receiver."""

    entry: Entry
    due: float
    attempts: int = 0
    escalated: bool = False


@dataclass(slots=True)
class _Line:
    """What waits for a receiver, and when it may be asked again."""

    receiver: Receiver
    items: dict[tuple[int, str], _Item] = field(default_factory=dict)
    failures: int = 0
    not_before: float = 0.0
    asked_to_wait: bool = False


@dataclass(slots=True)
class _Told:
    """To whom an entry goes, and who has taken it."""

    entry: Entry
    targets: list[str]
    taken: set[str] = field(default_factory=set)


class Backlog:
    """What is still to be told. `run` is the run's id.

    Feed it every alert, every action and every notice, each once, in the order in which they were written.
    """

    def __init__(self, notify: Notify, run: str) -> None:
        self._run = run
        self._digest = notify.digest
        self._lines = {receiver.name: _Line(receiver) for receiver in notify.receiver}
        self._told: dict[tuple[int, str], _Told] = {}
        self._open: dict[str, AlertChange] = {}
        self._alerts: dict[int, tuple[str, str]] = {}
        self._overflow: list[tuple[str, Entry]] = []

    # -- what happened --

    def take_alert(self, change: AlertChange) -> None:
        """Take a change of state; it has the id under which it is stored (ValueError without one)."""
        if change.id is None:
            raise ValueError("an alert that is not stored cannot be told of")
        if change.state not in TOLD_OF:
            return
        begun = self._open.get(change.rule)
        if change.state == "resolved":
            if begun is None or begun.id is None:
                return
            del self._open[change.rule]
            self._add(Entry(begun.id, "resolved", change.rule, begun.severity, change.at, change))
            return
        if begun is not None and begun.state == change.state:
            return  # one message while it fires, and one while it flaps
        if begun is not None and change.state == "flapping":
            change = change._replace(id=begun.id)
        # What fires after it has flapped is calm again, and stands by itself.
        self._open[change.rule] = change
        first = change.id or 0
        self._alerts[first] = (change.rule, change.severity)
        while len(self._alerts) > _REMEMBERED:
            del self._alerts[next(iter(self._alerts))]
        self._add(Entry(first, change.state, change.rule, change.severity, change.at, change))

    def take_action(self, stage: ActionStage) -> None:
        """Take an entry of the journal of actions; only results that somebody should know of count."""
        outcome = stage.detail.get("outcome")
        if stage.stage != "result" or stage.detail.get("again") or outcome in (None, "skipped"):
            return
        if stage.step == "evidence" and outcome == "done":
            return
        rule, severity = self._alerts.get(stage.alert or 0, ("", "critical"))
        entry = Entry(stage.alert or 0, f"acted:{stage.id}", rule, severity, stage.at, action=stage)
        self._add(entry)

    def take_summary(self, entry: Entry, told: Collection[str] = ()) -> None:
        """Take a daily summary, which goes to every receiver but those that were `told` of it before."""
        names = [name for name in self._lines if name not in told]
        if entry.id not in self._told and names:
            self._told[entry.id] = _Told(entry, names)
            for name in names:
                self._queue(self._lines[name], entry, entry.at)

    def take_notice(self, notice: Notice) -> None:
        """Take what an attempt came to."""
        line = self._lines.get(notice.receiver)
        covers = [(int(alert), str(transition)) for alert, transition in notice.detail.get("covers", ())]
        if notice.stage == FAILED:
            self._failed(line, notice, covers)
            return
        if line is not None and notice.stage == DELIVERED:
            line.failures, line.not_before, line.asked_to_wait = 0, 0.0, False
        for entry_id in covers:
            told = self._told.get(entry_id)
            if told is not None:
                _extend(told.targets, notice.receiver)
                if notice.stage == DELIVERED:
                    told.taken.add(notice.receiver)
            if line is not None:
                line.items.pop(entry_id, None)
            self._forget(entry_id)

    # -- what is due --

    def due(self, now: float, busy: Collection[str] = (), *, ending: bool = False) -> list[Delivery]:
        """Return the messages to send now, at most one for each receiver that is not `busy`.

        `ending` asks for everything, digests and what waits for another try as well.
        """
        self._escalate(now, ending=ending)
        found = []
        for name, line in self._lines.items():
            ready = [] if name in busy else self._ready(line, now, ending=ending)
            if ready:
                found.append(self._message(line, ready))
        return found

    def next_at(self, busy: Collection[str] = ()) -> float | None:
        """Return the run time at which something may be due next; None when nothing waits."""
        times = [
            self._ready_at(line, item)
            for name, line in self._lines.items()
            if name not in busy
            for item in line.items.values()
        ]
        times += [at for told in self._told.values() if (at := self._escalates_at(told)) is not None]
        return min(times, default=None)

    def settle(self, delivery: Delivery, answer: Answer, now: float, wall: str | None = None) -> list[Notice]:
        """Return the notices that say what an attempt came to; write them, then take them.

        A failure is followed by another attempt after a wait that doubles from 2 s to 5 min, less up to half
        of it at random (the same after a restart), or as long as the receiver asked for. An entry is given up
        after `GIVE_UP_AFTER`, and at once when another attempt would go the same way.
        """
        name = delivery.receiver.name
        detail: dict[str, Any] = {"attempt": delivery.attempt, "covers": _covers(delivery.entries)}
        if answer.ok:
            return [Notice(now, delivery.key, name, DELIVERED, detail, wall)]
        wait = self._wait(name, answer.retry_after)
        late = [e for e in delivery.entries if answer.final or now + wait > e.at + GIVE_UP_AFTER[e.severity]]
        told = {"text": answer.text, "wait": wait, "asked": answer.retry_after is not None}
        notices = [Notice(now, delivery.key, name, FAILED, detail | told, wall)]
        if late:
            detail = {"attempt": delivery.attempt, "covers": _covers(late), "text": answer.text}
            notices.append(Notice(now, delivery.key, name, GIVEN_UP, detail, wall))
        return notices

    def dropped(self, now: float, wall: str | None = None) -> list[Notice]:
        """Return the notices of what was given up because too much waits; write them."""
        notices = [
            Notice(
                now,
                entry.key(self._run, name),
                name,
                GIVEN_UP,
                {"attempt": 0, "covers": _covers([entry]), "text": f"more than {WAITING_MOST} entries wait"},
                wall,
            )
            for name, entry in self._overflow
        ]
        self._overflow.clear()
        return notices

    @property
    def waiting(self) -> int:
        """Return how many entries wait, counted for each receiver."""
        return sum(len(line.items) for line in self._lines.values())

    def left(self) -> list[tuple[str, Entry]]:
        """Return what waits, as (receiver, entry)."""
        return [(name, item.entry) for name, line in self._lines.items() for item in line.items.values()]

    # -- how --

    def _add(self, entry: Entry) -> None:
        told = _Told(
            entry, [n for n, line in self._lines.items() if entry.severity in line.receiver.severities]
        )
        if entry.id in self._told or not (told.targets or self._may_escalate(entry)):
            return
        self._told[entry.id] = told
        for name in list(told.targets):
            self._queue(self._lines[name], entry, self._due_of(self._lines[name], entry))

    def _queue(self, line: _Line, entry: Entry, due: float, *, escalated: bool = False) -> None:
        line.items[entry.id] = _Item(entry, due, escalated=escalated)
        if len(line.items) > WAITING_MOST:
            least = max(line.items.values(), key=lambda item: (_URGENCY[item.entry.severity], -item.entry.at))
            del line.items[least.entry.id]
            self._overflow.append((line.receiver.name, least.entry))

    def _due_of(self, line: _Line, entry: Entry) -> float:
        """Return when an entry is due: with those that are collected at that time, where it is collected."""
        after = self._collects_for(line, entry)
        open_ = [item.due for item in line.items.values() if self._collects_for(line, item.entry) == after]
        return min((due for due in open_ if due > entry.at), default=entry.at + after)

    def _collects_for(self, line: _Line, entry: Entry) -> float:
        """Return the seconds for which entries of this sort are collected for one message of a receiver."""
        if _collected(line, entry):
            return self._digest
        return _ACTED_AFTER if entry.action is not None else 0.0

    def _ready(self, line: _Line, now: float, *, ending: bool) -> list[_Item]:
        ready = [item for item in line.items.values() if ending or self._ready_at(line, item) <= now]
        ready.sort(key=lambda item: (_URGENCY[item.entry.severity], item.entry.at, item.entry.id))
        # A summary is a message of its own, after whatever else there is.
        others = [item for item in ready if item.entry.summary is None]
        return others[:ENTRIES_MOST] if others else ready[:1]

    def _ready_at(self, line: _Line, item: _Item) -> float:
        """Return when an item may be sent: a new critical one does not wait for the failures of others."""
        at_once = item.entry.severity == "critical" and item.attempts == 0 and not line.asked_to_wait
        return item.due if at_once else max(item.due, line.not_before)

    def _message(self, line: _Line, items: Sequence[_Item]) -> Delivery:
        entries = tuple(item.entry for item in items)
        name = line.receiver.name
        keys = [entry.key(self._run, name) for entry in entries]
        key = keys[0] if len(keys) == 1 else _digest_key(self._run, name, keys)
        return Delivery(
            line.receiver,
            entries,
            key,
            1 + max(item.attempts for item in items),
            any(item.escalated for item in items),
            all(_collected(line, entry) for entry in entries),
        )

    def _wait(self, name: str, asked: float | None) -> float:
        failures = self._lines[name].failures
        whole = min(FIRST_WAIT * 2.0 ** min(failures, 16), LONGEST_WAIT)
        wait = whole * (0.5 + Random(f"{self._run}/{name}/{failures}").random() / 2)
        return max(wait, min(asked, LONGEST_ASKED)) if asked is not None else wait

    def _failed(self, line: _Line | None, notice: Notice, covers: Iterable[tuple[int, str]]) -> None:
        if line is None:
            return
        line.failures += 1
        line.not_before = notice.at + float(notice.detail.get("wait", FIRST_WAIT))
        line.asked_to_wait = bool(notice.detail.get("asked"))
        for entry_id in covers:
            told = self._told.get(entry_id)
            if told is None:
                continue
            if entry_id not in line.items and line.receiver.name not in told.targets:
                # It was escalated before a restart.
                self._queue(line, told.entry, told.entry.at, escalated=True)
            _extend(told.targets, line.receiver.name)
            if entry_id in line.items:
                line.items[entry_id].attempts += 1

    def _may_escalate(self, entry: Entry) -> bool:
        return entry.severity in ESCALATE_AFTER and entry.transition != "resolved"

    def _escalates_at(self, told: _Told) -> float | None:
        """Return when an entry that nobody has taken goes to one receiver more; None when it does not."""
        entry = told.entry
        if told.taken or not self._may_escalate(entry) or len(told.targets) == len(self._lines):
            return None
        waits = any(entry.id in self._lines[name].items for name in told.targets if name in self._lines)
        if not waits:
            return entry.at  # all of them were given up, or there was none
        regular = sum(entry.severity in line.receiver.severities for line in self._lines.values())
        extra = max(0, len(told.targets) - regular)
        return entry.at + ESCALATE_AFTER[entry.severity] * (extra + 1)

    def _escalate(self, now: float, *, ending: bool) -> None:
        for told in list(self._told.values()):
            at = self._escalates_at(told)
            if at is not None and ending and self._was_tried(told):
                at = now  # there is no time left to wait for the others
            if at is None or at > now:
                continue
            name = next(name for name in self._lines if name not in told.targets)
            told.targets.append(name)
            self._queue(self._lines[name], told.entry, told.entry.at, escalated=True)

    def _was_tried(self, told: _Told) -> bool:
        """Tell whether every receiver of an entry was asked at least once."""
        lines = [self._lines[name] for name in told.targets if name in self._lines]
        return all(line.items[told.entry.id].attempts > 0 for line in lines if told.entry.id in line.items)

    def _forget(self, entry_id: tuple[int, str]) -> None:
        """Forget an entry that waits for nobody any more, and that needs no escalation."""
        told = self._told.get(entry_id)
        if told is None or any(entry_id in self._lines[n].items for n in told.targets if n in self._lines):
            return
        if self._escalates_at(told) is None:
            del self._told[entry_id]


def rebuilt(
    notify: Notify,
    run: str,
    alerts: Iterable[AlertChange],
    actions: Iterable[ActionStage],
    notices: Iterable[Notice],
) -> Backlog:
    """Make the backlog of a run from its watch database, whose rows come in the order of writing.

    They are taken in the order of time: with all alerts first, more would seem to wait than ever did.
    """
    backlog = Backlog(notify, run)
    rows = heapq.merge(_timed(alerts, 0), _timed(actions, 1), _timed(notices, 2), key=lambda row: row[:2])
    for _, _, row in rows:
        if isinstance(row, AlertChange):
            backlog.take_alert(row)
        elif isinstance(row, ActionStage):
            backlog.take_action(row)
        else:
            backlog.take_notice(row)
    return backlog


def summary_entry(day: str, summary: Summary, now: float) -> Entry:
    """Return the entry of the summary of a day (ISO), made at run time `now`."""
    return Entry(0, f"{PREFIX}{day}", "daily summary", "low", now, summary=summary)


def days_told(notices: Iterable[Notice]) -> dict[str, set[str]]:
    """Return the receivers that need no summary of a day any more: they have it, or were given up for it."""
    found: dict[str, set[str]] = {}
    for notice in notices:
        for _, transition in notice.detail.get("covers", ()):
            if notice.stage in (DELIVERED, GIVEN_UP) and str(transition).startswith(PREFIX):
                found.setdefault(str(transition).removeprefix(PREFIX), set()).add(notice.receiver)
    return found


def _timed(rows: Iterable[_Row], kind: int) -> Iterator[tuple[float, int, _Row]]:
    """Give each row with its time; an alert's may be before that of the one that was written before it."""
    latest = -math.inf
    for row in rows:
        latest = max(latest, row.at)
        yield latest, kind, row


def _collected(line: _Line, entry: Entry) -> bool:
    """Tell whether an entry waits for a digest; what was done to a target never does."""
    collects = line.receiver.kind != "file" and entry.action is None and entry.summary is None
    return collects and entry.severity not in ESCALATE_AFTER


def _extend(targets: list[str], name: str) -> None:
    if name not in targets:
        targets.append(name)


def _covers(entries: Iterable[Entry]) -> list[list[int | str]]:
    return [[entry.alert, entry.transition] for entry in entries]


def _digest_key(run: str, receiver: str, keys: Sequence[str]) -> str:
    digest = hashlib.sha256("\n".join(sorted(keys)).encode()).hexdigest()[:16]
    return f"{run}/digest-{digest}/{receiver}"
