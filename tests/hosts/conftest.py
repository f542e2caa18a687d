"""Say whether the multi-host tests ran, and skip them with the reason where the machine does not let them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hosts_net import available

HERE = Path(__file__).parent
_ran = 0
_skipped: set[str] = set()


# Last, so that tests which are not chosen cost no try.
@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests that need hosts here, before any fixture begins to play."""
    ours = [item for item in items if HERE in item.path.parents and item.get_closest_marker("system")]
    if not ours or available().permitted:
        return
    _skipped.add(available().reason)
    for item in ours:
        item.add_marker(pytest.mark.skip(reason=f"multi-host tests: skipped: {available().reason}"))


def pytest_runtest_call(item: pytest.Item) -> None:
    """Count the tests that ran; those of other folders do not come by here."""
    global _ran
    _ran += item.get_closest_marker("system") is not None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say it in the summary."""
    if line := _line():
        terminalreporter.write_line(line)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Say it from a worker of pytest-xdist too: it has no terminal, but its standard error is the log's."""
    line = _line()
    if line and hasattr(config, "workerinput") and sys.__stderr__ is not None:
        sys.__stderr__.write(f"\n{line}\n")
        sys.__stderr__.flush()


def _line() -> str:
    if _skipped:
        return f"multi-host tests: skipped: {'; '.join(sorted(_skipped))}"
    return f"multi-host tests: ran ({_ran} in this process)" if _ran else ""
