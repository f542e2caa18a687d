"""A worker, the master or the target dies in mid-run: the run ends, says so, and never passes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import psutil
import pytest
from loadgate_command import Done, Loadgate, Running

from beside import beside
from loadgate.staging.server import StagingService
from loadgate.store.database import RunReader

# All runs are played before the first test, on a machine that may be busy with others.
pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

SLA_WITH_ALERT = """
[[objective]]
metric = "error_rate"
target = "< 1%"
alert  = "> 2%"
every  = "30s"
"""


# -- the stories --------------------------------------------------------------------------------


@dataclass
class Played:
    """A run that ended, what it said, and what was left of it then."""

    loadgate: Loadgate
    running: Running
    done: Done
    left: list[psutil.Process]


def part_dies(word: str, loadgate: Loadgate, target: StagingService) -> tuple[Running, Done]:
    running = loadgate.start("run", loadgate.scenario(target.url, hold="60s"))
    running.until_answered()
    running.part(word).kill()
    return running, running.wait(60)


def target_dies(loadgate: Loadgate, target: StagingService) -> tuple[Running, Done]:
    scenario = loadgate.scenario(target.url, hold="8s", sla=SLA_WITH_ALERT)

    def attempt() -> tuple[Running, Done]:
        if target.returncode is not None:
            target.start()
        running = loadgate.start("run", scenario, "--host", target.url)
        running.until_answered()
        target.kill()
        return running, running.wait(40)

    return loadgate.quiet(attempt)


STORIES = {
    "worker": partial(part_dies, "--worker"),
    "master": partial(part_dies, "--master"),
    "target": target_dies,
}


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """Play all of them side by side, each with a target of its own."""
    folder = tmp_path_factory.mktemp("deaths")

    def play(name):
        (folder / name).mkdir()
        with StagingService() as target, Loadgate(folder / name) as loadgate:
            running, done = STORIES[name](loadgate, target)
            return Played(loadgate, running, done, running.left())

    return beside({name: partial(play, name) for name in STORIES}, at_once=3)


# -- what they show -----------------------------------------------------------------------------


def test_the_loss_of_the_only_worker_ends_the_run(played) -> None:
    """Nobody makes load any more: the run ends early, is not a PASS, and names the loss."""
    run = played["worker"].result()
    assert run.done.code in (20, 30), run.done
    verdict = run.running.verdict()
    assert verdict["verdict"] in ("FAIL", "INVALID")
    assert verdict["exit_code"] == run.done.code
    assert "worker" in run.done.out.partition("RESULT")[0], run.done
    assert "worker_lost" in run.running.events()
    assert run.left == []


def test_the_death_of_the_master_ends_the_run(played) -> None:
    """What it had written stands and is judged; the workers end with it."""
    run = played["master"].result()
    assert run.done.code in (20, 30), run.done
    verdict = run.running.verdict()
    assert verdict["ended"] == "died"
    assert verdict["verdict"] in ("FAIL", "INVALID")
    assert "the generator died" in run.done.err, run.done
    assert run.left == []
    run.loadgate.run("runs").expect(0, out="died")


def test_the_death_of_the_target_is_counted_and_fails(played) -> None:
    """The run goes on as planned, every request to the dead target is a failure with its kind."""
    run = played["target"].result()
    run.done.expect(20, out="connection refused")
    verdict = run.running.verdict()
    assert (verdict["ended"], verdict["verdict"]) == ("planned", "FAIL"), run.done
    with RunReader(run.running.folder_of_run().database) as reader:
        assert "connection refused" in {failure.kind for failure in reader.failures()}
        assert reader.total().imbalance == 0
    assert run.left == []


def test_a_dead_port_is_told_before_any_load(loadgate) -> None:
    """Exit 40 with what was tried, and no folder of a run that never was."""
    running = loadgate.start("run", loadgate.scenario("http://127.0.0.1:9"))
    running.wait().expect(40, out="", err=r"127\.0\.0\.1 port 9: connection refused")
    assert not running.results.exists()
