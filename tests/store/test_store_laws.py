"""Laws of storing: however deltas arrive, the database holds their sum, each once."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import msgpack
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgate.measure.delta import Delta
from loadgate.measure.histogram import Histogram
from loadgate.measure.recorder import Recorder
from loadgate.measure.records import Flag
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


WORKERS = 16
THRESHOLDS = {None: (1_000_000,), "emotion": (20_000, 50_000), "creative": (200_000,)}


def _recorder() -> Recorder:
    """Make a recorder whose run time is its clock, with a ramp of two seconds and exact counts."""
    recorder = Recorder(clock=lambda: 4.0)
    recorder.start(0.0, lambda times: (times >= 2.0).astype(np.int8), ["ramp", "steady"], THRESHOLDS)
    return recorder


def _append(recorder: Recorder, chance: random.Random) -> None:
    """Append one arrival and how it ended, of any kind, with latencies from 0 to over an hour."""
    channel = recorder.channel(chance.choice(["emotion", "creative", "reasoning"]))
    due = chance.uniform(0.0, 3.0)
    channel.due(due)
    if chance.random() < 0.05:
        recorder.unsent(channel.endpoint, due, chance.choice(["pool", "generator"]), due + 0.5)
        return
    wait = chance.choice([0.0, 0.0, chance.uniform(0.0, 0.2)])
    begun = due + wait + chance.expovariate(10_000)
    sent = begun + chance.expovariate(1_000)
    ended = sent + chance.choice([0.0, chance.lognormvariate(-4, 1), chance.lognormvariate(-4, 1), 4_000.0])
    outcome = chance.choices([0, 1, 2, 3], [90, 4, 3, 3])[0]
    flags = outcome | chance.choice([0, Flag.HIT, Flag.MISS, Flag.MISS | Flag.REPEAT])
    channel.done((due, wait, begun, sent, ended, float(flags), float(chance.randrange(2_000))))


def _shipped(recorder: Recorder, worker: int, sequence: int, windows: Iterable[Window]) -> Delta:
    """Give what the master makes of a delta that a worker sent."""
    delta = Delta("r1", f"w{worker}", 1, sequence, list(windows), recorder.failures())
    return Delta.from_wire(msgpack.unpackb(msgpack.packb(delta.to_wire())))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), requests=st.integers(0, 400))
def test_sixteen_workers_are_one_recorder(build: SimpleNamespace, seed: int, requests: int) -> None:
    """What 16 workers report, cut, shuffled and repeated anyhow, is stored as one recorder would have it.

    Bit for bit: the same rows, and in them the same bytes of the histograms.
    """
    chance = random.Random(seed)
    whole, recorders = _recorder(), [_recorder() for _ in range(WORKERS)]
    deltas: list[Delta] = []
    sequences = [0] * WORKERS

    def ship(worker: int, until: float | None) -> None:
        windows = recorders[worker].drain(until)
        at = chance.randint(0, len(windows))
        for part in (windows[:at], windows[at:]):
            sequences[worker] += 1
            deltas.append(_shipped(recorders[worker], worker, sequences[worker], part))

    for _ in range(requests):
        worker = chance.randrange(WORKERS)
        again = random.Random(chance.randrange(2**32))
        state = again.getstate()
        _append(recorders[worker], again)
        again.setstate(state)
        _append(whole, again)
        if chance.random() < 0.05:
            ship(worker, chance.choice([1.0, 2.0, None]))
    for worker in range(WORKERS):
        ship(worker, None)
    repeated = deltas + chance.choices(deltas, k=10)
    chance.shuffle(repeated)
    expected = {(*window.key, window.span): window for window in whole.drain(None)}
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "run.db"
        start = 0
        while start < len(repeated):
            end = start + chance.randint(1, len(repeated))
            with open_writer(database) as writer:
                writer.commit(repeated[start:end])
            start = end
        with RunReader(database) as reader:
            stored = {(*window.key, window.span): window for window in reader.windows()}
            assert sum(source.committed for source in reader.sources()) == len(deltas)
    assert {key: build.content(window) for key, window in stored.items()} == {
        key: build.content(window) for key, window in expected.items()
    }
    for key, window in stored.items():
        assert pack_histograms(window.histograms) == pack_histograms(expected[key].histograms)


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
