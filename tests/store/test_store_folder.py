"""Run folders: where results go, what a run is called, which one is the latest, what may be removed."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from loadgate.errors import StoreError
from loadgate.store import folder
from loadgate.store.database import RunReader, open_writer
from loadgate.store.folder import RunFolder, create_run, find_run, list_runs, prune, results_root

NOW = datetime(2026, 11, 22, 20, 35, 12, tzinfo=UTC)
LONG_AGO = 1_000_000_000


def _ended(root: Path, name: str, now: datetime, **values: Any) -> RunFolder:
    """Make a run that ended long ago."""
    run = create_run(root, name, now)
    with open_writer(run.database) as writer:
        writer.commit(run_values={"ended": "planned", "started_at": now.isoformat(), **values})
    return run


def _age(run: RunFolder) -> None:
    for entry in run.path.iterdir():
        os.utime(entry, (LONG_AGO, LONG_AGO))


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOADGATE_RESULTS", raising=False)


def test_the_option_names_the_results_folder_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """--results wins over LOADGATE_RESULTS, which wins over the project's own folder."""
    monkeypatch.setenv("LOADGATE_RESULTS", "/from/environment")
    assert results_root("/from/option", None) == Path("/from/option")
    assert results_root(None, None) == Path("/from/environment")


def test_results_lie_beside_the_scenarios(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The nearest folder upwards that holds `scenarios/` holds `results/` too."""
    (tmp_path / "project" / "scenarios" / "deep").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert results_root(None, tmp_path / "project/scenarios/deep/a.toml") == tmp_path / "project/results"
    monkeypatch.chdir(tmp_path / "project" / "scenarios")
    assert results_root(None, None) == tmp_path / "project/results"


def test_results_lie_here_without_scenarios(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no parent holds `scenarios/`, results go below the working folder."""
    monkeypatch.chdir(tmp_path)
    assert results_root(None, None) == Path("results")


def test_a_run_is_named_by_scenario_and_start_in_utc(tmp_path: Path) -> None:
    """The id is the same wherever the machine's clock believes to be; the files have fixed names."""
    berlin = NOW.astimezone(timezone(timedelta(hours=1)))
    run = create_run(tmp_path / "new" / "results", "load", berlin)
    assert run.id == "load-20261122-203512"
    assert run.database == run.path / "run.db"
    assert run.watch_database == run.path / "watch.db"
    assert run.plan == run.path / "plan.json"
    assert run.logs.is_dir()
    assert [run.verdict_path(n).name for n in (1, 2, 3)] == [
        "verdict.json",
        "verdict-2.json",
        "verdict-3.json",
    ]


def test_a_new_run_reads_as_empty(tmp_path: Path) -> None:
    """Its database is there with all its tables and nothing in them."""
    run = create_run(tmp_path, "load", NOW)
    with RunReader(run.database) as reader:
        assert (list(reader.windows()), reader.value("ended", "unset")) == ([], "unset")


def test_runs_of_one_second_get_a_suffix(tmp_path: Path) -> None:
    """A folder is never used twice, and the later run is the later one."""
    ids = [create_run(tmp_path, "load", NOW).id for _ in range(3)]
    assert ids == ["load-20261122-203512", "load-20261122-203512-2", "load-20261122-203512-3"]
    assert find_run(tmp_path, "latest").id == ids[2]


def test_a_name_cannot_leave_the_folder(tmp_path: Path) -> None:
    """What a file name should not hold becomes a dash."""
    assert create_run(tmp_path, "../a b/ü", NOW).path == tmp_path / "a-b-20261122-203512"
    assert create_run(tmp_path, "..", NOW).path == tmp_path / "run-20261122-203512"


def test_a_start_without_time_zone_is_refused(tmp_path: Path) -> None:
    """A naive time could mean any hour."""
    with pytest.raises(ValueError, match="time zone"):
        create_run(tmp_path, "load", NOW.replace(tzinfo=None))


def test_a_file_in_the_way_is_told(tmp_path: Path) -> None:
    """A results root that is a file, or lies below one, is an error with a hint."""
    (tmp_path / "file").write_text("")
    for root in (tmp_path / "file", tmp_path / "file" / "results"):
        with pytest.raises(StoreError, match="not a folder") as caught:
            create_run(root, "load", NOW)
        assert "--results" in caught.value.hint


def test_a_place_that_takes_no_files_is_told() -> None:
    """/proc takes no folders, from root neither."""
    with pytest.raises(StoreError, match="cannot make") as caught:
        create_run(Path("/proc/loadgate"), "load", NOW)
    assert "--results" in caught.value.hint


def test_a_folder_without_permission_is_told() -> None:
    """A root that may be read but not written is an error with a hint."""
    code = (
        "import os, sys, datetime\n"
        "from pathlib import Path\n"
        "from loadgate.errors import StoreError\n"
        "from loadgate.store.folder import create_run\n"
        "if os.getuid() == 0: os.setuid(65534)\n"
        "try: create_run(Path(sys.argv[1]), 'load', datetime.datetime.now(datetime.UTC))\n"
        "except StoreError as error: print(error.message, '|', error.hint)\n"
    )
    with tempfile.TemporaryDirectory(dir="/tmp") as root:
        os.chmod(root, 0o555)
        done = subprocess.run([sys.executable, "-c", code, root], capture_output=True, text=True)
    assert "permission denied" in done.stdout, done.stderr
    assert "--results" in done.stdout


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ENOSPC at the first bytes is an error with a hint, and the half-made folder is gone."""

    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(folder, "_write_probe", full)
    with pytest.raises(StoreError, match="the disk is full") as caught:
        create_run(tmp_path, "load", NOW)
    assert "free some space" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_latest_is_the_newest_start(tmp_path: Path) -> None:
    """The recorded start counts, not the name's order nor the time of the files."""
    create_run(tmp_path, "zeta", NOW)
    newest = _ended(tmp_path, "alpha", NOW, started_at="2026-11-23T08:00:00+00:00")
    create_run(tmp_path, "middle", NOW + timedelta(hours=1))
    _age(newest)
    assert [run.id.split("-")[0] for run in list_runs(tmp_path)] == ["zeta", "middle", "alpha"]
    assert find_run(tmp_path, "latest") == newest


def test_latest_is_never_an_older_run_by_damage(tmp_path: Path) -> None:
    """A newest run whose database is damaged is still the latest, so that nobody judges another."""
    create_run(tmp_path, "load", NOW)
    broken = create_run(tmp_path, "load", NOW + timedelta(seconds=1))
    broken.database.write_bytes(b"garbage")
    assert find_run(tmp_path, "latest") == broken


def test_a_run_is_found_by_id_and_by_path(tmp_path: Path) -> None:
    """An id is looked up in the root; a path may be the folder or a file in it."""
    run = create_run(tmp_path, "load", NOW)
    for name in (run.id, str(run.path), str(run.database)):
        assert find_run(tmp_path, name).path == run.path


def test_an_unknown_run_names_its_neighbours(tmp_path: Path) -> None:
    """The hint holds ids that come near; without any run it says how to start one."""
    with pytest.raises(StoreError, match="no run") as caught:
        find_run(tmp_path, "latest")
    assert "loadgate run" in caught.value.hint
    create_run(tmp_path, "load", NOW)
    with pytest.raises(StoreError, match="no run 'laod-20261122-203512'") as caught:
        find_run(tmp_path, "laod-20261122-203512")
    assert "load-20261122-203512" in caught.value.hint


def test_a_folder_that_is_no_run_is_told(tmp_path: Path) -> None:
    """A folder without plan or database is not taken for a run."""
    (tmp_path / "other").mkdir()
    with pytest.raises(StoreError, match="not the folder of a run"):
        find_run(tmp_path, str(tmp_path / "other"))


def test_prune_removes_the_oldest(tmp_path: Path) -> None:
    """As many as asked stay, the newest ones."""
    runs = [_ended(tmp_path, "load", NOW + timedelta(seconds=n)) for n in range(4)]
    assert prune(tmp_path, keep=2) == runs[:2]
    assert list_runs(tmp_path) == runs[2:]


def test_prune_leaves_what_is_no_run(tmp_path: Path) -> None:
    """Notes, other folders, other databases, damaged runs and links are never removed."""
    (tmp_path / "README.md").write_text("x")
    (tmp_path / "other").mkdir()
    (tmp_path / "planned").mkdir()
    (tmp_path / "planned" / "plan.json").write_text("{}")
    damaged = _ended(tmp_path, "damaged", NOW)
    damaged.database.write_bytes(b"garbage")
    real = _ended(tmp_path / "elsewhere", "real", NOW)
    (tmp_path / "link").symlink_to(real.path)
    assert prune(tmp_path, keep=0) == []
    assert real.database.exists()
    assert damaged.path.exists()


def test_prune_leaves_a_run_with_a_living_writer(tmp_path: Path) -> None:
    """A lock that is held keeps a run, however old its files are, and ended or not."""
    run = _ended(tmp_path, "load", NOW)
    _age(run)
    with open_writer(run.database):
        assert prune(tmp_path, keep=0) == []
    assert prune(tmp_path, keep=0) == [run]


def test_prune_leaves_a_run_between_two_writers(tmp_path: Path) -> None:
    """A run without an end stays while it was changed lately, and goes when it is long dead."""
    run = create_run(tmp_path, "load", NOW)
    assert prune(tmp_path, keep=0) == []
    _age(run)
    assert prune(tmp_path, keep=0) == [run]
    assert not run.path.exists()
