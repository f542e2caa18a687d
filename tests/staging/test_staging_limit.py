"""Token buckets: first a burst, then delays, then refusals."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgate.staging.limit import AddressLimits, TokenBucket


def test_a_full_bucket_lets_its_capacity_through_at_once():
    """Three tokens: three requests, the last leaves none."""
    bucket = TokenBucket(3, 1, 1, now=0)
    assert [bucket.take(0) for _ in range(3)] == [
        (True, 0.0, 2, 0),
        (True, 0.0, 1, 0),
        (True, 0.0, 0, 0),
    ]


def test_an_empty_bucket_delays_first_and_refuses_then():
    """At 10 tokens per second the next ones wait 0.1 and 0.2 s; a third would pass the 0.25 s of patience."""
    bucket = TokenBucket(1, 10, 0.25, now=0)
    bucket.take(0)
    grants = [bucket.take(0) for _ in range(3)]
    assert [grant.allowed for grant in grants] == [True, True, False]
    assert [grant.wait for grant in grants] == pytest.approx([0.1, 0.2, 0.0])
    assert grants[2].retry_after == 1


def test_tokens_come_back_with_time_up_to_the_capacity():
    """Empty at 0, 2 per second: 1 s brings two, an hour no more than the capacity of five."""
    bucket = TokenBucket(5, 2, 0, now=0)
    for _ in range(5):
        bucket.take(0)
    assert bucket.level(1) == 2
    assert bucket.level(3600) == 5


def test_each_address_has_its_own_bucket():
    """One client's burst leaves the other's tokens alone."""
    limits = AddressLimits(1, 1, 0)
    assert limits.take("127.0.0.2", 0).allowed
    assert not limits.take("127.0.0.2", 0).allowed
    assert limits.take("127.0.0.3", 0).allowed


@given(st.lists(st.floats(0, 1), max_size=60))
def test_no_more_than_capacity_and_refill_get_through(gaps: list[float]):
    """Up to any moment t, granted <= capacity + refill * (t + patience)."""
    bucket = TokenBucket(5, 3, 0.5, now=0)
    now, granted = 0.0, 0
    for gap in gaps:
        now += gap
        granted += bucket.take(now).allowed
        assert granted <= 5 + 3 * (now + 0.5) + 1e-6
