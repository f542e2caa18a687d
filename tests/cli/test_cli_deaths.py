"""A worker, the master or the target dies in mid-run: the run ends, says so, and never passes."""

from __future__ import annotations

import pytest

from loadgate.store.database import RunReader

pytestmark = pytest.mark.system

SLA_WITH_ALERT = """
[[objective]]
metric = "error_rate"
target = "< 1%"
alert  = "> 2%"
every  = "30s"
"""


def test_the_loss_of_the_only_worker_ends_the_run(loadgate, service) -> None:
    """Nobody makes load any more: the run ends early, is not a PASS, and names the loss."""
    running = loadgate.start("run", loadgate.scenario(service.url, hold="60s"))
    running.until_answered()
    running.part("--worker").kill()
    done = running.wait(30)
    assert done.code in (20, 30), done
    verdict = running.verdict()
    assert verdict["verdict"] in ("FAIL", "INVALID")
    assert verdict["exit_code"] == done.code
    assert "worker" in done.out.partition("RESULT")[0], done
    assert "worker_lost" in running.events()
    assert running.left() == []


def test_the_death_of_the_master_ends_the_run(loadgate, service) -> None:
    """What it had written stands and is judged; the workers end with it."""
    running = loadgate.start("run", loadgate.scenario(service.url, hold="60s"))
    running.until_answered()
    running.part("--master").kill()
    done = running.wait(30)
    assert done.code in (20, 30), done
    verdict = running.verdict()
    assert verdict["ended"] == "died"
    assert verdict["verdict"] in ("FAIL", "INVALID")
    assert "the generator died" in done.err, done
    assert running.left() == []
    loadgate.run("runs").expect(0, out="died")


def test_the_death_of_the_target_is_counted_and_fails(loadgate, fresh_service) -> None:
    """The run goes on as planned, every request to the dead target is a failure with its kind."""
    scenario = loadgate.scenario(fresh_service.url, hold="8s", sla=SLA_WITH_ALERT)

    def attempt():
        if fresh_service.returncode is not None:
            fresh_service.start()
        running = loadgate.start("run", scenario, "--host", fresh_service.url)
        running.until_answered()
        fresh_service.kill()
        return running, running.wait(40)

    running, done = loadgate.quiet(attempt)
    done.expect(20, out="connection refused")
    verdict = running.verdict()
    assert (verdict["ended"], verdict["verdict"]) == ("planned", "FAIL"), done
    with RunReader(running.folder_of_run().database) as reader:
        assert "connection refused" in {failure.kind for failure in reader.failures()}
        assert reader.total().imbalance == 0
    assert running.left() == []


def test_a_dead_port_is_told_before_any_load(loadgate) -> None:
    """Exit 40 with what was tried, and no folder of a run that never was."""
    running = loadgate.start("run", loadgate.scenario("http://127.0.0.1:9"))
    running.wait().expect(40, out="", err=r"127\.0\.0\.1 port 9: connection refused")
    assert not running.results.exists()
