"""Looks at a run that goes on (`[verdict] stop_when_certain`): when they are taken, with how much doubt each.

A run that is looked at K times, and judged each time with 95 % confidence, is wrong more often than one in
twenty: any of the K looks may be. So the doubt of 5 % is spent over the looks beforehand (K. Lan and
D. DeMets, "Discrete sequential boundaries for clinical trials", Biometrika 70, 1983): half of it goes to the
planned end, the other half in equal parts to all looks before. The parts add up to 5 %, and by Bonferroni's
inequality that bounds the chance that any of the looks is wrong, however alike they are. That is more than
boundaries with equal doubt would give away (S. Pocock, Biometrika 64, 1977), which have to assume how the
looks hang together; and a run that comes to its planned end is judged with 97.5 % instead of 95 % at each
side, which costs it little.

A look only decides whether to stop. The verdict is made of all that the stopped run measured, requests that
were under way included, with the doubt of the look whose time had come last: a fixed procedure at a fixed
time, one for each look. So the bound holds whatever made the run stop.

Looks are spaced geometrically: to be half as long again is what makes a look worth its doubt. What has been
seen may fail a run from the first look on. What has not been seen may be rare: errors that come in bursts
twice a minute are not there in every second run of 20 s. How rare the things are that matter, the planned
length says, so a run passes early only when half of it has been run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from loadgate.plan.samples import DOUBT, WINDOWS_NEEDED

FACTOR: Final = 1.5
"""How much longer the steady phase is at each look than at the one before."""
LEAST_TO_PASS: Final = 0.5
"""The share of the planned steady phase that a run must have had to pass before its end."""
_WORTH_STOPPING: Final = 0.9
"""The share of the planned steady phase from which on stopping early would save too little."""
_TOLERANCE: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Look:
    """One look: its number of so many, after how many seconds of steady load, and its doubt (0..1).

    `may_pass` says that it may end a run for the better, not only for the worse.
    """

    number: int
    of: int
    after: float
    doubt: float
    may_pass: bool = True


def looks(planned: float) -> tuple[Look, ...]:
    """Return the looks at a run of so many planned steady seconds; the last one is its planned end.

    The first is taken when the noise of a run can be estimated at all: after 20 windows of a second.
    """
    early = []
    after = float(WINDOWS_NEEDED)
    while after <= _WORTH_STOPPING * planned:
        early.append(after)
        after *= FACTOR
    of = len(early) + 1
    if of == 1:
        return (Look(1, 1, planned, DOUBT),)
    each = DOUBT / 2 / len(early)
    found = [Look(number, of, at, each, at >= LEAST_TO_PASS * planned) for number, at in enumerate(early, 1)]
    return (*found, Look(of, of, planned, DOUBT / 2))


def look_at(seconds: float, planned: float) -> Look:
    """Return the look whose time had come last after so many steady seconds; the first one before all."""
    all_ = looks(planned)
    return next((look for look in reversed(all_) if look.after <= seconds + _TOLERANCE), all_[0])
