"""Whether the generator made the load that was planned: the rules that void a run where it did not.

What the target causes is none of them. A user that is not free because the target is slow is pool wait, and
is judged; a user that is free, or should exist, while nothing is sent is the generator's own fault.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from loadgate.judge.evidence import Evidence
from loadgate.judge.slots import TOLERANCE
from loadgate.measure.delta import FleetRow
from loadgate.measure.window import Series
from loadgate.plan.units import format_duration, format_number, format_share

START_LAG_LIMIT_US: Final = 20_000
"""The p99 of start lag over the steady phase past which the generator was too late; in µs."""
UNSENT_LIMIT: Final = 0.01
"""The share of steady arrivals that the generator itself may leave unsent."""
LOOP_LAG_LIMIT_US: Final = 100_000
"""A worker whose event loop was later than this (p99 of a second, µs) was stalled in that second."""
STALLED_LIMIT: Final = 0.10
"""The share of worker seconds that may be stalled."""
FULL_CORE: Final = 0.95
"""The CPU of a worker, in cores, from which it has nothing left: a worker is one thread."""
FULL_LIMIT: Final = 0.50
"""The share of its steady seconds that a worker may be at `FULL_CORE`."""
FULL_LAG_LIMIT_US: Final = 5_000
"""The p99 of start lag (µs) past which a worker at its limit was late in the open model."""
ACHIEVED_NEEDED: Final = 0.99
"""The share of what was planned, or was due, that the generator must have made."""
POISSON_SPREAD: Final = 5.0
"""Standard deviations, each the root of the number, that a Poisson schedule may lie below its mean."""
REMEDY: Final = "add workers, lower the rate, or give the generator more CPU"


def generator_faults(evidence: Evidence) -> list[str]:
    """Say why the load was not the one that was asked for; empty when it was."""
    return [
        *_late(evidence),
        *_unsent(evidence),
        *_stalled(evidence),
        *_full_cores(evidence),
        *_short_of_plan(evidence),
    ]


def steady_rows(evidence: Evidence) -> list[FleetRow]:
    """Return the fleet rows of the seconds that lie in the steady phase."""
    return [row for row in evidence.fleet if any(float(row.second) in part for part in evidence.steady)]


def rows_by_worker(evidence: Evidence) -> dict[str, list[FleetRow]]:
    """Return the steady fleet rows of each worker in order of time, the workers by name."""
    found: dict[str, list[FleetRow]] = {}
    for row in sorted(steady_rows(evidence), key=lambda row: (row.worker, row.second)):
        found.setdefault(row.worker, []).append(row)
    return found


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
    return [
        f"the generator was saturated: 1% of requests started {format_duration(lag / 1e6)} or more "
        f"after their time though a user was free "
        f"(limit {format_duration(START_LAG_LIMIT_US / 1e6)}): {REMEDY}"
    ]


def _unsent(evidence: Evidence) -> list[str]:
    """Check that the generator sent what it had offered."""
    books = evidence.books(None, "steady")
    if not books.arrivals or books.unsent_generator <= UNSENT_LIMIT * books.arrivals:
        return []
    return [
        f"the generator was saturated: it never sent {books.unsent_generator} of {books.arrivals} "
        f"requests (limit {format_share(UNSENT_LIMIT)}): {REMEDY}"
    ]


def _stalled(evidence: Evidence) -> list[str]:
    """Check that the workers' event loops kept turning."""
    rows = steady_rows(evidence)
    stalled = sum(row.loop_lag_p99_us > LOOP_LAG_LIMIT_US for row in rows)
    if stalled <= STALLED_LIMIT * len(rows):
        return []
    return [
        f"the generator was saturated: its event loop stalled for over "
        f"{format_duration(LOOP_LAG_LIMIT_US / 1e6)} in {stalled} of {len(rows)} worker seconds "
        f"(limit {format_share(STALLED_LIMIT)}): {REMEDY}"
    ]


def _full_cores(evidence: Evidence) -> list[str]:
    """Check that no worker was at the limit of its core while the load shows it.

    In the open model a full core may still be in time, so lateness, or arrivals that were not sent, must
    come with it. In the closed model a late generator sends less and nothing else shows: a worker without
    CPU to spare measures itself.
    """
    lag = _start_lag(evidence) or 0.0
    reasons = []
    for worker, rows in rows_by_worker(evidence).items():
        full = sum(row.cpu >= FULL_CORE for row in rows)
        if full <= FULL_LIMIT * len(rows):
            continue
        head = (
            f"worker {worker} used {format_share(FULL_CORE)} of a core or more "
            f"in {full} of {len(rows)} steady seconds"
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
            least = format_share(ACHIEVED_NEEDED)
            why = f"it sent {format_share(share)} of what came due, and it takes {least}"
        else:
            continue
        remedy = REMEDY if evidence.model == "open" else "add workers, or let the users wait between requests"
        reasons.append(f"the generator was saturated: {head}, and {why}: {remedy}")
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
    needed = planned * ACHIEVED_NEEDED * (1 - _load_allowed_to_miss(evidence)) - spread
    offered = evidence.books(None, "steady").arrivals
    if offered >= needed:
        return []
    return [
        f"only {offered} of about {format_number(round(planned))} planned requests were due in the steady "
        "phase: see that every worker took part and that the locustfile's users are LoadUser classes, which "
        "follow the plan"
    ]


def _load_allowed_to_miss(evidence: Evidence) -> float:
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
        math.fsum(row.users for row in rows) / len(rows) for rows in rows_by_worker(evidence).values()
    )
    wanted = planned / seconds
    if not users or users >= wanted * ACHIEVED_NEEDED * (1 - _load_allowed_to_miss(evidence)) - TOLERANCE:
        return []
    return [
        f"only {format_number(round(users, 1))} of the {format_number(round(wanted, 1))} planned users were "
        "there: start Locust with as many users as the plan has (-u), and see the workers' logs for users "
        "that ended early"
    ]
