"""The pre-flight: what workers cannot carry is refused before any load, with figures, never by chance."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgate.cli.capacity_check import CACHE, FLOOR, SHARE, check_capacity, peak_rate
from loadgate.errors import GeneratorError, UsageError
from loadgate.plan.plan import Plan, load_plan
from loadgate.staging.server import StagingService
from loadgate.swarm.capacity import Capacity, measure_capacity
from loadgate.swarm.fingerprint import fingerprint, sha256_of

ROOT = Path(__file__).parents[2]
DAY = 86_400.0
NOW = 1_800_000_000.0


class Preflight:
    """Check plans against measurements that a test gives, one after the other."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "results"
        self.locustfile = folder / "traffic.py"
        self.locustfile.write_text("# traffic\n")
        self.said: list[str] = []
        self.measured = 0

    def plan(self, *, rate: float = 1000.0, workers: int = 1, mode: str = "refuse", **traffic: Any) -> Plan:
        """Return a plan of one steady stage."""
        stages = [{"rate": rate, "hold": 10.0}]
        return Plan.model_validate(
            {
                "scenario": {
                    "name": "here",
                    "locustfile": str(self.locustfile),
                    "host": "http://127.0.0.1:1",
                    "traffic": {"users": 10, "stages": stages, "mix": {"a": 1.0}, **traffic},
                    "generator": {"workers": workers, "preflight": mode},
                }
            }
        )

    def capacity(self, rate: float, cores: float = 8.0) -> Capacity:
        """Return a measurement of the locustfile as it is now."""
        real = _fingerprint(self.locustfile)
        return Capacity(rate, cores, {self.locustfile.name: real[0]}, real[1])

    def check(self, plan: Plan, *measurements: Capacity | Exception, now: float = NOW, **more: Any) -> None:
        """Check a plan; each measurement that is asked for is the next of those given."""
        left = list(measurements)

        def measure(_: Plan) -> Capacity:
            self.measured += 1
            found = left.pop(0)
            if isinstance(found, Exception):
                raise found
            return found

        check_capacity(plan, self.root, now, measure=measure, say=self.said.append, **more)
        assert not left, "a measurement was not asked for"


def _fingerprint(locustfile: Path) -> tuple[str, str]:
    return sha256_of(locustfile), fingerprint([locustfile], modules=()).code


@pytest.fixture
def preflight(tmp_path: Path) -> Preflight:
    """Checks in a folder of their own."""
    return Preflight(tmp_path)


@pytest.mark.parametrize(("rate", "refused"), [(7000.0, False), (7001.0, True)])
def test_a_plan_over_70_percent_is_refused(preflight: Preflight, rate: float, refused: bool) -> None:
    """One worker carries 10,000/s: 7000 are 70 % of it. The figures and the remedy are in the error."""
    plan = preflight.plan(rate=rate)
    if not refused:
        preflight.check(plan, preflight.capacity(10_000))
        return
    with pytest.raises(UsageError) as caught:
        preflight.check(plan, preflight.capacity(10_000), preflight.capacity(9_000))
    assert caught.value.exit_code == 2
    for words in ("7000 requests/s", "one carries about 10000 requests/s", "70%"):
        assert words in caught.value.message
    assert "take 2 workers (--workers 2)" in caught.value.hint
    assert "--set 'generator.preflight=\"warn\"'" in caught.value.hint


def test_workers_share_the_rate(preflight: Preflight) -> None:
    """28,000/s over four workers are 7000 each."""
    preflight.check(preflight.plan(rate=28_000.0, workers=4), preflight.capacity(10_000))


def test_workers_share_the_cores(preflight: Preflight) -> None:
    """Four workers on two cores have half a core each: 5000/s, of which 3500 may be planned."""
    few = preflight.capacity(10_000, cores=2.0)
    preflight.check(preflight.plan(rate=14_000.0, workers=4), few)
    with pytest.raises(UsageError) as caught:
        preflight.check(preflight.plan(rate=14_100.0, workers=4), few, few)
    assert "it takes 4 workers of a core each, and this machine has 2 to use" in caught.value.hint
    assert "--distributed" in caught.value.hint


def test_warn_says_it_and_goes_on(preflight: Preflight) -> None:
    """The same words, as a line."""
    preflight.check(preflight.plan(rate=9000.0, mode="warn"), *[preflight.capacity(10_000)] * 2)
    assert "9000 requests/s" in preflight.said[-1]
    assert "take 2 workers" in preflight.said[-1]


def test_nothing_is_measured_where_nothing_can_follow(preflight: Preflight) -> None:
    """Off; up to 200/s a worker; in the closed model, which plans no rate; with workers on other hosts."""
    preflight.check(preflight.plan(rate=9e9, mode="off"))
    preflight.check(preflight.plan(rate=FLOOR * 3, workers=3))
    preflight.check(preflight.plan(model="closed", stages=[{"users": 500, "hold": 9.0}], users=500))
    assert preflight.said == []
    preflight.check(preflight.plan(rate=9e9), distributed=True)
    assert "other hosts" in preflight.said[-1]


def test_one_bad_measurement_refuses_nothing(preflight: Preflight) -> None:
    """A neighbour was busy; the better of two counts, and is kept."""
    preflight.check(preflight.plan(rate=3000.0), preflight.capacity(4_000), preflight.capacity(10_000))
    preflight.check(preflight.plan(rate=3000.0))


def test_a_kept_figure_refuses_nothing(preflight: Preflight) -> None:
    """What was measured on a busy machine an hour ago is measured again before it is held against a plan."""
    preflight.check(preflight.plan(rate=1000.0), preflight.capacity(2_000))
    preflight.check(preflight.plan(rate=5000.0), preflight.capacity(10_000), now=NOW + 3600)


def test_a_measurement_stands_for_a_day(preflight: Preflight) -> None:
    """And is told of only when it is made."""
    preflight.check(preflight.plan(), preflight.capacity(10_000))
    preflight.check(preflight.plan(rate=6000.0), now=NOW + DAY - 1)
    assert len(preflight.said) == 1
    preflight.check(preflight.plan(), preflight.capacity(10_000), now=NOW + DAY)
    preflight.check(preflight.plan(), preflight.capacity(10_000), now=NOW)  # a clock that was set back


def test_other_traffic_is_measured_anew(preflight: Preflight) -> None:
    """Another mix, and a locustfile that was edited."""
    preflight.check(preflight.plan(), preflight.capacity(10_000))
    preflight.check(preflight.plan(mix={"b": 1.0}), preflight.capacity(10_000))
    preflight.locustfile.write_text("# other traffic\n")
    preflight.check(preflight.plan(), preflight.capacity(10_000))
    assert preflight.measured == 3


def test_another_build_of_loadgate_measures_anew(preflight: Preflight) -> None:
    """Its code is another, whatever its version."""
    known = preflight.capacity(10_000)
    preflight.check(preflight.plan(), Capacity(known.rate, known.cores, known.files, "0" * 64))
    preflight.check(preflight.plan(), known)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"%": 3}', '{"%": {"rate": "fast"}}', '{"%": {"rate": 1e9, "cores": 1, "files": 3}}'],
)
def test_a_damaged_file_is_measured_over(preflight: Preflight, text: str) -> None:
    """Whatever is in it, it is never believed, and afterwards it is whole."""
    preflight.check(preflight.plan(), preflight.capacity(10_000))
    path = preflight.root / CACHE
    (key,) = json.loads(path.read_bytes())
    path.write_text(text.replace('"%"', json.dumps(key)))
    preflight.check(preflight.plan(), preflight.capacity(10_000))
    preflight.check(preflight.plan())


def test_a_root_that_cannot_be_written_stops_nothing(preflight: Preflight) -> None:
    """What needs the folder tells of it, right afterwards."""
    preflight.root.write_text("a file, no folder")
    preflight.check(preflight.plan(), preflight.capacity(10_000))


def test_what_cannot_be_measured_is_said(preflight: Preflight) -> None:
    """And stops nothing: the run has witnesses of its own."""
    preflight.check(preflight.plan(), GeneratorError("no user class", hint="a\nlast line"))
    assert "could not be measured: no user class (last line)" in preflight.said[-1]


def test_the_highest_rate_is_that_of_any_stage(preflight: Preflight) -> None:
    """Ramps end at their stage's level, and the warm-up counts: it would be late as well."""
    stages = [
        {"rate": 50.0, "ramp": 5.0},
        {"rate": 900.0, "hold": 1.0, "phase": "warmup"},
        {"rate": 300.0, "hold": 9.0},
    ]
    assert peak_rate(preflight.plan(stages=stages)) == 900.0


def test_the_highest_rate_of_a_trace_is_its_busiest_second(preflight: Preflight, tmp_path: Path) -> None:
    """Three arrivals in second 1, though over the whole trace there are 1.5 a second."""
    trace = tmp_path / "arrivals.csv"
    trace.write_text("0.5\n1.0\n1.5\n1.9\n2.5\n3.9\n")
    plan = preflight.plan(arrivals="trace", trace=str(trace), stages=[])
    assert peak_rate(plan) == 3.0


@given(st.floats(1.0, 1e6), st.floats(10.0, 1e5), st.integers(1, 64))
def test_the_workers_that_are_named_are_enough_and_no_more(rate: float, each: float, cores: int) -> None:
    """Each then has at most 70 % of what it carries; with one fewer it would not."""
    needed = Capacity(each, cores).workers_for(rate, SHARE)
    if needed is None:
        assert math.ceil(rate / (SHARE * each) - 1e-9) > cores
        return
    assert rate / needed <= SHARE * Capacity(each, cores).of_worker(needed) * (1 + 1e-6)
    assert needed == 1 or rate / (needed - 1) > SHARE * each * (1 - 1e-6)


@pytest.mark.system
def test_the_shipped_gate_is_far_below_what_a_worker_carries() -> None:
    """1100/s, by the measurement of the shipped users with the shipped mix; it must not be refused."""
    plan = load_plan(ROOT / "scenarios" / "gate.toml")
    found = measure_capacity(plan)
    assert found.rate > 2 * peak_rate(plan) / SHARE
    assert {"staging.py", "emotion.py", "creative.py", "reasoning.py"} <= set(found.files)
    assert found.cores > 0


TRAFFIC = """
    import time
    from loadgate import Get, LoadUser, request

    class Slow(LoadUser):
        @request("slow")
        def look(self):
            {body}
            return Get("/health")
"""
SLA = """
[[objective]]
metric = "error_rate"
target = "< 1%"
every  = "30s"
"""


@pytest.fixture
def slow(loadgate: Any) -> Callable[..., Path]:
    """Write a scenario whose users do something before each request."""

    def make(body: str, host: str, rate: int) -> Path:
        locustfile = loadgate.write("slow.py", TRAFFIC.format(body=body))
        path = loadgate.scenario(host, rate=rate, hold="30s", locustfile=locustfile, sla=SLA)
        path.write_text(
            path.read_text().replace("{ emotion = 5, creative = 2, reasoning = 3 }", "{ slow = 1 }")
        )
        return path

    return make


SPIN = "end = time.thread_time() + 0.005; [None for _ in iter(lambda: time.thread_time() < end, False)]"


@pytest.mark.system
def test_a_run_that_a_worker_cannot_carry_is_refused(
    loadgate: Any, service: StagingService, slow: Callable[..., Path]
) -> None:
    """5 ms of CPU for each request leave under 200/s, of which 70 % are under 140: 300/s exit with 2."""
    done = loadgate.run("run", slow(SPIN, service.url, 300))
    done.expect(2, out="", err=r"asks each of its workers for up to 300 requests/s")
    assert 'preflight="warn"' in done.err
    assert not list((loadgate.folder / "results").glob("short-*"))


@pytest.mark.system
def test_code_that_fails_on_the_null_server_cannot_be_measured(slow: Callable[..., Path]) -> None:
    """It says which code, and what it raised."""
    with pytest.raises(GeneratorError, match="raised ZeroDivisionError"):
        measure_capacity(load_plan(slow("1 / 0", "http://127.0.0.1:1", 300)))


@pytest.mark.system
def test_a_locustfile_that_cannot_be_imported_cannot_be_measured(preflight: Preflight) -> None:
    """The reason is in the hint."""
    preflight.locustfile.write_text("import nothing_of_that_name\n")
    with pytest.raises(GeneratorError) as caught:
        measure_capacity(preflight.plan())
    assert "nothing_of_that_name" in caught.value.hint
