"""The campaign database: an append-only book in which every entry seals all entries before it.

results/campaign/staging/
    campaign.db   the entries
    head          number and hash of the newest one, so that a book that was cut short is noticed
    log/          what the commands printed that the calendar started

The hash of an entry is the SHA-256 of the hash before it and of its own content, so whoever changes, removes
or reorders one must change all that follow; and the newest hash is printed after every command, for whoever
wants to keep it somewhere else.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self

import orjson

from loadgate.errors import StoreError, UsageError
from loadgate.store.connection import open_for_reading, open_for_writing
from loadgate.store.faults import told_as_store_errors
from loadgate.store.schema import campaign_schema
from loadgate.store.values import from_json

FOLDER: Final = "campaign"
DATABASE: Final = "campaign.db"
HEAD: Final = "head"

_HEAD: Final = re.compile(r"([0-9]{1,18}):([0-9a-f]{64})")
_COLUMNS: Final = "seq, at, boot, monotonic, kind, content, previous, hash"


@dataclass(frozen=True, slots=True)
class Stamp:
    """When something was written: wall clock, and the seconds since this boot of the machine.

    Within one boot the two must agree, which is how a changed wall clock is noticed.
    """

    at: datetime
    boot: str
    monotonic: float

    @classmethod
    def now(cls) -> Self:
        """Read the clocks of this machine."""
        boot = ""
        with suppress(OSError):
            boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        # BOOTTIME goes on while a laptop sleeps, as the wall clock does.
        # To the millisecond, as entries have it: a decision must be the same when it is made again.
        at = datetime.fromisoformat(_iso(datetime.now(UTC)))
        return cls(at, boot, time.clock_gettime(time.CLOCK_BOOTTIME))


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the book; `at` is wall-clock time in UTC."""

    seq: int
    at: datetime
    boot: str
    monotonic: float
    kind: str
    content: Mapping[str, Any]
    hash: str = ""


@dataclass(frozen=True, slots=True)
class Head:
    """The newest entry: its number, counted from 1, and its hash. An empty book has number 0."""

    seq: int
    hash: str

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read "SEQ:HASH"; UsageError for anything else."""
        match = _HEAD.fullmatch(text.strip())
        if match is None:
            raise UsageError(f"'{text.strip()}' is no head of a campaign", hint="NUMBER:HASH, as printed")
        return cls(int(match[1]), match[2])


def campaign_folder(root: Path, name: str) -> Path:
    """Name the folder of a campaign below the results."""
    return root / FOLDER / name


def campaigns(root: Path) -> list[str]:
    """List the names of the campaigns in a results folder."""
    folder = root / FOLDER
    with told_as_store_errors("list", folder):
        found = folder.iterdir() if folder.is_dir() else ()
        return sorted(path.name for path in found if (path / DATABASE).is_file())


def find_campaign(root: Path, name: str | None) -> Path:
    """Find a campaign by its name, or the only one there is; StoreError names those that there are."""
    known = campaigns(root)
    if name is not None and name in known:
        return campaign_folder(root, name)
    if name is None and len(known) == 1:
        return campaign_folder(root, known[0])
    if not known:
        raise StoreError(
            f"there is no campaign in {root}",
            hint="start one: loadgate campaign start scenarios/campaigns/staging.toml",
        )
    asked = f"no campaign '{name}'" if name is not None else "more than one campaign"
    raise StoreError(f"there is {asked} in {root}", hint=f"--campaign {' or '.join(known)}")


def sealed(seq: int, at: str, boot: str, monotonic: float, kind: str, content: str, previous: str) -> str:
    """Return the hash of an entry: SHA-256 of the canonical JSON of its columns and the hash before it."""
    return hashlib.sha256(orjson.dumps([previous, seq, at, boot, monotonic, kind, content])).hexdigest()


def origin(name: str) -> str:
    """Return what stands in place of a hash before the first entry."""
    return hashlib.sha256(f"loadgate campaign {name}".encode()).hexdigest()


class CampaignWriter:
    """The one writer of a campaign's book. What `append` returned for is on the disk.

    StoreError when the book cannot be written, is damaged, or another process is writing it, and when its
    chain does not hold: nothing is ever added to a book that was changed.
    """

    def __init__(self, folder: Path, *, new: bool = False) -> None:
        self.folder = folder
        self._path = folder / DATABASE
        if not new and not self._path.is_file():
            raise StoreError(f"there is no campaign in {folder}", hint="start one: loadgate campaign start")
        with told_as_store_errors("write in", folder):
            folder.mkdir(parents=True, exist_ok=True)
        if not self._path.is_file():
            head = _read_head(folder)
            if head is not None and head.seq:
                raise StoreError(
                    f"{self._path} is gone, and `head` beside it tells of {head.seq} entries",
                    hint="restore campaign.db from a copy, or start a campaign of another name",
                )
            # From the first entry on a missing head means that somebody removed it.
            _write_head(folder, Head(0, origin(folder.name)))
        self._opened = open_for_writing(self._path, campaign_schema())
        try:
            faults = verify_chain(folder)
            if faults:
                raise StoreError(
                    f"the book of the campaign is not as it was written: {faults[0]}",
                    hint="restore campaign.db and head from a copy; see `loadgate campaign verify`",
                )
        except BaseException:
            self._opened.close()
            raise

    def append(self, kind: str, content: Mapping[str, Any], stamp: Stamp) -> Entry:
        """Add one entry."""
        return self.extend([(kind, content)], stamp)[0]

    def extend(self, contents: Sequence[tuple[str, Mapping[str, Any]]], stamp: Stamp) -> list[Entry]:
        """Add entries of one moment, all or none."""
        connection = self._opened.connection
        made: list[Entry] = []
        with told_as_store_errors("write", self._path):
            connection.execute("BEGIN IMMEDIATE")
            try:
                row = connection.execute("SELECT seq, hash FROM entry ORDER BY seq DESC LIMIT 1").fetchone()
                seq, previous = row or (0, origin(self.folder.name))
                for kind, content in contents:
                    seq += 1
                    entry = _entry(seq, kind, content, stamp, previous)
                    connection.execute(
                        f"INSERT INTO entry ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                        (
                            seq,
                            _iso(stamp.at),
                            stamp.boot,
                            stamp.monotonic,
                            kind,
                            _canonical(content),
                            previous,
                            entry.hash,
                        ),
                    )
                    made.append(entry)
                    previous = entry.hash
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        if made:
            _write_head(self.folder, Head(made[-1].seq, made[-1].hash))
        return made

    def close(self) -> None:
        """Let another process write; again is fine."""
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_entries(folder: Path) -> list[Entry]:
    """Read the whole book; StoreError when it cannot be read. It does not check the chain."""
    return [
        Entry(seq, datetime.fromisoformat(at), boot, monotonic, kind, from_json(content), digest)
        for seq, at, boot, monotonic, kind, content, _, digest in _rows(folder)
    ]


def head_of(folder: Path) -> Head:
    """Return the newest entry of the book."""
    rows = _rows(folder)
    return Head(rows[-1][0], rows[-1][7]) if rows else Head(0, origin(folder.name))


def verify_chain(folder: Path, known: Head | None = None) -> list[str]:
    """Say what shows that the book is not as it was written; nothing when it is.

    Each entry is held against its hash and the one before it, and the newest against `head` beside the book
    and against `known`, a head that somebody kept elsewhere.
    """
    faults: list[str] = []
    # Before the rows: whoever writes meanwhile adds a row first, and a head that is older is one of them.
    recorded = _read_head(folder)
    previous = origin(folder.name)
    # What an empty book has in place of an entry: a head of then is one as well.
    seen = {0: previous}
    for expected, row in enumerate(_rows(folder), 1):
        seq, at, boot, monotonic, kind, content, before, digest = row
        if seq != expected:
            faults.append(f"entry {expected} is missing")
            break
        if before != previous:
            faults.append(f"entry {seq} does not follow entry {seq - 1}")
            break
        if digest != sealed(seq, at, boot, monotonic, kind, content, before):
            faults.append(f"entry {seq} ({kind}) was changed")
            break
        seen[seq] = previous = digest
    heads = [("the recorded head", recorded), ("the head that was kept", known)]
    for what, head in heads:
        if head is not None and not faults and seen.get(head.seq) != head.hash:
            missing = head.seq not in seen
            faults.append(
                f"{what} is entry {head.seq}, and the book ends at {max(seen)}: it was cut short"
                if missing
                else f"{what} has another hash of entry {head.seq}: the book was written anew"
            )
    if len(seen) > 1 and recorded is None:
        faults.append("the file `head` is missing")
    return faults


def _entry(seq: int, kind: str, content: Mapping[str, Any], stamp: Stamp, previous: str) -> Entry:
    text = _canonical(content)
    digest = sealed(seq, _iso(stamp.at), stamp.boot, stamp.monotonic, kind, text, previous)
    return Entry(
        seq,
        datetime.fromisoformat(_iso(stamp.at)),
        stamp.boot,
        stamp.monotonic,
        kind,
        from_json(text),
        digest,
    )


def _canonical(content: Mapping[str, Any]) -> str:
    try:
        return orjson.dumps(dict(content), option=orjson.OPT_SORT_KEYS).decode()
    except TypeError as error:
        raise StoreError(f"an entry cannot be stored as JSON: {error}") from error


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")


def _rows(folder: Path) -> list[tuple[int, str, str, float, str, str, str, str]]:
    path = folder / DATABASE
    opened = open_for_reading(path, campaign_schema())
    try:
        with told_as_store_errors("read", path):
            return opened.connection.execute(f"SELECT {_COLUMNS} FROM entry ORDER BY seq").fetchall()
    finally:
        opened.close()


def _read_head(folder: Path) -> Head | None:
    path = folder / HEAD
    with told_as_store_errors("read", path):
        try:
            text = path.read_text(encoding="ascii", errors="replace")
        except FileNotFoundError:
            return None
    try:
        return Head.parse(text)
    except UsageError:
        return Head(1, "unreadable")


def _write_head(folder: Path, head: Head) -> None:
    path = folder / HEAD
    draft = folder / f".head-{secrets.token_hex(4)}"
    with told_as_store_errors("write", path):
        with draft.open("x", encoding="ascii") as file:
            file.write(f"{head}\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
