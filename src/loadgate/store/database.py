"""The run database: open it to write or to read."""

from __future__ import annotations

from loadgate.store.fleet_ledger import LedgerRow
from loadgate.store.ledger import DeltaKey, Range
from loadgate.store.reader import DeltaSource, RunReader
from loadgate.store.writer import Acknowledged, Event, RunWriter, open_writer

__all__ = [
    "Acknowledged",
    "DeltaKey",
    "DeltaSource",
    "Event",
    "LedgerRow",
    "Range",
    "RunReader",
    "RunWriter",
    "open_writer",
]
