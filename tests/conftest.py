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
    """Refuse to test the control room in a process that the tests of the control room have patched."""
    if any(PATCHED_ROOMS & set(item.path.parents) for item in session.items):
        return
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None and monkey.is_module_patched("socket"):
        raise pytest.UsageError("a test file outside tests/swarm and tests/traffic imports Locust")
