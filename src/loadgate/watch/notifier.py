"""Tell receivers of alerts: the backlog of `notices.py`, sent by a thread with an event loop of its own.

A receiver that is slow, hangs or is down costs one task of this loop, and never the run: what happened is
handed over through a bounded queue without waiting, each attempt has a limit, and so has `close`.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from loadgate.errors import LoadgateError
from loadgate.plan.plan import Plan
from loadgate.store.folder import RunFolder
from loadgate.store.watch import ActionStage, AlertChange, Notice, WatchReader
from loadgate.store.watch_desk import WatchBook
from loadgate.watch.daily import PREFIX, Summary
from loadgate.watch.messages import Sender, daily_message, message, trial
from loadgate.watch.notices import (
    FAILED,
    GIVEN_UP,
    Answer,
    Backlog,
    Delivery,
    Entry,
    days_told,
    rebuilt,
    summary_entry,
)
from loadgate.watch.receivers import Post

CLOSE_WITHIN: Final = 10.0
"""Seconds that `close` gives to what is still to be sent."""
QUEUE_MOST: Final = 10_000
"""Events that may wait for the thread; more are counted and told as an error."""
_LOOK_EVERY: Final = 1.0
"""Seconds after which the clock is looked at again, whatever is expected."""
_ERRORS_MOST: Final = 200
_ENDED_WITHIN: Final = 2.0


class Notifier:
    """Send what the alerts and actions of a run have to say to the plan's receivers.

    `writer` takes the notices (a `WatchDesk`: it is called from other threads), `now` gives the run time.
    PlanError when a secret that the plan names is missing. Once it runs, no fault of a receiver or of ours
    reaches the caller: it is in `errors`, oldest first.
    """

    def __init__(
        self,
        plan: Plan,
        run: RunFolder,
        writer: WatchBook,
        now: Callable[[], float],
        environ: Mapping[str, str],
    ) -> None:
        notify = plan.scenario.notify
        self._posts = {item.name: Post(item, environ, run.path) for item in notify.receiver}
        self._notify = notify
        self._run = run
        self._writer = writer
        self._now = now
        self._sender = Sender(run.id, plan.scenario.name, notify)
        self._backlog = Backlog(notify, run.id)
        self._seen = (0, 0)
        self._events: deque[AlertChange | ActionStage | Entry] = deque()
        self._days: dict[str, set[str]] = {}
        self._refused = 0
        self._errors: deque[str] = deque(maxlen=_ERRORS_MOST)
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake = asyncio.Event()
        self._ends: float | None = None
        self._hand = ThreadPoolExecutor(1, thread_name_prefix="loadgate-notice-writer")
        self._thread = threading.Thread(target=self._main, name="loadgate-notifier", daemon=True)

    def start(self) -> Self:
        """Start the thread, with what an earlier one left undelivered; StoreError when it cannot be read.

        A plan without receivers needs no thread.
        """
        if not self._posts:
            return self
        with WatchReader(self._run.watch_database) as reader:
            alerts, actions, notices = reader.alerts(), reader.actions(), reader.notices()
        self._backlog = rebuilt(self._notify, self._run.id, alerts, actions, notices)
        self._days = days_told(notices)
        self._seen = (
            max((row.id or 0 for row in alerts), default=0),
            max((row.id or 0 for row in actions), default=0),
        )
        self._loop = asyncio.new_event_loop()
        self._thread.start()
        return self

    def changed(self, change: AlertChange) -> None:
        """Take a change of an alert's state, which is stored and has its id; returns at once."""
        self._hand_over(change)

    def acted(self, stage: ActionStage) -> None:
        """Take an entry of the journal of actions, which is stored and has its id; returns at once."""
        self._hand_over(stage)

    def daily(self, day: str, summary: Summary) -> None:
        """Take the summary of a day (ISO) for every receiver that has none of it yet; returns at once."""
        self._hand_over(summary_entry(day, summary, self._now()))

    def days_told(self) -> set[str]:
        """Return the days whose summary every receiver had before this process, or was given up for."""
        return {day for day, names in self._days.items() if names >= self._posts.keys()}

    def close(self, within: float = CLOSE_WITHIN) -> bool:
        """Send what is left, digests too, for at most `within` seconds; False when something is left.

        What is left is named in `errors`, and is sent by the next control room of this run, if there is one.
        """
        if self._loop is None:
            return True
        self._ends = time.monotonic() + within
        self._wake_up()
        self._thread.join(within + _ENDED_WITHIN)
        if self._thread.is_alive():
            self._note(f"the notifications did not end within {within:g} s")
            return False
        return self._backlog.waiting == 0

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def errors(self) -> tuple[str, ...]:
        """Return what went wrong: attempts that failed, entries given up or left, faults; from any thread."""
        with self._lock:
            return tuple(self._errors)

    def _hand_over(self, event: AlertChange | ActionStage | Entry) -> None:
        if not self._posts:
            return
        if len(self._events) >= QUEUE_MOST:
            self._refused += 1
            return
        self._events.append(event)
        self._wake_up()

    def _wake_up(self) -> None:
        # The loop may have closed meanwhile, after an earlier call or a fault.
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._wake.set)

    # -- the thread --

    def _main(self) -> None:
        assert self._loop is not None
        try:
            self._loop.run_until_complete(self._keep_telling())
        except Exception as error:  # noqa: BLE001  # the run goes on without notifications, and says so
            self._note(f"the notifications ended: {type(error).__name__}: {error}")
        finally:
            self._loop.close()
            self._hand.shutdown(wait=False)

    async def _keep_telling(self) -> None:
        tasks: dict[str, asyncio.Task[bool]] = {}
        failed_at_end: set[str] = set()
        while True:
            self._wake.clear()
            self._take_events()
            ending = self._ends is not None
            for delivery in self._backlog.due(self._now(), {*tasks, *failed_at_end}, ending=ending):
                name = delivery.receiver.name
                tasks[name] = asyncio.create_task(self._tell(delivery))
                tasks[name].add_done_callback(lambda _: self._wake.set())
            await self._give_up_the_rest()
            if ending and (not tasks or self._is_over()):
                break
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self._pause(tasks))
            for name in [name for name, task in tasks.items() if task.done()]:
                # At the end each receiver has as many attempts as succeed, and one that does not.
                if not self._went_well(tasks.pop(name)) and ending:
                    failed_at_end.add(name)
        await self._stop(tasks)
        self._tell_what_is_left()

    def _take_events(self) -> None:
        while self._events:
            event = self._events.popleft()
            alerts, actions = self._seen
            if isinstance(event, Entry):
                day = event.transition.removeprefix(PREFIX)
                self._backlog.take_summary(event, self._days.get(day, ()))
            elif event.id is None:
                self._note("an alert or action that is not stored cannot be told of")
            elif isinstance(event, AlertChange) and event.id > alerts:
                self._seen = (event.id, actions)
                self._backlog.take_alert(event)
            elif isinstance(event, ActionStage) and event.id > actions:
                self._seen = (alerts, event.id)
                self._backlog.take_action(event)
        if self._refused:
            self._note(f"{self._refused} events were not told of: more than {QUEUE_MOST} waited")
            self._refused = 0

    def _pause(self, tasks: Mapping[str, object]) -> float:
        """Return the seconds until something may be due; the run's clock may not be this process's."""
        at = self._backlog.next_at(tasks)
        until = max(0.01, at - self._now()) if at is not None else _LOOK_EVERY
        left = max(0.01, self._ends - time.monotonic()) if self._ends is not None else _LOOK_EVERY
        return min(until, left, _LOOK_EVERY)

    def _is_over(self) -> bool:
        return self._ends is not None and time.monotonic() >= self._ends

    async def _tell(self, delivery: Delivery) -> bool:
        """Make one attempt and write what it came to; return whether it was delivered."""
        name = delivery.receiver.name
        answer = await self._posts[name].send(message(delivery, self._sender))
        notices = self._backlog.settle(delivery, answer, self._now(), _wall())
        for notice in notices:
            await self._write(notice)
            if notice.stage == GIVEN_UP:
                lost = [entry for entry in delivery.entries if [*entry.id] in notice.detail["covers"]]
                what = ", ".join(map(_named, lost))
                self._note(f"NOT DELIVERED: {name} was given up for {what}: {answer.text}")
            elif notice.stage == FAILED and delivery.attempt == 1:
                self._note(f"{name} was not reached: {answer.text}")
        return answer.ok

    async def _give_up_the_rest(self) -> None:
        for notice in self._backlog.dropped(self._now(), _wall()):
            await self._write(notice)
            self._note(f"NOT DELIVERED: {notice.receiver}: {notice.detail['text']}")

    async def _write(self, notice: Notice) -> None:
        """Write a notice, and go by it; one that cannot be written counts for this process only."""
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._hand, self._writer.notice, notice)
        except LoadgateError as error:
            self._note(f"what was told cannot be stored, so it may be told again: {error.message}")
        self._backlog.take_notice(notice)

    def _went_well(self, task: asyncio.Task[bool]) -> bool:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._note(f"a notification ended by a fault of Loadgate: {type(error).__name__}: {error}")
        return error is None and not task.cancelled() and task.result()

    async def _stop(self, tasks: Mapping[str, asyncio.Task[bool]]) -> None:
        for task in tasks.values():
            task.cancel()
        if tasks:
            await asyncio.wait(tasks.values(), timeout=_ENDED_WITHIN / 2)

    def _tell_what_is_left(self) -> None:
        for name, entry in self._backlog.left()[:10]:
            self._note(f"NOT DELIVERED: {name}: {_named(entry)}")
        if self._backlog.waiting > 10:
            self._note(f"NOT DELIVERED: {self._backlog.waiting - 10} entries more")

    def _note(self, text: str) -> None:
        with self._lock:
            self._errors.append(text)


def try_receivers(
    plan: Plan, environ: Mapping[str, str], names: tuple[str, ...] = (), folder: Path | None = None
) -> list[tuple[str, str, Answer]]:
    """Send a test message to each receiver, or to those of `names`; return name, place and what happened.

    All at once, each within its time limit. PlanError when a secret is missing.
    """
    sender = Sender(f"test-{_wall()}", plan.scenario.name, plan.scenario.notify)
    return _send_to_all(plan, environ, names, folder, lambda name: trial(sender, name))


def send_summary(
    plan: Plan, environ: Mapping[str, str], run: RunFolder, summary: Summary, names: tuple[str, ...] = ()
) -> list[tuple[str, str, Answer]]:
    """Send a summary that was asked for by hand, as `try_receivers` sends a test; nothing remembers it."""
    sender = Sender(run.id, plan.scenario.name, plan.scenario.notify)
    key = f"{run.id}/summary-{_wall()}"
    return _send_to_all(
        plan, environ, names, run.path, lambda name: daily_message(summary, sender, f"{key}/{name}")
    )


def _send_to_all(
    plan: Plan,
    environ: Mapping[str, str],
    names: tuple[str, ...],
    folder: Path | None,
    content: Callable[[str], dict[str, Any]],
) -> list[tuple[str, str, Answer]]:
    receivers = plan.scenario.notify.receiver
    posts = [Post(item, environ, folder) for item in receivers if not names or item.name in names]

    async def all_of_them() -> list[Answer]:
        sending: list[Coroutine[Any, Any, Answer]] = [
            post.send(content(post.receiver.name)) for post in posts
        ]
        return list(await asyncio.gather(*sending))

    answers = asyncio.run(all_of_them())
    return [(post.receiver.name, post.place, answer) for post, answer in zip(posts, answers, strict=True)]


def _named(entry: Entry) -> str:
    if entry.action is not None:
        return f"'{entry.action.step}'"
    if entry.summary is not None:
        return f"the summary of {entry.transition.removeprefix(PREFIX)}"
    return f"'{entry.rule}' {entry.transition}"


def _wall() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
