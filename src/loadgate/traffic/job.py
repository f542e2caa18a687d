"""What one run needs to know of a kind of request, looked up once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from loadgate.traffic.corpus import Corpus
from loadgate.traffic.tasks import Kind


@dataclass(slots=True, eq=False)
class Job:
    """Bind a kind to one run: its endpoint's recording calls, looked up once.

    `arrive(due)` counts an arrival, `done(record)` takes one finished request; both are the
    recorder's own list methods. `corpora` are the payload corpora its class draws from.
    """

    kind: Kind
    function: Callable[[Any], Any]
    is_flow: bool
    arrive: Callable[[float], None]
    done: Callable[[tuple[float, ...]], None]
    corpora: tuple[Corpus, ...]
    method: str = ""


def draws_repeat(corpora: Sequence[Corpus]) -> bool:
    """Tell whether every text drawn since the last call was drawn before (False when none was)."""
    if len(corpora) == 1:
        return corpora[0].take_repeats() is True
    taken = [corpus.take_repeats() for corpus in corpora]
    return True in taken and False not in taken


def corpora_of(user_class: type[Any]) -> tuple[Corpus, ...]:
    """List the corpora that a user class declares, its own and those of its bases."""
    found: dict[str, Corpus] = {}
    for cls in reversed(user_class.__mro__):
        found.update(_declared(vars(cls).items()))
    return tuple(found.values())


def _declared(items: Iterable[tuple[str, Any]]) -> dict[str, Corpus]:
    return {name: value for name, value in items if isinstance(value, Corpus)}
