"""The desk at which a campaign is looked at and written: book, disk and clock put together, in one place."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click

from loadgate.errors import StoreError, UsageError
from loadgate.judge.campaign import CampaignState, fold
from loadgate.judge.campaign_evidence import read_bugs
from loadgate.judge.campaign_facts import BugFacts
from loadgate.judge.campaign_gather import Content, Found, gather, trust_in, with_new
from loadgate.judge.decision import Decision, Trust, decide
from loadgate.plan.campaign import Campaign
from loadgate.plan.reading import read_text
from loadgate.store.campaign import (
    CampaignWriter,
    Entry,
    Head,
    Stamp,
    find_campaign,
    head_of,
    read_entries,
)
from loadgate.store.folder import results_root
from loadgate.watch.command import Program
from loadgate.watch.parse import NoReading

PATIENCE: Final = 15.0
"""Seconds for which a command waits until another one has written into the book."""
_PAUSE: Final = 0.1

campaign_option = click.option(
    "--campaign", "name", metavar="NAME", help="Which campaign [default: the only one in the results]."
)
role_option = click.option(
    "--role", required=True, help="The role that speaks, one of those of the campaign."
)


@dataclass(frozen=True)
class Place:
    """Where a campaign is: its own folder, and the results that it draws on."""

    root: Path
    folder: Path

    @property
    def name(self) -> str:
        """Return the campaign's name."""
        return self.folder.name


@dataclass(frozen=True)
class Look:
    """A campaign at a moment: what the book says, what the disk adds, and what follows."""

    place: Place
    entries: Sequence[Entry]
    written: CampaignState
    found: Found
    state: CampaignState
    trust: Trust
    stamp: Stamp

    @property
    def now(self) -> datetime:
        """Return the moment."""
        return self.stamp.at

    def decision(self) -> Decision:
        """Return what would be decided now."""
        return decide(self.state, self.trust, self.now)


def place_of(results: str | None, name: str | None) -> Place:
    """Find a campaign; StoreError when there is none, or more than one."""
    root = results_root(results, None)
    return Place(root, find_campaign(root, name))


def look(place: Place, stamp: Stamp | None = None) -> Look:
    """Look at a campaign without writing anything."""
    stamp = stamp or Stamp.now()
    entries = read_entries(place.folder)
    written = fold(entries)
    found = gather(place.root, written, stamp.at)
    note = plan_note(written)
    if note:
        found.notes.append(note)
    trust = trust_in(place.folder, written, found, stamp)
    state = with_new(entries, found.new, stamp) if found.new else written
    return Look(place, entries, written, found, state, trust, stamp)


def plan_note(state: CampaignState) -> str:
    """Say that the campaign's file is not what the campaign follows any more; nothing where it is."""
    text, fault = read_text(Path(state.plan_file), state.plan_file, "")
    if fault is None and hashlib.sha256(text.encode()).hexdigest() == state.plan_sha256:
        return ""
    what = "was changed" if fault is None else "cannot be read any more"
    return f"{state.plan_file} {what} since the clock was started: the campaign follows what it said then"


@contextmanager
def writing(place: Place) -> Iterator[CampaignWriter]:
    """Hold the book for writing; StoreError when it was changed, or somebody else holds it for long.

    `follow` and people write into the same book, each for a moment, so one waits for the other.
    """
    gives_up = time.monotonic() + PATIENCE
    while True:
        try:
            writer = CampaignWriter(place.folder)
            break
        except StoreError as error:
            if time.monotonic() >= gives_up or "is writing it" not in error.message:
                raise
            time.sleep(_PAUSE)
    with writer:
        yield writer


def take_up(place: Place, writer: CampaignWriter, stamp: Stamp, *, grave_only: bool) -> Look:
    """Write evidence that is not in the book yet into it; return what was looked at, with it in the book.

    With `grave_only` only ended runs, smoke checks and what stops the clock: a loop would else fill the book
    with what it is about to know better.
    """
    seen = look(place, stamp)
    made = writer.extend(seen.found.grave if grave_only else seen.found.new, stamp)
    if not made:
        return seen
    entries = [*seen.entries, *made]
    return replace(seen, entries=entries, written=fold(entries))


def bugs_by_command(plan: Campaign, stamp: Stamp) -> list[Content]:
    """Run the command that lists the bugs, where there is one; that it failed is a fact as well."""
    bugs = plan.bugs
    if bugs is None or not bugs.command:
        return []
    source, never = "command " + " ".join(bugs.command), datetime.fromtimestamp(0, UTC)
    try:
        ended = Program().run(bugs.command, bugs.timeout)
    except NoReading as failure:
        return [("bugs", BugFacts(source, never, 0, (), "", failure.message).content())]
    if ended.status != 0:
        fault = f"it ended with status {ended.status}"
        return [("bugs", BugFacts(source, never, 0, (), "", fault).content())]
    return [("bugs", read_bugs(bugs, ended.out, source, stamp.at).content())]


def check_role(plan: Campaign, role: str, allowed: Sequence[str] = ()) -> None:
    """Refuse a role that the campaign does not have, or that may not say this."""
    if role not in plan.roles:
        raise UsageError(f"'{role}' is not a role of the campaign", hint=f"roles: {', '.join(plan.roles)}")
    if allowed and role not in allowed:
        raise UsageError(f"'{role}' may not say this", hint=f"these may: {', '.join(allowed)}")


def tell_head(place: Place) -> None:
    """Print the head of the book, to keep it elsewhere: it shows when the book is cut short."""
    head: Head = head_of(place.folder)
    click.echo(f"head {head}", err=True)


def user() -> dict[str, str]:
    """Return the account that wrote an entry: a role says who answers, this says where it came from."""
    return {"account": os.environ.get("USER", "") or str(os.getuid())}
