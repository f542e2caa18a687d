"""`loadgate resume`: go on with a run whose control room, generator or machine died."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import click
import orjson

import loadgate
from loadgate.cli.control_room import ControlRoom, Request
from loadgate.cli.disk_check import check_disk, look_at
from loadgate.cli.interrupts import Interrupts
from loadgate.cli.moved_end import move_end
from loadgate.cli.options import arm_option, json_option, results_option, strict_option
from loadgate.cli.outlets import listening, run_options
from loadgate.errors import GeneratorError, StoreError, UsageError
from loadgate.plan.differences import differences
from loadgate.plan.moved_end import moved
from loadgate.plan.plan import Plan
from loadgate.store.control_lock import doubt_left, owner_of, refuse_if_controlled, was_controlled
from loadgate.store.database import RunReader
from loadgate.store.folder import RunFolder, find_run, list_runs, results_root
from loadgate.store.lock import is_held
from loadgate.store.requests import holder_of
from loadgate.store.run_clock import Now, boot_id
from loadgate.swarm.fingerprint import Fingerprint, changed_files, own_code
from loadgate.swarm.launch import Generator, Listen, adopt, launch
from loadgate.swarm.living import living_of
from loadgate.watch.alert_feed import stored_plan

_MODES: Final = (None, "distributed")
"""Modes of the runs that a control room makes, as the run database has them."""
_TOLD: Final = 5
"""Differences between two plans that are told."""
_SEEN_WITHIN: Final = 2.0
"""Seconds in which a process that has just taken a run's lock has written down who it is."""


@click.command()
@click.argument("run", default="latest")
@run_options
@arm_option
@results_option
@strict_option
@json_option
def resume(run: str, arm: bool, results: str | None, strict: bool, as_json: bool, **where: Any) -> int:
    """Go on with RUN (an id, a path, or `latest`) where it was, in the same folder by the same plan.

    What lives of its generator is taken over, what died is started again. What nobody measured in
    between is told, and counts as not offered. The exit code is the verdict, as for `loadgate run`.
    """
    folder = find_run(results_root(results, None), run)
    request = Request(
        scenario=Path(),
        results=results,
        strict=strict,
        as_json=as_json,
        arm=arm,
        supervised=True,
        listening=listening(where),
    )
    return ResumedRoom(folder, request).run()


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest run of a scenario, and how it ended (None: it has no end)."""

    run: RunFolder
    ended: str | None


def newest_soak_of(name: str, root: Path) -> Newest | None:
    """Return the newest soak of the scenario `name` whose load has begun; None where there is none.

    Other runs do not count: a watch, a gate, or a `loadgate run` of some minutes is no part of it. Older
    soaks are never gone on with: somebody gave them up when they started the next. StoreError when a newer
    run cannot be read: it may be the one.
    """
    for run in reversed(list_runs(root)):
        with RunReader(run.database) as reader:
            is_of_it = reader.value("scenario", None) == name and reader.value("anchor", None) is not None
            ended, mode = reader.value("ended", None), reader.value("mode", None)
        if is_of_it and mode in _MODES and (owner := owner_of(run)) is not None and owner.supervised:
            return Newest(run, ended)
    return None


def refuse_another_plan(folder: RunFolder, wanted: Plan) -> None:
    """Raise UsageError where a run does not follow the plan that is wanted, with what differs.

    What a moved end put in is left out. Both copies of the run's plan count: run.db has the one that is
    judged, plan.json the one that its processes read.
    """
    with RunReader(folder.database) as reader, reader.snapshot():
        stored = reader.value("plan", None)
        pauses = [event.detail["pause"] for event in reader.events() if event.kind == "end_moved"]
    if stored is None:
        raise StoreError(
            f"the run {folder.id} has no plan on record", hint="start a new one without --resume"
        )
    moves = [wanted]
    for start, end in pauses:
        moves.append(moved(moves[-1], float(start), float(end)) or moves[-1])
    said = differences(Plan.from_json(orjson.dumps(stored)), moves[-1])
    # plan.json is written after run.db: where that was cut short, it has one move less.
    copies = [differences(stored_plan(folder), known) for known in moves]
    said = said or min(copies, key=len)
    if said:
        raise UsageError(
            f"the run {folder.id} follows another plan: {'; '.join(said[:_TOLD])}",
            hint="say the scenario and the options that it was started with, or go on by its own plan: "
            f"loadgate resume {folder.id}. A new run is started without --resume",
        )


def check_resumable(folder: RunFolder, plan: Plan) -> None:
    """Refuse a run that cannot be gone on with: UsageError or StoreError, each with the remedy."""
    with RunReader(folder.database) as reader:
        ended = reader.value("ended", None)
        versions = reader.value("versions", None) or {}
        stored = reader.value("fingerprint", None)
        anchor = reader.value("anchor", None)
        fault, mode = reader.value("fault", None), reader.value("mode", None)
    if mode not in _MODES or not was_controlled(folder):
        raise UsageError(
            f"{folder.id} was not made by `loadgate run` or `loadgate soak`, so it cannot be gone on with",
            hint="a master of stock Locust takes its run up by LOADGATE_RUN; a watch is simply started anew",
        )
    if ended is not None:
        raise UsageError(
            f"the run {folder.id} has ended ({ended}): there is nothing to go on with",
            hint=f"see what came of it with `loadgate status {folder.id}`",
        )
    if anchor is None:
        raise UsageError(
            f"the load of {folder.id} never began{f': {fault}' if fault else ''}",
            hint="start a new run; this one measured nothing",
        )
    made_by = str(versions.get("loadgate", loadgate.__version__))
    if made_by != loadgate.__version__:
        raise UsageError(
            f"the run {folder.id} was made by Loadgate {made_by}, and this is {loadgate.__version__}",
            hint=f"go on with Loadgate {made_by}, or judge what there is: loadgate verdict {folder.id}",
        )
    if stored is not None:
        _check_fingerprint(folder, plan, Fingerprint.from_wire(stored))


def _check_fingerprint(folder: RunFolder, plan: Plan, known: Fingerprint) -> None:
    said = changed_files(known, plan.scenario.locustfile)
    if known.code and known.code != own_code():
        said.append(f"the code of Loadgate {known.version} is not the one that the run was made with")
    if said:
        raise UsageError(
            f"the run {folder.id} cannot go on, since its traffic would be another: {'; '.join(said)}",
            hint=f"put back what was changed, or judge what there is: loadgate verdict {folder.id}",
        )


def _refuse_if_written_elsewhere(folder: RunFolder) -> None:
    """Raise StoreError where a process writes the run that is not seen, and so not taken over."""
    until = time.monotonic() + _SEEN_WITHIN
    while is_held(folder.database):
        if holder_of(folder.database).process is not None or "master" in living_of(folder).processes:
            return
        if time.monotonic() >= until:
            raise StoreError(
                f"the run {folder.id} is still written by a process of another container or user",
                hint="it ends within 60 s after its control room; try again then",
            )
        time.sleep(0.1)


def wait_out_doubt(
    folder: RunFolder, read: Callable[[], Now] = Now.read, sleep: Callable[[float], None] = time.sleep
) -> None:
    """Wait where the last beat may be this machine's own before a restart; a new beat ends the wait."""
    first = owner_of(folder)
    left = doubt_left(first, read())
    if first is None or not left:
        return
    click.echo(
        f"{first.host} was started anew since it controlled the run, or another machine has its name: "
        f"waiting {left:.0f} s for a sign of life",
        err=True,
    )
    until = read().monotonic + left
    while (still := until - read().monotonic) > 0 and owner_of(folder) == first:
        sleep(min(1.0, still))


class ResumedRoom(ControlRoom):
    """Carry a run on that another control room began."""

    def __init__(self, folder: RunFolder, request: Request) -> None:
        if request.listening.web and "master" in living_of(folder).processes:
            # It keeps its port, and tells of the control room that started it.
            click.echo("--web is left out: the master lives, and is not started anew for it", err=True)
            request = replace(request, listening=replace(request.listening, web=False))
        super().__init__(request)
        self._resumed = folder

    @cached_property
    def plan(self) -> Plan:
        """Read the plan that the run was begun with."""
        return stored_plan(self._resumed)

    def _check(self, plan: Plan) -> Path:
        """Refuse what cannot be gone on with. The target is not asked: that it is down is measured."""
        folder = self._resumed
        wait_out_doubt(folder)
        stale = refuse_if_controlled(folder, Now.read())
        check_resumable(folder, plan)
        _refuse_if_written_elsewhere(folder)
        if stale:
            click.echo(stale, err=True)
        check_disk(plan, folder.path.parent, stored=look_at(folder.path).used)
        before = owner_of(folder)
        if before is not None and before.listen is not None:
            self.request = replace(self.request, listen=Listen(*before.listen))
        if plan.scenario.soak.planned_end == "move" and not living_of(folder).processes:
            # Where something lives the load went on, or was away for a minute at the most.
            self.plan, said = move_end(folder, plan, Now.read())
            click.echo(said, err=True)
        return folder.path.parent

    def _folder(self, plan: Plan, root: Path) -> RunFolder:  # noqa: ARG002 - they are the run's own
        return self._resumed

    def _start(self, plan: Plan, folder: RunFolder) -> Generator:
        """Take over what lives of the generator; start the rest, or all of it."""
        workers, listen = plan.scenario.generator.workers, self.request.listen
        living = living_of(folder)
        cause = "its control room and its master died"
        found = adopt(
            plan, folder, living, workers=workers, listen=listen, cause=cause, web=self._outlets.web
        )
        if found is not None:
            parts = ", ".join(sorted(living.processes))
            click.echo(f"going on with what lives of it: {parts}", err=True)
            return found
        living.kill()
        return launch(
            plan,
            folder,
            workers=workers,
            listen=listen,
            supervised=True,
            cause=self._cause(folder),
            web=self._outlets.web,
        )

    def _cause(self, folder: RunFolder) -> str:
        with RunReader(folder.database) as reader:
            anchor, paused = reader.value("anchor", None) or {}, reader.value("paused_at", None)
        if paused is not None:
            return "it was paused"
        if anchor.get("boot_id") != boot_id():
            return "its machine was started anew, or it is another one"
        return "its control room and its generator died"

    def _anchor_of(self, reader: RunReader, generator: Generator) -> float | None:
        """Return run time 0, once this generator's master has set it by this machine's clock."""
        if reader.value("pid", None) != generator.master.pid:
            return None
        return super()._anchor_of(reader, generator)

    def _waits_on(self, _generator: Generator) -> bool:
        """Start again what dies before the run is taken up, as later."""
        assert self._supervisor is not None
        self._supervisor.look(time.monotonic())
        return not self._supervisor.gave_up

    def _wait_for_anchor(
        self, generator: Generator, folder: RunFolder, interrupts: Interrupts
    ) -> float | None:
        anchor = super()._wait_for_anchor(generator, folder, interrupts)
        if anchor is None and not interrupts.count:
            raise GeneratorError(
                f"the run {folder.id} could not be taken up; it can be tried again", hint=generator.tail()
            )
        return anchor

    def _can_stay_open(self) -> bool:
        # It began long ago, whether or not it is taken up by now.
        return True

    def _may_settle(self, interrupts: Interrupts) -> bool:
        # What could not be taken up stays as it was, unless Ctrl-C ends it.
        return self._has_begun or interrupts.first == signal.SIGINT
