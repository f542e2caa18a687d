"""Interleaved comparisons and calibrations around their runs: order, void runs, interruptions, reruns.

The runs themselves are stored ones that a test hands out; `test_cli_compare.py` has a real comparison.
"""

from __future__ import annotations

import json

import jsonschema
import pytest
from made_runs import make_run

from loadgate.cli import calibrate as calibrating
from loadgate.cli import interleave
from loadgate.cli.subjects import read_run
from loadgate.errors import GeneratorError, TargetUnreachable
from loadgate.judge.comparison import schema
from loadgate.plan.plan import load_plan

A, B = "http://127.0.0.1:1001", "http://127.0.0.1:1002"
SCENARIO = """
name       = "short"
locustfile = "{locustfile}"
host       = "http://127.0.0.1:1"

[traffic]
model = "open"
users = 20
mix   = {{ emotion = 1 }}

[[traffic.stages]]
rate = "50/s"
hold = "10s"

[[traffic.stages]]
rate = "100/s"
hold = "30s"

[[traffic.stages]]
rate = "200/s"
hold = "20s"
phase = "warmup"
"""


class Runs:
    """Hand out stored runs in the place of real ones: 20 ms from A, `b_ms` from B."""

    def __init__(self, root, made, b_ms=20.0):
        self.root, self.made, self.b_ms = root, made, b_ms
        self.hosts = []
        self.broken = {}

    def __call__(self, _scenario, host, _overrides, _folder, _name, _sla=None):
        number = len(self.hosts)
        self.hosts.append("AB"[host == B])
        fault = self.broken.get(number)
        if fault == "interrupted":
            return None
        if isinstance(fault, BaseException):
            raise fault
        # Like runs differ by a few parts in a thousand.
        ms = (self.b_ms if host == B else 20.0) * (1 + (number * 7 % 5) / 1000)
        ended = "died" if fault == "void" else "planned"
        key = (number, ms, ended)
        if key not in self.made:
            self.made[key] = read_run(make_run(self.root, number, ms, ended=ended))
        return self.made[key]


@pytest.fixture
def scenario(tmp_path):
    """Write a scenario whose longest steady level is 100/s."""
    locustfile = tmp_path / "some.py"
    locustfile.write_text("")
    path = tmp_path / "short.toml"
    path.write_text(SCENARIO.format(locustfile=locustfile))
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Keep what was made once for all tests: where, and what."""
    return tmp_path_factory.mktemp("made"), {}


@pytest.fixture
def runs(made, monkeypatch):
    """Put stored runs in the place of real ones."""
    made = Runs(*made)
    monkeypatch.setattr(interleave, "run_once", made)
    monkeypatch.setattr(calibrating, "run_once", made)
    return made


def compared(told, scenario, *more):
    """Compare two hosts in two blocks."""
    return told("compare", "--interleave", A, B, scenario, "--blocks", "2", *more)


def test_blocks_go_a_b_b_a(told, scenario, runs) -> None:
    """Two of them are eight runs and four pairs; like hosts pass, once."""
    content = compared(told, scenario, "--json").expect(0).json
    assert "".join(runs.hosts) == "ABBAABBA"
    jsonschema.validate(content, schema())
    assert (content["verdict"], len(content["candidate_runs"])) == ("PASS", 4)
    assert (content["facts"]["blocks"], content["facts"]["block_seconds"]) == (2, 20.0)


def test_what_looks_worse_is_run_again_and_fails(told, scenario, runs) -> None:
    """All blocks once more, without being asked: exit 20."""
    runs.b_ms = 26.0
    content = compared(told, scenario, "--json").expect(20).json
    assert "".join(runs.hosts) == "ABBA" * 4
    jsonschema.validate(content, schema())
    assert len(content["confirming_runs"]) == 4


def test_without_a_rerun_it_is_awaited(told, scenario, runs) -> None:
    """Exit 31, and the way to get one."""
    runs.b_ms = 26.0
    compared(told, scenario, "--no-rerun").expect(31, out="awaits its confirming rerun .*without --no-rerun")
    assert len(runs.hosts) == 8


def test_a_faster_host_is_not_worse(told, scenario, runs) -> None:
    """Better is no reason to run again."""
    runs.b_ms = 14.0
    rows = compared(told, scenario, "--json").expect(0).json["rows"]
    assert next(row for row in rows if row["statistic"] == "p95")["direction"] == "better"


def test_a_void_run_is_left_out_with_its_pair(told, scenario, runs) -> None:
    """Never compared; three pairs are left, and it is told."""
    runs.broken = {2: "void"}
    content = compared(told, scenario, "--json").expect(0, err="block 1 of 2, B: void, left out").json
    assert len(content["baseline_runs"]) == len(content["candidate_runs"]) == 3
    assert "block 1 of 2, B is left out with its pair" in content["notes"][0]


def test_with_two_pairs_left_nothing_can_be_said(told, scenario, runs) -> None:
    """INCONCLUSIVE, however alike they look."""
    runs.broken = {0: "void", 5: "void"}
    compared(told, scenario).expect(31, out="2 pairs of runs are whole, and it takes 3")


def test_without_a_pair_it_is_invalid(told, scenario, runs) -> None:
    """Exit 30."""
    runs.broken = dict.fromkeys((0, 3, 4, 7), "void")
    compared(told, scenario).expect(30, out="no pair of runs is whole")


def test_an_interruption_keeps_the_pairs_that_there_are(told, scenario, runs, tmp_path) -> None:
    """Exit 130 and INCONCLUSIVE, even where all rows would pass."""
    runs.broken = {6: "interrupted"}
    compared(told, scenario).expect(130, out="(?s)^INCONCLUSIVE .*interrupted in block 2 of 2, B")
    (folder,) = (tmp_path / "results").glob("compare-short-*")
    content = json.loads((folder / "comparison.json").read_bytes())
    assert (content["verdict"], len(content["baseline_runs"])) == ("INCONCLUSIVE", 3)


def test_a_signal_between_two_runs_interrupts_too(told, scenario, runs) -> None:
    """Also before the first pair: nothing to say, and no fault of Loadgate."""
    runs.broken = {1: KeyboardInterrupt()}
    compared(told, scenario).expect(130, out="^INCONCLUSIVE .*")


def test_an_interrupted_rerun_confirms_nothing(told, scenario, runs) -> None:
    """What looked worse still awaits its rerun."""
    runs.b_ms = 26.0
    runs.broken = {14: "interrupted"}
    content = compared(told, scenario, "--json").expect(130).json
    assert (content["verdict"], len(content["awaits_confirmation"]) > 0) == ("INCONCLUSIVE", True)


def test_a_host_that_breaks_off_never_looks_green(told, scenario, runs) -> None:
    """Whatever could be measured before is judged, and is INCONCLUSIVE at best."""
    runs.broken = {6: GeneratorError("B went away")}
    compared(told, scenario).expect(31, out="the comparison is not complete: B went away")


def test_a_host_that_is_not_there_is_unreachable(told, scenario, runs) -> None:
    """Exit 40, before anything was measured."""
    runs.broken = {1: TargetUnreachable("nobody answers")}
    compared(told, scenario).expect(40, err="nobody answers")


def test_a_block_is_the_longest_steady_level(scenario, tmp_path) -> None:
    """100/s for the length of a block, with half of the warm-up as a ramp; the rest of the load stays."""
    asked = interleave.Interleaved(scenario, (A, B), 4, 20.0, 3.0, ("traffic.users=30",), tmp_path)
    made = load_plan(scenario, overrides=interleave.block_overrides(asked)).scenario.traffic
    warmup, steady = made.stages
    assert (warmup.rate, warmup.ramp, warmup.hold, warmup.phase) == (100.0, 1.5, 1.5, "warmup")
    assert (steady.rate, steady.ramp, steady.hold, steady.phase) == (100.0, 0.0, 20.0, "steady")
    assert (made.users, made.mix) == (30, {"emotion": 1.0})


def test_without_a_warm_up_a_block_is_steady_from_the_start(scenario, tmp_path) -> None:
    """One stage."""
    asked = interleave.Interleaved(scenario, (A, B), 4, 20.0, 0.0, (), tmp_path)
    made = load_plan(scenario, overrides=interleave.block_overrides(asked))
    assert [stage.hold for stage in made.scenario.traffic.stages] == [20.0]


def test_a_scenario_without_a_steady_stage_has_no_blocks(told, scenario, runs) -> None:
    """Or with a trace: exit 2, and no folder is left."""
    scenario.write_text(scenario.read_text().split("[[traffic.stages]]")[0])
    done = compared(told, scenario)
    done.expect(2, out="")
    assert runs.hosts == []


# ---- calibrations


def calibrated(told, scenario, *more):
    """Calibrate with six runs."""
    return told("calibrate", scenario, "--host", A, *more)


def test_a_calibration_is_stored_and_told(told, scenario, runs, tmp_path) -> None:
    """Six runs; the noise of each row, and the comparison that is long enough."""
    calibrated(told, scenario).expect(
        0, out="(?s)noise of 6 runs.*to detect \\+20% in a p95 with 95% probability"
    )
    assert runs.hosts == ["A"] * 6
    stored = json.loads((tmp_path / "baselines" / ".calibrations" / "short-1.json").read_bytes())["content"]
    assert set(stored["noise"]["emotion"]) >= {"p50", "p95", "p99", "mean", "error_rate"}
    # 20 ms · (1 + 0, 2, 4, 1, 3, 0 thousandths): a deviation of 0.16 %.
    assert stored["noise"]["emotion"]["p95"]["total"] == pytest.approx(0.0016, abs=4e-4)
    assert stored["recommended"]["emotion"]["interleave"] is not None


def test_void_runs_do_not_calibrate(told, scenario, runs) -> None:
    """Five are enough; with four nothing is stored: exit 30."""
    runs.broken = {2: "void"}
    assert len(calibrated(told, scenario, "--json").expect(0).json["runs"]) == 5
    runs.hosts.clear()
    runs.broken = {2: "void", 3: "void"}
    calibrated(told, scenario).expect(
        30, out="", err="4 of 6 runs can be used .*it takes 5: nothing is stored"
    )


def test_an_interrupted_calibration_stores_nothing(told, scenario, runs, tmp_path) -> None:
    """Exit 130."""
    runs.broken = {5: "interrupted"}
    calibrated(told, scenario).expect(130, out="", err="nothing is stored")
    assert not (tmp_path / "baselines").exists()


def test_five_runs_are_the_fewest(told, scenario, runs) -> None:
    """Fewer could not tell how they spread."""
    calibrated(told, scenario, "--runs", "4").expect(2, err="4 is not in the range")
