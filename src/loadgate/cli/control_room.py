"""The control room: check the plan, start the generator, watch, and judge.

It is never monkey-patched and makes no load. What was measured is in the run database, which the
master writes; everything here reads it.
"""

from __future__ import annotations

import math
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from threading import Event
from typing import Any

import click

from loadgate.cli.capacity_check import check_capacity
from loadgate.cli.disk_check import check_disk
from loadgate.cli.interrupts import Interrupts
from loadgate.cli.looking import Looking
from loadgate.cli.outlets import Listening, Outlets
from loadgate.cli.overtime import STARTS_WITHIN, Overtime
from loadgate.cli.preflight import check_locustfile
from loadgate.cli.run_end import how_it_ended, is_kept, passes_on_stop, tell_fault
from loadgate.cli.runs import show_verdict
from loadgate.cli.supervisor import Supervisor
from loadgate.cli.watching import STOPS_WITHIN, Watching
from loadgate.errors import GeneratorError, LoadgateError
from loadgate.exit_codes import ExitCode
from loadgate.judge.gather import gather
from loadgate.judge.verdict import judge, write
from loadgate.plan.plan import Plan, load_plan
from loadgate.plan.units import format_duration
from loadgate.report.follow import Follower
from loadgate.report.live import PlainView, View, open_view
from loadgate.report.text import console_for
from loadgate.store.control_lock import ControlLock, Owner, owner_of
from loadgate.store.database import RunReader, open_writer
from loadgate.store.folder import RunFolder, create_run, results_root
from loadgate.store.requests import is_asked_to_stop
from loadgate.store.run_clock import Now
from loadgate.swarm.address import parse_address
from loadgate.swarm.launch import Generator, Listen, launch
from loadgate.swarm.secret import secret_for
from loadgate.watch.reach import reach

_LOOK_EVERY = 0.5
_EACH = 60.0
"""Seconds between two turns of what is to be done now and then."""
_WORKERS_END_WITHIN = 20.0
"""Seconds that workers get to end after their master."""
_MASTER_LEAVES_WITHIN = 5.0
"""Seconds that the master gets to leave after its last commit, which says how the run ended."""


@dataclass(frozen=True)
class Request:
    """What the command line asked for."""

    scenario: Path
    host: str | None = None
    workers: int | None = None
    listen: Listen | None = None
    sla: Path | None = None
    overrides: tuple[str, ...] = ()
    results: str | None = None
    strict: bool = False
    as_json: bool = False
    arm: bool = False
    """Let alerts end the load and change the target, where their rules say so."""
    listening: Listening = field(default_factory=Listening)
    """Where to tell others of the run while it goes on."""
    plain: bool = False
    """Show the run as plain lines, on a terminal as well."""
    supervised: bool = False
    """Start again what dies of the generator, as the plan's [soak] says."""
    extra: dict[str, Any] = field(default_factory=dict)

    def read_plan(self) -> Plan:
        """Read the plan that was asked for; PlanError when it is not usable."""
        overrides = list(self.overrides)
        if self.workers is not None:
            overrides.append(f"generator.workers={self.workers}")
        return load_plan(self.scenario, overrides=overrides, host=self.host, sla=self.sla)


@dataclass(frozen=True)
class Judged:
    """A run that was carried out and judged: its plan, its folder, and its verdict as it was stored."""

    plan: Plan
    folder: RunFolder
    content: dict[str, Any]
    exit_code: int


def listen_at(bind: str | None, within: float) -> Listen:
    """Say where the master of a distributed run listens. UsageError without a secret where one is needed."""
    host, port = parse_address(bind or "127.0.0.1")
    secret_for(host, os.environ)
    return Listen(host, port, within)


class ControlRoom:
    """Carry out one run."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self._told = 0
        self._aborts: list[str] = []
        self._load_ended = Event()
        self._is_ending = False
        self._is_stopped = False
        self._view_now: View | None = None
        self._outlets: Outlets
        self._supervisor: Supervisor | None = None
        self._control: ControlLock | None = None
        self._has_begun = False
        self._is_paused = False
        self._minute = time.monotonic()

    def run(self) -> int:
        """Run and judge; return the exit code. LoadgateError for everything before the load."""
        return self.judged().exit_code

    def judged(self) -> Judged:
        """Run, judge, print and store the verdict; return it all. LoadgateError as `run` has it."""
        with (
            Interrupts().caught() as interrupts,
            closing(Outlets(self.plan, self.request.listening, self._say, through_locust=True)) as outlets,
        ):
            plan, self._outlets = self.plan, outlets
            root = self._check(plan)
            # One that is taken up may end later than it was planned first.
            plan = self.plan
            # Until here there is nothing to keep; from here on there is a run to end well.
            interrupts.count_only()
            folder = self._folder(plan, root)
            outlets.begin(folder)
            self._load(plan, folder, interrupts)
            if self._is_paused and how_it_ended(folder) is None:
                click.echo(f"paused; go on: loadgate resume {folder.id}", err=True)
                return Judged(plan, folder, {}, int(ExitCode.INTERRUPTED))
            tell_fault(folder)
            return self._judge(plan, folder)

    @cached_property
    def plan(self) -> Plan:
        """Read the plan that was asked for, once, and tell its warnings; PlanError when it is not usable."""
        plan = self.request.read_plan()
        for warning in plan.warnings:
            click.echo(warning.line(), err=True)
        return plan

    def _check(self, plan: Plan) -> Path:
        """Find out before any load whether there can be one; return the results folder."""
        check_locustfile(plan)
        reach(plan.scenario.host, plan.scenario.http, os.environ)
        root = results_root(self.request.results, self.request.scenario)
        check_capacity(plan, root, time.time(), distributed=self.request.listen is not None)
        check_disk(plan, root)
        return root

    def _folder(self, plan: Plan, root: Path) -> RunFolder:
        """Make the run's folder, with the plan in it."""
        folder = create_run(root, plan.scenario.name, datetime.now(UTC))
        folder.plan.write_bytes(plan.to_json())
        return folder

    def _start(self, plan: Plan, folder: RunFolder) -> Generator:
        """Start the processes that make the load."""
        listen, workers = self.request.listen, plan.scenario.generator.workers
        generator = launch(
            plan,
            folder,
            workers=workers,
            listen=listen,
            supervised=self.request.supervised,
            web=self._outlets.web,
        )
        if listen is not None:
            self._say_where(listen, workers)
        return generator

    def _owner(self) -> Owner:
        """Return who controls the run from now on."""
        listen = self.request.listen
        where = (listen.host, listen.port, listen.within) if listen is not None else None
        return Owner.here(Now.read(), supervised=self.request.supervised, listen=where)

    def _load(self, plan: Plan, folder: RunFolder, interrupts: Interrupts) -> None:
        if self.request.arm and not any(rule.on_fire for rule in plan.alerts):
            click.echo("--arm arms nothing: no alert rule of this scenario has on_fire", err=True)
        # First, since it may find that a secret is missing.
        watching = Watching(plan, folder, arm=self.request.arm, stop_load=self._abort, say=self._say)
        try:
            # Only whoever holds the watch database, which is the lock of a run on this machine, is its owner.
            before = owner_of(folder)
            self._control = ControlLock(folder, self._owner())
            self._control.take(self._control.owner.following(before))
            self._make_load(plan, folder, watching, interrupts)
        finally:
            watching.end()

    def _make_load(self, plan: Plan, folder: RunFolder, watching: Watching, interrupts: Interrupts) -> None:
        generator = self._start(plan, folder)
        if self.request.supervised:
            self._supervisor = Supervisor(generator, plan.scenario.soak, time.monotonic(), self._say)
        left_alone = False
        try:
            anchor = self._wait_for_anchor(generator, folder, interrupts)
            if anchor is None:
                # Nothing was measured, so nothing is worth waiting for.
                return
            # A fault of the control room's own does not end what another one can go on with.
            left_alone = self._supervisor is not None
            self._take_control(anchor)
            watching.begin(anchor)
            self._follow(plan, folder, generator, watching, interrupts, anchor + plan.timeline.end)
            # What a worker still holds after its master died can be stored by nobody.
            if how_it_ended(folder) is not None and not generator.wait(_WORKERS_END_WITHIN):
                click.echo("the workers did not end after their master; they are ended now", err=True)
            left_alone = False
        finally:
            self._load_ended.set()
            watching.stop_probes()
            if left_alone:
                click.echo(f"the load goes on for a minute; go on: loadgate resume {folder.id}", err=True)
            else:
                generator.kill()
                self._settle(folder, generator, interrupts)

    def _take_control(self, anchor: float) -> None:
        """Write down from when on the run is controlled, and that it was not before, if so."""
        assert self._control is not None
        self._control.take(self._control.owner.watching(time.monotonic() - anchor))
        self._has_begun = True

    def _abort(self, reason: str) -> str | None:
        """End the load from another thread, and wait a while: what is done next finds a target at rest."""
        self._aborts.append(reason)
        ended = self._load_ended.wait(STOPS_WITHIN)
        return "the load has ended" if ended else None

    def _say(self, text: str) -> None:
        if self._view_now is not None:
            self._view_now.note(text)
        else:
            click.echo(text, err=True)

    def _say_where(self, listen: Listen, workers: int) -> None:
        within, where = format_duration(listen.within), f"{listen.host}:{listen.port}"
        click.echo(f"waiting up to {within} for {workers} worker(s) at {where}; start each with:", err=True)
        click.echo(f"  loadgate worker --master HOST:{listen.port}", err=True)

    def _wait_for_anchor(
        self, generator: Generator, folder: RunFolder, interrupts: Interrupts
    ) -> float | None:
        within = STARTS_WITHIN + (self.request.listen.within if self.request.listen is not None else 0.0)
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            if interrupts.count or is_asked_to_stop(folder):
                return None
            if generator.ended() and not self._waits_on(generator):
                return None
            with suppress(LoadgateError), RunReader(folder.database) as reader:
                anchor = self._anchor_of(reader, generator)
                if anchor is not None:
                    return anchor
            if self._control is not None:
                self._control.beat(Now.read(), None)
            time.sleep(0.05)
        raise GeneratorError(
            f"the load had not begun after {within:g} s", hint=generator.tail() or str(folder.logs)
        )

    def _waits_on(self, _generator: Generator) -> bool:
        """Tell whether a master that ended before the load began may still be followed by another."""
        return False

    def _anchor_of(self, reader: RunReader, _generator: Generator) -> float | None:
        """Return run time 0 by this machine's CLOCK_MONOTONIC, once the generator's master has set it."""
        anchor = reader.value("anchor", None)
        return None if anchor is None else float(anchor["monotonic"])

    def _follow(
        self,
        plan: Plan,
        folder: RunFolder,
        generator: Generator,
        watching: Watching,
        interrupts: Interrupts,
        planned_end: float,
    ) -> None:
        over_since: float | None = None
        overtime = Overtime(time.monotonic(), plan.scenario.http.timeout)
        looking, anchor = Looking(plan, folder), planned_end - plan.timeline.end
        outlets = self._outlets
        with closing(Follower(folder, plan, outlets.series)) as follower, self._view(plan, folder) as view:
            while not self._is_over(folder, generator, interrupts):
                self._beat(anchor)
                self._now_and_then()
                self._pass_on(interrupts, generator, view)
                self._show(view, follower, watching)
                watching.look()
                if self._ends_early(generator, looking, interrupts, time.monotonic() - anchor):
                    planned_end = time.monotonic()
                elif interrupts.count:
                    # It ends now, or pauses; the first time that this is seen counts.
                    planned_end = min(planned_end, time.monotonic())
                # At the end workers leave before their master, as they should.
                lasts = not interrupts.count and time.monotonic() < planned_end
                if self._supervisor is not None:
                    # One that was started again then takes the run up, and needs workers for that.
                    needed = lasts or not (interrupts.count or is_kept(generator))
                    self._supervise(self._supervisor, generator, view, workers=needed)
                elif lasts and (dead := generator.dead_workers()):
                    view.note(f"worker {', '.join(map(str, dead))} has died")
                if over_since is None and how_it_ended(folder) is not None:
                    over_since = time.monotonic()
                if over_since is not None and time.monotonic() > over_since + _MASTER_LEAVES_WITHIN:
                    view.note("the run is over and its master did not leave; it is ended now")
                    generator.kill()
                if time.monotonic() > overtime.ends(planned_end, self._master_began(generator)):
                    self._end_by_force(generator, interrupts, view)
                self._pause(generator, interrupts)
            self._load_ended.set()
            # What the master committed last came after the last look.
            self._show(view, follower, watching)

    def _show(self, view: View, follower: Follower, watching: Watching) -> None:
        """Show how the run stands by now, here and to whoever asks."""
        readings = watching.latest()
        snapshot = follower.refresh(readings, standing=watching.standing)
        view.show(snapshot)
        self._outlets.put(snapshot, follower, readings)

    def _supervise(self, supervisor: Supervisor, generator: Generator, view: View, *, workers: bool) -> None:
        """Start again what died; end the run, as one that died, where that has been done too often."""
        supervisor.look(time.monotonic(), workers=workers and not self._is_ending)
        if supervisor.gave_up:
            view.note(f"{supervisor.gave_up}; the run ends")
            generator.kill()

    def _master_began(self, generator: Generator) -> float | None:
        """Return when the newest master was started; None while there is none, since it died."""
        if generator.ended():
            return None
        return self._supervisor.master_began if self._supervisor is not None else -math.inf

    def _end_by_force(self, generator: Generator, interrupts: Interrupts, view: View) -> None:
        """End a run that does not come to its end; none that is supervised is taken up again for that."""
        why = "the run did not come to its planned end"
        view.note(f"{why}; the generator is ended now")
        if self._supervisor is not None and not interrupts.count:
            self._supervisor.give_up(why)
        generator.kill()

    def _is_over(self, folder: RunFolder, generator: Generator, interrupts: Interrupts) -> bool:
        """Tell whether the run is over; a master that only died is started again by a supervisor."""
        if not generator.ended():
            return False
        supervisor = self._supervisor
        if supervisor is None or supervisor.gave_up or interrupts.count or self._is_ending:
            return True
        return how_it_ended(folder) is not None

    def _beat(self, anchor: float) -> None:
        """Say that the run is controlled."""
        assert self._control is not None
        self._control.beat(Now.read(), time.monotonic() - anchor)

    def _now_and_then(self) -> None:
        """Do what is to be done once a minute."""
        if time.monotonic() - self._minute < _EACH:
            return
        self._minute = time.monotonic()
        if self._control is not None and self._control.fault:
            self._say(self._control.fault)

    def _ends_early(self, generator: Generator, looking: Looking, interrupts: Interrupts, now: float) -> bool:
        """End a run that an alert or somebody ends, or whose verdict is certain; tell whether just now."""
        if interrupts.count or self._is_ending:
            return False
        if self._aborts:
            self._say(f"an alert ends the load: {self._aborts[0]}")
            generator.abort()
            self._is_ending = True
        elif passes_on_stop(generator):
            self._say("ending, as `loadgate stop` asks: what is under way may finish")
            self._is_ending = self._is_stopped = True
        elif (why := looking.look(now)) is not None:
            self._say(f"{why}: the run needs no more load, and ends")
            generator.decide()
            self._is_ending = True
        return self._is_ending

    @contextmanager
    def _view(self, plan: Plan, folder: RunFolder) -> Iterator[View]:
        if not self.request.plain:
            with open_view(plan, folder) as view, self._noting_in(view):
                yield view
            return
        lines = PlainView(console_for(sys.stderr), plan, folder)
        with self._noting_in(lines):
            yield lines
        lines.end()

    @contextmanager
    def _noting_in(self, view: View) -> Iterator[None]:
        """Let what there is to say appear in a view while it is open."""
        self._view_now = view
        try:
            yield
        finally:
            self._view_now = None

    def _pause(self, generator: Generator, interrupts: Interrupts) -> None:
        until = time.monotonic() + _LOOK_EVERY
        dies = generator.ended()
        while time.monotonic() < until and generator.ended() == dies and interrupts.count == self._told:
            time.sleep(0.05)

    def _pass_on(self, interrupts: Interrupts, generator: Generator, view: Any) -> None:
        if interrupts.count == self._told:
            return
        self._told = interrupts.count
        if interrupts.count == 1 and self._pauses(interrupts):
            view.note("pausing: what is under way may finish, and the run stays open")
            self._is_paused = True
            generator.pause()
        elif interrupts.count == 1:
            view.note("ending: what is under way may finish; Ctrl-C again leaves at once")
            generator.interrupt()
        else:
            generator.kill()

    def _settle(self, folder: RunFolder, generator: Generator, interrupts: Interrupts) -> None:
        """Write down how the run ended where its master could not."""
        if how_it_ended(folder) is not None:
            return
        gave_up = self._supervisor.gave_up if self._supervisor is not None else ""
        if self._pauses(interrupts) and not gave_up and not self._is_ending and self._can_stay_open():
            # It may have come where there was no master to tell: the run was being taken up, or restarted.
            self._is_paused = True
        if self._is_paused or not self._may_settle(interrupts):
            return
        # A master that took the request may have died of whatever else, right after it.
        stopped = self._is_stopped or is_asked_to_stop(folder)
        aborted = bool(self._aborts) and self._is_ending
        why = {"interrupted": bool(interrupts.count), "stopped": stopped, "aborted": aborted, "died": True}
        ended = next(name for name, is_so in why.items() if is_so)
        try:
            with open_writer(folder.database) as writer:
                values = {"ended": ended, "flushed": False} | ({"fault": gave_up} if gave_up else {})
                writer.commit([], run_values=values)
        except LoadgateError as error:
            click.echo(f'that the run has ended ("{ended}") is not on record: {error.message}', err=True)
            click.echo(f"  {error.hint or 'see its folder'}; by its folder it still has no end", err=True)
        if not interrupts.count and not stopped:
            click.echo(f"the generator died; it said last:\n{generator.tail()}", err=True)

    def _pauses(self, interrupts: Interrupts) -> bool:
        """Tell whether a signal pauses the run.

        Who ends a service, or a machine, does not end a week: that is what Ctrl-C and `stop` are for.
        """
        return self.request.supervised and interrupts.first == signal.SIGTERM

    def _can_stay_open(self) -> bool:
        """Tell whether there is a run that another control room could go on with."""
        return self._has_begun

    def _may_settle(self, _interrupts: Interrupts) -> bool:
        """Tell whether a run without an end gets one now."""
        return True

    def _judge(self, plan: Plan, folder: RunFolder) -> Judged:
        verdict = judge(gather(folder), strict=self.request.strict, now=datetime.now(UTC))
        path = write(folder, verdict)
        content = verdict.to_dict()
        show_verdict(content, path, as_json=self.request.as_json)
        return Judged(plan, folder, content, int(verdict.exit_code))
