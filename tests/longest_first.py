"""The order of the test files: those that start processes first, and the longest of them before the others.

pytest-xdist hands files to its processes in this order (with `--no-loadscope-reorder`), so that no long file
begins when the others have ended. Files that start processes mostly wait; those that only compute come after
them, since a machine whose cores compute for something else makes a run void for a fault of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol, TypeVar

SECONDS: dict[str, int] = {
    "test_cli_gate": 86,
    "test_cli_demo": 55,
    "test_cli_watch": 55,
    "test_cli_distributed": 52,
    "test_cli_run": 44,
    "test_cli_stop": 42,
}
"""What the long files take in whole seconds, from `pytest --durations=0`; one without a row takes less."""


class Item(Protocol):
    """What the order asks of a test."""

    path: Path

    def get_closest_marker(self, name: str) -> object:
        """Return its marker of a name, or None."""


T = TypeVar("T", bound=Item)


def longest_first(items: Iterable[T]) -> list[T]:
    """Return the same tests, file by file: those of files with a `system` test first, then by `SECONDS`.

    What the order does not speak of stays as it was: files of one cost, and the tests within a file.
    """
    files: dict[Path, list[T]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)

    def rank(path: Path) -> tuple[bool, int]:
        starts_processes = any(item.get_closest_marker("system") for item in files[path])
        return (not starts_processes, -SECONDS.get(path.stem, 0))

    return [item for path in sorted(files, key=rank) for item in files[path]]
