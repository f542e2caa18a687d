"""What `loadgate resume` and `soak --resume` refuse, each with its remedy."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from loadgate import __version__
from loadgate.cli.control_room import Request
from loadgate.cli.resume import ResumedRoom
from loadgate.plan.plan import load_plan
from loadgate.store.control_lock import ControlLock, Owner
from loadgate.store.database import open_writer
from loadgate.store.folder import RunFolder
from loadgate.store.lock import WriterLock
from loadgate.store.run_clock import Now
from loadgate.swarm.fingerprint import own_code, sha256_of
from loadgate.swarm.launch import Listen

Store = Callable[..., RunFolder]
LOCUSTFILE = "from loadgate import LoadUser\n"


@pytest.fixture
def plan_of(loadgate: Any) -> Callable[..., Path]:
    """Give a stored run a plan, and what a run that was cut off has; return its locustfile."""

    def write(run: RunFolder, **values: Any) -> Path:
        locustfile = loadgate.write("traffic.py", LOCUSTFILE)
        scenario = loadgate.scenario("http://127.0.0.1:9", name="load", locustfile=locustfile)
        plan = load_plan(scenario)
        run.plan.write_bytes(plan.to_json())
        files = {"traffic.py": sha256_of(locustfile)}
        fingerprint = {"version": __version__, "code": own_code(), "files": files}
        stored = {
            "mode": "distributed",
            "fingerprint": fingerprint,
            "versions": {"loadgate": __version__},
        }
        with open_writer(run.database) as writer:
            writer.commit([], run_values=stored | values)
        ControlLock(run, owner := Owner.here(Now.read())).take(owner)
        return locustfile

    return write


def test_a_run_that_has_ended_is_refused(told: Any, stored: Store, plan_of) -> None:
    """There is nothing to go on with."""
    run = stored()
    plan_of(run)
    told("resume", run.id).expect(2, out="", err=r"has ended \(planned\).*\n.*loadgate status")


def test_a_run_whose_load_never_began_is_refused(told: Any, stored: Store, plan_of) -> None:
    """Why it did not, where that is known."""
    run = stored(ended=None)
    plan_of(run, anchor=None, fault="no worker came")
    told("resume", run.id).expect(2, out="", err="never began: no worker came")


def test_a_run_of_another_version_is_refused(told: Any, stored: Store, plan_of) -> None:
    """Both versions are named."""
    run = stored(ended=None)
    plan_of(run, versions={"loadgate": "0.0.1"})
    told("resume", run.id).expect(2, out="", err=rf"made by Loadgate 0\.0\.1, and this is {__version__}")


def test_a_run_whose_locustfile_was_changed_is_refused(told: Any, stored: Store, plan_of) -> None:
    """The file is named; with its old content nothing is said against it."""
    run = stored(ended=None)
    locustfile = plan_of(run)
    locustfile.write_text(LOCUSTFILE + "# other traffic\n")
    told("resume", run.id).expect(2, out="", err=r"traffic\.py was changed.*\n.*put back")


def test_a_run_whose_locustfile_is_gone_is_refused(told: Any, stored: Store, plan_of) -> None:
    """It is named as well."""
    run = stored(ended=None)
    plan_of(run).unlink()
    told("resume", run.id).expect(2, out="", err=r"traffic\.py cannot be read")


def test_a_run_that_is_controlled_here_is_refused(told: Any, stored: Store, plan_of) -> None:
    """By the kernel's lock."""
    run = stored(ended=None)
    plan_of(run)
    lock = WriterLock(run.watch_database)
    try:
        told("resume", run.id).expect(2, out="", err=r"is still running.*\n.*loadgate stop")
    finally:
        lock.release()


def test_a_run_that_is_controlled_elsewhere_is_refused(told: Any, stored: Store, plan_of) -> None:
    """By its heartbeat, with host and process."""
    run = stored(ended=None)
    plan_of(run)
    ControlLock(run, owner := replace(Owner.here(Now.read()), host="far-away", pid=4711)).take(owner)
    assert platform.node() != "far-away"
    told("resume", run.id).expect(2, out="", err="running elsewhere: process 4711 on far-away")


@pytest.mark.parametrize("mode", ["standalone", "watch"])
def test_what_no_control_room_made_is_refused(told: Any, stored: Store, plan_of, mode: str) -> None:
    """A watch or a run of stock Locust has no generator to start again."""
    run = stored(ended=None)
    plan_of(run, mode=mode)
    told("resume", run.id).expect(2, out="", err="was not made by `loadgate run`")


def test_a_run_without_a_plan_is_refused(told: Any, stored: Store) -> None:
    """It is the plan that is gone on with."""
    told("resume", stored(ended=None).id).expect(2, out="", err="has no plan")


def test_a_damaged_plan_is_refused(told: Any, stored: Store, plan_of) -> None:
    """With where it is."""
    run = stored(ended=None)
    plan_of(run)
    run.plan.write_bytes(b'{"version": 1')
    told("resume", run.id).expect(2, out="", err=r"plan\.json.*is not a plan")


def test_a_damaged_database_is_refused(told: Any, stored: Store, plan_of) -> None:
    """Nothing is written over it."""
    run = stored(ended=None)
    plan_of(run)
    for path in run.path.glob("run.db-*"):
        path.unlink()
    run.database.write_bytes(b"no database at all" * 100)
    told("resume", run.id).expect(2, out="")
    assert run.database.read_bytes() == b"no database at all" * 100


def test_once_starts_nothing_after_the_end(told: Any, stored: Store, plan_of, tmp_path: Path) -> None:
    """It exits by the verdict of the run that has ended: this one held no steady phase of its plan."""
    run = stored()
    plan_of(run)
    assert told("verdict", run.id).code == 30
    said = told("soak", tmp_path / "load.toml", "--resume", "--once")
    said.expect(30, out="", err=rf"{run.id} has ended \(planned\); nothing is started")


def test_once_takes_resume(told: Any, tmp_path: Path) -> None:
    """Alone it would mean nothing."""
    told("soak", tmp_path / "load.toml", "--once").expect(2, out="", err="--once goes with --resume")


def test_a_soak_goes_on_with_the_newest_run_alone(told: Any, stored: Store, plan_of, tmp_path: Path) -> None:
    """An older one without an end was given up when the newer one was started."""
    stored(minute=0, ended=None)
    newer = stored(minute=5)
    plan_of(newer)
    told("verdict", newer.id)
    told("soak", tmp_path / "load.toml", "--resume", "--once").expect(30, err=f"{newer.id} has ended")


def test_a_distributed_run_goes_on_where_its_master_listened(told: Any, stored: Store, plan_of) -> None:
    """Its workers of other hosts know that address; the command need not say it again."""
    run = stored(ended=None)
    plan_of(run)
    owner = Owner.here(Now.read(), supervised=True, listen=("127.0.0.1", 5999, 45.0))
    ControlLock(run, owner).take(owner)
    room = ResumedRoom(run, Request(scenario=Path(), supervised=True))
    room._check(room.plan)
    assert room.request.listen == Listen("127.0.0.1", 5999, 45.0)
