"""The pool of users that serves arrivals: who is free, and which arrivals wait for a free one.

An arrival is handed straight to a user that has been free longest, so that all users, and with
them their connections and source addresses, share the work evenly. When none is free it waits, oldest
first; that wait is the target's doing and is recorded as pool wait.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from loadgate.traffic.job import Job


class Parked(Protocol):
    """A paused greenlet: `switch(value)` resumes it with a value."""

    def switch(self, *args: Any) -> Any:
        """Resume the greenlet."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One arrival given to a user: what to do, when it was due, and how long no user was free.

    `due` is CLOCK_MONOTONIC seconds; `pool_wait` is seconds, 0 when a user was free at once.
    """

    job: Job
    due: float
    pool_wait: float


class Pool:
    """Match arrivals with free users."""

    def __init__(self) -> None:
        self.users = 0
        self.free: deque[Parked] = deque()
        self.waiting: deque[tuple[Job, float, float]] = deque()

    @property
    def busy(self) -> int:
        """Number of users with a turn in hand."""
        return self.users - len(self.free)

    def offer(self, job: Job, due: float, now: float) -> None:
        """Give an arrival to a free user at once, or let it wait."""
        if self.free:
            self.free.popleft().switch(Turn(job, due, 0.0))
        else:
            self.waiting.append((job, due, now))

    def next_waiting(self, now: float) -> Turn | None:
        """Take the arrival that has waited longest, if there is one."""
        if not self.waiting:
            return None
        job, due, since = self.waiting.popleft()
        return Turn(job, due, max(now - since, 0.0))

    def park(self, user: Parked) -> None:
        """Mark a user as free."""
        self.free.append(user)

    def leave(self, user: Parked) -> None:
        """Forget a user that ends, whether it was free or not."""
        self.users -= 1
        if user in self.free:
            self.free.remove(user)

    def drop_waiting(self) -> list[tuple[Job, float]]:
        """Empty the queue; return what waited, with the moments it was due."""
        dropped = [(job, due) for job, due, _ in self.waiting]
        self.waiting.clear()
        return dropped
