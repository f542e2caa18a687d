"""`loadgate soak`: what it says first, a pause, and the death that is one too many."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import Future
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from loadgate_command import Loadgate

from beside import beside
from loadgate.cli.soak import announcement
from loadgate.plan.plan import load_plan
from loadgate.store.database import RunReader

CONTINUE = """
[generator]
on_worker_loss = "continue"
preflight      = "off"
"""


def test_a_soak_says_what_it_will_do(loadgate: Any) -> None:
    """Length, rate, target, planned end in local time, restarts, and what a PASS needs."""
    plan = load_plan(loadgate.scenario("http://127.0.0.1:9", hold="7d", rate=1100, more=CONTINUE))
    first, second = announcement(plan, datetime(2026, 1, 5, 8, 0, tzinfo=UTC))
    assert first.startswith("soak: 7d at up to 1100/s against http://127.0.0.1:9, to about 2026-01-1")
    assert "up to 20 times an hour" in second
    assert "a PASS needs 99% of the steady phase measured" in second


def test_a_soak_says_where_the_loss_of_a_worker_would_void_it(loadgate: Any) -> None:
    """Only "continue" survives any of them."""
    plan = load_plan(loadgate.scenario("http://127.0.0.1:9", hold="7d"))
    *_, last = announcement(plan, datetime(2026, 1, 5, 8, 0, tzinfo=UTC))
    assert last.startswith('on_worker_loss is "invalid"')
    assert 'a soak wants "continue"' in last


def paused_and_resumed(loadgate: Loadgate, host: str) -> None:
    more = CONTINUE + '\n[soak]\nplanned_end = "move"\n'
    running = loadgate.start("soak", loadgate.scenario(host, hold="7s", more=more))
    running.until_answered()
    running.process.send_signal(signal.SIGTERM)
    running.wait(60).expect(130, out="", err="paused; go on: loadgate resume")
    run = running.folder_of_run()
    assert running.left() == []
    assert not run.verdict_path().exists()
    with RunReader(run.database) as reader:
        assert reader.value("ended", None) is None
        assert reader.total().imbalance == 0
    done = loadgate.start("soak", "short.toml", "--resume").wait(80)
    assert f"going on with {run.id}" in done.err, done
    assert "the planned end moves by" in done.err, done
    assert running.verdict()["ended"] == "planned", done
    with RunReader(run.database) as reader:
        total, unoffered = reader.total(), sum(row.unoffered for row in reader.ledger())
        assert (total.imbalance, total.count("lost")) == (0, 0)
        assert total.count("arrivals") + unoffered == 700
        # What is left of the second of the pause.
        assert unoffered <= 100
    # In so short a run that second is more than a hundredth; the time in between is none of the run's.
    assert not [reason for reason in running.verdict()["reasons"] if "coverage" in reason]
    loadgate.run("resume", run.id).expect(2, out="", err=r"has ended \(planned\)")


def died_once_too_often(loadgate: Loadgate, host: str) -> None:
    more = CONTINUE + "\n[soak]\nrestarts = 0\n"
    running = loadgate.start("soak", loadgate.scenario(host, hold="60s", more=more))
    running.until_answered()
    running.part("--worker").kill()
    done = running.wait(60)
    assert "worker 1 was killed by signal 9, after 0 restarts within 1h" in done.err, done
    verdict = running.verdict()
    assert verdict["ended"] == "died"
    assert verdict["verdict"] in ("FAIL", "INVALID")
    assert running.left() == []


@pytest.fixture(scope="module")
def stories(tmp_path_factory: pytest.TempPathFactory, service: Any) -> Iterator[dict[str, Future[None]]]:
    """Both runs, side by side."""
    with Loadgate(tmp_path_factory.mktemp("pause")) as one, Loadgate(tmp_path_factory.mktemp("death")) as two:
        yield beside(
            {
                "pause": partial(paused_and_resumed, one, service.url),
                "death": partial(died_once_too_often, two, service.url),
            },
            at_once=2,
        )


@pytest.mark.system
@pytest.mark.timeout(240)
def test_sigterm_pauses_a_soak_and_resume_ends_it_as_planned(stories: dict[str, Future[None]]) -> None:
    """Nothing is lost, nothing is judged before the end, and where the end may move all is run."""
    stories["pause"].result()


@pytest.mark.system
@pytest.mark.timeout(240)
def test_one_death_too_many_ends_a_soak_as_died(stories: dict[str, Future[None]]) -> None:
    """With no restarts the first death is the last: the reason is told, and the run is judged."""
    stories["death"].result()
