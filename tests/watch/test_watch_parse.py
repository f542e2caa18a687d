"""Numbers out of JSON: by path, from both envelopes, and from text with a unit."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgate.watch.parse import NoReading, Reason, as_number, as_share, at_path, clean, load, steps_of

PLAIN = {"success": True, "title": "t", "message": "m", "data": {"hits": 100, "list": [{"memory": 5}]}}
WRAPPED = {"type": "auto", "content": PLAIN, "timestamp": "2026-11-22T18:36:10.026Z"}


@pytest.mark.parametrize("document", [PLAIN, WRAPPED])
@pytest.mark.parametrize(("path", "value"), [("data.hits", 100), ("data.list[0].memory", 5)])
def test_the_same_path_works_in_both_envelopes(document, path, value):
    """The wrapped envelope is taken off before the path is followed."""
    assert at_path(document, path) == value


def test_a_path_written_from_the_whole_wrapped_answer_works_too():
    """Who copies the path from the answer as it stands writes `content.` first."""
    assert at_path(WRAPPED, "content.data.hits") == 100
    assert at_path(WRAPPED, "timestamp") == "2026-11-22T18:36:10.026Z"


def test_an_object_that_only_looks_like_an_envelope_is_left_alone():
    """Without an object as content nothing is unwrapped."""
    assert at_path({"type": "a", "content": 7, "timestamp": ""}, "content") == 7


@pytest.mark.parametrize(
    ("path", "reason", "said"),
    [
        ("data.misses", Reason.NO_FIELD, "no such field: 'misses' in data"),
        ("nothing", Reason.NO_FIELD, "no such field: 'nothing'"),
        ("data.list[1]", Reason.NO_ITEM, "no such item: [1] in data.list, which has 1"),
        ("data[0]", Reason.NOT_A_LIST, "not a list: data is an object"),
        ("title.x", Reason.NOT_AN_OBJECT, "not an object: title is text"),
        ("success.x", Reason.NOT_AN_OBJECT, "not an object: success is true"),
    ],
)
def test_a_step_that_fails_is_named(path, reason, said):
    """The reason says what was wrong, and where."""
    with pytest.raises(NoReading) as caught:
        at_path(WRAPPED, path)
    assert caught.value.reason is reason
    assert caught.value.message == said


def test_a_path_splits_into_names_and_indexes():
    """Dots separate names, brackets hold indexes, and an index may come first."""
    assert steps_of("processes[0].memory") == ("processes", 0, "memory")
    assert steps_of("[2][3].a-b_c") == (2, 3, "a-b_c")


@pytest.mark.parametrize("path", ["", ".a", "a..b", "a[x]", "a b", "a[-1]", "a."])
def test_what_is_no_path_is_refused(path):
    """A path that cannot be split is a fault of the plan, not of the answer."""
    with pytest.raises(ValueError, match="path"):
        steps_of(path)


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (3, 3.0),
        (-2.5, -2.5),
        ("8.33", 8.33),
        ("-4", -4.0),
        ("1e3", 1000.0),
        ("62.50%", 0.625),
        (" 62.50 % ", 0.625),
        ("-10%", -0.1),
        ("8.42 KB", 8420.0),  # 10^3 bytes
        ("8 KiB", 8192.0),
        ("1.5 MB", 1_500_000.0),
        ("512 Bytes", 512.0),
        ("1 byte", 1.0),
        ("12ms", 0.012),
        ("100/s", 100.0),
    ],
)
def test_text_with_a_unit_becomes_si(value, number):
    """Shares are of one, sizes bytes, times seconds, rates per second."""
    assert as_number(value) == pytest.approx(number, rel=1e-12)


@pytest.mark.parametrize(
    "value", [True, False, None, [], {}, "", "abc", "NaN", "inf", "1,234", "5 apples", "NaN%", "%", "1e999"]
)
def test_what_is_no_number_has_no_reading(value):
    """A bool is no number, and neither is text that only resembles one."""
    with pytest.raises(NoReading) as caught:
        as_number(value)
    assert caught.value.reason is Reason.NOT_A_NUMBER


@pytest.mark.parametrize("value", [math.nan, math.inf, 10**400])
def test_a_number_out_of_range_has_no_reading(value):
    """Only finite numbers are stored."""
    with pytest.raises(NoReading, match="not a number"):
        as_number(value)


def test_a_share_says_its_unit():
    """0.5 may be half or half a percent, so it is refused; 0 is 0 either way."""
    assert as_share("62.50%") == 0.625
    assert as_share(0) == 0.0
    for value in (0.5, 62.5, "0.5", "8 KB"):
        with pytest.raises(NoReading) as caught:
            as_share(value)
        assert caught.value.reason is Reason.AMBIGUOUS


def failure_of(read: Callable[[], object]) -> NoReading | None:
    """Return why there is no reading, None when there is one."""
    try:
        read()
    except NoReading as failure:
        return failure
    return None


@given(st.binary(max_size=60))
def test_any_body_is_json_or_said_not_to_be(body):
    """No body does more than raise NoReading, and its text is one printable line."""
    failure = failure_of(lambda: load(body))
    assert failure is None or (failure.reason is Reason.NOT_JSON and failure.text.isprintable())


@given(st.text(max_size=30))
def test_any_text_is_a_finite_number_or_refused(text):
    """There is no third way."""
    failure = failure_of(lambda: as_number(text))
    assert failure.reason is Reason.NOT_A_NUMBER if failure else math.isfinite(as_number(text))


def test_quoted_text_is_one_short_line():
    """The target's words can neither break lines nor flood the store."""
    assert clean("a\r\n\x1b[31mb\tc") == "a [31mb c"
    assert len(clean("x" * 1000)) == 200
