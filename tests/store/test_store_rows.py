"""The container of a row's histograms: what it holds, byte by byte, and what it refuses."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from loadgate.errors import MeasureError, StoreError
from loadgate.measure.histogram import Histogram
from loadgate.measure.window import Count
from loadgate.store.database import open_writer
from loadgate.store.rows import COUNT_COLUMNS, pack_histograms, row_of, unpack_histograms


def _one(value_us: int) -> Histogram:
    histogram = Histogram()
    histogram.record(value_us)
    return histogram


def test_the_container_has_the_documented_form() -> None:
    """Version 1, the number of series, then each name and histogram behind its length, sorted by name."""
    connect, ok = _one(5).encode(), _one(7).encode()
    packed = pack_histograms({"response.ok": _one(7), "connect": _one(5), "pool_wait": Histogram()})
    assert packed == (
        b"\x01\x02"
        + b"\x07connect" + len(connect).to_bytes(4, "big") + connect
        + b"\x0bresponse.ok" + len(ok).to_bytes(4, "big") + ok
    )  # fmt: skip


def test_no_histograms_are_two_bytes() -> None:
    """A window that only counts has an empty container."""
    assert pack_histograms({}) == b"\x01\x00"
    assert unpack_histograms(b"\x01\x00") == {}


GOOD = pack_histograms({"connect": _one(5)})


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        b"\x01",
        b"\x02\x00",
        b"\x01\x01",
        GOOD[:5],
        GOOD[:12],
        GOOD[:-1],
        GOOD + b"x",
        b"\x01\x02" + GOOD[2:] * 2,
        GOOD.replace(b"connect", b"coNNect"),
        b"\x01\x01\x07connect\xff\xff\xff\xff",
        b"\x01\x01\x07connect\x00\x00\x00\x02\x01\xff",
    ],
)
def test_a_damaged_container_is_refused(blob: bytes) -> None:
    """Cut, lengthened, doubled, misnamed or overlong: an error each time."""
    with pytest.raises((StoreError, MeasureError)):
        unpack_histograms(blob)


def test_every_count_has_its_column() -> None:
    """A count that is added to `measure` needs a migration here."""
    assert set(COUNT_COLUMNS) == {str(count) for count in Count}


def test_an_unknown_count_or_series_is_refused(build: SimpleNamespace) -> None:
    """What has no place in the row is an error, not a silent loss."""
    window = build.window(1, [1])
    window.counts["bananas"] = 1
    with pytest.raises(StoreError, match="bananas"):
        row_of(window)
    with pytest.raises(StoreError, match="bananas"):
        pack_histograms({"bananas": _one(1)})


def test_a_number_past_64_bits_is_an_error(database: object, build: SimpleNamespace) -> None:
    """Counts that no column can hold fail the commit as a StoreError."""
    window = build.window(1, [1])
    window.counts["bytes_received"] = 2**63
    with open_writer(database) as writer, pytest.raises(StoreError, match="too large"):
        writer.commit([build.delta(1, [window])])
