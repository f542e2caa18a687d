"""Baselines: named sets of accepted runs, kept whole and never changed.

baselines/
    main/1.baseline      the first generation of the set "main"
    main/2.baseline      the next; promoting again only ever adds
    .calibrations/gate-1.json   the noise of this machine, see docs/regression.md

A generation is one file: a line with the format's version and a SHA-256 of all that follows, a line of JSON
that says what it is, then the kept runs (see `kept`), packed by msgpack and zlib. It is a file of its own
and no database, since nothing searches it, since it must be there whole or not at all, and since a checksum
of a file that SQLite may rewrite at any opening would be none.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from itertools import count
from pathlib import Path
from typing import Any, Final

import msgpack  # type: ignore[import-untyped]
import orjson

import loadgate
from loadgate.errors import LoadgateError, StoreError
from loadgate.store.faults import told_as_store_errors
from loadgate.store.kept import KeptRun

FORMAT: Final = 1
"""Version of a generation's file, and of a calibration's."""
MOST_RUNS: Final = 100
"""Runs of one generation."""

_REMEDY = "restore it, or promote the runs again"
_MARK = b"loadgate-baseline"
_SUFFIX = ".baseline"
_CALIBRATIONS = ".calibrations"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", re.ASCII)
_FIRST_LINE = re.compile(rb"loadgate-baseline (\d{1,6}) ([0-9a-f]{64})")
_LARGEST = 1 << 30
"""Bytes that the runs of a generation may take unpacked: far more than they ever do."""


@dataclass(frozen=True)
class Baseline:
    """One generation of a named set of accepted runs.

    `forced` says which rules were overridden when it was promoted; `made_at` is ISO time in UTC.
    """

    name: str
    generation: int
    made_at: str
    forced: tuple[str, ...]
    runs: tuple[KeptRun, ...]

    @property
    def label(self) -> str:
        """Return how it is written: "main@2"."""
        return f"{self.name}@{self.generation}"

    def age(self, now: datetime) -> float:
        """Return the seconds since it was promoted; 0 for one from the future."""
        return max(0.0, (now - datetime.fromisoformat(self.made_at)).total_seconds())


def baselines_root(option: str | None, results: Path) -> Path:
    """Find the folder of the baselines; it need not exist yet.

    The option comes first, then the variable LOADGATE_BASELINES, then `baselines/` beside the results root.
    """
    return Path(option or os.environ.get("LOADGATE_BASELINES") or results.parent / "baselines")


class Baselines:
    """The baselines of one folder. Raises StoreError where the disk or a file refuse."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def names(self) -> list[str]:
        """List the names that have a generation, sorted."""
        with told_as_store_errors("read", self.root):
            folders = sorted(self.root.iterdir()) if self.root.is_dir() else []
        return [folder.name for folder in folders if self.generations(folder.name)]

    def generations(self, name: str) -> list[int]:
        """List the generations of a name, the oldest first; empty where there is no such name."""
        folder = self.root / name
        if not _NAME.fullmatch(name) or not folder.is_dir():
            return []
        with told_as_store_errors("read", folder):
            stems = [path.name.removesuffix(_SUFFIX) for path in folder.glob(f"*{_SUFFIX}")]
        return sorted(int(stem) for stem in stems if stem.isdecimal())

    def promote(
        self, name: str, runs: Sequence[KeptRun], *, now: datetime, forced: Sequence[str] = ()
    ) -> Baseline:
        """Keep runs as the next generation of a name; what was there before stays as it is.

        `now` must know its time zone; `forced` are the reasons that were overridden. The file appears
        whole or not at all.
        """
        if not _NAME.fullmatch(name):
            raise StoreError(
                f"{name!r} is not a name for a baseline", hint="at most 80 letters, digits, '.', '-' and '_'"
            )
        if not 1 <= len(runs) <= MOST_RUNS:
            raise StoreError(f"a baseline has 1 to {MOST_RUNS} runs, not {len(runs)}")
        made_at = now.astimezone(UTC).isoformat(timespec="seconds")
        known = self.generations(name)
        first = max(known, default=0) + 1
        body = zlib.compress(msgpack.packb([run.to_wire() for run in runs]), 6)
        for generation in count(first):
            head = {
                "name": name,
                "generation": generation,
                "made_at": made_at,
                "forced": list(forced),
                "loadgate": loadgate.__version__,
                "runs": [run.id for run in runs],
            }
            path = self._path(name, generation)
            if publish(_sealed(orjson.dumps(head) + b"\n" + body), path):
                return Baseline(name, generation, made_at, tuple(forced), tuple(runs))
        raise AssertionError("unreachable: the numbers do not end")

    def load(self, name: str, generation: int | None = None) -> Baseline:
        """Read a generation of a name, the newest unless one is given.

        Raises StoreError when there is none, when it is damaged, or of another format's version.
        """
        known = self.generations(name)
        if not known:
            near = get_close_matches(name, self.names(), n=3)
            hint = f"did you mean {', '.join(near)}?" if near else "see `loadgate baseline list`"
            raise StoreError(f"there is no baseline {name!r} in {self.root}", hint=hint)
        wanted = known[-1] if generation is None else generation
        if wanted not in known:
            raise StoreError(
                f"there is no {name}@{wanted}", hint=f"there is {', '.join(f'{name}@{n}' for n in known)}"
            )
        return _read(self._path(name, wanted), name, wanted)

    def remove(self, name: str, generation: int | None = None) -> list[Path]:
        """Remove a name with all its generations, or one of them; return the files that are gone."""
        known = self.generations(name)
        chosen = [number for number in known if generation in (None, number)]
        if not chosen:
            self.load(name, generation)  # says why
        paths = [self._path(name, number) for number in chosen]
        for path in paths:
            with told_as_store_errors("remove", path):
                path.unlink(missing_ok=True)
        with suppress(OSError):
            # Anything else in the folder is somebody else's, and keeps it.
            (self.root / name).rmdir()
        return paths

    def add_calibration(self, scenario: str, content: Mapping[str, Any]) -> Path:
        """Keep a calibration beside those before it, and return its path."""
        sealed = {"format": FORMAT, "content": content, "sha256": _checksum(content)}
        data = orjson.dumps(sealed, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        for number in count(1):
            path = self.root / _CALIBRATIONS / f"{scenario}-{number}.json"
            if publish(data, path):
                return path
        raise AssertionError("unreachable: the numbers do not end")

    def calibrations(self) -> Iterator[tuple[Path, dict[str, Any]]]:
        """Give every calibration, the newest first.

        A damaged one, or one of another format, raises StoreError: without it a comparison would be less
        careful than it was told to be.
        """
        folder = self.root / _CALIBRATIONS
        with told_as_store_errors("read", folder):
            paths = list(folder.glob("*.json")) if folder.is_dir() else []
            paths.sort(key=lambda path: (path.stat().st_mtime_ns, path.name), reverse=True)
        for path in paths:
            yield path, _calibration(path)

    def _path(self, name: str, generation: int) -> Path:
        return self.root / name / f"{generation}{_SUFFIX}"


def publish(content: bytes, path: Path) -> bool:
    """Write a file that appears whole or not at all; False, and nothing changed, where the name is taken.

    Raises StoreError when the folder cannot be written.
    """
    draft = path.parent / f".draft-{os.getpid()}-{secrets.token_hex(4)}"
    with told_as_store_errors("write", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with draft.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            # A link fails where the name is taken, which a rename would not.
            os.link(draft, path)
        except FileExistsError:
            return False
        finally:
            draft.unlink(missing_ok=True)
    return True


def _sealed(content: bytes) -> bytes:
    digest = hashlib.sha256(content).hexdigest()
    return b"%s %d %s\n" % (_MARK, FORMAT, digest.encode()) + content


def _read(path: Path, name: str, generation: int) -> Baseline:
    with told_as_store_errors("read", path):
        data = path.read_bytes()
    first, _, content = data.partition(b"\n")
    match = _FIRST_LINE.fullmatch(first)
    if match is None:
        raise StoreError(f"{path} is no baseline, or a damaged one", hint=_REMEDY)
    if int(match[1]) != FORMAT:
        raise StoreError(
            f"{path} has the format's version {int(match[1])}; this Loadgate reads version {FORMAT}",
            hint="promote runs of this version as a new generation, or use the version that wrote it",
        )
    if hashlib.sha256(content).hexdigest().encode() != match[2]:
        raise _damaged(path, "its checksum does not fit")
    line, _, body = content.partition(b"\n")
    try:
        head = orjson.loads(line)
        runs = tuple(KeptRun.from_wire(one) for one in msgpack.unpackb(_inflated(body), strict_map_key=False))
        found = Baseline(
            str(head["name"]), int(head["generation"]), str(head["made_at"]), tuple(head["forced"]), runs
        )
        datetime.fromisoformat(found.made_at)
    except LoadgateError as error:
        raise _damaged(path, error.message) from error
    except (zlib.error, msgpack.UnpackException, KeyError, TypeError, ValueError) as error:
        raise _damaged(path, str(error)) from error
    if (found.name, found.generation) != (name, generation) or not runs:
        raise _damaged(path, f"it is {found.label} under another name")
    return found


def _damaged(path: Path, reason: str) -> StoreError:
    return StoreError(f"{path} is damaged: {reason}", hint=_REMEDY)


def _inflated(body: bytes) -> bytes:
    inflater = zlib.decompressobj()
    data = inflater.decompress(body, _LARGEST)
    if not inflater.eof or inflater.unused_data:
        raise ValueError("it is cut short, or larger than any baseline")
    return data


def _checksum(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _calibration(path: Path) -> dict[str, Any]:
    with told_as_store_errors("read", path):
        data = path.read_bytes()
    hint = "remove it and calibrate again: loadgate calibrate SCENARIO --host URL"
    try:
        sealed = orjson.loads(data)
        version, content, digest = sealed["format"], sealed["content"], sealed["sha256"]
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise StoreError(f"{path} is no calibration, or a damaged one", hint=hint) from error
    if version != FORMAT:
        raise StoreError(
            f"{path} has the format's version {version}; this Loadgate reads version {FORMAT}", hint=hint
        )
    if not isinstance(content, dict) or _checksum(content) != digest:
        raise StoreError(f"{path} is damaged: its checksum does not fit", hint=hint)
    return content
