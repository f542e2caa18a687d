"""`loadgate campaign run-due` and `follow`: start what the calendar asks for, from cron, CI or a loop."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from typing import Final

import click

from loadgate.cli.campaign_desk import (
    Look,
    Place,
    campaign_option,
    look,
    place_of,
    take_up,
    writing,
)
from loadgate.cli.campaign_slots import Outcome, begin, settle
from loadgate.cli.durations import DURATION
from loadgate.cli.options import results_option
from loadgate.errors import StoreError, UsageError
from loadgate.exit_codes import ExitCode
from loadgate.judge.campaign_calendar import (
    Agenda,
    Due,
    agenda_at,
    open_slots,
    position_at,
    run_of_key,
    startable,
)
from loadgate.judge.campaign_clock import clock_at
from loadgate.report.campaign import due_line
from loadgate.store.campaign import CampaignWriter, Stamp
from loadgate.store.lock import WriterLock

_LOOK: Final = 0.5
Children = dict[str, subprocess.Popen[bytes]]


@click.command("run-due")
@click.option("--wait", is_flag=True, help="Wait until what was started has ended.")
@click.option("--again", "again", metavar="KEY", help="Start this entry once more, though it was started.")
@campaign_option
@results_option
def run_due(wait: bool, again: str | None, name: str | None, results: str | None) -> int:
    """Start what the calendar asks for now, once: for cron or a CI job.

    An entry that was started is never started a second time, also after a crash, unless --again names it.
    Loads never overlap, so a run that is due beside another waits for its turn. What was started goes on by
    itself; without --wait the next call writes down what came of it.

    Exit codes: 0, also when another one is at work; 2 when something could not be started. With --wait also
    20 when a run or a smoke check of these is FAIL, and 30 when one left nothing behind. Other verdicts are
    0: what they mean for the release `decide` says.
    """
    from loadgate.cli.interrupts import Interrupts

    place = place_of(results, name)
    lock = _turn(place)
    if lock is None:
        if again is not None:
            raise UsageError(
                f"another run-due or follow is at work: '{again}' was not started",
                hint="wait until it has ended, or stop it",
            )
        click.echo("another run-due or follow is at work: nothing was done", err=True)
        return ExitCode.PASS
    children: Children = {}
    came_of: dict[str, Outcome] = {}
    try:
        with Interrupts().caught() as interrupts:
            failed = _step(place, children, again=again, tell_all=True)
            interrupts.count_only()
            while wait and any(child.poll() is None for child in children.values()) and not interrupts.count:
                time.sleep(_LOOK)
            if wait:
                came_of = _settled(place, children)
            if interrupts.count:
                return ExitCode.INTERRUPTED
    finally:
        lock.release()
    if failed:
        return ExitCode.USAGE
    return _waited([came_of.get(key) for key in children]) if wait else ExitCode.PASS


def _waited(outcomes: Sequence[Outcome | None]) -> ExitCode:
    """Return the exit code for what was waited for; None where nobody knows yet how it ended."""
    if any(one is not None and one.verdict == "FAIL" for one in outcomes):
        return ExitCode.FAIL
    if any(one is None or one.run is None for one in outcomes):
        return ExitCode.INVALID
    return ExitCode.PASS


@click.command()
@click.option(
    "--every", type=DURATION, default="1m", show_default=True, help="How long to wait between two looks."
)
@campaign_option
@results_option
def follow(every: float, name: str | None, results: str | None) -> int:
    """Start what the calendar asks for, again and again, until the calendar is over or Ctrl-C.

    What was started goes on after Ctrl-C; another `follow` takes the campaign up again.
    """
    from loadgate.cli.interrupts import Interrupts

    place = place_of(results, name)
    lock = _turn(place)
    if lock is None:
        raise UsageError("another run-due or follow is at work", hint="one is enough for a campaign")
    children: Children = {}
    try:
        with Interrupts().caught() as interrupts:
            interrupts.count_only()
            click.echo("following; Ctrl-C ends it, and nothing else", err=True)
            while not interrupts.count:
                _step(place, children, again=None)
                if _is_over(place):
                    click.echo("the calendar is over and nothing is under way: loadgate campaign decide")
                    return ExitCode.PASS
                ends = time.monotonic() + every
                while time.monotonic() < ends and not interrupts.count:
                    time.sleep(min(_LOOK, max(0.0, ends - time.monotonic())))
    finally:
        lock.release()
    return ExitCode.INTERRUPTED


def _turn(place: Place) -> WriterLock | None:
    """Take the right to start something; None where somebody else has it."""
    try:
        return WriterLock(place.folder / "due")
    except StoreError as error:
        if "is writing it" in error.message:
            return None
        raise


def _settled(place: Place, children: Children) -> dict[str, Outcome]:
    """Write down what ended, and say so."""
    with writing(place) as writer:
        return _settle(place, writer, children)


def _settle(place: Place, writer: CampaignWriter, children: Children) -> dict[str, Outcome]:
    seen = take_up(place, writer, Stamp.now(), grave_only=True)
    ended = settle(place, seen, writer, children)
    for key, outcome in ended.items():
        click.echo(f"{key}: {outcome.text}")
    return ended


def _step(place: Place, children: Children, *, again: str | None, tell_all: bool = False) -> bool:
    """Write down what ended, then start what is due; tell whether something could not be started."""
    failed = False
    with writing(place) as writer:
        _settle(place, writer, children)
        seen = look(place)
        agenda = _agenda(seen)
        chosen = [_again(seen, agenda, again)] if again is not None else _chosen(seen, agenda)
        for due in chosen:
            child = begin(place, seen.written, due, writer)
            if child is None:
                failed = True
                click.echo(f"{due.key}: could not be started", err=True)
            else:
                children[due.key] = child
                click.echo(f"{due.key}: started, process {child.pid}")
    if tell_all:
        waiting = [due for due in agenda.due if due not in chosen]
        for due in waiting:
            click.echo(f"{due.key}: waits until no other load goes on", err=True)
        if not chosen and not waiting:
            click.echo("nothing is due", err=True)
            for due in agenda.next[:1]:
                click.echo(f"next: {due_line(due)}", err=True)
    return failed


def _agenda(seen: Look) -> Agenda:
    return agenda_at(seen.written, clock_at(seen.state, seen.now), seen.now)


def _chosen(seen: Look, agenda: Agenda) -> list[Due]:
    under_way = [run_of_key(seen.written.plan, slot.key) for slot in open_slots(seen.written)]
    loads = any(run.mode == "load" for run in seen.found.under_way)
    return startable(agenda.due, [run for run in under_way if run is not None], load_runs=loads)


def _again(seen: Look, agenda: Agenda, key: str) -> Due:
    slot = seen.written.slots.get(key)
    found = next((due for due in agenda.started if due.key == key), None)
    if slot is None or found is None:
        known = ", ".join(due.key for due in agenda.started) or "nothing yet"
        raise UsageError(f"'{key}' was not started", hint=f"started: {known}")
    if slot.is_open:
        raise UsageError(f"'{key}' still goes on", hint="wait for its end, or stop its run")
    return found


def _is_over(place: Place) -> bool:
    """Tell whether the last phase has ended, nothing is left to start, and nothing goes on."""
    seen = look(place)
    agenda = _agenda(seen)
    position = position_at(seen.written.plan, seen.written.started_at, seen.now)
    return position.is_over and not (agenda.due or agenda.next or open_slots(seen.written))
