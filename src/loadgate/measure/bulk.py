"""Decode many stored histograms in one go.

An hour of a run holds tens of thousands of them, and each costs `Histogram.decode` some forty microseconds:
mostly calls on arrays that are long for what is in them. Here the bytes of many lie side by side, and a few
calls decode them all. What comes out is what decoding one by one gives; what is unusual (counts over 2**27,
an empty or a damaged histogram) is decoded one by one, which also says what is wrong with it.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from loadgate.errors import MeasureError
from loadgate.measure.codec import HEADER_BYTES, LARGEST_PAYLOAD, header_of
from loadgate.measure.exact import check_exact
from loadgate.measure.histogram import PLAIN_VERSION, REST_VERSION, STORED_VERSION, Histogram, rest_of
from loadgate.measure.layout import COUNTERS, Int64s, Ints
from loadgate.measure.packed import Exact, exact_of

_AT_ONCE: Final = 512
"""Histograms that are decoded in one go."""
_BYTES_AT_ONCE: Final = 96 * 1024
"""Bytes of them: what comes of these, some forty times as much, is to stay in the processor's cache."""
_VERSIONS: Final = (STORED_VERSION, PLAIN_VERSION, REST_VERSION)
_LONGEST_EXACT: Final = 8
"""Bytes of the longest exact number that is taken here: 56 bits."""
_PREFIX: Final = 1 + 4 * _LONGEST_EXACT
"""Bytes of the version and the four exact numbers."""
_LONGEST: Final = 4
"""Bytes of the longest number of a payload that is taken here: 28 bits, so that 32 hold what comes of it."""


Number = TypeVar("Number", np.int32, np.int64)


class Decoded(NamedTuple):
    """Histograms side by side, as in `PackedWindows`, in the smallest types that hold them."""

    lengths: Int64s
    indices: Ints
    counts: Ints
    exact: Int64s


def decode_many(blobs: Sequence[bytes]) -> Decoded:
    """Return the histograms that `Histogram.encode` made the blobs of, none of them empty.

    Raise MeasureError when one is damaged or empty.
    """
    parts = [_decoded(part) for part in _batches(blobs)]
    if not parts:
        nothing = np.zeros(0, np.int64)
        return Decoded(nothing, nothing, nothing, np.zeros((0, len(Exact._fields)), np.int64))
    return Decoded(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def _batches(blobs: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """Cut the blobs into batches, none of them empty."""
    first = size = 0
    for at, blob in enumerate(blobs):
        other = at > first and blob[:1] != blobs[first][:1]
        if other or (at > first and (at - first == _AT_ONCE or size + len(blob) > _BYTES_AT_ONCE)):
            yield blobs[first:at]
            first, size = at, 0
        size += len(blob)
    if first < len(blobs):
        yield blobs[first:]


def _decoded(blobs: Sequence[bytes]) -> Decoded:
    numbers = _exact_numbers(blobs)
    if numbers is not None:
        found = _counters_of(blobs, numbers[1])
        if found is not None:
            lengths, indices, counts = found
            minimum, width, total_us, overflow = numbers[0]
            totals = np.add.reduceat(counts, lengths.cumsum() - lengths, dtype=np.int64)
            columns = (totals, minimum, minimum + width, np.zeros_like(totals), total_us, overflow)
            exact = np.stack(columns, axis=1)
            check_exact(exact, indices, counts, lengths)
            return Decoded(lengths, indices, counts, exact)
    return _one_by_one(blobs)


def _one_by_one(blobs: Sequence[bytes]) -> Decoded:
    histograms = [Histogram.decode(blob) for blob in blobs]
    if not all(histogram.total for histogram in histograms):
        raise MeasureError("a stored histogram holds nothing")
    sparse = [histogram.to_sparse() for histogram in histograms]
    return Decoded(
        np.array([one.indices.size for one in sparse], np.int64),
        np.concatenate([one.indices for one in sparse]).astype(np.int16),
        np.concatenate([one.counts for one in sparse]),
        np.array([exact_of(histogram) for histogram in histograms], np.int64),
    )


def _exact_numbers(blobs: Sequence[bytes]) -> tuple[Int64s, list[int]] | None:
    """Return minimum, width, sum and overflow of all, and where each payload begins; None: unusual.

    All are of the same version then.
    """
    data = np.frombuffer(b"".join([blob[:_PREFIX].ljust(_PREFIX, b"\x80") for blob in blobs]), np.uint8)
    starts = np.arange(len(blobs)) * _PREFIX
    values, stops, _, _ = _numbers(data, np.int64)
    # The version is a byte of its own, and so the end of a number, whatever the rest before it meant.
    versions = np.searchsorted(stops, starts)
    if data[0] not in _VERSIONS or (data[starts] != data[0]).any() or versions[-1] + 4 >= len(stops):
        return None
    which = versions[:, np.newaxis] + np.arange(5)
    ends = stops[which]
    if (np.diff(ends) > _LONGEST_EXACT).any() or (ends[:, -1] >= starts + _PREFIX).any():
        return None
    begins: list[int] = (ends[:, -1] + 1 - starts).tolist()
    return values[which[:, 1:]].T, begins


def _counters_of(blobs: Sequence[bytes], begins: Sequence[int]) -> tuple[Int64s, Ints, Ints] | None:
    """Return number, indices and counts of the counters in use of blobs of one version; None: unusual."""
    bodies = [blob[at:] for blob, at in zip(blobs, begins, strict=True)]
    if blobs[0][0] == STORED_VERSION:
        return _counters(bodies)
    if blobs[0][0] == PLAIN_VERSION:
        return _side_by_side(bodies)
    wholes, parts = zip(*(rest_of(body, 0) for body in bodies), strict=True)
    found = _side_by_side([*wholes, *parts])
    return None if found is None else _rest(*found)


def _side_by_side(payloads: Sequence[bytes]) -> tuple[Int64s, Ints, Ints] | None:
    """Return what `_counters` does of counters that are not compressed."""
    sizes = np.array([len(payload) for payload in payloads])
    if not sizes.all():
        return None
    data, ends = np.frombuffer(b"".join(payloads), np.uint8), sizes.cumsum()
    return None if (data[ends - 1] >= 0x80).any() else _in_use(data, ends)


def _rest(lengths: Int64s, indices: Ints, counts: Ints) -> tuple[Int64s, Ints, Ints] | None:
    """Take the second half of the histograms from the first, one by one; None where less than 0 is left."""
    number = lengths.size // 2
    keys = np.repeat(np.arange(lengths.size) % number, lengths) * COUNTERS + indices
    split = int(lengths[:number].sum())
    whole, part = keys[:split], keys[split:]
    at = whole.searchsorted(part)
    if int(at.max()) >= split or (whole[at] != part).any():
        return None
    left = counts[:split].astype(np.int64)
    left[at] -= counts[split:]
    if int(left.min()) < 0:
        return None
    used = np.flatnonzero(left)
    sizes = np.bincount(whole[used] // COUNTERS, minlength=number)
    return (sizes, indices[:split][used], left[used].astype(counts.dtype)) if sizes.all() else None


def _counters(packed: Sequence[bytes]) -> tuple[Int64s, Ints, Ints] | None:
    """Return number, indices and counts of the counters in use of compressed payloads; None: unusual."""
    payloads = []
    for blob in packed:
        inflater = zlib.decompressobj()
        try:
            payload = inflater.decompress(blob, LARGEST_PAYLOAD + 1)
        except zlib.error:
            return None
        if not inflater.eof or inflater.unused_data or len(payload) <= HEADER_BYTES:
            return None
        payloads.append(payload)
    headers = b"".join([payload[:HEADER_BYTES] for payload in payloads])
    if headers != b"".join([header_of(len(payload) - HEADER_BYTES) for payload in payloads]):
        return None
    sizes = np.array([len(payload) - HEADER_BYTES for payload in payloads])
    data = np.frombuffer(b"".join([payload[HEADER_BYTES:] for payload in payloads]), np.uint8)
    ends = sizes.cumsum()
    if (data[ends - 1] >= 0x80).any():
        return None
    return _in_use(data, ends)


def _in_use(data: NDArray[np.uint8], ends: Int64s) -> tuple[Int64s, Ints, Ints] | None:
    """Return the counters in use of payloads whose numbers lie in `data`, each up to one of `ends`.

    A number is a count, or minus how many counters in a row are 0, zigzag coded: an odd one is negative.
    """
    values, _, longer, longest = _numbers(data, np.int32)
    if longest > _LONGEST:
        return None
    unused = (values & 1).astype(np.bool_)
    values += 1
    values >>= 1
    steps = np.maximum(values * unused, 1)
    small = int(steps.sum(dtype=np.int64)) < 2**31
    upto = steps.cumsum(dtype=np.int32 if small else np.int64)
    # Of the bytes before an end, each that does not go on ends a number.
    last = ends - np.searchsorted(longer, ends)
    bases = np.concatenate([[0], upto[last[:-1] - 1]])
    if int((upto[last - 1] - bases).max()) > COUNTERS:
        return None
    used = np.flatnonzero(~unused)
    limits = np.searchsorted(used, last)
    lengths = np.diff(limits, prepend=0)
    counts = values[used]
    if not lengths.all() or not counts.all():
        return None
    indices = upto[used] - np.repeat((bases + 1).astype(upto.dtype), lengths)
    return lengths, indices.astype(np.int16), counts


def _numbers(data: NDArray[np.uint8], kind: type[Number]) -> tuple[NDArray[Number], Int64s, Int64s, int]:
    """Return the LEB128 numbers in some bytes, where the last byte of each is, and where all others are.

    The last answer is the length of the longest number. One that is too long for its kind has no right
    value; the caller looks for those.
    """
    more = data >= 0x80
    stops = np.flatnonzero(~more)
    values = data[stops].astype(kind)
    longer = np.flatnonzero(more)
    longer = longer[: np.searchsorted(longer, stops[-1])] if stops.size else longer[:0]
    if not longer.size:
        return values, stops, longer, 1
    # Before the k-th of the bytes that go on, all but k bytes end a number.
    number = longer - np.arange(longer.size)
    first = np.flatnonzero(np.diff(number, prepend=-1))
    of = number[first]
    size = np.diff(first, append=longer.size)
    place = np.minimum(np.arange(longer.size) - np.repeat(first, size), _LONGEST_EXACT)
    low = (data[longer] & 0x7F).astype(np.int64) << (7 * place)
    high = values[of].astype(np.int64) << (7 * np.minimum(size, _LONGEST_EXACT))
    values[of] = (high + np.add.reduceat(low, first)).astype(kind)
    return values, stops, longer, int(size.max()) + 1
