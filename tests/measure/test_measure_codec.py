"""The stored form of histograms, and that of other HDR tools."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import given
from hypothesis import strategies as st

from loadgate.errors import MeasureError
from loadgate.measure import codec
from loadgate.measure.histogram import Histogram
from loadgate.measure.layout import COUNTERS, HIGHEST_US
from loadgate.measure.varint import append_varint, read_varint

LISTS = st.lists(st.one_of(st.integers(0, 5000), st.integers(0, 2 * HIGHEST_US)), max_size=60)


def histogram_of(values: list[int]) -> Histogram:
    """Return the histogram of a list."""
    histogram = Histogram()
    histogram.record_many(values)
    return histogram


def package_of(values: list[int]) -> HdrHistogram:
    """Return the package's own histogram of a list."""
    package = HdrHistogram(1, HIGHEST_US, 3)
    for value in values:
        assert package.record_value(value)
    return package


def header(*, cookie: int = 0x1C849313, length: int = 0, digits: int = 3, highest: int = HIGHEST_US) -> bytes:
    """Return the header of a payload, right but for what is given."""
    return struct.pack(">IIIIQQd", cookie, length, 0, digits, 1, highest, 1.0)


@given(LISTS)
def test_codec_round_trip(values: list[int]) -> None:
    """decode(encode(h)) equals h, exact numbers included, also after merging."""
    histogram = histogram_of(values)
    again = Histogram.decode(histogram.encode())
    assert again == histogram
    again.merge(histogram)
    assert again == histogram_of(values + values)


def test_codec_of_the_empty_histogram() -> None:
    """Nothing takes one byte and comes back as nothing."""
    assert len(Histogram().encode()) == 1
    assert Histogram.decode(Histogram().encode()) == Histogram()


@given(st.lists(st.integers(0, HIGHEST_US), max_size=40))
def test_codec_reads_what_the_package_wrote(values: list[int]) -> None:
    """A base64 blob of the package has the same counters as our own histogram of the values."""
    ours = Histogram.from_hdr_text(package_of(values).encode())
    expected = histogram_of(values)
    assert ours.total == expected.total
    assert (ours.counts() == expected.counts()).all()
    if values:
        assert ours.minimum is not None
        assert ours.maximum is not None
        assert ours.minimum <= min(values) <= max(values) <= ours.maximum
        assert Histogram.decode(ours.encode()) == ours


@given(st.lists(st.integers(0, HIGHEST_US), max_size=40))
def test_codec_writes_what_the_package_reads(values: list[int]) -> None:
    """The package decodes our `.hlog` text to the histogram that it would have recorded itself."""
    package = HdrHistogram.decode(histogram_of(values).to_hdr().encode())
    assert package.equals(package_of(values))
    assert list(package.counts) == histogram_of(values).counts().tolist()


@given(st.lists(st.integers(0, HIGHEST_US), max_size=40))
def test_codec_payload_is_that_of_the_package(values: list[int]) -> None:
    """The stored payload is byte for byte the package's raw encoding."""
    package = histogram_of(values).to_hdr()
    package.encoder.b64_wrap = False
    assert zlib.decompress(codec.encode_counts(histogram_of(values).counts())) == zlib.decompress(
        package.encode()
    )


def test_codec_takes_the_largest_counts() -> None:
    """A full histogram of large counts goes through unharmed."""
    counts = np.full(COUNTERS, 2**40, np.int64)
    assert (codec.decode_counts(codec.encode_counts(counts)) == counts).all()


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        b"garbage",
        zlib.compress(b""),
        zlib.compress(header(cookie=0x1C849303 + 5)),
        zlib.compress(header(length=1)),
        zlib.compress(header(digits=5)),
        zlib.compress(header(highest=2**62)),
        zlib.compress(header()) + b"more",
        zlib.compress(header())[:-3],
        zlib.compress(header(length=10**6) + bytes(10**6)),
        zlib.compress(header(length=30_000) + b"\x02" * 30_000),
    ],
)
def test_codec_refuses_damaged_payloads(blob: bytes) -> None:
    """Wrong cookie, length, range or precision, a cut end, too many counters: all are errors."""
    with pytest.raises(MeasureError):
        codec.decode_counts(blob)


def test_codec_does_not_inflate_a_bomb() -> None:
    """20 MB of zeros in a few kB are refused after the first part that is too much."""
    bomb = zlib.compress(header(length=20_000_000) + bytes(20_000_000), 1)
    with pytest.raises(MeasureError, match="inflates"):
        codec.decode_counts(bomb)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"?",
        b"AAAA",
        base64.b64encode(struct.pack(">II", 1, 0)),
        base64.b64encode(struct.pack(">II", 0x1C849314, 9)),
    ],
)
def test_codec_refuses_damaged_text(text: bytes) -> None:
    """Text that is no base64, or whose wrapping is wrong, is an error."""
    with pytest.raises(MeasureError):
        codec.decode_base64(text)


@given(LISTS.filter(bool), st.data())
def test_codec_damage_never_goes_unseen_as_a_crash(values: list[int], data: st.DataObject) -> None:
    """A blob with one changed byte gives a histogram or a MeasureError, never another error."""
    blob = bytearray(histogram_of(values).encode())
    at = data.draw(st.integers(0, len(blob) - 1))
    blob[at] ^= data.draw(st.integers(1, 255))
    try:
        found = Histogram.decode(bytes(blob))
    except MeasureError:
        return
    assert int(found.counts().sum()) == found.total


@given(st.integers(0, 2**133 - 1))
def test_codec_varint_round_trip(number: int) -> None:
    """A varint gives its number back, and the offset after it."""
    out = bytearray(b"x")
    append_varint(out, number)
    assert read_varint(bytes(out) + b"y", 1) == (number, len(out))


@pytest.mark.parametrize("number", [-1, 2**133])
def test_codec_varint_refuses(number: int) -> None:
    """Negative and boundless numbers are errors."""
    with pytest.raises(MeasureError):
        append_varint(bytearray(), number)


@pytest.mark.parametrize("blob", [b"", b"\x80", b"\xff" * 30])
def test_codec_varint_refuses_a_cut_one(blob: bytes) -> None:
    """A varint that does not end is an error."""
    with pytest.raises(MeasureError):
        read_varint(blob, 0)
