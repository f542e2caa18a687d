"""Do what an alert's `on_fire` says, in a thread of its own: the ladder of `rollback.py`, carried out.

The journal is read from the watch database when the thread begins, so that a control room that was killed
goes on where it was. Without a journal that can be read and written, nothing is done to the target: it could
be done twice.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Self

from loadgate.errors import LoadgateError, StoreError
from loadgate.plan.plan import Plan
from loadgate.store.folder import RunFolder
from loadgate.store.watch import ActionStage, AlertChange, WatchReader
from loadgate.store.watch_desk import WatchBook
from loadgate.watch.keepsake import keep_evidence
from loadgate.watch.levers import Levers, Result, lines_for
from loadgate.watch.rollback import (
    ATTEMPTS_MOST,
    INTENT,
    RESULT,
    START,
    Act,
    Action,
    Look,
    Observation,
    Outcome,
    Report,
    action_key,
    endpoint_of,
    entries_of,
    ladder,
    next_step,
    refusal,
    unfinished,
)

CLOSE_WITHIN: Final = 30.0
"""Seconds that `close` waits for an action under way."""
LOUD: Final = frozenset({Outcome.FAILED, Outcome.UNKNOWN})
"""Outcomes that somebody has to look at."""

_END: Final = None


def _nothing(_: Any) -> None:
    """Do nothing."""


class Responder:
    """Carry out the ladders of alerts, one after the other.

    `writer` takes the journal (a `WatchDesk`: another thread calls it), `arm` says whether the target may be
    changed and the load ended, `stop_load` gets the reason, ends the load and may say what came of that,
    `now` gives the run time, `evidence` returns the verdict so far, `told` hears of every result, `hook` of
    every moment between two steps. PlanError when a secret of the plan is missing, UsageError when `http.ca`
    cannot be used. Once it runs, nothing that fails reaches the caller: it is in the journal, goes to `told`,
    and is in `errors` when it is ours, or failed, or is unknown.
    """

    def __init__(
        self,
        plan: Plan,
        run: RunFolder,
        writer: WatchBook,
        arm: bool,
        stop_load: Callable[[str], str | None],
        now: Callable[[], float],
        *,
        environ: Mapping[str, str] | None = None,
        evidence: Callable[[], Mapping[str, Any] | None] = lambda: None,
        told: Callable[[ActionStage], None] = _nothing,
        hook: Callable[[str], None] = _nothing,
    ) -> None:
        self._scenario = plan.scenario
        self._run = run
        self._writer = writer
        self._arm = arm
        self._stop_load = stop_load
        self._now = now
        self._evidence = evidence
        self._told = told
        self._hook = hook
        environment = os.environ if environ is None else environ
        self._levers = Levers(plan.scenario, environment, run.logs / "rollback.log")
        self._journal: list[ActionStage] | None = None
        self._errors: list[str] = []
        self._lock = threading.Lock()
        self._busy = False
        self._closing = threading.Event()
        self._waiting: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._main, name="loadgate-responder", daemon=True)

    def start(self) -> Self:
        """Start the thread."""
        self._thread.start()
        return self

    def handle(self, change: AlertChange, *, void: bool) -> None:
        """Take a change of an alert's state, and return at once; only one that fires has a ladder.

        The change has the id under which it is stored. `void` says whether the run is void, so far as known.
        """
        if change.state == "firing" and change.detail.get("on_fire"):
            self._waiting.put(lambda: self._climb(change, refusal(change, void=void)))

    def resume(self, *, void: bool = False) -> None:
        """Go on with what an earlier control room of this run left unfinished; returns at once."""
        self._waiting.put(lambda: self._resume(void))

    def close(self, within: float = CLOSE_WITHIN) -> bool:
        """Carry out what is waiting, and end the thread; False when that took more than `within` seconds.

        What is then unfinished stays so in the journal.
        """
        if not self._thread.is_alive():
            return True
        self._waiting.put(_END)
        ends = time.monotonic() + within
        self._thread.join(within / 2)
        self._closing.set()  # from here on nothing is waited for or tried again
        self._thread.join(max(0.0, ends - time.monotonic()))
        if self._thread.is_alive():
            self._note(f"the actions did not end within {within:g} s; the journal says how far they came")
            return False
        return True

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def errors(self) -> tuple[str, ...]:
        """Return what went wrong on our side, oldest first; from any thread."""
        with self._lock:
            return tuple(self._errors)

    # -- the thread --

    def _main(self) -> None:
        while (task := self._waiting.get()) is not _END:
            try:
                task()
            except LoadgateError as error:
                self._note(f"{error.message}: no further action is taken for this alert")
            except Exception as error:  # noqa: BLE001  # the run goes on, and says so
                self._note(f"an action ended by a fault of Loadgate: {type(error).__name__}: {error}")

    def _entries(self) -> list[ActionStage]:
        """Return the journal of the whole run; StoreError when it cannot be read."""
        if self._journal is None:
            with WatchReader(self._run.watch_database) as reader:
                self._journal = reader.actions()
        return self._journal

    def _resume(self, void: bool) -> None:
        with WatchReader(self._run.watch_database) as reader:
            alerts = reader.alerts()
        for change, still in unfinished(alerts, self._entries(), self._scenario.rollback):
            why = refusal(change, void=void)
            self._climb(change, why or ("" if still else "the alert has ended meanwhile"))

    def _climb(self, change: AlertChange, why_not: str) -> None:
        """Carry out an alert's ladder; what was not begun is skipped when `why_not` says so."""
        rollback = self._scenario.rollback
        rungs = ladder(change.detail.get("on_fire", ()), rollback, endpoint_of(change, rollback))
        last = next((rung.step for rung in reversed(rungs) if rung.kind == "command"), "")
        for rung in rungs:
            try:
                self._rung(change, rung, why_not, is_last=rung.step == last)
            except StoreError:
                # A load that is stopped twice, or without a record, does no harm; one that goes on may.
                if rung.verb == "stop-load" and self._arm and not why_not:
                    self._own(change, rung)
                raise

    def _rung(self, change: AlertChange, action: Action, why_not: str, *, is_last: bool) -> None:
        seen: Observation | None = None
        while True:
            journal = self._entries()
            own = entries_of(journal, change.id, action.step)
            others = [row for row in journal if row.alert != change.id or row.step != action.step]
            step = next_step(action, own, seen, others)
            if step is None:
                return
            refused = self._refused(action, own, why_not)
            if refused is not None:
                step = refused
            if isinstance(step, Look):
                seen = self._levers.look(action)
            elif isinstance(step, Report):
                self._result(change, action, step)
                return
            elif not self._attempt(change, action, step, own, is_last=is_last):
                return
            else:
                seen = None
                self._closing.wait(float(step.attempt))

    def _refused(self, action: Action, own: list[ActionStage], why_not: str) -> Report | None:
        """Say why a rung is not carried out although it is its turn."""
        if why_not and not own:
            return Report(Outcome.SKIPPED, why_not, 1)
        if not action.needs_arm or self._arm:
            return None
        if own:
            text = "it was begun by a control room that was armed, and this one is not: see for yourself"
            return Report(Outcome.UNKNOWN, text, int(own[-1].detail.get("attempt", 1)))
        return Report(Outcome.DRY, "not armed", 1, {"would": lines_for(action, self._scenario)})

    def _attempt(
        self, change: AlertChange, action: Action, step: Act, own: list[ActionStage], *, is_last: bool
    ) -> bool:
        """Make one attempt, journalled; return whether another one follows."""
        key = action_key(self._run.id, change.id, action.step, step.attempt)
        noted: dict[str, Any] = {"attempt": step.attempt, "key": key}
        if not own or own[-1].stage != INTENT:
            self._hook("before intent")
            before = {"before": str(step.before)} if action.kind == "http" else {}
            self._write(change, action, INTENT, {**noted, **before, "why": change.detail.get("text", "")})
        self._hook("intent")
        self._write(change, action, START, noted)
        self._hook("start")
        result = (
            self._own(change, action)
            if action.kind == "own"
            else self._levers.carry_out(
                action, key, step.before, is_last=is_last, acted=lambda: self._hook("acted")
            )
        )
        self._hook("done")
        again = result.again and step.attempt < ATTEMPTS_MOST and not self._closing.is_set()
        more: dict[str, Any] = {"verified": result.verified}
        if again:
            more["again"] = True
        self._result(change, action, Report(result.outcome, result.text, step.attempt, more))
        return again

    def _own(self, change: AlertChange, action: Action) -> Result:
        """Do what concerns this side only: stop the load, keep the evidence."""
        try:
            if action.verb == "stop-load":
                said = self._stop_load(str(change.detail.get("text") or f"the alert '{change.rule}' fires"))
                return Result(Outcome.DONE, said or "the load was told to stop")
            path = keep_evidence(self._run, change, self._now(), self._evidence())
        except Exception as error:  # noqa: BLE001  # whatever it is, the rungs after it are still to be done
            return Result(Outcome.FAILED, f"{type(error).__name__}: {error}", verified=False)
        return Result(Outcome.DONE, path.name, verified=True)

    def _result(self, change: AlertChange, action: Action, report: Report) -> None:
        detail = {
            "attempt": report.attempt,
            "key": action_key(self._run.id, change.id, action.step, report.attempt),
            "outcome": str(report.outcome),
            "text": report.text,
            **report.detail,
        }
        stage = self._write(change, action, RESULT, detail)
        self._hook("result")
        if report.outcome in LOUD and not report.detail.get("again"):
            self._note(f"ACTION {report.outcome.upper()}: {action.step}: {report.text}")
        self._told(stage)

    def _write(self, change: AlertChange, action: Action, stage: str, detail: dict[str, Any]) -> ActionStage:
        """Write an entry of the journal, on the disk before this returns; StoreError when that fails."""
        wall = datetime.now(UTC).isoformat(timespec="milliseconds")
        entry = ActionStage(self._now(), action.step, stage, detail, change.id, wall)
        entry = entry._replace(id=self._writer.action(entry))
        self._entries().append(entry)
        return entry

    def _note(self, text: str) -> None:
        with self._lock:
            self._errors.append(text)
