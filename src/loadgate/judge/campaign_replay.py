"""Make every decision again from the book alone: who has the book needs nothing else to check it."""

from __future__ import annotations

from collections.abc import Sequence

from loadgate.judge.campaign import fold
from loadgate.judge.decision import RULES, Trust, decide
from loadgate.store.campaign import Entry


def replayed(entries: Sequence[Entry]) -> tuple[list[str], list[str]]:
    """Return which recorded decisions do not follow from the book, and which cannot be made again.

    What was found wrong with the evidence then is part of the recorded decision, since files change. Those
    that cannot be made again are of another version of the rules.
    """
    faults, others = [], []
    for index, entry in enumerate(entries):
        if entry.kind != "decision":
            continue
        if entry.content.get("rules") != RULES:
            others.append(f"the decision of entry {entry.seq} was made by other rules than this Loadgate's")
            continue
        again = decide(fold(entries[:index]), Trust.of(entry.content["trust"]), entry.at)
        told = again.to_dict()
        differing = [key for key, value in told.items() if entry.content.get(key) != value]
        if differing:
            was, now = entry.content.get("decision"), told["decision"]
            faults.append(
                f"the decision of entry {entry.seq} ({was}) does not follow from the book: "
                f"it would be {now} (differs in {', '.join(differing)})"
            )
    return faults, others
