"""How each line of a checklist stands: measured by the newest evidence, run, or attested by a role.

Pure functions of the campaign's state. A line is met only when all that it asks for is there and good; what
is missing and what is bad are two things, since the first wants evidence and the second a hotfix.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any

from loadgate.judge.campaign import CampaignState
from loadgate.judge.campaign_clock import ClockState, evidence_since
from loadgate.judge.campaign_facts import RunFacts, SmokeFacts, iso
from loadgate.plan.campaign import Line


class Standing(StrEnum):
    """How a part of the decision stands."""

    MET = "met"
    NOT_MET = "not met"
    MISSING = "missing"
    WAIVED = "waived"


ORDER = (Standing.NOT_MET, Standing.MISSING, Standing.WAIVED, Standing.MET)
"""From the worst to the best."""
AHEAD = timedelta(minutes=1)
"""By how much evidence of another machine may seem to be of the future."""


@dataclass(frozen=True, slots=True)
class Part:
    """One thing that was looked at: how it stands, why, and the evidence (a file below the results, or an
    entry of the book).
    """

    standing: Standing
    reason: str
    evidence: str = ""


@dataclass(frozen=True, slots=True)
class Item:
    """One part of the decision."""

    key: str
    group: str
    title: str
    standing: Standing
    parts: tuple[Part, ...]
    waiver: str = ""

    @classmethod
    def of(cls, key: str, group: str, title: str, parts: Sequence[Part]) -> Item:
        """Make an item that stands as its worst part does; without a part it is missing."""
        found = tuple(parts) or (Part(Standing.MISSING, "nothing was looked at"),)
        worst = min(found, key=lambda part: ORDER.index(part.standing)).standing
        return cls(key, group, title, worst, found)

    @property
    def reasons(self) -> list[str]:
        """Return why it stands as it does: what is bad or missing, or else what holds."""
        wanted = [part for part in self.parts if part.standing is not Standing.MET] or self.parts
        return [part.reason for part in wanted]

    @property
    def evidence(self) -> list[str]:
        """Return where that can be looked up."""
        return list(dict.fromkeys(part.evidence for part in self.parts if part.evidence))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for the book, for JSON and for pages."""
        return {
            "key": self.key,
            "group": self.group,
            "title": self.title,
            "standing": self.standing.value,
            "reasons": self.reasons,
            "evidence": self.evidence,
            "waiver": self.waiver,
        }


@dataclass(frozen=True)
class View:
    """What the rules look at: the state at a moment, and from when on evidence counts."""

    state: CampaignState
    clock: ClockState
    since: datetime
    now: datetime

    @classmethod
    def at(cls, state: CampaignState, clock: ClockState, now: datetime) -> View:
        """Look at a state at a moment."""
        return cls(state, clock, evidence_since(state, clock), now)

    def judged(self, scenario: str = "") -> list[RunFacts]:
        """List judged loads that speak of the release under test, the newest first.

        Those of one scenario, or of any that counts for stability.
        """
        return [run for run in self.ended(scenario) if run.verdict is not None]

    def ended(self, scenario: str = "") -> list[RunFacts]:
        """List those loads, and beside them the ones that ended or died and were not judged."""
        runs = [
            run
            for run in self.state.runs.values()
            if run.mode == "load"
            and self.state.is_evidence(run)
            and run.ended is not None
            and self.since <= run.started_at <= self.now
            and (run.scenario == scenario if scenario else run.stability)
        ]
        return sorted(runs, key=lambda run: (run.started_at, run.run), reverse=True)

    def smoke(self) -> SmokeFacts | None:
        """Return the newest smoke check by a scenario of which the calendar makes them."""
        checks = [
            check
            for check in self.state.smoke
            if check.started_at <= self.now + AHEAD and check.scenario in self.state.smokes
        ]
        return max(checks, key=lambda check: check.started_at, default=None)


def line_item(line: Line, group: str, view: View, criteria: Mapping[str, Item]) -> Item:
    """Return how a line stands; `criteria` are the parts of the decision that it may repeat."""
    parts: list[Part] = []
    waiver = ""
    if line.criterion:
        found = criteria[line.criterion]
        waiver = found.waiver
        evidence = found.evidence[0] if found.evidence else ""
        parts += [Part(found.standing, reason, evidence) for reason in found.reasons]
    parts += [_objective(name, line, view) for name in line.objectives]
    parts += [_smoke(pattern, view) for pattern in line.smoke]
    for name in line.tests:
        parts += tests_parts(name, view)
    parts += _commands(line, view)
    if not line.is_measured:
        parts.append(_attested(line, view))
    item = Item.of(line.id, group, line.text, parts)
    # A waiver that the criterion has names who answers for the line, too.
    return replace(item, waiver=waiver) if item.standing is Standing.WAIVED else item


def _objective(name: str, line: Line, view: View) -> Part:
    """Look up a row in the newest run that has it.

    A newer run that says nothing, being void or not judged, might have it otherwise: it ends the search.
    """
    for run in view.ended(line.scenario):
        if run.verdict is None:
            told = f"run {run.run} ({run.ended}) is newer than any with {name}, and nobody judged it"
            return Part(Standing.MISSING, told, run.run)
        row = next((row for row in run.rows if row.name == name), None)
        if row is None and run.verdict == "INVALID":
            told = f"run {run.run} is INVALID, and newer than any with {name}"
            return Part(Standing.MISSING, told, _verdict(run))
        if row is None:
            continue
        told = f"{name} {row.value} ({row.target}): {row.verdict} in {run.run}"
        standing = {
            "PASS": Standing.MET,
            "WARN": Standing.NOT_MET,
            "FAIL": Standing.NOT_MET,
        }.get(row.verdict, Standing.MISSING)
        # Rows of a void run say nothing, whatever they are.
        if run.verdict == "INVALID" and standing is Standing.MET:
            return Part(Standing.MISSING, f"{told}, which is INVALID as a whole", _verdict(run))
        return Part(standing, told, _verdict(run))
    of = f"of scenario {line.scenario}" if line.scenario else "that counts for stability"
    return Part(Standing.MISSING, f"no run {of} since {iso(view.since)[:16]} has the row {name}")


def _verdict(run: RunFacts) -> str:
    return f"{run.run}/verdict.json"


def _smoke(pattern: str, view: View) -> Part:
    """Hold the newest smoke check against a pattern of its checks' names."""
    newest = view.smoke()
    if newest is None or newest.started_at < view.since:
        return Part(Standing.MISSING, f"no smoke check since {iso(view.since)[:16]} ({pattern})")
    matching = [check for check in newest.checks if fnmatchcase(check[0], pattern)]
    if not matching:
        return Part(Standing.MISSING, f"the newest smoke check has no check '{pattern}'", newest.file)
    bad = [(name, reason) for name, state, reason in matching if state == "failed"]
    if bad:
        more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        return Part(Standing.NOT_MET, f"smoke: {bad[0][0]}: {bad[0][1]}{more}", newest.file)
    open_ones = [name for name, state, _ in matching if state != "passed"]
    if open_ones:
        return Part(Standing.MISSING, f"smoke: {open_ones[0]} could not be checked", newest.file)
    return Part(Standing.MET, f"smoke: {len(matching)} check(s) '{pattern}' passed", newest.file)


def tests_parts(name: str, view: View) -> Iterator[Part]:
    """Look at each JUnit file of a set of tests."""
    wanted = next((tests.junit for tests in view.state.plan.tests if tests.name == name), ())
    found = {one.file: one for one in view.state.tests.get(name, [])}
    for path in wanted:
        one = found.get(str(path))
        if one is None:
            yield Part(Standing.MISSING, f"{name}: nobody has looked at {path.name}")
        elif one.fault:
            yield Part(Standing.MISSING, f"{name}: {path.name}: {one.fault}", one.file)
        elif one.failed:
            yield Part(Standing.NOT_MET, f"{name}: {one.failed} of {one.tests} tests failed", one.file)
        elif one.tests == 0:
            yield Part(Standing.MISSING, f"{name}: {path.name} holds no test", one.file)
        elif one.skipped >= one.tests:
            yield Part(Standing.MISSING, f"{name}: all {one.tests} tests were skipped", one.file)
        elif one.made_at < view.since:
            when = f"{iso(one.made_at)[:16]}, and the release under test is of {iso(view.since)[:16]}"
            yield Part(Standing.MISSING, f"{name}: {path.name} is of {when}", one.file)
        elif one.made_at > view.now + AHEAD:
            yield Part(
                Standing.MISSING, f"{name}: {path.name} is of {iso(one.made_at)}, the future", one.file
            )
        else:
            passed = one.tests - one.skipped
            yield Part(Standing.MET, f"{name}: {passed} tests passed, {one.skipped} skipped", one.file)


def _commands(line: Line, view: View) -> Iterator[Part]:
    """Look at how a line's commands ended; an attestation stands in for those that never ran."""
    if not line.commands:
        return
    ran = [view.state.commands.get((line.id, index)) for index in range(len(line.commands))]
    usable = [
        one if one is not None and one.command == words and one.at >= view.since else None
        for one, words in zip(ran, line.commands, strict=True)
    ]
    if line.attest and not any(usable):
        yield _attested(line, view)
        return
    for one, words in zip(usable, line.commands, strict=True):
        name = " ".join(words)
        if one is None:
            yield Part(Standing.MISSING, f"not run: {name}")
        elif one.status == 0:
            yield Part(Standing.MET, f"exit status 0: {name}", f"command {line.id} at {iso(one.at)[:19]}")
        else:
            how = one.fault or f"exit status {one.status}"
            yield Part(Standing.NOT_MET, f"{how}: {name}", f"command {line.id} at {iso(one.at)[:19]}")


def _attested(line: Line, view: View) -> Part:
    """Look at the newest attestation of a line."""
    found = view.state.attestations.get(line.id)
    by = " or ".join(line.attest)
    if found is None:
        return Part(Standing.MISSING, f"not attested (by {by})")
    told = f"by {found.role} on {iso(found.at)[:10]}: {found.note}"
    where = f"entry {found.seq}"
    if not found.holds:
        return Part(Standing.NOT_MET, f"withdrawn {told}", where)
    if found.role not in line.attest:
        return Part(Standing.MISSING, f"attested by {found.role}, and {by} may", where)
    if line.renew and found.at < view.clock.since:
        return Part(Standing.MISSING, f"attested {told}, before the clock was started again", where)
    return Part(Standing.MET, f"attested {told}", where)


def waived(item: Item, view: View) -> Item:
    """Apply the waiver of an item, where there is one that has not expired."""
    waiver = view.state.waivers.get(item.key)
    if waiver is None or item.standing in (Standing.MET, Standing.WAIVED):
        return item
    told = f"{waiver.owner}, until {iso(waiver.expires)[:16]}: {waiver.reason} (entry {waiver.seq})"
    if waiver.expires <= view.now:
        late = Part(item.standing, f"the waiver has expired ({told})", f"entry {waiver.seq}")
        return replace(item, parts=(*item.parts, late))
    return replace(item, standing=Standing.WAIVED, waiver=told)
