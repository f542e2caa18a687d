"""`stop_when_certain`: a run of a clearly good or a clearly bad service ends before its planned minute."""

from __future__ import annotations

import signal
from functools import partial

import jsonschema
import pytest
from loadgate_command import Loadgate

from beside import beside
from loadgate.judge.verdict import schema
from loadgate.staging.server import StagingService

# Both runs are played before the first test, and again where the machine was too busy.
pytestmark = [pytest.mark.system, pytest.mark.timeout(400)]

CERTAIN = "[verdict]\nstop_when_certain = true\n"


@pytest.fixture(scope="module")
def early(tmp_path_factory):
    """What came of two runs of a planned minute, of a good and of a bad service: output, verdict, remains."""
    folder = tmp_path_factory.mktemp("early")

    def play(which):
        (folder / which).mkdir()
        with StagingService() as service, Loadgate(folder / which) as loadgate:
            if which == "bad":
                service.add_fault("error", status=500, share="50%")
            scenario = loadgate.scenario(service.url, name=which, hold="60s", more=CERTAIN)

            def attempt():
                running = loadgate.start("run", scenario)
                return running, running.wait(120.0)

            running, done = loadgate.quiet(attempt)
            return done, running.verdict(), running.left()

    played = beside({which: partial(play, which) for which in ("good", "bad")}, at_once=2)
    return {which: future.result() for which, future in played.items()}


@pytest.mark.parametrize(
    ("which", "verdict", "code", "earliest"), [("good", "PASS", 0, 30), ("bad", "FAIL", 20, 20)]
)
def test_a_certain_run_ends_early_with_its_verdict(early, which, verdict, code, earliest) -> None:
    """The verdict is final, not that of a run that was cut short, and says after how long it was made."""
    done, content, _ = early[which]
    done.expect(code, out=rf"(?s)^{verdict} .*decided after \d+.* of 1m planned steady load, at look \d of 4")
    jsonschema.validate(content, schema())
    assert (content["verdict"], content["ended"], content["void"]) == (verdict, "planned", False)
    assert earliest <= content["steady_seconds"] == content["decided"]["after"] < 60
    assert content["decided"]["doubt"] == pytest.approx(0.025 / 3)


@pytest.mark.parametrize("which", ["good", "bad"])
def test_the_books_of_a_run_that_ended_early_balance(early, which) -> None:
    """What was under way when it was decided, or waited for a user, is served: nothing is dropped or cut off.

    All that may be unsent is what fell due in the moment of the end while the generator was busy, of which
    there is one turn of its loop: a tenth of a second at 100 a second.
    """
    books = early[which][1]["books"]["run"]["*"]
    assert books["missing"] == books["unfinished"] == books["lost"] == books["unsent_pool"] == 0
    assert books["unsent_generator"] <= 10


@pytest.mark.parametrize("which", ["good", "bad"])
def test_nothing_is_left_of_a_run_that_ended_early(early, which) -> None:
    """Master and worker end with it, and nobody calls them dead."""
    done, _, left = early[which]
    assert left == []
    assert "has died" not in done.err


def test_a_run_whose_plan_does_not_say_so_is_not_ended_by_the_signal(loadgate, fresh_service) -> None:
    """The signal of a certain verdict means nothing to it: it goes on to its planned end."""
    running = loadgate.start("run", loadgate.scenario(fresh_service.url, hold="4s"))
    running.until_answered()
    running.part("--master").send_signal(signal.SIGUSR1)
    running.wait()
    content = running.verdict()
    assert (content["ended"], content["decided"], content["steady_seconds"]) == ("planned", None, 4.0)
