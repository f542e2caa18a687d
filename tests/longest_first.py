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
    "test_cli_gate": 349,
    "test_cli_watch": 149,
    "test_cli_gate_regression": 115,
    "test_cli_stop": 110,
    "test_cli_distributed": 106,
    "test_docs_shell": 105,
    "test_cli_selftest": 97,
    "test_cli_demo": 86,
    "test_cli_interrupts": 84,
    "test_cli_commands": 82,
    "test_cli_run": 80,
    "test_cli_early": 69,
    "test_cli_compare": 64,
    "test_cli_alerts_live": 59,
    "test_cli_deaths": 46,
    "test_cli_soak": 40,
    "test_hosts_master": 39,
    "test_hosts_losses": 38,
    "test_watch_actions": 38,
    "test_browser_report": 37,
    "test_endurance_kills": 34,
    "test_cli_preflight": 32,
    "test_endurance_disk": 31,
    "test_judge_compacted": 30,
    "test_hosts_clocks": 30,
    "test_hosts_run": 29,
    "test_cli_metrics": 26,
    "test_watch_alert_feed": 23,
    "test_docs_site": 23,
}
"""What the long files took in whole seconds, added up from `pytest --junitxml`; one without a row takes less.

Measured on two cores that were busy with other work as well, where they take longer than on quiet ones: the
order is what counts. Those of tests/swarm and tests/traffic run in one process, which needs no order.
"""


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
