"""Play several real runs beside one another: most of a run is waiting, and a machine can wait for many."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def beside(stories: Mapping[str, Callable[[], T]], *, at_once: int) -> dict[str, Future[T]]:
    """Play stories, some at once, and return what came of each once all have ended.

    A test takes the one it is about with `result()`, which raises what its story raised. Put long ones first.
    """
    with ThreadPoolExecutor(at_once) as threads:
        return {name: threads.submit(story) for name, story in stories.items()}
