"""The packed histograms of merged rows: what comes back, how small they are, and what is refused."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgate.errors import StoreError
from loadgate.measure.bulk import decode_many
from loadgate.measure.columns import Column, Columns, Encoded, Tally
from loadgate.measure.histogram import Histogram
from loadgate.measure.window import Series
from loadgate.store.rows import encoded_histograms, unpack_histograms
from loadgate.store.series_blob import CODES, pack_series, series_of_blob

LATENCIES = st.lists(st.integers(0, 4_000_000_000), max_size=12)


def histogram_of(values: list[int]) -> Histogram:
    found = Histogram()
    found.record_many(values)
    return found


def test_every_series_has_a_number() -> None:
    """A series that is recorded can be stored, under a number of its own."""
    assert sorted(CODES) == sorted(str(series) for series in Series)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from(CODES), LATENCIES), st.booleans())
def test_what_is_packed_comes_back(found: dict[str, list[int]], told: bool) -> None:
    """All series come back exactly, also where hits and misses make up all ok answers, one by one or many."""
    if told:
        found["response.ok"] = found.get("response.hit", []) + found.get("response.miss", [])
    expected = {name: histogram_of(values) for name, values in found.items() if values}
    blob = pack_series(expected)
    assert unpack_histograms(blob) == expected
    for name, part in encoded_histograms(blob):
        decoded = decode_many([part, part])
        columns = Columns([Tally(0, 1, "a", "steady")] * 2, {name: Column(np.arange(2), *decoded)})
        assert [one.histograms[name] for one in columns.unpack()] == [expected[name]] * 2


def test_misses_that_follow_are_not_written() -> None:
    """Where every ok answer was a hit or a miss, the counters of the misses take no place."""
    hits, misses = list(range(1000, 1400)), list(range(90_000, 99_000, 7))
    packed = {
        "response.ok": histogram_of(hits + misses),
        "response.hit": histogram_of(hits),
        "response.miss": histogram_of(misses),
    }
    raw = zlib.decompress(pack_series(packed)[1:])
    assert [length for *_, length in struct.iter_unpack(">BBI", raw[1:19])][1] == 0


def test_misses_alone_can_be_asked_for() -> None:
    """A series that follows from others is read without asking for those, and among rows of both forms."""
    hits, misses = histogram_of([5, 6, 7000]), histogram_of([6, 9000])
    both = pack_series(
        {"response.ok": histogram_of([5, 6, 6, 7000, 9000]), "response.hit": hits, "response.miss": misses}
    )
    alone = pack_series({"response.miss": misses})
    parts = [series_of_blob(blob, ["response.miss"]) for blob in (both, alone, both)]
    tallies = [Tally(second, 1, "a", "steady") for second in range(3)]
    windows = Columns.decoded([Encoded(tallies, parts)]).unpack()
    assert [one.histograms for one in windows] == [{"response.miss": misses}] * 3


def test_nothing_is_packed_as_nothing() -> None:
    """A row without values has no series."""
    assert unpack_histograms(pack_series({"connect": Histogram()})) == {}


def _blob(raw: bytes) -> bytes:
    return b"\x02" + zlib.compress(raw)


GOOD = zlib.decompress(pack_series({"connect": histogram_of([5])})[1:])


@pytest.mark.parametrize(
    "blob",
    [
        b"\x02",
        b"\x02no stream",
        _blob(b""),
        _blob(b"\x01"),
        _blob(GOOD[:-1]),
        _blob(GOOD + b"\x00"),
        _blob(GOOD[:1] + b"\x0b" + GOOD[2:]),
        _blob(b"\x02" + GOOD[1:7] * 2 + GOOD[7:] * 2),
        _blob(b"\x01" + struct.pack(">BBI", 7, 4, 0) + b"\x05\x00\x05\x00"),
        _blob(GOOD)[:-2],
        _blob(GOOD) + b"x",
    ],
)
def test_damage_is_refused(blob: bytes) -> None:
    """What is cut short, too long, unknown, there twice, or misses its counters is no row's histograms."""
    with pytest.raises(StoreError):
        series_of_blob(blob)
