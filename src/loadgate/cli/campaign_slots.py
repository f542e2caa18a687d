"""Start what the calendar asks for: once, and never twice, whatever dies in between.

The intent is in the book, and on the disk, before anything is started. Whoever comes later looks first: at
the process, by its number or by the mark in its environment, then at what it left behind. Only where neither
is there was it never started.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import IO, Final

import psutil

from loadgate.cli.campaign_desk import Look, Place
from loadgate.judge.campaign import UNSTARTED, CampaignState, Slot
from loadgate.judge.campaign_calendar import Due, open_slots, run_of_key
from loadgate.judge.campaign_facts import RunFacts
from loadgate.plan.campaign import CampaignRun
from loadgate.plan.reading import read_toml
from loadgate.store.campaign import CampaignWriter, Stamp
from loadgate.store.faults import told_as_store_errors

MARK: Final = "LOADGATE_CAMPAIGN_SLOT"
"""The variable by which a process can be found that was started for an entry of the calendar."""
MOST_ATTEMPTS: Final = 3
_SLACK: Final = timedelta(seconds=3)
"""A run begins on a whole second, which may lie before its intent."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an entry of the calendar ended: `run` is what it left behind, a run or a smoke check's file.

    `verdict` is what that came to, as far as anybody said so.
    """

    outcome: str
    run: str | None
    text: str
    verdict: str | None = None


def settle(
    place: Place, seen: Look, writer: CampaignWriter, children: Mapping[str, subprocess.Popen[bytes]]
) -> dict[str, Outcome]:
    """Write down how the started entries ended; return that by their keys."""
    ended: dict[str, Outcome] = {}
    claimed = {slot.run for slot in seen.written.slots.values() if slot.run is not None}
    for slot in open_slots(seen.written):
        child = children.get(slot.key)
        if child is not None and child.poll() is None:
            continue
        process = _living(place, slot)
        if process is not None:
            if slot.pid is None:
                writer.append("began", _began(slot.key, process.pid), Stamp.now())
            continue
        found = outcome_of(seen, slot, claimed)
        if found is None:
            continue
        claimed |= {found.run} if found.run is not None else set()
        content = {"key": slot.key, "outcome": found.outcome, "run": found.run, "text": found.text}
        writer.append("done", content, Stamp.now())
        ended[slot.key] = found
    return ended


def outcome_of(seen: Look, slot: Slot, claimed: Collection[str]) -> Outcome | None:
    """Say what came of an entry whose process is gone; None while its run may still be written.

    `claimed` are the runs and smoke checks that other entries left behind.
    """
    run = run_of_key(seen.written.plan, slot.key)
    if run is not None and run.command == "smoke":
        files = [
            one
            for one in seen.state.smoke
            if one.started_at >= slot.intent_at - _SLACK and one.file not in claimed
        ]
        if files:
            newest = max(files, key=lambda one: one.started_at)
            return Outcome("done", newest.file, f"smoke check {newest.result}", newest.result)
    elif run is not None:
        facts = _run_of(seen, slot, run, claimed)
        if facts is not None and facts.ended is None:
            return None
        if facts is not None:
            return Outcome(
                "done", facts.run, f"run {facts.run}: {facts.verdict or facts.ended}", facts.verdict
            )
    if slot.pid is None and slot.attempt < MOST_ATTEMPTS:
        return Outcome(UNSTARTED, None, "it was never started")
    return Outcome("nothing", None, "it left neither a run nor a smoke check: see its log")


def _run_of(seen: Look, slot: Slot, run: CampaignRun, claimed: Collection[str]) -> RunFacts | None:
    wanted, mode = scenario_name(run), "watch" if run.command == "watch" else "load"
    runs = [
        facts
        for facts in seen.state.runs.values()
        if facts.scenario == wanted
        and facts.mode == mode
        and facts.started_at >= slot.intent_at - _SLACK
        and facts.run not in claimed
    ]
    return min(runs, key=lambda facts: facts.started_at, default=None)


def scenario_name(run: CampaignRun) -> str:
    """Read the name of an entry's scenario; its file's name where that cannot be read."""
    raw, _ = read_toml(run.scenario, str(run.scenario))
    return str((raw or {}).get("name", run.scenario.stem))


def begin(
    place: Place, state: CampaignState, due: Due, writer: CampaignWriter
) -> subprocess.Popen[bytes] | None:
    """Start an entry of the calendar in a session of its own; None when it could not be started."""
    before = state.slots.get(due.key)
    attempt = before.attempt + 1 if before is not None else 1
    words = command_of(place, state, due.run)
    shown = ["loadgate", *words[3:]]
    writer.append("intent", {"key": due.key, "attempt": attempt, "command": shown}, Stamp.now())
    log = log_path(place, due.key, attempt)
    with told_as_store_errors("write", log):
        log.parent.mkdir(parents=True, exist_ok=True)
        output = log.open("ab")
    try:
        with output:
            child = spawn(words, output, os.environ | {MARK: mark(place, due.key)})
    except OSError as error:
        content = {"key": due.key, "outcome": "nothing", "run": None, "text": f"cannot be run: {error}"}
        writer.append("done", content, Stamp.now())
        return None
    writer.append("began", _began(due.key, child.pid), Stamp.now())
    return child


def spawn(words: Sequence[str], output: IO[bytes], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a command in a session of its own: it outlives whoever started it."""
    return subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        env=environment,
        start_new_session=True,
    )


def command_of(place: Place, state: CampaignState, run: CampaignRun) -> Sequence[str]:
    """Return the command line of an entry of the calendar."""
    return [
        sys.executable,
        "-m",
        "loadgate",
        run.command,
        str(run.scenario),
        "--host",
        state.plan.host,
        "--results",
        str(place.root.absolute()),
        *run.arguments,
    ]


def log_path(place: Place, key: str, attempt: int) -> Path:
    """Name the file that takes what an entry of the calendar prints."""
    stem = key.replace("/", ".").replace("#", "-").replace("@", "-cycle-")
    return place.folder / "log" / (f"{stem}.log" if attempt == 1 else f"{stem}-{attempt}.log")


def mark(place: Place, key: str) -> str:
    """Return what the environment of an entry's process holds."""
    return f"{place.folder.absolute()}#{key}"


def _living(place: Place, slot: Slot) -> psutil.Process | None:
    """Find the process of an entry, by its number and age, or else by its mark."""
    if slot.pid is not None:
        with suppress(psutil.Error):
            process = psutil.Process(slot.pid)
            same = slot.created is not None and abs(process.create_time() - slot.created) < 1
            if same and process.status() != psutil.STATUS_ZOMBIE:
                return process
        return None
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get(MARK) == mark(place, slot.key):
                return process
    return None


def _began(key: str, pid: int) -> dict[str, object]:
    created = 0.0
    with suppress(psutil.Error):
        created = psutil.Process(pid).create_time()
    return {"key": key, "pid": pid, "created": created}
