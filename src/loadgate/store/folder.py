"""Know where runs live: the results folder, the folder of each run, and the newest of them.

results/load-20261122-203512/
    plan.json        the plan, as it was when the run began
    run.db           what the generator measured (see docs/run-database.md)
    watch.db         what the control room saw: probes, alerts, actions, notices
    alerts.json      where the alert rules stood, for a control room that is started again
    evidence-N.json  what was known when alert N acted
    annotations.jsonl  what people noted beside the run
    control.json     who controls the run, its heartbeat, and when nobody controlled it
    stop.json        somebody asked the run to end
    verdict.json     the first verdict; judging again adds verdict-2.json and so on
    report.html      the newest verdict and what was measured, to look at
    log/             what the processes of the run printed
    *.lock, *-wal, *-shm   kept by the writers of the two databases
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path

from loadgate.errors import StoreError
from loadgate.store.connection import open_for_reading, open_for_writing
from loadgate.store.faults import told_as_store_errors
from loadgate.store.lock import is_held
from loadgate.store.schema import run_schema
from loadgate.store.values import read_value

LATEST = "latest"
_ID_TIME = re.compile(r"-(\d{8}-\d{6})(?:-(\d+))?$")
_VERDICT = re.compile(r"verdict(?:-([2-9]|[1-9]\d+))?\.json")
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9._-]+")
_NAME_LENGTH = 80
# Two runs may start in the same second; a thousand of the same scenario do not.
_COLLISIONS = 1_000
# A run that has not ended may be between two writers for a while: its generator is being restarted.
_RESTING_S = 600.0


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run, and the names of the files in it; making one touches no disk."""

    path: Path

    @property
    def id(self) -> str:
        """Give the run's id, which is its folder's name."""
        return self.path.absolute().name

    @property
    def report(self) -> Path:
        """Name the HTML page of what was measured and the newest verdict."""
        return self.path / "report.html"

    @property
    def database(self) -> Path:
        """Name the run database, written by the generator."""
        return self.path / "run.db"

    @property
    def watch_database(self) -> Path:
        """Name the watch database, written by the control room."""
        return self.path / "watch.db"

    @property
    def plan(self) -> Path:
        """Name the plan's snapshot, which the processes of the run read."""
        return self.path / "plan.json"

    @property
    def logs(self) -> Path:
        """Name the folder of the processes' logs."""
        return self.path / "log"

    def verdict_path(self, n: int = 1) -> Path:
        """Name the n-th verdict, counted from 1: `verdict.json`, `verdict-2.json` and so on."""
        if n < 1:
            raise ValueError(f"verdicts are counted from 1, not {n}")
        return self.path / ("verdict.json" if n == 1 else f"verdict-{n}.json")

    def newest_verdict(self) -> int:
        """Return the highest number of a verdict there is, whatever is missing below it; 0 without any.

        Raises OSError where the folder cannot be listed; one that is not there has none.
        """
        if not self.path.is_dir():
            return 0
        found = (_VERDICT.fullmatch(entry.name) for entry in self.path.iterdir())
        return max((int(name[1] or 1) for name in found if name is not None), default=0)


def results_root(option: str | None, scenario_file: Path | None) -> Path:
    """Find the results folder; it need not exist yet.

    The option comes first, then the variable LOADGATE_RESULTS, then `results/` in the nearest folder,
    upwards from the scenario file (or else the working folder), that holds `scenarios/`, then
    `./results`.
    """
    if option:
        return Path(option)
    from_environment = os.environ.get("LOADGATE_RESULTS")
    if from_environment:
        return Path(from_environment)
    # absolute, not resolved: a linked scenario belongs to the project that links it.
    start = scenario_file.absolute().parent if scenario_file is not None else Path.cwd()
    for parent in (start, *start.parents):
        if (parent / "scenarios").is_dir():
            return parent / "results"
    return Path("results")


def create_run(root: Path, scenario_name: str, now: datetime) -> RunFolder:
    """Make the folder of a new run with an empty run database, and so prove that it can be written.

    The id is the scenario's name and `now` in UTC. `now` must know its time zone. Raises StoreError,
    leaving no half-made folder behind, when anything cannot be written.
    """
    if now.tzinfo is None:
        raise ValueError("the start of a run needs a time zone")
    with told_as_store_errors("make the results folder", root):
        if root.exists() and not root.is_dir():
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        root.mkdir(parents=True, exist_ok=True)
    run = _new_folder(root, f"{_safe_name(scenario_name)}-{now.astimezone(UTC):%Y%m%d-%H%M%S}")
    try:
        with told_as_store_errors("write in", run.path):
            run.logs.mkdir()
            _write_probe(run.path / ".probe")
        open_for_writing(run.database, run_schema()).close()
    except BaseException:
        shutil.rmtree(run.path, ignore_errors=True)
        raise
    return run


def find_run(root: Path, name: str) -> RunFolder:
    """Find a run by `latest`, by its id, or by the path of its folder or of a file in it.

    Raises StoreError when there is none; the hint names the ids that come near.
    """
    if name == LATEST:
        runs = list_runs(root)
        if runs:
            return runs[-1]
        raise StoreError(f"there is no run in {root}", hint="start one with `loadgate run`, or set --results")
    if os.sep not in name and _looks_like_run(root / name):
        return RunFolder(root / name)
    path = Path(name)
    if path.is_file() and path.name in ("run.db", "watch.db", "plan.json"):
        path = path.parent
    if _looks_like_run(path):
        return RunFolder(path)
    if path.is_dir():
        raise StoreError(
            f"{path} is not the folder of a run", hint="a run's folder holds plan.json or run.db"
        )
    ids = [run.id for run in list_runs(root)]
    near = get_close_matches(name, ids, n=3) or ids[-3:]
    raise StoreError(
        f"there is no run {name!r} in {root}",
        hint=f"did you mean {', '.join(near)}?"
        if near
        else "start one with `loadgate run`, or set --results",
    )


def list_runs(root: Path) -> list[RunFolder]:
    """List the runs of a results folder, oldest start first; a folder that does not exist has none.

    A run whose database is damaged is listed as well, by the time in its id: leaving it out would let
    `latest` mean an older run without a word.
    """
    with told_as_store_errors("list", root):
        if not root.exists():
            return []
        if not root.is_dir():
            raise StoreError(
                f"{root} is not a folder", hint="name the folder that holds the runs with --results"
            )
        runs = [RunFolder(entry) for entry in root.iterdir() if _looks_like_run(entry)]
        starts = {run: _started(run) for run in runs}
    return sorted(runs, key=lambda run: (starts[run], _collision(run.id), run.id))


def prune(root: Path, keep: int) -> list[RunFolder]:
    """Remove the oldest runs until `keep` are left, and return those that were removed.

    A run that is being written counts but is never removed, nor is a folder whose run.db does not
    bear Loadgate's mark, nor a link.
    """
    if keep < 0:
        raise ValueError(f"the number of runs to keep cannot be {keep}")
    runs = list_runs(root)
    removed = []
    for run in runs[: max(len(runs) - keep, 0)]:
        with told_as_store_errors("remove", run.path):
            if has_mark(run) and not is_being_written(run, time.time()):
                # The database goes last: a removal that is cut short can still be recognised and repeated.
                for entry in sorted(run.path.iterdir(), key=lambda entry: entry.name == run.database.name):
                    _remove(entry)
                run.path.rmdir()
                removed.append(run)
    return removed


def is_being_written(run: RunFolder, now: float) -> bool:
    """Tell whether a run may still grow: a living process writes it, or it is between two writers.

    `now` is wall-clock seconds. A run that has no end and was changed in the last ten minutes counts as
    being written, since its generator may be restarting, or may write from another machine.
    """
    if is_held(run.database) or is_held(run.watch_database):
        return True
    if _value(run, "ended") is not None:
        return False
    # Readers make and touch the index file, and an empty log; only writers fill a log.
    facts = [entry.stat() for entry in run.path.iterdir() if not entry.name.endswith("-shm")]
    changes = [fact.st_mtime for fact in facts if fact.st_size > 0]
    return now - max(changes, default=0.0) < _RESTING_S


def has_mark(run: RunFolder) -> bool:
    """Tell whether the folder's run.db begins as a run database of Loadgate does."""
    with suppress(OSError), run.database.open("rb") as file:
        header = file.read(72)
        return header[:16] == b"SQLite format 3\0" and header[68:72] == run_schema().application_id.to_bytes(
            4
        )
    return False


def _new_folder(root: Path, stem: str) -> RunFolder:
    for path in _candidates(root, stem):
        with told_as_store_errors("make the run's folder", path), suppress(FileExistsError):
            path.mkdir()
            return RunFolder(path)
    raise StoreError(
        f"too many runs named {stem} in {root}", hint="remove old runs, or choose another folder"
    )


def _candidates(root: Path, stem: str) -> Iterator[Path]:
    yield root / stem
    for n in range(2, _COLLISIONS):
        yield root / f"{stem}-{n}"


def _safe_name(scenario_name: str) -> str:
    return _NOT_IN_A_NAME.sub("-", scenario_name).strip("-.")[:_NAME_LENGTH] or "run"


def _write_probe(path: Path) -> None:
    # 64 KiB, so that a disk with a few free bytes is refused as well.
    with path.open("xb", buffering=0) as file:
        file.write(bytes(65_536))
    path.unlink()


def _looks_like_run(path: Path) -> bool:
    if path.is_symlink() or not path.is_dir():
        return False
    return (path / "run.db").is_file() or (path / "plan.json").is_file()


def _started(run: RunFolder) -> float:
    """Give the wall-clock second of a run's start: as recorded, else from its id, else by its folder."""
    text = _value(run, "started_at")
    if isinstance(text, str):
        with suppress(ValueError):
            return _in_utc(datetime.fromisoformat(text)).timestamp()
    match = _ID_TIME.search(run.id)
    if match:
        with suppress(ValueError):
            return datetime.strptime(match[1], "%Y%m%d-%H%M%S").replace(tzinfo=UTC).timestamp()
    return run.path.stat().st_mtime


def _in_utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _collision(run_id: str) -> int:
    match = _ID_TIME.search(run_id)
    return int(match[2] or 1) if match else 1


def _value(run: RunFolder, key: str) -> object:
    """Read one value of a run, or None where there is none or its database cannot be read."""
    with suppress(StoreError):
        # Every version has the `run` table; copying a long run to migrate it would be a waste here.
        opened = open_for_reading(run.database, run_schema(), as_it_is=True)
        try:
            with told_as_store_errors("read", run.database):
                return read_value(opened.connection, key)
        finally:
            opened.close()
    return None


def _remove(entry: Path) -> None:
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry)
    else:
        entry.unlink()
