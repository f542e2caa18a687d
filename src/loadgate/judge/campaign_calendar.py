"""The calendar: which phase it is, what is due now, and what was missed. Pure functions of plan and time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from loadgate.judge.campaign import CampaignState, Slot
from loadgate.judge.campaign_clock import ClockState
from loadgate.plan.campaign import Campaign, CampaignRun, Phase

DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Position:
    """Where a moment lies on the calendar; `phase` is None before and after it, `day` counts from 1."""

    phase: Phase | None
    number: int
    day: int
    days: int
    starts_at: datetime
    ends_at: datetime

    @property
    def is_over(self) -> bool:
        """Tell whether the calendar is over."""
        return self.phase is None

    def line(self) -> str:
        """Say it in one line."""
        if self.phase is None:
            return f"day {self.day}, and the calendar of {self.days} day(s) is over"
        return f"day {self.day} of {self.days}, phase {self.number}: {self.phase.title or self.phase.name}"


@dataclass(frozen=True, slots=True)
class Due:
    """One entry of the calendar at one time: it may be started from `at` until before `until`."""

    key: str
    run: CampaignRun
    at: datetime
    until: datetime | None


@dataclass(frozen=True, slots=True)
class Agenda:
    """What a moment asks for: `due` now, `next` later, `missed` for good, `started` already."""

    due: tuple[Due, ...]
    next: tuple[Due, ...]
    missed: tuple[Due, ...]
    started: tuple[Due, ...]


def position_at(plan: Campaign, started_at: datetime, now: datetime) -> Position:
    """Return where a moment lies on the calendar."""
    day = int((now - started_at).total_seconds() // DAY) + 1
    days = max(1, round(plan.length / DAY))
    begin = started_at
    for number, phase in enumerate(plan.phase, 1):
        end = begin + timedelta(seconds=phase.length)
        if now < end:
            return Position(phase, number, day, days, begin, end)
        begin = end
    return Position(None, len(plan.phase), day, days, begin, begin)


def phase_spans(plan: Campaign, started_at: datetime) -> Iterator[tuple[Phase, datetime, datetime]]:
    """Give each phase with its beginning and end."""
    begin = started_at
    for phase in plan.phase:
        end = begin + timedelta(seconds=phase.length)
        yield phase, begin, end
        begin = end


def agenda_at(state: CampaignState, clock: ClockState, now: datetime) -> Agenda:
    """Return what the calendar asks for at a moment, each list in order of time.

    Of an entry that repeats, only the newest occurrence can be due: nobody makes up for five days at once.
    """
    due: list[Due] = []
    later: list[Due] = []
    missed: list[Due] = []
    started: list[Due] = []
    for occurrences in _occurrences(state, clock):
        begun = [one for one in occurrences if one.at <= now]
        started += [one for one in begun if state.has_started(one.key)]
        open_ones = [one for one in begun if not state.has_started(one.key)]
        if open_ones:
            newest = open_ones[-1]
            current = newest is begun[-1] and (newest.until is None or now < newest.until)
            due += [newest] if current else []
            missed += open_ones[:-1] if current else open_ones
        later += [one for one in occurrences if one.at > now][:1]
    return Agenda(
        *(tuple(sorted(found, key=lambda one: (one.at, one.key))) for found in (due, later, missed, started))
    )


def _occurrences(state: CampaignState, clock: ClockState) -> Iterator[Sequence[Due]]:
    for phase, begin, end in phase_spans(state.plan, state.started_at):
        for run in phase.run:
            first = begin + timedelta(seconds=run.at)
            stem = f"{phase.name}/{run.name}"
            if run.each_cycle:
                # A cycle that begins late still has its soak, also after the calendar's end; one that ended
                # before its time never had one.
                cycles = [
                    Due(f"{stem}@{number}", run, max(first, since), _ended(clock, number))
                    for number, since in enumerate(clock.cycles, 1)
                ]
                yield [one for one in cycles if one.until is None or one.at < one.until]
            elif run.every is None:
                yield [Due(stem, run, first, end)]
            else:
                count = int(((end - first).total_seconds() - 1e-6) // run.every) + 1
                moments = [first + timedelta(seconds=run.every * index) for index in range(count)]
                yield [
                    Due(f"{stem}#{index + 1}", run, at, min(end, at + timedelta(seconds=run.every)))
                    for index, at in enumerate(moments)
                ]


def _ended(clock: ClockState, number: int) -> datetime | None:
    return clock.cycles[number] if number < len(clock.cycles) else None


def startable(due: Sequence[Due], under_way: Sequence[CampaignRun], *, load_runs: bool) -> list[Due]:
    """Choose what may start now: one load at a time, and nothing but `beside` entries beside a load.

    `under_way` are the entries that go on; `load_runs` says that some load goes on at the target, whoever
    started it.
    """
    going = list(under_way)
    chosen: list[Due] = []
    # In order of time: a stress run that is due with the soak comes first, and the soak waits for its end.
    for one in due:
        loaded = load_runs or any(run.is_load for run in going)
        alone = any(not run.is_load and not run.beside for run in going)
        if (loaded or alone) if one.run.is_load else (loaded and not one.run.beside):
            continue
        going.append(one.run)
        chosen.append(one)
    return chosen


def open_slots(state: CampaignState) -> list[Slot]:
    """List the started entries of which nobody has written down how they ended."""
    return [slot for slot in state.slots.values() if slot.is_open]


def run_of_key(plan: Campaign, key: str) -> CampaignRun | None:
    """Return the entry of the calendar that a key belongs to."""
    stem = key.partition("#")[0].partition("@")[0]
    return next(
        (run for phase in plan.phase for run in phase.run if f"{phase.name}/{run.name}" == stem), None
    )
