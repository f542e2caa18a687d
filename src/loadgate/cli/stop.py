"""`loadgate stop`: end a run gracefully from any terminal; what was measured is judged.

The request is a file that the process which writes the run looks at (`store/requests.py`). The control room
judges the run and exits by its verdict, as after an alert. A run without one (stock Locust) is judged here.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import click
import orjson
import psutil

from loadgate.cli.options import json_option, results_option
from loadgate.cli.runs import show_verdict
from loadgate.cli.watch import tell_what_was_seen
from loadgate.cli.watched import MODE
from loadgate.errors import UsageError
from loadgate.judge.gather import gather
from loadgate.judge.stored import latest_verdict
from loadgate.judge.verdict import judge, write
from loadgate.store.database import RunReader
from loadgate.store.folder import RunFolder, find_run, is_being_written, results_root
from loadgate.store.requests import Holder, Process, ask_to_stop, holder_of

_LOOK_EVERY: Final = 0.2
_HEARD_WITHIN: Final = 20.0
"""Seconds in which a process that writes a run must have taken a request to end it."""
_TAKEN: Final = frozenset({"stop_asked", "draining"})
"""Events that show that a run comes to its end."""


@click.command()
@click.argument("run")
@click.option("--wait", is_flag=True, help="Wait for the verdict, print it, and exit by it.")
@results_option
@json_option
def stop(run: str, wait: bool, results: str | None, as_json: bool) -> int:
    """End RUN gracefully: what is under way may finish, and what was measured is judged.

    RUN is one of this machine that goes on: of `loadgate run`, of stock Locust, or of `loadgate watch`. A run
    that was stopped can fail, but never pass. Exit code 0 says that the run is coming to its end; with --wait
    it is the verdict's.
    """
    folder = find_run(results_root(results, None), run)
    reached = reach(folder)
    told_before = verdicts(folder)
    _ask(folder, reached.asked)
    _wait_until_heard(folder, reached)
    if not wait:
        if as_json:
            sys.stdout.buffer.write(orjson.dumps({"run": folder.id, "stopping": True}) + b"\n")
        else:
            click.echo(
                f"{folder.id} is coming to its end; `loadgate status {folder.id}` tells of it", err=True
            )
        return 0
    return _outcome(folder, reached, told_before, as_json=as_json)


@dataclass(frozen=True)
class Reached:
    """The processes of a run: the one that is `asked` to end it, and its control room, where it has one."""

    asked: Process
    control_room: Process | None
    mode: str


def reach(folder: RunFolder) -> Reached:
    """Find who can end a run. UsageError where nobody here can, with what to do instead."""
    with RunReader(folder.database) as reader:
        ended, mode = reader.value("ended", None), str(reader.value("mode", None) or "")
    if ended is not None:
        raise UsageError(
            f"the run {folder.id} has ended ({ended}); there is nothing to stop",
            hint=f"`loadgate status {folder.id}` tells what came of it",
        )
    generator, control = holder_of(folder.database), holder_of(folder.watch_database)
    for holder in (generator, control):
        _refuse_elsewhere(folder, holder)
    if generator.process is not None:
        return Reached(generator.process, _control_room(generator.process, control.process), mode)
    if control.process is not None:
        # Its generator is being started, or started again: the control room is asked in its place.
        return Reached(control.process, control.process, mode)
    if is_being_written(folder, time.time()):
        raise UsageError(
            f"no process of this machine writes the run {folder.id}, and it changed a short while ago: "
            "it may be written on another machine, or its generator has just died",
            hint="stop it where it runs, or see `loadgate status` and ask again",
        )
    raise UsageError(
        f"nobody writes the run {folder.id} any more: it died before it had written its end",
        hint=f"`loadgate verdict {folder.id}` judges what was measured",
    )


def verdicts(folder: RunFolder) -> int:
    """Return the number of a run's newest verdict; 0 without any."""
    return folder.newest_verdict()


def _refuse_elsewhere(folder: RunFolder, holder: Holder) -> None:
    if not holder.held or holder.process is not None:
        return
    who = f"process {holder.pid}" if holder.pid is not None else "a process"
    raise UsageError(
        f"the run {folder.id} is written by {who} of another machine or container",
        hint="run `loadgate stop` there",
    )


def _control_room(master: Process, watcher: Process | None) -> Process | None:
    """Return the process that watches the run if it also started its master: only then it judges."""
    if watcher is None or watcher == master:
        return None
    try:
        return watcher if psutil.Process(master.pid).ppid() == watcher.pid else None
    except psutil.Error:
        return None


def _ask(folder: RunFolder, process: Process) -> None:
    ask_to_stop(folder, process, datetime.now(UTC).isoformat(timespec="milliseconds"))


def _wait_until_heard(folder: RunFolder, reached: Reached) -> None:
    """Wait until the run comes to its end; one that took the place of who was asked is asked as well."""
    deadline, asked = time.monotonic() + _HEARD_WITHIN, reached.asked
    while time.monotonic() < deadline:
        if _is_heard(folder):
            return
        now = holder_of(folder.database).process
        if now is not None and now != asked:
            asked = now
            _ask(folder, asked)
        elif now is None and not asked.lives:
            return
        time.sleep(_LOOK_EVERY)
    raise UsageError(
        f"process {asked.pid}, which writes {folder.id}, did not take the request within {_HEARD_WITHIN:g} s",
        hint=f"it hangs, or is of an older Loadgate; `kill -INT {asked.pid}` interrupts the run, which keeps "
        "what was measured",
    )


def _is_heard(folder: RunFolder) -> bool:
    with RunReader(folder.database) as reader:
        return reader.value("ended", None) is not None or any(
            event.kind in _TAKEN for event in reader.events()
        )


def _outcome(folder: RunFolder, reached: Reached, told_before: int, *, as_json: bool) -> int:
    """Wait for the end and the verdict, print it, and return the exit code that it has."""
    room = reached.control_room
    while holder_of(folder.database).held or (room is not None and room.lives):
        if room is not None and verdicts(folder) > told_before:
            break
        time.sleep(_LOOK_EVERY)
    if reached.mode == MODE:
        return tell_what_was_seen(folder, interrupted=False, as_json=as_json)
    if verdicts(folder) > told_before:
        path, content = latest_verdict(folder)
    else:
        verdict = judge(gather(folder), now=datetime.now(UTC))
        path, content = write(folder, verdict), verdict.to_dict()
    show_verdict(content, path, as_json=as_json)
    return int(content["exit_code"])
