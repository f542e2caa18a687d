"""Whether the generator made the load that was planned: the rules that void a run where it did not.

What the target causes is none of them. A user that is not free because the target is slow is pool wait, and
is judged; a user that is free, or should exist, while nothing is sent is the generator's own fault.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from loadgate.judge.evidence import Evidence
from loadgate.judge.marks import (
    CONTROL_LIMIT_US,
    FULL_CORE,
    GC_LIMIT_US,
    LOOP_LAG_LIMIT_US,
    MARKED_HALF,
    MARKED_LEAST,
    MARKED_LIMIT,
    SHORT_LIMIT,
    START_LAG_LIMIT_US,
    THROTTLED_LIMIT_US,
    Marked,
    control_latency,
    cpu_share,
    loop_lag,
    marked,
    marks_in,
    may_use,
)
from loadgate.judge.slots import TOLERANCE
from loadgate.measure.delta import FleetRow
from loadgate.measure.window import Series
from loadgate.plan.units import format_duration, format_number, format_share

UNSENT_LIMIT: Final = 0.01
"""The share of steady arrivals that the generator itself may leave unsent."""
FULL_LIMIT: Final = 0.50
"""The share of its steady seconds that a worker may be at `FULL_CORE`."""
FULL_LAG_LIMIT_US: Final = 5_000
"""The p99 of start lag (µs) past which a worker at its limit was late in the open model."""
STALLED_LIMIT: Final = MARKED_LIMIT
"""The share of worker seconds that may be stalled."""
ACHIEVED_NEEDED: Final = 0.99
"""The share of what was planned, or was due, that the generator must have made."""
POISSON_SPREAD: Final = 5.0
"""Standard deviations, each the root of the number, that a Poisson schedule may lie below its mean."""
WORK_SHARE: Final = 0.70
"""The share of its CPU that a worker can be planned to use: above it arrivals queue for their turn."""
CONTROL_NEEDED: Final = 0.50
"""Control requests a second of a worker, below which its control is silent; it makes one on average."""
CONTROL_FROM: Final = 5
"""Steady seconds of a worker from which its control is not silent by chance: two are at most 1.5 s apart."""


def generator_faults(evidence: Evidence) -> list[str]:
    """Say why the load was not the one that was asked for; empty when it was."""
    late = _late(evidence)
    marks = marked(rows_by_worker(evidence))
    if late:
        marks.pop("start_lag", None)
    return [
        *late,
        *_unsent(evidence),
        *_full_cores(evidence),
        *(_told(evidence, found) for found in marks.values() if _voids(found)),
        *_silent(evidence),
        *_short_of_plan(evidence),
    ]


def steady_rows(evidence: Evidence) -> list[FleetRow]:
    """Return the fleet rows of the seconds that lie in the steady phase."""
    return list(evidence.steady_fleet)


def rows_by_worker(evidence: Evidence) -> dict[str, list[FleetRow]]:
    """Return the steady fleet rows of each worker in order of time, the workers by name."""
    return {worker: list(rows) for worker, rows in evidence.steady_by_worker.items()}


def _seconds(rows: Sequence[FleetRow]) -> int:
    """Count the seconds that some rows of one worker told of."""
    return sum(row.seconds for row in rows)


def planned_level(evidence: Evidence) -> tuple[float, float]:
    """Return the sum of the planned level over the steady phase as it was run, and the seconds it covers.

    That is arrivals in the open model, user-seconds in the closed one. A steady stage has one level.
    """
    total = seconds = 0.0
    for segment in evidence.segments:
        if segment.phase != "steady" or not math.isfinite(segment.level_start):
            continue
        for part in evidence.steady:
            length = min(part.end, segment.end) - max(part.start, segment.start)
            if length > 0:
                total, seconds = total + segment.level_start * length, seconds + length
    return total, seconds


def achieved(rows: Sequence[FleetRow]) -> float | None:
    """Return the share of what came due between a worker's first and last row that it sent.

    What is under way counts as sent. None where nothing came due in between.
    """
    if len(rows) < 2:
        return None
    first, last = rows[0], rows[-1]
    due = last.offered - first.offered
    sent = (last.started + last.in_flight) - (first.started + first.in_flight)
    return sent / due if due > 0 else None


def _start_lag(evidence: Evidence) -> float | None:
    """Return the p99 of start lag over the steady phase in µs; None when nothing was sent."""
    return evidence.total(None).histogram(Series.START_LAG).percentile(9900)


def _late(evidence: Evidence) -> list[str]:
    """Check that requests started when they were due, where a user was free."""
    lag = _start_lag(evidence)
    if lag is None or lag <= START_LAG_LIMIT_US:
        return []
    worst = marked(rows_by_worker(evidence)).get("start_lag")
    where = f"; worst was {worst.worker} with p99 {_ms(worst.worst.start_lag_p99_us)}" if worst else ""
    return [
        f"the generator was saturated: 1% of requests started {format_duration(lag / 1e6)} or more "
        f"after their time though a user was free "
        f"(limit {format_duration(START_LAG_LIMIT_US / 1e6)}{where}): {remedy(evidence)}"
    ]


def _unsent(evidence: Evidence) -> list[str]:
    """Check that the generator sent what it had offered."""
    books = evidence.books(None, "steady")
    if not books.arrivals or books.unsent_generator <= UNSENT_LIMIT * books.arrivals:
        return []
    return [
        f"the generator was saturated: it never sent {books.unsent_generator} of {books.arrivals} "
        f"requests (limit {format_share(UNSENT_LIMIT)}): {remedy(evidence)}"
    ]


def remedy(evidence: Evidence, worker: str | None = None) -> str:
    """Say what helps a generator that was late: how many workers more, by the CPU that they used.

    Each worker is planned to use 70 % of what it may. Where a worker could not send all that came due, its
    CPU is taken to grow with what it should have sent. A worker (the busiest, unless one is named) that had
    CPU to spare was held up by something else, which more workers do not mend.
    """
    shares: dict[str, float] = {}
    for name, rows in rows_by_worker(evidence).items():
        share = math.fsum(cpu_share(row) * row.seconds for row in rows) / _seconds(rows)
        sent = achieved(rows) if evidence.model == "open" else None
        shares[name] = share / min(max(sent, 0.01), 1.0) if sent is not None else share
    if not shares:
        return "add workers, lower the rate, or give the generator more CPU"
    name = worker if worker in shares else max(sorted(shares), key=lambda one: shares[one])
    if shares[name] < WORK_SHARE:
        return (
            f"{name} used only {format_share(round(shares[name], 2))} of its CPU, so it waited for something "
            "else: see what else runs on its machine, and what its users' code does without giving way"
        )
    more = max(1, math.ceil(sum(shares.values()) / WORK_SHARE - TOLERANCE) - len(shares))
    return f"add {more} worker{'s' if more > 1 else ''}, lower the rate, or give the generator more CPU"


def _voids(found: Marked) -> bool:
    """Tell whether marks void the run by themselves; start lag and CPU have rules of their own.

    But a worker that was late in over half of its seconds is one that its fleet must not hide.
    """
    if found.kind == "cpu":
        return False
    if found.kind == "start_lag":
        return found.seconds >= MARKED_LEAST and found.worker_seconds > MARKED_HALF * found.worker_of
    return found.matters


def _told(evidence: Evidence, found: Marked) -> str:
    """Say what a witness marked: the worker, its number, how often, and the remedy."""
    rows = rows_by_worker(evidence)[found.worker]
    number, limit, help_ = _words(evidence, found, rows)
    often = f"in {found.worker_seconds} of its {found.worker_of} steady seconds"
    if found.of > found.worker_of:
        often += f", {found.seconds} of {found.of} of all workers"
    return f"the generator was saturated: {found.worker}: {number}; past {limit} {often}: {help_}"


def _words(evidence: Evidence, found: Marked, rows: Sequence[FleetRow]) -> tuple[str, str, str]:
    """Return the number that a witness tells of a worker, its limit, and what to do about it."""
    row, helped = found.worst, remedy(evidence, found.worker)
    match found.kind:
        case "start_lag":
            return f"start lag p99 up to {_ms(row.start_lag_p99_us)}", _ms(START_LAG_LIMIT_US), helped
        case "loop_lag":
            number = f"loop lag p99 {_ms(loop_lag(rows, 9900))} (its event loop stalled)"
            return number, _ms(LOOP_LAG_LIMIT_US), helped
        case "throttled":
            # A row of several seconds has their sum, of which the worst second cannot be told any more.
            held = _ms(row.throttled_us)
            within = "up to " + held + " a second" if row.span == 1 else f"{held} in {row.seconds}s"
            number = f"held back for its CPU quota for {within}"
            quota = format_number(round(row.cpu_allowed, 2))
            help_ = f"its control group may use {quota} cores: raise its quota, or keep others out of it"
            return number, _ms(THROTTLED_LIMIT_US), help_
        case "descriptors":
            number = f"{row.fds} of {row.fds_limit} descriptors open"
            help_ = "raise the limit (ulimit -n) where workers start, or spread the users over more workers"
            return number, format_share(SHORT_LIMIT), help_
        case "ports":
            number = f"{row.ports} of {row.ports_limit} local ports in use towards the target"
            help_ = "set traffic.source_addresses to more of them, or widen net.ipv4.ip_local_port_range"
            return number, format_share(SHORT_LIMIT), help_
        case "gc_pause":
            number = f"garbage collections of up to {_ms(row.gc_pause_max_us)}"
            help_ = f"its users' code keeps much in memory ({round(row.rss / 1e6)} MB in all): keep less"
            return number, _ms(GC_LIMIT_US), help_
        case _:
            return _control_words(rows, helped)


def _control_words(rows: Sequence[FleetRow], helped: str) -> tuple[str, str, str]:
    """Return the same of the control: its p99 over the worker's steady seconds, and what had no answer."""
    failures, n = sum(row.control_failures for row in rows), sum(row.control_n for row in rows)
    p99 = control_latency(rows, 9900)
    number = f"control p99 {_ms(p99)}" if p99 is not None else "control without any answer"
    if failures:
        number += f", {failures} of {n} without an answer"
    if failures:
        helped = "it could not reach a server on its own machine: see its log, its memory and its descriptors"
    return number, f"{_ms(CONTROL_LIMIT_US)} or unanswered", helped


def _silent(evidence: Evidence) -> list[str]:
    """Check that the control spoke: a witness that says nothing is not one that saw nothing.

    Rows of a release that made no control requests are left alone.
    """
    if not evidence.generator.control:
        return []
    reasons = []
    for worker, rows in rows_by_worker(evidence).items():
        made = sum(row.control_n for row in rows)
        told = _seconds(rows)
        if rows[-1].cpu_allowed > 0 and told >= CONTROL_FROM and made < CONTROL_NEEDED * told:
            reasons.append(
                f"the generator was saturated: {worker}: only {made} control requests ended in {told} "
                f"steady seconds, and one is made about every second: see its log, or run without the "
                f"control (--set generator.control=false)"
            )
    return reasons


def _full_cores(evidence: Evidence) -> list[str]:
    """Check that no worker was at the limit of its core while the load shows it.

    In the open model a full core may still be in time, so lateness, or arrivals that were not sent, must
    come with it. In the closed model a late generator sends less and nothing else shows: a worker without
    CPU to spare measures itself.
    """
    lag = _start_lag(evidence) or 0.0
    reasons = []
    for worker, rows in rows_by_worker(evidence).items():
        full = sum(marks_in(row).get("cpu", 0).bit_count() for row in rows)
        if full <= FULL_LIMIT * _seconds(rows):
            continue
        least = min(may_use(row) for row in rows)
        what = "a core" if least == 1.0 else f"the {format_number(round(least, 2))} cores that it may use"
        head = (
            f"{worker} used {format_share(FULL_CORE)} of {what} or more "
            f"in {full} of {_seconds(rows)} steady seconds"
        )
        share = achieved(rows)
        if evidence.model == "closed":
            why = "in the closed model its own speed then decides how much is sent and how long answers take"
        elif lag > FULL_LAG_LIMIT_US:
            why = (
                f"1% of requests started {format_duration(lag / 1e6)} or more after their time "
                f"(limit {format_duration(FULL_LAG_LIMIT_US / 1e6)} on a full core)"
            )
        elif share is not None and share < ACHIEVED_NEEDED:
            needed = format_share(ACHIEVED_NEEDED)
            why = f"it sent {format_share(share)} of what came due, and it takes {needed}"
        else:
            continue
        waits = "" if evidence.model == "open" else ", or let the users wait between requests"
        reasons.append(f"the generator was saturated: {head}, and {why}: {remedy(evidence, worker)}{waits}")
    return reasons


def _short_of_plan(evidence: Evidence) -> list[str]:
    """Check that the planned load was made, less what the loss policy allows.

    A run that was cut short, or goes on, lacks its last reports; it cannot pass anyway.
    """
    if evidence.cut_short or evidence.running:
        return []
    return _short_of_arrivals(evidence) if evidence.model == "open" else _short_of_users(evidence)


def _short_of_arrivals(evidence: Evidence) -> list[str]:
    """Check that as many requests were due as an open-model plan has."""
    planned, _ = planned_level(evidence)
    # Of a schedule with fixed spacing one arrival may fall to either side of each end of a stage.
    spread = POISSON_SPREAD * math.sqrt(planned) if evidence.random_arrivals else 2.0 * len(evidence.steady)
    needed = planned * ACHIEVED_NEEDED * (1 - load_allowed_to_miss(evidence)) - spread
    offered = evidence.books(None, "steady").arrivals
    if offered >= needed:
        return []
    return [
        f"only {offered} of about {format_number(round(planned))} planned requests were due in the steady "
        "phase: see that every worker took part and that the locustfile's users are LoadUser classes, which "
        "follow the plan"
    ]


def load_allowed_to_miss(evidence: Evidence) -> float:
    """Return the share of the load that may be missing because workers were lost.

    "continue" lets any number of workers go, but others take their share over, so the load must be there.
    """
    allowed = evidence.generator.loss_allowed
    return allowed if allowed < 1 else 0.0


def _short_of_users(evidence: Evidence) -> list[str]:
    """Check that the users of a closed-model plan were there; stock Locust users are never counted."""
    planned, seconds = planned_level(evidence)
    if seconds <= 0:
        return []
    users = sum(
        math.fsum(row.users * row.seconds for row in rows) / _seconds(rows)
        for rows in rows_by_worker(evidence).values()
    )
    wanted = planned / seconds
    if not users or users >= wanted * ACHIEVED_NEEDED * (1 - load_allowed_to_miss(evidence)) - TOLERANCE:
        return []
    return [
        f"only {format_number(round(users, 1))} of the {format_number(round(wanted, 1))} planned users were "
        "there: start Locust with as many users as the plan has (-u), and see the workers' logs for users "
        "that ended early"
    ]


def _ms(micros: float | None) -> str:
    """Write a time in milliseconds, rounded to what matters of it."""
    if micros is None:
        return "unknown"
    return format_duration(round(micros, -3 if micros >= 10_000 else -1) / 1e6)
