"""What A-A runs show of the noise, and what is recommended because of it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import pytest

from loadgate.judge.calibration import (
    noise_from_dict,
    noise_of,
    noise_to_dict,
    recommend,
    recommendations,
    slowest,
)
from loadgate.judge.effects import Floors
from loadgate.judge.figures import Figure, RunFigures
from loadgate.judge.noise import Noise


def run(
    p95: float, *, n: int = 10_000, errors: float = 0.0, endpoints: Sequence[str] = ("emotion",)
) -> RunFigures:
    """Return a run of 60 s whose latencies are all the same number of seconds."""
    row = {name: Figure(p95, n, 0.0001) for name in ("p50", "p95", "p99", "mean")}
    row |= {"error_rate": Figure(errors, n, 0.0), "throughput": Figure(100.0, n, 0.0)}
    return RunFigures("r", 60.0, dict.fromkeys(endpoints, row))


def test_noise_is_the_deviation_of_the_logs() -> None:
    """100 ms times e^-0.02..0.02: a deviation of 0.0158114, 0.01 of it inside, at a level of 100 ms."""
    table = noise_of([run(0.1 * math.exp(log)) for log in (-0.02, -0.01, 0.0, 0.01, 0.02)])
    noise = table["emotion"]["p95"]
    assert (noise.total, noise.df) == (pytest.approx(math.sqrt(0.00025)), 4)
    assert (noise.within, noise.level, noise.seconds) == (pytest.approx(0.01), pytest.approx(0.1), 60.0)


def test_the_noise_of_an_error_rate_is_in_shares() -> None:
    """1 % and 3 %: a deviation of √2 points around 2 %."""
    noise = noise_of([run(0.1, errors=0.01), run(0.1, errors=0.03)])["emotion"]["error_rate"]
    assert (noise.total, noise.level) == (pytest.approx(0.01 * math.sqrt(2)), pytest.approx(0.02))


def test_what_a_run_cannot_support_has_no_noise() -> None:
    """100 requests are too few for a p99; an infinite latency has no deviation."""
    assert "p99" not in noise_of([run(0.1, n=100)] * 5)["emotion"]
    assert "p95" not in noise_of([run(0.1)] * 4 + [run(math.inf)])["emotion"]


def test_an_endpoint_that_a_run_lacks_has_no_noise() -> None:
    """It was not in all of them."""
    table = noise_of([run(0.1, endpoints=("emotion", "creative")), run(0.1)])
    assert list(table) == ["emotion"]


def test_a_quiet_machine_gets_a_short_comparison() -> None:
    """And needs few baseline runs."""
    found = recommend(Noise(0.005, 5, 0.003, 60.0, 0.1), Floors(), 18)
    assert found.interleaving is not None
    assert found.repetition is not None
    assert found.interleaving.total <= 120
    assert found.reason == ""


def test_a_loud_machine_is_told_so() -> None:
    """Like runs that differ by half cannot show 20 %."""
    found = recommend(Noise(0.5, 5, 0.1, 60.0, 0.1), Floors(), 18)
    assert (found.interleaving, found.repetition) == (None, None)
    assert "quieter machine" in found.reason


def test_an_effect_below_the_floor_is_told_so() -> None:
    """20 % of 4 ms is 0.8 ms, less than the 1 ms that counts as a change; a lower floor mends it."""
    fast = Noise(0.005, 5, 0.003, 60.0, 0.004)
    assert "less than the practical floor" in recommend(fast, Floors(), 18).reason
    assert recommend(fast, Floors(seconds=0.0001), 18).interleaving is not None


def test_the_slowest_endpoint_decides() -> None:
    """One comparison has to be enough for all; where one endpoint has none there is none."""
    table = {name: {"p95": Noise(total, 5, 0.003, 60.0, 0.1)} for name, total in (("a", 0.005), ("b", 0.03))}
    found = recommendations(table, Floors())
    enough = slowest(found)
    assert enough is not None
    for one in found.values():
        assert one.interleaving is not None
        assert (enough.blocks, enough.seconds) >= (one.interleaving.blocks, one.interleaving.seconds)
    table["c"] = {"p95": Noise(0.5, 5, 0.003, 60.0, 0.1)}
    assert slowest(recommendations(table, Floors())) is None
    assert slowest({}) is None


def test_a_table_of_noise_survives_json() -> None:
    """What was stored is what is read."""
    table = noise_of([run(0.1), run(0.11), run(0.12)])
    assert noise_from_dict(json.loads(json.dumps(noise_to_dict(table)))) == table


@pytest.mark.parametrize("spoilt", [{"total": -1.0}, {"df": 0}, {"seconds": 0.0}, {"total": "much"}])
def test_a_table_that_makes_no_sense_is_refused(spoilt: dict[str, object]) -> None:
    """It would make a comparison less careful than it was told to be."""
    data = noise_to_dict({"emotion": {"p95": Noise(0.1, 5, None, 60.0, 0.1)}})
    data["emotion"]["p95"].update(spoilt)  # type: ignore[arg-type]
    with pytest.raises(ValueError):
        noise_from_dict(data)
