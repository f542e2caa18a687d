"""Quantities with units."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgate.plan.units import (
    UnitError,
    format_bytes,
    format_duration,
    format_number,
    format_rate,
    format_share,
    parse_bytes,
    parse_duration,
    parse_rate,
    parse_share,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250us", 0.00025),
        ("50ms", 0.05),
        ("0.1s", 0.1),
        (".5s", 0.5),
        ("2 m", 120.0),
        ("1h", 3600.0),
        ("7d", 604_800.0),
        ("1m30s", 90.0),
        ("1h 30m", 5400.0),
        ("1d2h3m4s5ms", 93_784.005),
        ("0s", 0.0),
        ("5µs", 0.000005),
    ],
)
def test_a_duration_is_read_as_seconds(text: str, seconds: float) -> None:
    """Every unit and compounds, correctly rounded: 50ms is the float 0.05 itself."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "rate"), [("1100/s", 1100.0), ("1000 req/s", 1000.0), ("90/m", 1.5), ("7200/h", 2.0)]
)
def test_a_rate_is_read_per_second(text: str, rate: float) -> None:
    """Seconds, minutes and hours; "req" may be written."""
    assert parse_rate(text) == rate


@pytest.mark.parametrize(("text", "share"), [("0.1%", 0.001), ("60%", 0.6), ("200%", 2.0), ("0%", 0.0)])
def test_a_share_is_read_as_a_fraction(text: str, share: float) -> None:
    """A percentage becomes a fraction of one."""
    assert parse_share(text) == share


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("12B", 12),
        ("1kB", 1000),
        ("1KB", 1000),
        ("500MB", 5e8),
        ("1GB", 1e9),
        ("1KiB", 1024),
        ("1.5MiB", 1_572_864),
    ],
)
def test_a_size_is_read_as_bytes(text: str, size: float) -> None:
    """MB is 10^6 bytes, MiB is 2^20."""
    assert parse_bytes(text) == size


@pytest.mark.parametrize("parse", [parse_duration, parse_rate, parse_share, parse_bytes])
@pytest.mark.parametrize(
    "text", ["", " ", "5", "-5s", "-1%", "fast", "1e3s", "nan", "inf%", "5 x", "5s5", "٣s", "5,0s"]
)
def test_what_is_no_quantity_is_refused_with_an_example(parse: object, text: str) -> None:
    """No default unit, no sign, no exponent; the fault shows a right value."""
    with pytest.raises(ValueError, match="for example"):
        parse(text)  # type: ignore[operator]


def test_a_bare_number_is_told_to_lack_its_unit() -> None:
    """The message names the number, the hint shows one with a unit."""
    with pytest.raises(UnitError) as caught:
        parse_duration("50")
    assert caught.value.message == "'50' has no unit"
    assert '"50ms"' in caught.value.hint


@pytest.mark.parametrize("text", ["30s1m", "1s1s", "1m1m"])
def test_a_compound_runs_from_large_to_small(text: str) -> None:
    """A unit that comes twice, or after a smaller one, is a slip."""
    with pytest.raises(UnitError, match="largest to the smallest"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["1month", "5min", "10 minutes", "5S", "5MS"])
def test_an_unknown_unit_is_named(text: str) -> None:
    """Units are exact: M is not m."""
    with pytest.raises(UnitError, match="is not a unit of duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0s"),
        (0.00025, "250us"),
        (0.05, "50ms"),
        (1.5, "1.5s"),
        (60.0, "1m"),
        (90.0, "1m30s"),
        (604_800.0, "7d"),
        (0.9999999, "1s"),
        (59.9999, "1m"),
        (630.0, "10m30s"),
        (float("inf"), "for ever"),
    ],
)
def test_a_duration_is_written_as_people_do(seconds: float, text: str) -> None:
    """The largest fitting units, no exponent, no rounding to "1000ms" or "60s"."""
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (format_rate(1100.0), "1100/s"),
        (format_share(0.001), "0.1%"),
        (format_bytes(5e8), "500MB"),
        (format_bytes(1.5e9), "1.5GB"),
        (format_bytes(0.0), "0B"),
        (format_number(1_234_567.0), "1234567"),
        (format_number(0.0421), "0.0421"),
    ],
)
def test_other_quantities_are_written_with_their_unit(text: str, expected: str) -> None:
    """Six significant digits at most, whole digits always."""
    assert text == expected


@given(st.floats(min_value=1e-6, max_value=1e8))
def test_a_written_duration_is_read_back(seconds: float) -> None:
    """To six digits below a minute, to a millisecond above."""
    assert parse_duration(format_duration(seconds)) == pytest.approx(
        seconds, rel=6e-6, abs=5.1e-4 if seconds > 59 else 0
    )


@given(st.floats(min_value=1e-3, max_value=1e12))
def test_written_rates_shares_and_sizes_are_read_back(value: float) -> None:
    """To six significant digits."""
    assert parse_rate(format_rate(value)) == pytest.approx(value, rel=6e-6)
    assert parse_share(format_share(value)) == pytest.approx(value, rel=6e-6)
    assert parse_bytes(format_bytes(value)) == pytest.approx(value, rel=6e-6)


@given(st.text(max_size=12))
def test_any_text_is_a_quantity_or_a_unit_error(text: str) -> None:
    """Nothing else escapes, and no quantity is negative or endless."""
    for parse in (parse_duration, parse_rate, parse_share, parse_bytes):
        try:
            value = parse(text)
        except UnitError:
            continue
        assert 0 <= value < float("inf")
