"""What `loadgate resume` and `soak --resume` refuse, each with its remedy."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from loadgate import __version__
from loadgate.cli.control_room import Request
from loadgate.cli.resume import (
    Newest,
    ResumedRoom,
    newest_soak_of,
    refuse_another_plan,
    wait_out_doubt,
)
from loadgate.errors import StoreError, UsageError
from loadgate.plan.moved_end import moved
from loadgate.plan.plan import load_plan
from loadgate.store.control_lock import ControlLock, Owner, refuse_if_controlled
from loadgate.store.database import Event, open_writer
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

    def write(run: RunFolder, *, supervised: bool = True, **values: Any) -> Path:
        locustfile = loadgate.write("traffic.py", LOCUSTFILE)
        scenario = loadgate.scenario("http://127.0.0.1:9", name="load", locustfile=locustfile)
        plan = load_plan(scenario)
        run.plan.write_bytes(plan.to_json())
        files = {"traffic.py": sha256_of(locustfile)}
        fingerprint = {"version": __version__, "code": own_code(), "files": files}
        stored = {
            "plan": orjson.loads(plan.to_json()),
            "mode": "distributed",
            "fingerprint": fingerprint,
            "versions": {"loadgate": __version__},
        }
        with open_writer(run.database) as writer:
            writer.commit([], run_values=stored | values)
        ControlLock(run, owner := Owner.here(Now.read(), supervised=supervised)).take(owner)
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
    """It is judged by its own plan, of which it held no steady phase; a first verdict is kept."""
    run = stored()
    plan_of(run)
    said = told("soak", tmp_path / "load.toml", "--resume", "--once")
    said.expect(
        30, err=rf"{run.id} has ended \(planned\); nothing is started\n.*judged by its own plan: INVALID"
    )
    assert run.verdict_path().exists()
    again = told("soak", tmp_path / "load.toml", "--resume", "--once")
    again.expect(30, out="", err="judged by its own plan: INVALID")
    assert not run.verdict_path(2).exists()


def test_once_asks_no_verdict_that_somebody_made_since(told: Any, stored: Store, plan_of, tmp_path) -> None:
    """Neither an edited file nor one of a looser table lets a service end well."""
    run = stored()
    plan_of(run)
    assert told("verdict", run.id).code == 30
    edited = orjson.loads(run.verdict_path().read_bytes()) | {"verdict": "PASS", "exit_code": 0}
    run.verdict_path(2).write_bytes(orjson.dumps(edited))
    told("soak", tmp_path / "load.toml", "--resume", "--once").expect(30, out="", err="INVALID")


@pytest.mark.parametrize("ended", ["planned", None])
@pytest.mark.parametrize(
    ("options", "differs"),
    [
        (("--host", "http://127.0.0.1:8"), "host: http://127.0.0.1:9 and http://127.0.0.1:8"),
        (("--set", "traffic.seed=7"), "traffic.seed: 1 and 7"),
        (("--workers", "3"), "generator.workers: 1 and 3"),
    ],
)
def test_a_soak_that_was_asked_for_otherwise_is_refused(
    told: Any,
    stored: Store,
    plan_of,
    tmp_path: Path,
    ended: str | None,
    options: tuple[str, ...],
    differs: str,
) -> None:
    """Whether it would be gone on with or judged: what differs is told, and nothing is started."""
    run = stored(ended=ended)
    plan_of(run)
    said = told("soak", tmp_path / "load.toml", "--resume", "--once", *options)
    said.expect(2, out="", err=rf"{run.id} follows another plan: {differs}\n.*loadgate resume {run.id}")


def test_a_soak_whose_scenario_was_edited_is_refused(
    told: Any, stored: Store, plan_of, loadgate: Any
) -> None:
    """By what it asks for: a comment changes nothing."""
    run = stored()
    scenario = loadgate.folder / "load.toml"
    plan_of(run)
    text = scenario.read_text()
    scenario.write_text("# as it was\n" + text)
    told("soak", scenario, "--resume", "--once").expect(30, err="has ended")
    scenario.write_text(text.replace('hold = "4s"', 'hold = "5s"'))
    told("soak", scenario, "--resume", "--once").expect(2, err=r"traffic\.stages\[1\]\.hold: 4\.0 and 5\.0")


def test_what_a_moved_end_put_in_is_no_difference(stored: Store, plan_of, tmp_path: Path) -> None:
    """The stages are cut at 1 s, and a pause to 3 s is between them; plan.json may be one move behind."""
    run = stored(ended=None)
    plan_of(run)
    wanted = load_plan(tmp_path / "load.toml")
    new = moved(wanted, 1.0, 3.0)
    assert new is not None
    with open_writer(run.database) as writer:
        detail = {"from": 4.0, "to": 6.0, "pause": [1, 3]}
        event = Event(3.0, "end_moved", detail)
        writer.commit([], events=[event], run_values={"plan": orjson.loads(new.to_json())})
    refuse_another_plan(run, wanted)
    run.plan.write_bytes(new.to_json())
    refuse_another_plan(run, wanted)
    with pytest.raises(UsageError, match=r"traffic\.seed"):
        refuse_another_plan(run, load_plan(tmp_path / "load.toml", overrides=["traffic.seed=7"]))


def test_a_copy_of_the_plan_that_was_edited_is_refused(stored: Store, plan_of, tmp_path: Path) -> None:
    """It is what the processes would read."""
    run = stored(ended=None)
    plan_of(run)
    wanted = load_plan(tmp_path / "load.toml")
    run.plan.write_bytes(load_plan(tmp_path / "load.toml", host="http://127.0.0.1:8").to_json())
    with pytest.raises(UsageError, match=r"host: http://127\.0\.0\.1:8 and http://127\.0\.0\.1:9"):
        refuse_another_plan(run, wanted)


def test_other_runs_of_the_scenario_hide_no_soak(stored: Store, plan_of, tmp_path: Path) -> None:
    """A watch, a run of stock Locust, and one that nobody supervised are newer than it."""
    soak = stored(minute=0, ended=None)
    plan_of(soak)
    plan_of(stored(minute=1), mode="watch")
    plan_of(run_of_locust := stored(minute=2))
    (run_of_locust.path / "control.json").unlink()
    plan_of(stored(minute=3), supervised=False)
    assert newest_soak_of("load", tmp_path / "results") == Newest(soak, None)
    assert newest_soak_of("other", tmp_path / "results") is None


def test_a_run_that_may_be_the_soak_is_not_passed_over(stored: Store, plan_of, tmp_path: Path) -> None:
    """Nobody can tell whether it was one: its control.json is damaged."""
    plan_of(stored(minute=0, ended=None))
    plan_of(newer := stored(minute=1, ended=None))
    (newer.path / "control.json").write_bytes(b"")
    with pytest.raises(StoreError, match=r"control\.json is damaged"):
        newest_soak_of("load", tmp_path / "results")


def test_a_run_whose_owner_cannot_be_read_is_not_taken_up(told: Any, stored: Store, plan_of) -> None:
    """It may live elsewhere, and where its master listens is not known."""
    run = stored(ended=None)
    plan_of(run)
    (run.path / "control.json").write_bytes(b"")
    told("resume", run.id).expect(2, out="", err=r"control\.json is damaged.*\n.*whole copy")


class Clock:
    """The clocks of this machine, which only go on while somebody sleeps."""

    def __init__(self, then: Callable[[], None] = lambda: None) -> None:
        self.slept, self._then, self._began = 0.0, then, Now.read()

    def read(self) -> Now:
        return replace(
            self._began,
            monotonic=self._began.monotonic + self.slept,
            wall=self._began.wall + self.slept,
        )

    def sleep(self, seconds: float) -> None:
        self.slept += seconds
        self._then()


def test_a_machine_that_was_started_anew_waits_until_nobody_can_live(stored: Store, capsys: Any) -> None:
    """The last beat was 30 s ago by a machine of this name: 60 s of 90 are left."""
    run, clock = stored(ended=None), Clock()
    beat = clock.read().wall - 30.0
    owner = replace(Owner.here(clock.read()), boot_id="before the restart", beat=beat)
    ControlLock(run, owner).take(owner)
    wait_out_doubt(run, clock.read, clock.sleep)
    assert clock.slept == pytest.approx(60.0)
    assert "waiting 60 s for a sign of life" in capsys.readouterr().err
    assert "its lock is stale" in refuse_if_controlled(run, clock.read())


def test_another_machine_of_the_same_name_ends_the_wait(stored: Store) -> None:
    """With its next beat, and then it is refused as what runs elsewhere."""
    run = stored(ended=None)
    clock = Clock(lambda: ControlLock(run, owner).take(replace(owner, beat=owner.beat + 2.0)))
    owner = replace(Owner.here(clock.read()), boot_id="another machine")
    ControlLock(run, owner).take(owner)
    wait_out_doubt(run, clock.read, clock.sleep)
    assert clock.slept == 1.0
    with pytest.raises(StoreError, match="running elsewhere"):
        refuse_if_controlled(run, clock.read())


def test_once_takes_resume(told: Any, tmp_path: Path) -> None:
    """Alone it would mean nothing."""
    told("soak", tmp_path / "load.toml", "--once").expect(2, out="", err="--once goes with --resume")


def test_a_soak_goes_on_with_the_newest_run_alone(told: Any, stored: Store, plan_of, tmp_path: Path) -> None:
    """An older one without an end was given up when the newer one was started."""
    stored(minute=0, ended=None)
    newer = stored(minute=5)
    plan_of(newer)
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
