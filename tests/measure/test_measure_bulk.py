"""Many stored histograms decoded in one go: exactly what decoding them one by one gives."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgate.errors import MeasureError
from loadgate.measure import bulk
from loadgate.measure.bulk import decode_many
from loadgate.measure.histogram import Histogram
from loadgate.measure.layout import HIGHEST_US

VALUES = st.one_of(st.integers(0, 5_000), st.integers(0, 2 * HIGHEST_US), st.sampled_from([0, 2**53]))
"""Latencies (µs): small ones that share counters, any, and the extremes."""
TIMES = st.sampled_from([1, 2, 63, 64, 8191, 8192, 2**27, 2**28, 2**40])
"""Counts on both sides of where they take a byte more, and where they are no longer decoded in bulk."""


@st.composite
def filled(draw: st.DrawFn) -> Histogram:
    """Draw a histogram with at least one value."""
    histogram = Histogram()
    for value in draw(st.lists(VALUES, min_size=1, max_size=6)):
        histogram.record(value, draw(TIMES))
    return histogram


def usual(*values_us: int) -> bytes:
    """Return a stored histogram as any run has them."""
    histogram = Histogram()
    histogram.record_many(list(values_us))
    return histogram.encode()


@settings(max_examples=150, deadline=None)
@given(histograms=st.lists(filled(), max_size=8), at_once=st.sampled_from([1, 3, 512]))
def test_decoding_in_bulk_equals_decoding_one_by_one(histograms: list[Histogram], at_once: int) -> None:
    """Every counter and every exact number comes back, however many are decoded at a time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bulk, "_AT_ONCE", at_once)
        found = decode_many([histogram.encode() for histogram in histograms])
    ends = found.lengths.cumsum()
    assert len(found.lengths) == len(found.exact) == len(histograms)
    for histogram, end, length, exact in zip(histograms, ends, found.lengths, found.exact, strict=True):
        sparse = histogram.to_sparse()
        assert found.indices[end - length : end].tolist() == sparse.indices.tolist()
        assert found.counts[end - length : end].tolist() == sparse.counts.tolist()
        total_us = int(exact[3]) << 60 | int(exact[4])
        assert (*exact[:3].tolist(), total_us, int(exact[5])) == (
            histogram.total,
            histogram.minimum,
            histogram.maximum,
            histogram.sum,
            histogram.overflow,
        )


def test_usual_histograms_are_not_decoded_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The slow way is for what is unusual: without it an hour of latencies up to a minute is decoded."""
    monkeypatch.setattr(bulk, "_one_by_one", lambda blobs: pytest.fail("decoded one by one"))
    rng = np.random.default_rng(1)
    blobs = [usual(*rng.integers(0, 60_000_000, 500).tolist()) for _ in range(20)]
    assert decode_many(blobs).exact[:, 0].tolist() == [500] * 20


def test_nothing_is_decoded_to_nothing() -> None:
    """No histograms have no counters."""
    assert [array.size for array in decode_many([])] == [0, 0, 0, 0]


GOOD = usual(5, 7, 90_000)
HEAD = 1 + 1 + 3 + 3 + 1
"""Bytes of its version, minimum 5, width 89,995, sum 90,012 and overflow 0."""
BODY = zlib.decompress(GOOD[HEAD:])


def with_payload(payload: bytes) -> bytes:
    """Return the good histogram with another payload."""
    return GOOD[:HEAD] + zlib.compress(payload)


def test_the_damaged_ones_below_have_a_good_one_in_common() -> None:
    """The parts that they are made of are those of a histogram that can be decoded."""
    assert with_payload(BODY) == GOOD
    assert decode_many([GOOD]).lengths.tolist() == [3]


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        b"\x02" + GOOD[1:],
        GOOD[:3],
        GOOD[:-1],
        GOOD + b"x",
        GOOD[: HEAD - 1] + b"\x01" + GOOD[HEAD:],
        with_payload(b""),
        with_payload(BODY[:20]),
        with_payload(BODY[:-1]),
        with_payload(BODY + b"\x02"),
        with_payload(b"\x00" + BODY[1:]),
        with_payload(BODY[:4] + b"\x00\x00\x00\x01" + BODY[8:41]),
        GOOD[:1] + b"\x06" + GOOD[2:],
        Histogram().encode(),
    ],
    ids=lambda blob: f"{len(blob)}-{zlib.crc32(blob):x}",
)
@pytest.mark.parametrize("place", [0, 1])
def test_a_damaged_one_among_good_ones_is_refused(blob: bytes, place: int) -> None:
    """Cut short, too long, of another version or layout, empty, or with numbers that do not fit."""
    blobs = [GOOD, GOOD]
    blobs[place] = blob
    with pytest.raises(MeasureError):
        decode_many(blobs)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_any_damage_is_found_or_means_the_same_either_way(data: st.DataObject) -> None:
    """Bytes that were changed anywhere are refused, or decode to what decoding one by one gives."""
    blob = bytearray(data.draw(filled()).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        blob[data.draw(st.integers(0, len(blob) - 1))] = data.draw(st.integers(0, 255))
    _agrees(bytes(blob))


@settings(max_examples=300, deadline=None)
@given(body=st.binary(min_size=1, max_size=40))
def test_any_counters_mean_the_same_either_way(body: bytes) -> None:
    """The same for whatever bytes stand for the counters behind a good header."""
    header = BODY[:4] + len(body).to_bytes(4, "big") + BODY[8:40]
    _agrees(GOOD[:1] + b"\x00\x80\x80\x80\x10\x00\x00" + zlib.compress(header + body))


def _agrees(blob: bytes) -> None:
    try:
        alone = Histogram.decode(blob)
    except MeasureError:
        alone = Histogram()
    if not alone.total:
        with pytest.raises(MeasureError):
            decode_many([GOOD, blob])
        return
    found = decode_many([GOOD, blob])
    assert found.indices[3:].tolist() == alone.to_sparse().indices.tolist()
    assert found.counts[3:].tolist() == alone.to_sparse().counts.tolist()
    assert found.exact[1, :3].tolist() == [alone.total, alone.minimum, alone.maximum]
