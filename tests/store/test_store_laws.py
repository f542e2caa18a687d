"""Laws of storing: however deltas arrive, the database holds their sum, each once."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

from hypothesis import given, settings
from hypothesis import strategies as st

from loadgate.measure.delta import Delta
from loadgate.measure.histogram import Histogram
from loadgate.measure.window import Window, windows_merged
from loadgate.store.database import RunReader, open_writer
from loadgate.store.ledger import Ranges
from loadgate.store.rows import pack_histograms, unpack_histograms

# Few endpoints, phases and seconds, so that many windows meet in one row; two spans and thresholds, so
# that rows and over-counts differ in kind.
windows = st.fixed_dictionaries(
    {
        "second": st.integers(-1, 3),
        "values_us": st.lists(st.integers(0, 3_600_000_001), max_size=6),
        "endpoint": st.sampled_from(["emotion", "creative"]),
        "phase": st.sampled_from(["ramp", "steady"]),
        "span": st.sampled_from([1, 10]),
        "threshold_us": st.sampled_from([1_000, 50_000]),
    }
)
batches = st.lists(st.lists(windows, max_size=3), max_size=8)


def _in_memory(deltas: Iterable[Delta]) -> dict[tuple[object, ...], Window]:
    """Merge windows by their keys, with nothing but `measure`."""
    groups: dict[tuple[object, ...], list[Window]] = {}
    for delta in deltas:
        for window in delta.windows:
            groups.setdefault((*window.key, window.span), []).append(window)
    return {key: windows_merged(group) for key, group in groups.items()}


@settings(max_examples=40, deadline=None)
@given(batches=batches, data=st.data())
def test_any_split_order_and_repetition_gives_the_same_sum(
    build: SimpleNamespace, batches: list[list[dict[str, object]]], data: st.DataObject
) -> None:
    """Deltas of two workers, shuffled, repeated, cut into commits and writers, sum up as in memory."""
    deltas = [
        build.delta(n // 2 + 1, [build.window(**one) for one in batch], worker=f"w{n % 2}")
        for n, batch in enumerate(batches)
    ]
    repeated = deltas + data.draw(st.lists(st.sampled_from(deltas), max_size=4) if deltas else st.just([]))
    order = data.draw(st.permutations(repeated))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(order)), max_size=3)))
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "run.db"
        acknowledged, duplicates = set(), 0
        for start, end in zip([0, *cuts], [*cuts, len(order)], strict=True):
            with open_writer(database) as writer:
                answer = writer.commit(order[start:end])
            acknowledged |= set(answer)
            duplicates += len(answer.duplicates)
        with RunReader(database) as reader:
            stored = {(*window.key, window.span): window for window in reader.windows()}
            assert reader.changes(0)[1] == list(stored.values())
            assert sum(source.committed for source in reader.sources()) == len(deltas)
            assert all(source.gaps == () for source in reader.sources())
    expected = _in_memory(deltas)
    assert {key: build.content(window) for key, window in stored.items()} == {
        key: build.content(window) for key, window in expected.items()
    }
    assert acknowledged == {delta.key for delta in deltas}
    assert duplicates == len(repeated) - len(deltas)


@given(st.lists(st.integers(0, 30)))
def test_ranges_are_a_set_of_numbers(sequences: list[int]) -> None:
    """Ranges accept each number once, hold all of them, never touch, and know what is missing."""
    ranges, known = Ranges(), set[int]()
    for sequence in sequences:
        assert ranges.add(sequence) == (sequence not in known)
        known.add(sequence)
    held = ranges.ranges()
    assert {n for first, last in held for n in range(first, last + 1)} == known
    assert all(one.last + 1 < other.first for one, other in pairwise(held))
    missing = {n for first, last in ranges.gaps() for n in range(first, last + 1)}
    assert missing == set(range(1, max(known, default=0) + 1)) - known


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["response.ok", "service.ok", "connect", "pool_wait"]),
        st.lists(st.integers(0, 4_000_000_000), min_size=1, max_size=5),
    )
)
def test_packed_histograms_unpack_equal(recorded: dict[str, list[int]]) -> None:
    """The container loses nothing."""
    histograms = {}
    for name, values in recorded.items():
        histograms[name] = Histogram()
        histograms[name].record_many(values)
    assert unpack_histograms(pack_histograms(histograms)) == histograms
