"""Rules of the writer's cache of windows: it forgets early, and what it forgot is read back whole."""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import SimpleNamespace

from hypothesis import given, settings
from hypothesis import strategies as st

from loadgate.store.connection import open_for_writing
from loadgate.store.database import RunReader, open_writer
from loadgate.store.schema import run_schema
from loadgate.store.window_table import WindowTable

# Far enough apart that each of them makes the cache forget the ones before.
seconds = st.lists(st.sampled_from([0, 1, 19, 20, 21, 22, 60, 600]), min_size=1, max_size=12)


@settings(max_examples=30, deadline=None)
@given(order=seconds)
def test_late_windows_are_added_to_what_the_cache_forgot(build: SimpleNamespace, order: list[int]) -> None:
    """Windows in any order of their seconds, each in a commit of its own, sum up second by second."""
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "run.db"
        with open_writer(database) as writer:
            for sequence, second in enumerate(order, 1):
                writer.commit([build.delta(sequence, [build.window(second, [100 * sequence])])])
        with RunReader(database) as reader:
            stored = {window.second: window for window in reader.windows()}
    assert {second: window.counts["ok"] for second, window in stored.items()} == {
        second: order.count(second) for second in order
    }
    for second, window in stored.items():
        values = [100 * sequence for sequence, one in enumerate(order, 1) if one == second]
        found = window.histograms["response.ok"]
        assert (found.total, found.minimum, found.maximum, found.sum) == (
            len(values),
            min(values),
            max(values),
            sum(values),
        )


def test_windows_of_long_ago_are_not_kept_in_memory(build: SimpleNamespace, database: Path) -> None:
    """After 100 seconds of one endpoint the cache holds the last one and the 20 before it."""
    opened = open_for_writing(database, run_schema())
    try:
        table = WindowTable(opened.connection)
        for second in range(100):
            table.merge([build.delta(1, [build.window(second, [100])]).packed], revision=1)
        assert [key[0] for key in table._cache] == list(range(79, 100))
    finally:
        opened.close()
