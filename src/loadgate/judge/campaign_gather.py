"""Hold a campaign's book against the disk: what is new and belongs in it, and what is not as it was.

Nothing is written here. What is new can be folded into the state to look at it, or be written into the book
first and then judged, which is what a decision does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from loadgate.judge.campaign import CampaignState, clock_fault, fold
from loadgate.judge.campaign_changed import only_bad
from loadgate.judge.campaign_clock import clock_at, evidence_since
from loadgate.judge.campaign_evidence import (
    changed_files,
    has_new_verdict,
    newest_smoke,
    note_faults,
    noted_before_its_load,
    notes_changed_at,
    read_bugs,
    read_run,
    read_tests,
    run_ids,
    same_target,
    with_notes,
)
from loadgate.judge.campaign_facts import BugFacts, RunFacts, TestFacts, iso
from loadgate.judge.campaign_life import DIED, UNREADABLE, sketch, unknown_load
from loadgate.judge.campaign_lines import AHEAD
from loadgate.judge.decision import Trust
from loadgate.store.campaign import Entry, Stamp, verify_chain
from loadgate.store.folder import RunFolder

Content = tuple[str, Mapping[str, Any]]

MOST_NOTES: Final = 5


@dataclass
class Found:
    """What the disk says beside the book."""

    new: list[Content] = field(default_factory=list)
    """Evidence that is not in the book, as (kind, content) of entries to come."""
    grave: list[Content] = field(default_factory=list)
    """Those of them that must be written down at once: ended runs, and whatever stops the clock."""
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    under_way: list[RunFacts] = field(default_factory=list)
    """Runs at the target that go on, whoever started them."""
    older: list[str] = field(default_factory=list)
    """Faults of evidence of an older release, which are among the notes: no decision rests on it."""

    def tell(self, faults: Sequence[str], *, serious: bool) -> None:
        """Add faults of the evidence, or notes where they are not serious."""
        (self.faults if serious else self.notes).extend(faults)
        self.older += [] if serious else faults


def gather(root: Path, state: CampaignState, now: datetime) -> Found:
    """Read what is new below the results, and check what the book points to."""
    found = Found()
    since = evidence_since(state, clock_at(state, now))
    _runs(root, state, since, now, found)
    _smoke(root, state, since, now, found)
    for tests in state.plan.tests:
        known = {one.file: one for one in state.tests.get(tests.name, [])}
        for facts in read_tests(tests):
            if known.get(facts.file) != TestFacts.of(facts.content()):
                found.new.append(("tests", facts.content()))
    _bug_file(state, found)
    _linked(root, state, since, found)
    return found


def _runs(root: Path, state: CampaignState, since: datetime, now: datetime, found: Found) -> None:
    oldest = state.started_at - timedelta(seconds=state.plan.decision.lookback)
    strangers: list[str] = []
    for run_id in run_ids(root):
        known = state.runs.get(run_id)
        try:
            # One that died may have been resumed.
            over = known is not None and known.is_over and known.ended != DIED
            if known is not None and over and not has_new_verdict(root, known):
                _noted_later(root, known, since, found)
                continue
            facts, damaged, noted_at = _read(root, run_id, known, state, now)
        except UNREADABLE as error:
            told = f"run {run_id} cannot be read: {error}"
            strangers += _unreadable(root, run_id, known, state, since, now, told, found)
            continue
        if facts is None:
            found.tell(damaged, serious=noted_at >= since)
            continue
        same = same_target(facts.host, state.plan.host)
        # Whatever else is wrong with it, nothing may be started beside a load.
        if same and facts.ended is None:
            found.under_way.append(facts)
        # A run that began long ago and goes on is still of now, and so is what was noted in it since.
        if facts.ended is not None and facts.ended_at < oldest:
            found.tell(damaged if same else [], serious=noted_at >= since)
            damaged = []
            if not (same and any(at >= oldest for at, _ in facts.deployments)):
                continue
        if not same:
            strangers.append(f"run {run_id} is of another target ({facts.host}): it does not count")
            continue
        if facts.started_at > now + AHEAD:
            found.faults.append(f"run {run_id} began at {iso(facts.started_at)}, in the future")
            continue
        found.tell(damaged, serious=facts.ended is None or facts.ended_at >= since)
        if known is None or known != facts:
            entry = ("run", facts.content())
            found.new.append(entry)
            ended = facts.ended is not None and known is not None and known.ended is None
            if facts.is_over or ended or _is_grave(state, known, facts):
                found.grave.append(entry)
    others = [one["run"] for kind, one in found.new if kind == "run" and _is_other(state, RunFacts.of(one))]
    others += [run.run for run in state.runs.values() if _is_other(state, run)]
    strangers += [
        f"run {run_id} was made by another plan than the campaign's scenarios: it shows nothing good"
        for run_id in dict.fromkeys(others)
    ]
    found.notes += strangers[-MOST_NOTES:]
    if len(strangers) > MOST_NOTES:
        found.notes.append(f"and {len(strangers) - MOST_NOTES} more runs of other targets or plans")


def _read(
    root: Path, run_id: str, known: RunFacts | None, state: CampaignState, now: datetime
) -> tuple[RunFacts | None, list[str], datetime]:
    """Read a run, what its notes lack, and when they were last changed; None where there is nothing of it.

    Of a run whose load never began the deployments that were noted in it are of the target all the same.
    """
    facts = read_run(root, run_id, now)
    if facts is not None:
        damaged = note_faults(root, facts)
        # As the book would give it back, whose times are milliseconds: else it would differ at each look.
        facts = RunFacts.of(facts.content())
        if known is not None and changed_files(root, known.sha256):
            facts = only_bad(known, facts)
    else:
        facts, host, damaged = noted_before_its_load(root, run_id)
        facts = None if facts is None else RunFacts.of(facts.content())
        if host and not same_target(host, state.plan.host):
            facts, damaged = None, []
    return facts, damaged, notes_changed_at(root, run_id) if damaged else now


def _unreadable(
    root: Path,
    run_id: str,
    known: RunFacts | None,
    state: CampaignState,
    since: datetime,
    now: datetime,
    told: str,
    found: Found,
) -> list[str]:
    """Tell of a run that cannot be read, by what is known of it all the same; return what does not count."""
    folder = RunFolder(root / run_id)
    about = known
    if known is None or not known.is_over or known.ended == DIED:
        about = sketch(folder, now) or unknown_load(folder, state.plan.host, now) or known
    if about is not None and about.host and not same_target(about.host, state.plan.host):
        return [f"{told} (it is of another target)"]
    if about is not None and about.ended is None:
        found.under_way.append(about)
    ends = [one.ended_at for one in (about, known) if one is not None]
    found.tell([told], serious=about is None or about.ended is None or max(ends) >= since)
    return []


def _is_other(state: CampaignState, run: RunFacts) -> bool:
    """Tell whether a run that would count, or bears a name of the calendar, is not made by its plan."""
    return (run.stability or run.scenario in state.scenarios) and not state.is_evidence(run)


def _noted_later(root: Path, known: RunFacts, since: datetime, found: Found) -> None:
    """Take up what was noted in a run after it had been written down; say what is gone or cannot be read."""
    faults = note_faults(root, known)
    facts = RunFacts.of(with_notes(root, known).content())
    before, after = set(known.deployments), set(facts.deployments)
    if not before <= after:
        faults.append(f"{known.run}: a deployment that was noted in it is gone")
    elif facts != known:
        entry = ("run", facts.content())
        found.new.append(entry)
        if after - before:
            found.grave.append(entry)
    found.tell(faults, serious=known.ended_at >= since)


def _is_grave(state: CampaignState, known: RunFacts | None, facts: RunFacts) -> bool:
    """Tell whether a run that goes on shows something that the book must not lose."""
    before = known or replace(facts, alerts=(), down=(), deployments=())
    fired = {(alert.rule, alert.fired_at) for alert in facts.alerts}
    fired -= {(alert.rule, alert.fired_at) for alert in before.alerts}
    limit = timedelta(seconds=state.plan.clock.downtime)
    down = {begin for begin, end in facts.down if end - begin > limit}
    down -= {begin for begin, end in before.down if end - begin > limit}
    return bool(fired or down or set(facts.deployments) - set(before.deployments))


def _smoke(root: Path, state: CampaignState, since: datetime, now: datetime, found: Found) -> None:
    try:
        newest = newest_smoke(root, state.plan.host, state.smokes)
    except UNREADABLE as error:
        found.faults.append(f"the newest smoke check cannot be read: {error}")
        return
    if newest is None or newest.started_at < since or any(one.file == newest.file for one in state.smoke):
        return
    if newest.started_at > now + AHEAD:
        found.faults.append(f"{newest.file} is of {iso(newest.started_at)}, the future")
        return
    found.new.append(("smoke", newest.content()))
    found.grave.append(found.new[-1])


def _bug_file(state: CampaignState, found: Found) -> None:
    plan = state.plan.bugs
    if plan is None or plan.file is None:
        return
    try:
        body = plan.file.read_bytes()
        made_at = datetime.fromtimestamp(plan.file.stat().st_mtime, UTC)
    except OSError as error:
        why = f"cannot be read: {error.strerror}"
        facts = BugFacts(str(plan.file), datetime.fromtimestamp(0, UTC), 0, (), "", why)
    else:
        facts = read_bugs(plan, body, str(plan.file), made_at)
    content = facts.content()
    if state.bugs is None or state.bugs.content() != content:
        found.new.append(("bugs", content))


def _linked(root: Path, state: CampaignState, since: datetime, found: Found) -> None:
    """Hold every file that the book points to against its hash; what is of an older release is only noted."""
    newest = max(state.smoke, key=lambda one: one.started_at, default=None)
    fresh = {content["run"]: RunFacts.of(content) for kind, content in found.new if kind == "run"}
    for known in state.runs.values():
        run = fresh.get(known.run, known)
        # One whose folder is gone does not go on, whatever was seen of it last.
        going = run.ended is None and (root / run.run).is_dir()
        found.tell(changed_files(root, known.sha256), serious=going or run.ended_at >= since)
    for check in state.smoke:
        serious = check is newest or check.started_at >= since
        found.tell(changed_files(root, check.sha256), serious=serious)


def trust_in(folder: Path, state: CampaignState, found: Found, stamp: Stamp) -> Trust:
    """Return what was found wrong with the book, the evidence and the clock at a moment."""
    assert state.last is not None
    step = clock_fault(state.last, stamp.at, stamp.boot, stamp.monotonic)
    return Trust(
        tuple(verify_chain(folder)),
        tuple(found.faults),
        (step,) if step else (),
        tuple(found.notes),
    )


def with_new(entries: Iterable[Entry], new: Iterable[Content], stamp: Stamp) -> CampaignState:
    """Return the state as it would be with evidence that is not in the book yet."""
    return fold(_and(entries, new, stamp))


def _and(entries: Iterable[Entry], new: Iterable[Content], stamp: Stamp) -> Iterator[Entry]:
    last: Entry | None = None
    for last in entries:
        yield last
    if last is None:
        return
    for number, (kind, content) in enumerate(new, last.seq + 1):
        # At the time of the newest entry, so that a look adds no step of the clock.
        yield Entry(number, last.at, stamp.boot, last.monotonic, kind, content)
