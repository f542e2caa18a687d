"""The page on the service lists what there is."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadgate.staging.faults import KINDS, ROUTES
from loadgate.staging.service import Service
from loadgate.staging.settings import CHOICES, Settings
from loadgate.staging.state import State

PAGE = (Path(__file__).parents[2] / "docs" / "staging-service.md").read_text()


@pytest.mark.parametrize("name", [*KINDS, *CHOICES])
def test_each_fault_and_each_switch_has_its_row(name: str):
    """One table row that starts with its name."""
    assert f"\n| `{name}` |" in PAGE


def test_each_key_of_a_fault_is_in_its_row():
    """A key that is not described cannot be used."""
    for name, kind in KINDS.items():
        row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{name}` |"))
        assert all(f"`{key}`" in row for key in kind.fields), name


def test_each_endpoint_name_is_listed():
    """As values of `endpoint`."""
    assert all(f"`{name}`" in PAGE for name in ROUTES)


def test_each_route_has_its_row():
    """Method and path."""
    for method, path in Service(State(Settings()))._routes:
        assert f"\n| `{method.decode()} {path.decode()}` |" in PAGE
