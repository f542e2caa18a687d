"""Findings: the rate limit, processes short of CPU, and the server's own view of the cache."""

from __future__ import annotations

from typing import Any

import pytest

from loadgate.judge.findings import cache, cpu_short, overflow, rate_limit, server_hits
from loadgate.judge.results import Grade, ObjectiveResult


def test_a_rate_limit_names_the_addresses_that_would_be_needed(make: Any) -> None:
    """1000 offered, 100 answered and 900 refused a second from one address: 1000 / 100 are 10 addresses."""
    windows = make.steady({20: 100}, failed=900, rate_limited=900)
    finding = rate_limit(make.evidence(windows=windows))
    assert finding is not None
    assert finding.detail["addresses_needed"] == 10
    assert finding.detail["sustained_per_address"] == 100
    assert "27000 answers were 429" in finding.message
    assert "at least 10 source addresses" in finding.message


@pytest.mark.parametrize(("addresses", "needed"), [(1, 4), (2, 8), (3, 12)])
def test_the_rate_that_one_address_sustains_is_that_of_the_run(
    make: Any, addresses: int, needed: int
) -> None:
    """Of 400 a second 100 get through: 100, 50 or 33.3 per address, and 400 need 4, 8 or 12."""
    windows = make.steady({20: 100}, failed=300, rate_limited=300)
    finding = rate_limit(make.evidence(windows=windows, source_addresses=addresses))
    assert finding is not None
    assert finding.detail["addresses_needed"] == needed


def test_a_limit_that_only_ran_out_needs_one_address_more(make: Any) -> None:
    """No 429 yet, but answers said that nothing was left: the target delays before it refuses."""
    finding = rate_limit(make.evidence(windows=make.steady({20: 100}, rate_limit_exhausted=40)))
    assert finding is not None
    assert finding.detail["addresses_needed"] == 2


def test_where_everything_was_refused_no_number_is_made_up(make: Any) -> None:
    """Nothing got through, so nothing is known of what one address may send."""
    finding = rate_limit(make.evidence(windows=make.steady({}, failed=100, rate_limited=100)))
    assert finding is not None
    assert "addresses_needed" not in finding.detail


def test_without_a_sign_of_a_limit_there_is_no_finding(make: Any) -> None:
    """A good run says nothing of rate limits."""
    assert rate_limit(make.evidence()) is None


@pytest.mark.parametrize(("grade", "named"), [(Grade.PASS, False), (Grade.WARN, True), (Grade.FAIL, True)])
def test_a_worker_short_of_cpu_is_named_where_the_throughput_is_short(
    make: Any, grade: Grade, named: bool
) -> None:
    """97 % of a core explains a low rate; with the rate reached there is nothing to explain."""
    row = ObjectiveResult(make.objective("throughput", ">= 1000/s"), grade, "why")
    evidence = make.evidence(fleet=make.fleet(range(10, 40), cpu=0.97))
    found = [finding.message for finding in cpu_short(evidence, [row], void=False)]
    assert bool(found) is named
    assert all("worker-1 used 97% of a core" in message for message in found)


def test_the_target_short_of_cpu_is_named(make: Any) -> None:
    """The probe reads 0.95 of a core."""
    row = ObjectiveResult(make.objective("throughput", ">= 1000/s"), Grade.FAIL, "why")
    evidence = make.evidence(
        probes=[make.probe("process", process="listening")],
        readings=make.readings("process", "cpu", [0.95] * 30),
    )
    assert [finding.kind for finding in cpu_short(evidence, [row], void=False)] == ["target_cpu"]


def counters(make: Any, hits: list[float], misses: list[float]) -> list[Any]:
    """Return readings of a cache probe every 10 s from the start of the steady phase."""
    return make.readings("cache", "hits", hits, every=10.0) + make.readings(
        "cache", "misses", misses, every=10.0
    )


def test_server_counters_are_differences_over_the_phase(make: Any) -> None:
    """From 1000 to 1160 hits and from 500 to 540 misses."""
    probe = make.probe("cache", 10.0, http="/stats")
    readings = counters(make, [1000, 1060, 1160], [500, 510, 540])
    rate, found = server_hits(make.evidence(readings=readings), probe)
    assert found is not None
    assert rate == 0.8
    assert (found.totals, found.start, found.end, found.resets) == ((160, 40), 10, 30, ())


def test_a_counter_that_went_down_is_a_restart(make: Any) -> None:
    """After it the counters begin at 0: 20 and 30 more hits, 10 and 10 more misses; its time is named."""
    evidence = make.evidence(
        probes=[make.probe("cache", 10.0, http="/stats")],
        readings=counters(make, [1000, 20, 50], [500, 10, 20]),
    )
    _, found = server_hits(evidence, evidence.probes[0])
    assert found is not None
    assert (found.totals, [reset.at for reset in found.resets]) == ((50, 20), [20.0])
    assert [finding.kind for finding in cache(evidence)] == ["target_restart"]


@pytest.mark.parametrize(
    ("server_hits", "differs"), [(1400, False), (1320, False), (1280, True), (1600, True)]
)
def test_five_points_between_client_and_server_are_a_finding(
    make: Any, server_hits: int, differs: bool
) -> None:
    """The client saw 70 % of all answers over 20 s; the server counted 70, 66, 64 or 80 % of 2000."""
    evidence = make.evidence(
        windows=make.steady({20: 100}, hits=70, misses=30, repeat_hits=70, repeat_misses=1),
        probes=[make.probe("cache", 10.0, http="/stats")],
        readings=counters(make, [0, 700, server_hits], [0, 300, 2000 - server_hits]),
    )
    assert [finding.kind for finding in cache(evidence)] == (["cache_hit_rate"] if differs else [])


def test_endpoints_that_are_not_kept_apart_are_a_finding(make: Any) -> None:
    """Ten requests were counted under a name that is not theirs."""
    windows = [*make.steady({20: 100}), make.window(12, {20: 10}, endpoint="(overflow)")]
    found = overflow(make.evidence(windows=windows))
    assert found is not None
    assert (found.kind, found.detail) == ("overflow", {"requests": 10})
    assert overflow(make.evidence()) is None
