"""What holds for every test."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings

from longest_first import longest_first

# Property tests look for new examples wherever people work. A gate must answer the same for the same code,
# and a machine that is busy for a moment is no fault of the code.
settings.register_profile("here", deadline=None)
settings.register_profile("gate", deadline=None, derandomize=True)
settings.load_profile("gate" if os.environ.get("CI") else "here")

PATCHED_ROOMS = {Path(__file__).parent / "swarm", Path(__file__).parent / "traffic"}
"""Their tests import Locust, which patches the process that collects them: threads, sockets and processes."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Order the files for the processes of pytest-xdist; alone, keep the order that people know."""
    if hasattr(config, "workerinput"):
        items[:] = longest_first(items)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Keep the tests of the control room, which is never patched, apart from those that patch.

    Where somebody has chosen both, say so; where none of those folders was chosen, a test file imports Locust
    that must not.
    """
    monkey = sys.modules.get("gevent.monkey")
    if monkey is None or not monkey.is_module_patched("socket"):
        return
    patching = [not PATCHED_ROOMS.isdisjoint(item.path.parents) for item in session.items]
    if not any(patching):
        raise pytest.UsageError("a test file outside tests/swarm and tests/traffic imports Locust")
    if not all(patching):
        said = "tests/swarm and tests/traffic patch this process; .ci/test-suite keeps the others apart"
        session.config.issue_config_time_warning(pytest.PytestWarning(said), stacklevel=2)
