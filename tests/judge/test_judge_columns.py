"""A stored run that is judged by columns gets the verdict that its windows one by one would give it."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from loadgate.judge.evidence import JUDGED_SERIES
from loadgate.judge.gather import gather
from loadgate.judge.latency import thresholds
from loadgate.judge.samples import Latencies
from loadgate.judge.slots import slot_of, slots
from loadgate.judge.verdict import judge
from loadgate.measure.delta import Delta
from loadgate.measure.window import Window, windows_merged
from loadgate.store.database import RunReader, open_writer
from loadgate.store.folder import create_run

NOW = datetime(2026, 11, 22, 20, 40, tzinfo=UTC)
LATENCIES = st.dictionaries(st.sampled_from([1, 10, 40, 60, 250]), st.integers(1, 30), max_size=3)


@st.composite
def drawn_windows(draw: st.DrawFn, make: Any) -> list[Window]:
    """Draw windows of two endpoints and two phases, none of them twice, some without their over-counts."""
    keys = st.tuples(
        st.integers(10, 45), st.sampled_from(["emotion", "creative"]), st.sampled_from(["steady", "ramp"])
    )
    windows = []
    for second, endpoint, phase in draw(st.lists(keys, min_size=1, max_size=25, unique=True)):
        more = {name: draw(st.integers(0, 3)) for name in ("failed", "lost", "retries", "repeat_misses")}
        over = draw(st.sampled_from([(), (50, 200)]))
        one = make.window(
            second, draw(LATENCIES), endpoint=endpoint, phase=phase, over_ms=over, repeat_hits=2, **more
        )
        windows.append(one)
    return windows


def table(make: Any) -> list[Any]:
    """Return rows of one endpoint and of all, of each metric that comes from requests."""
    return [
        make.objective(alert="> 200ms", endpoint="emotion"),
        make.objective(statistic="p50", alert="> 200ms"),
        make.objective("service_time", statistic="p99", latency_on="all", every=7.0),
        make.objective(statistic="mean", latency_on="ok", alert="> 200ms"),
        make.objective(statistic="max", alert="> 200ms", endpoint="creative"),
        make.objective("error_rate", "< 1%", alert="> 10%"),
        make.objective("throughput", ">= 20/s", alert="< 10/s", every=3.0),
        make.objective("cache_hit_rate", "> 60%", alert="< 30%"),
    ]


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_a_stored_run_is_judged_as_its_windows_are(make: Any, data: st.DataObject) -> None:
    """The whole of verdict.json is the same, to the last bit of every number."""
    windows = data.draw(drawn_windows(make))
    with tempfile.TemporaryDirectory() as folder:
        run = create_run(Path(folder), "gate", NOW)
        with open_writer(run.database) as writer:
            values = {"anchor": {"wall": 1.0, "monotonic": 0.0}, "ended": "planned", "flushed": True}
            delta = Delta(run.id, "worker-1", 1, 1, windows, [], make.fleet(range(46)))
            writer.commit([delta], run_values=values)
        stored = gather(run, objectives=table(make))
        with RunReader(run.database) as reader:
            one_by_one = list(reader.windows())
    for one in one_by_one:
        wanted = JUDGED_SERIES if one.phase == "steady" else ()
        one.histograms = {name: found for name, found in one.histograms.items() if name in wanted}
    other = replace(stored, windows=tuple(data.draw(st.permutations(one_by_one))))
    assert judge(stored, now=NOW).to_dict() == judge(other, now=NOW).to_dict()


@settings(max_examples=60, deadline=None)
@given(data=st.data(), every=st.sampled_from([1.0, 7.0, 10.0, 60.0]))
def test_the_windows_of_a_row_equal_merging_what_was_in_them(
    make: Any, data: st.DataObject, every: float
) -> None:
    """For each of them the histogram, the infinitely slow requests, and the exact counts over the limits."""
    windows = data.draw(drawn_windows(make))
    row = make.objective(alert="> 200ms", every=every)
    evidence = make.evidence(row, windows=windows)
    cut = slots(evidence.steady, every)
    found = Latencies(evidence, None, "adjusted", "response").by_slot(cut, thresholds(row))
    groups: list[list[Window]] = [[] for _ in cut]
    for window in windows:
        if window.phase == "steady":
            groups[slot_of(cut, window)].append(window)
    for slot, group in zip(found, groups, strict=True):
        merged = windows_merged(group)
        histogram, infinite = merged.response("adjusted")
        assert (slot.histogram, slot.infinite) == (histogram, infinite)
        for threshold_us, number in slot.over.items():
            assert merged.response_over(threshold_us, "adjusted") == number + infinite
