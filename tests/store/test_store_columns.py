"""Windows read by columns: the same windows, in the order of their endpoints."""

from __future__ import annotations

import sqlite3
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgate.errors import StoreError
from loadgate.measure.window import Window
from loadgate.store.database import RunReader, open_writer

KINDS = st.fixed_dictionaries(
    {
        "second": st.integers(-1, 5),
        "values_us": st.lists(st.integers(0, 3_600_000_001), max_size=6),
        "endpoint": st.sampled_from(["emotion", "creative", "Ä"]),
        "phase": st.sampled_from(["ramp", "steady"]),
        "span": st.sampled_from([1, 10]),
    }
)


@settings(max_examples=40, deadline=None)
@given(
    kinds=st.lists(KINDS, max_size=8),
    phase=st.sampled_from([None, "steady"]),
    end=st.sampled_from([None, 3.0, 3.5]),
    series=st.sampled_from([None, (), ("response.ok",), ("service.ok",)]),
)
def test_columns_are_the_windows_that_would_be_read_one_by_one(
    build: SimpleNamespace,
    kinds: list[dict[str, object]],
    phase: str | None,
    end: float | None,
    series: tuple[str, ...] | None,
) -> None:
    """Chosen by phase, time and series alike; each endpoint's in order of time."""

    def place(window: Window) -> tuple[object, ...]:
        return window.endpoint, window.second, window.span, window.phase

    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "run.db"
        with open_writer(database) as writer:
            windows = [build.window(**one) for one in kinds]
            writer.commit([build.delta(number, [one]) for number, one in enumerate(windows)])
        with RunReader(database) as reader:
            found = reader.columns(phase, end=end, series=series).unpack()
            expected = sorted(reader.windows(phase, end=end, series=series), key=place)
    assert [build.content(one) for one in found] == [build.content(one) for one in expected]
    assert [place(one) for one in found] == [place(one) for one in expected]


def test_a_run_without_windows_has_none(database: Path) -> None:
    """What its writer has only just made is an empty run."""
    with open_writer(database), RunReader(database) as reader:
        assert reader.columns().tallies == ()


def test_a_damaged_histogram_is_told_as_such(build: SimpleNamespace, database: Path) -> None:
    """One bad byte in one of them is a StoreError with a remedy, not a wrong number."""
    with open_writer(database) as writer:
        writer.commit([build.delta(1, [build.window(0, [5]), build.window(1, [7])])])
    connection = sqlite3.connect(database)
    blob = connection.execute("SELECT histograms FROM window WHERE second = 1").fetchone()[0]
    connection.execute("UPDATE window SET histograms = ? WHERE second = 1", (blob[:-1] + b"\x00",))
    connection.commit()
    connection.close()
    with RunReader(database) as reader, pytest.raises(StoreError, match="histogram") as caught:
        reader.columns()
    assert caught.value.hint
