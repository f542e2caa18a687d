"""The state of a campaign: a fold over the entries of its book, and nothing else.

Entries say what happened, in the order in which it was written down; the state is what follows from them. So
whoever has the book has every decision again, without any other file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from pydantic import ValidationError

from loadgate.errors import StoreError
from loadgate.judge.campaign_facts import (
    WORST_FIRST,
    AlertFacts,
    BugFacts,
    CommandFacts,
    RunFacts,
    SmokeFacts,
    Span,
    TestFacts,
    iso,
    moment,
)
from loadgate.plan.campaign import Campaign
from loadgate.store.campaign import Entry

KINDS: Final = (
    "start",
    "run",
    "smoke",
    "tests",
    "bugs",
    "command",
    "attest",
    "sign-off",
    "waive",
    "restart",
    "intent",
    "began",
    "done",
    "decision",
)
"""Every kind of entry."""
CLOCK_STEP: Final = 60.0
"""Seconds by which the wall clock and the machine's own may come apart between two entries."""
UNSTARTED: Final = "unstarted"
"""Outcome of a calendar entry that was meant to be started, and of which nothing ever came to life."""
BACKWARD: Final = 2.0
"""Seconds by which an entry may be older than the one before it: time keeping slews by less."""


@dataclass(frozen=True, slots=True)
class Attestation:
    """A role says that a line holds, or (`holds` false) that it does not any more."""

    line: str
    role: str
    note: str
    at: datetime
    holds: bool
    seq: int


@dataclass(frozen=True, slots=True)
class SignOff:
    """A role agrees, or (`agrees` false) refuses."""

    role: str
    note: str
    at: datetime
    agrees: bool
    seq: int


@dataclass(frozen=True, slots=True)
class Waiver:
    """Somebody answers for a part of the decision that does not hold, until `expires`."""

    item: str
    owner: str
    reason: str
    at: datetime
    expires: datetime
    seq: int


@dataclass(frozen=True, slots=True)
class Restart:
    """The clock was started again after a hotfix."""

    hotfix: str
    role: str
    at: datetime
    seq: int


@dataclass(frozen=True, slots=True)
class ClockFault:
    """The wall clock was changed between two entries."""

    at: datetime
    text: str
    seq: int


@dataclass
class Slot:
    """An entry of the calendar that was started: what is known of it."""

    key: str
    attempt: int
    intent_at: datetime
    pid: int | None = None
    created: float | None = None
    outcome: str | None = None
    run: str | None = None
    text: str = ""

    @property
    def is_open(self) -> bool:
        """Tell whether nobody has written down how it ended."""
        return self.outcome is None


@dataclass
class CampaignState:
    """What follows from the entries so far."""

    plan: Campaign
    plan_sha256: str
    plan_file: str
    started_at: datetime
    scenarios: dict[str, str]
    """What the plan of each scenario of the calendar asks for, by its name; see `plan.campaign_plans`."""
    stable: frozenset[str] = frozenset()
    """The scenarios of the calendar that count for stability, by name, whatever a run says of itself."""
    smokes: frozenset[str] = frozenset()
    """The scenarios of which the calendar makes smoke checks: another one may ask for nothing."""
    restarts: list[Restart] = field(default_factory=list)
    runs: dict[str, RunFacts] = field(default_factory=dict)
    failed_runs: dict[str, datetime] = field(default_factory=dict)
    """Runs that count and were ever judged FAIL, with the time of their end."""
    alerts: dict[tuple[str, str, datetime], AlertFacts] = field(default_factory=dict)
    """Every alert that was ever seen in a run that counts, by run, rule and time."""
    down: dict[tuple[str, datetime], Span] = field(default_factory=dict)
    deployments: dict[datetime, str] = field(default_factory=dict)
    smoke: list[SmokeFacts] = field(default_factory=list)
    tests: dict[str, list[TestFacts]] = field(default_factory=dict)
    bugs: BugFacts | None = None
    commands: dict[tuple[str, int], CommandFacts] = field(default_factory=dict)
    attestations: dict[str, Attestation] = field(default_factory=dict)
    sign_offs: dict[str, SignOff] = field(default_factory=dict)
    waivers: dict[str, Waiver] = field(default_factory=dict)
    slots: dict[str, Slot] = field(default_factory=dict)
    decisions: list[tuple[int, Mapping[str, Any]]] = field(default_factory=list)
    clock_faults: list[ClockFault] = field(default_factory=list)
    last: Entry | None = None
    head: Entry | None = None
    """The newest entry that is in the book: evidence that was only looked at has no hash yet."""

    def counting(self) -> list[RunFacts]:
        """List the runs that count for stability and show what is good, in order of their start.

        What a run says of itself is not enough: it must be made by the plan that the campaign means.
        """
        runs = (run for run in self.runs.values() if run.stability and self.is_evidence(run))
        return sorted(runs, key=lambda run: run.started_at)

    def can_stop(self, run: RunFacts) -> bool:
        """Tell whether what is bad in a run counts: by its plan, or by the scenario whose name it bears.

        A load that says of itself that it does not count is still one at the target.
        """
        return run.stability or run.scenario in self.stable

    def is_evidence(self, run: RunFacts) -> bool:
        """Tell whether a run was made by the plan that the campaign means.

        Another one can stop the clock, and shows nothing good.
        """
        return bool(run.plan) and self.scenarios.get(run.scenario) == run.plan

    def has_started(self, key: str) -> bool:
        """Tell whether an entry of the calendar was started; one that provably never was has not."""
        slot = self.slots.get(key)
        return slot is not None and slot.outcome != UNSTARTED

    def linked(self) -> dict[str, str]:
        """Return the hash of every file that the book points to."""
        found: dict[str, str] = {}
        for run in self.runs.values():
            found |= run.sha256
        for check in self.smoke:
            found |= check.sha256
        return found


def fold(entries: Iterable[Entry]) -> CampaignState:
    """Return the state after the entries; StoreError when they do not begin with a start or make no sense."""
    state: CampaignState | None = None
    for entry in entries:
        if state is None:
            state = _begin(entry)
        else:
            _look_at_clock(state, entry)
            _apply(state, entry)
        state.last = entry
        state.head = entry if entry.hash else state.head
    if state is None:
        raise StoreError("the campaign's book is empty", hint="start it: loadgate campaign start FILE")
    return state


def plan_of(content: Mapping[str, Any]) -> Campaign:
    """Read the plan that an entry holds."""
    try:
        return Campaign.model_validate(content["plan"])
    except (KeyError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise StoreError(
            f"the book holds a plan that cannot be read: {reason}", hint="use the Loadgate that wrote it"
        ) from error


def _begin(entry: Entry) -> CampaignState:
    if entry.kind != "start":
        raise StoreError(f"the campaign's book begins with '{entry.kind}', not with its start")
    content, plan = entry.content, plan_of(entry.content)
    try:
        scenarios, stable = dict(content["scenarios"]), frozenset(content.get("stable", ()))
        smokes = frozenset(content.get("smokes", scenarios))
        return CampaignState(plan, content["sha256"], content["file"], entry.at, scenarios, stable, smokes)
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(f"the start of the campaign's book cannot be read: {error}") from error


def _look_at_clock(state: CampaignState, entry: Entry) -> None:
    last = state.last
    assert last is not None
    fault = clock_fault(last, entry.at, entry.boot, entry.monotonic)
    if fault:
        state.clock_faults.append(ClockFault(entry.at, fault, entry.seq))


def clock_fault(last: Entry, at: datetime, boot: str, monotonic: float) -> str:
    """Say how the wall clock was changed since an entry; nothing where it was not, as far as one can tell.

    Within a boot of the machine it must go as the machine's own clock does; over a reboot not backward.
    """
    wall = (at - last.at).total_seconds()
    if wall < -BACKWARD:
        return f"the wall clock went backward by {-wall:.0f} s, from {iso(last.at)} to {iso(at)}"
    if boot and boot == last.boot:
        step = wall - (monotonic - last.monotonic)
        if abs(step) > CLOCK_STEP:
            way = "forward" if step > 0 else "backward"
            return f"the wall clock was set {way} by {abs(step):.0f} s between {iso(last.at)} and {iso(at)}"
    return ""


def _apply(state: CampaignState, entry: Entry) -> None:
    content, at = entry.content, entry.at
    try:
        match entry.kind:
            case "run":
                add_run(state, RunFacts.of(content))
            case "smoke":
                state.smoke.append(SmokeFacts.of(content))
            case "tests":
                found = TestFacts.of(content)
                same = [one for one in state.tests.get(found.name, []) if one.file != found.file]
                state.tests[found.name] = [*same, found]
            case "bugs":
                state.bugs = BugFacts.of(content)
            case "command":
                ran = CommandFacts.of(content)
                state.commands[ran.line, ran.index] = ran
            case "attest":
                state.attestations[content["line"]] = Attestation(
                    content["line"], content["role"], content["note"], at, content["holds"], entry.seq
                )
            case "sign-off":
                role = content["role"]
                state.sign_offs[role] = SignOff(role, content["note"], at, content["agrees"], entry.seq)
            case "waive":
                item, expires = content["item"], moment(content["expires"])
                state.waivers[item] = Waiver(
                    item, content["owner"], content["reason"], at, expires, entry.seq
                )
            case "restart":
                state.restarts.append(Restart(content["hotfix"], content["role"], at, entry.seq))
                state.plan, state.plan_sha256 = plan_of(content), content["sha256"]
                state.plan_file, state.scenarios = content["file"], dict(content["scenarios"])
                state.stable = frozenset(content.get("stable", ()))
                state.smokes = frozenset(content.get("smokes", state.scenarios))
            case "intent" | "began" | "done":
                _slot(state, entry)
            case "decision":
                state.decisions.append((entry.seq, content))
            case _:
                raise StoreError(
                    f"the campaign's book holds an entry '{entry.kind}' that this Loadgate does not know",
                    hint="a newer Loadgate wrote it: upgrade",
                )
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(f"entry {entry.seq} ({entry.kind}) cannot be read: {error}") from error


def add_run(state: CampaignState, facts: RunFacts) -> None:
    """Add what is known of a run; what was bad once stays, whatever is said of the run later."""
    facts = _worse(state.runs.get(facts.run), facts)
    state.runs[facts.run] = facts
    state.deployments |= dict(facts.deployments)
    if not state.can_stop(facts):
        return
    if facts.verdict == "FAIL":
        # One that was judged dead and was resumed may end after a restart: that stops the clock, too.
        known = state.failed_runs.get(facts.run, facts.ended_at)
        state.failed_runs[facts.run] = known if facts.ended is None else max(known, facts.ended_at)
    for alert in facts.alerts:
        state.alerts[facts.run, alert.rule, alert.fired_at] = alert
    for begin, end in facts.down:
        state.down[facts.run, begin] = (begin, end)


def _worse(known: RunFacts | None, facts: RunFacts) -> RunFacts:
    """Return the facts with the verdict that was known, and what it says, where that one is worse."""
    if known is None or known.verdict is None:
        return facts
    # It was taken for dead and was resumed: what was missing then may be there at its end.
    if known.ended == "died" and facts.ended != "died" and known.verdict != "FAIL":
        return facts
    if facts.verdict is not None and _rank(facts.verdict) <= _rank(known.verdict):
        return facts
    return replace(facts, verdict=known.verdict, reasons=known.reasons, rows=known.rows)


def _rank(verdict: str) -> int:
    return WORST_FIRST.index(verdict) if verdict in WORST_FIRST else WORST_FIRST.index("INVALID")


def _slot(state: CampaignState, entry: Entry) -> None:
    key, content = entry.content["key"], entry.content
    if entry.kind == "intent":
        state.slots[key] = Slot(key, int(content["attempt"]), entry.at)
        return
    slot = state.slots[key]
    if entry.kind == "began":
        slot.pid, slot.created = int(content["pid"]), float(content["created"])
    else:
        slot.outcome, slot.run, slot.text = content["outcome"], content["run"], content["text"]
