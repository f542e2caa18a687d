"""Windows as Parquet or as an Arrow file, by pyarrow, which the extra `arrow` brings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, BinaryIO, Final, Literal

from loadgate.errors import UsageError
from loadgate.report.exports.table import COLUMNS

BATCH: Final = 4096
"""Rows that are put together at a time."""
META: Final = {b"loadgate_columns": b"docs/exports.md", b"loadgate_latency_unit": b"us"}


def write_arrow(rows: Iterable[tuple[Any, ...]], out: BinaryIO, form: Literal["parquet", "arrow"]) -> None:
    """Write a table (an Arrow file is Feather V2). UsageError without pyarrow."""
    pyarrow, parquet = _library()
    kinds = {
        "text": pyarrow.string(),
        "whole": pyarrow.int64(),
        "number": pyarrow.float64(),
        "yes or no": pyarrow.bool_(),
    }
    fields = [pyarrow.field(column.name, kinds[column.kind]) for column in COLUMNS]
    schema = pyarrow.schema(fields, metadata=META)
    sink = pyarrow.PythonFile(_Counted(out), mode="w")
    writer = parquet.ParquetWriter(sink, schema) if form == "parquet" else pyarrow.ipc.new_file(sink, schema)
    with writer:
        for batch in _batches(rows):
            arrays = [
                pyarrow.array(values, kind.type)
                for values, kind in zip(zip(*batch, strict=True), fields, strict=True)
            ]
            writer.write_batch(pyarrow.record_batch(arrays, schema=schema))


def check_arrow() -> None:
    """Say before anything is written that pyarrow is missing; UsageError then."""
    _library()


def _library() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise UsageError(
            "Parquet and Arrow need the package pyarrow", hint="pip install 'loadgate[arrow]'"
        ) from error
    return pyarrow, parquet


def _batches(rows: Iterable[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
    left = iter(rows)
    while batch := list(islice(left, BATCH)):
        yield batch


class _Counted:
    """A stream that knows how much was written, for one (a pipe) that does not say."""

    closed = False

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._written = 0

    def write(self, data: Any) -> int:
        self._out.write(data)
        self._written += len(data)
        return len(data)

    def tell(self) -> int:
        return self._written

    def flush(self) -> None:
        self._out.flush()

    def close(self) -> None:
        self.closed = True

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False
