"""What a smoke check holds answers against."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgate.plan.smoke import REFUSALS, SmokeRequest
from loadgate.watch.parse import NoReading
from loadgate.watch.smoke import (
    INTRUDER,
    CheckFailed,
    bad_requests,
    cached,
    healthy_processes,
    page,
    rate_limit,
    refused,
    restarted,
    same,
    valid,
)
from loadgate.watch.web import Exchange

PLAIN = {"success": True, "title": "Emotions", "data": {"primary": "joy", "secondary": [], "confidence": 0.3}}
WRAPPED = {"type": "auto", "content": PLAIN, "timestamp": "2026-11-22T18:36:10.026Z"}
REQUEST = SmokeRequest(
    endpoint="emotion",
    path="/analyze",
    body={"text": "Test message", "mode": "fast"},
    require={"data.primary": "text", "data.secondary": "list", "data.confidence": "number"},
    equals={"success": True},
    repeat_cached=True,
)


def answered(body: Any, status: int = 200, **headers: str) -> Exchange:
    """Make an answer; header names have _ for -."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Exchange(status, tuple((name.replace("_", "-"), value) for name, value in headers.items()), raw)


def fault(call: Any, *arguments: Any) -> str:
    """Return what a check says is wrong."""
    with pytest.raises((CheckFailed, NoReading)) as caught:
        call(*arguments)
    return caught.value.message


# -- good answers --


@pytest.mark.parametrize(("body", "how"), [(PLAIN, "plain"), (WRAPPED, "wrapped")])
def test_both_envelopes_hold_a_good_answer(body, how):
    """The same paths find the same fields."""
    assert valid(REQUEST, answered(body)) == f"200, 4 fields as required ({how})"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"success": False}, "not as required: success is false, and must be true"),
        ({"success": 1}, "not as required: success is 1, and must be true"),
        ({"success": "true"}, 'not as required: success is "true", and must be true'),
        ({"data": {}}, "no such field: 'primary' in data"),
        ({"data": None}, "not an object: data is null"),
        (
            {"data": {**PLAIN["data"], "primary": " "}},
            'data.primary is " ", and must be a text that is not empty',
        ),
        ({"data": {**PLAIN["data"], "primary": None}}, "data.primary is null"),
        ({"data": {**PLAIN["data"], "confidence": "0.3"}}, 'data.confidence is "0.3", and must be a number'),
        ({"data": {**PLAIN["data"], "confidence": True}}, "data.confidence is true, and must be a number"),
        ({"data": {**PLAIN["data"], "secondary": {}}}, "data.secondary is {}, and must be a list"),
    ],
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_field_that_is_not_as_required_is_named(change, words, wrapped):
    """With what is there instead; in either envelope."""
    body = {**PLAIN, **change}
    assert words in fault(valid, REQUEST, answered({**WRAPPED, "content": body} if wrapped else body))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (answered({"ok": False, "error": "Endpoint disabled"}, 503), "answered: 503 Endpoint disabled"),
        (answered(b"<html>Bad Gateway", 502), "answered: 502"),
        (answered({}, 429), "answered: 429"),
        (answered(b"", 302, location="/login"), "redirected: 302 to /login, which is not followed"),
        (answered(b"", 301), "redirected: 301 to nowhere"),
        (answered(PLAIN, 201), "answered: 201"),
        (answered(b"<!doctype html>"), "not JSON: "),
        (answered(b'{"success":true,"da'), "not JSON: "),
        (answered(b""), "not JSON: "),
        (answered([]), "not an object"),
        (answered("text"), "not an object"),
    ],
)
def test_what_is_no_good_answer_has_a_name(answer, words):
    """HTML, redirects, a proxy's 502, half a JSON, nothing."""
    assert words in fault(valid, REQUEST, answer)


def test_another_status_can_be_the_good_one():
    """Where a plan says so."""
    request = SmokeRequest(endpoint="jobs", path="/jobs", body={}, status=202, require={"id": "any"})
    assert valid(request, answered({"id": 0}, 202)) == "202, 1 field as required (plain)"
    assert fault(valid, request, answered({"id": 0})) == "answered: 200"


def test_without_any_requirement_json_is_asked_for():
    """A warning of the plan says so."""
    request = SmokeRequest(endpoint="x", path="/x")
    assert valid(request, answered({})) == "200, JSON (plain)"
    assert fault(valid, request, answered(b"")).startswith("not JSON")


@pytest.mark.parametrize("wrapped", [False, True])
def test_an_answer_from_the_cache_says_so(wrapped):
    """True, and nothing else that is like it; and it is as good as the first one."""

    def body(**more: Any) -> Any:
        return {**WRAPPED, "content": PLAIN | more} if wrapped else PLAIN | more

    assert cached(REQUEST, answered(body(cached=True))).endswith("cached: true")
    for mark in (False, None, "true", 1):
        assert fault(cached, REQUEST, answered(body(cached=mark))).startswith("not from the cache")
    assert "no such field: 'cached'" in fault(cached, REQUEST, answered(body()))
    assert "success is false" in fault(cached, REQUEST, answered(body(cached=True, success=False)))


# -- pages and processes --


def test_a_page_is_html_by_its_word_and_by_its_looks():
    """A service that answers JSON, or an empty page, has no dashboard."""
    html = b"<!DOCTYPE html><html><body>x</body></html>"
    assert page(answered(html, content_type="text/html; charset=utf-8")) == "200, 42B of HTML"
    assert "its type is application/json" in fault(page, answered(html, content_type="application/json"))
    assert "its type is not given" in fault(page, answered(html))
    assert "not a page" in fault(page, answered(b"", content_type="text/html"))
    assert "not a page" in fault(page, answered({"ok": False}, content_type="text/html"))
    assert fault(page, answered(html, 404, content_type="text/html")) == "answered: 404"


@pytest.mark.parametrize("where", ["processes", "data.processes", "content.processes", ""])
def test_every_process_must_be_healthy(where):
    """Wherever the list is; one that says nothing is not taken for healthy."""

    def at(*processes: Any) -> Exchange:
        body: Any = list(processes)
        if where == "content.processes":
            body = {"type": "auto", "timestamp": "x", "content": {"processes": body}}
        elif where:
            for key in reversed(where.split(".")):
                body = {key: body}
        return answered(body)

    good = {"name": "web", "healthy": True}
    assert healthy_processes(at(good)) == "1 process, healthy"
    assert healthy_processes(at(good, good)) == "2 processes, all healthy"
    bad = {"name": "budget", "healthy": False}
    assert fault(healthy_processes, at(good, bad)) == "not healthy: process budget: healthy is false"
    assert fault(healthy_processes, at(good, {"name": "b"})) == "not healthy: process b does not say"
    assert fault(healthy_processes, at(good, {"healthy": "true"})).endswith('process 1: healthy is "true"')
    assert fault(healthy_processes, at(good, "up")) == "not healthy: process 1 does not say"
    assert fault(healthy_processes, at()) == "not healthy: the list of processes is empty"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (answered({"processes": None}), "the list of processes is empty"),
        (answered({}), "no such field: 'processes'"),
        (answered({"error": "Orchestrator unavailable"}, 500), "answered: 500 Orchestrator unavailable"),
        (answered(b"<html>"), "not JSON"),
    ],
)
def test_no_list_of_processes_is_a_failure(answer, words):
    """No process is not all processes."""
    assert words in fault(healthy_processes, answer)


# -- bad requests --


def test_a_bad_request_is_like_the_good_one_but_for_one_thing():
    """The other fields stay as they are."""
    made = {sent.refusal: sent.body for sent in bad_requests(REQUEST, REFUSALS, 1000.0)}
    assert made["malformed"] == b'{"text":"Test message","mode":"fast"'
    assert json.loads(made["missing"]) == {"mode": "fast"}
    assert json.loads(made["wrong_type"]) == {"text": INTRUDER, "mode": "fast"}
    large = json.loads(made["oversized"])
    assert large["mode"] == "fast"
    assert len(made["oversized"]) >= 1000
    assert sorted(made) == ["malformed", "missing", "oversized", "wrong_type"]


def test_only_what_the_plan_wants_is_sent():
    """And nothing for a request without a body."""
    assert [sent.refusal for sent in bad_requests(REQUEST, ("missing",), 1000.0)] == ["missing"]
    assert bad_requests(SmokeRequest(endpoint="x", path="/x"), REFUSALS, 1000.0) == ()


def test_a_body_without_fields_cannot_lack_one():
    """It can be malformed and oversized."""
    request = SmokeRequest(endpoint="x", path="/x", body={})
    made = {sent.refusal: sent.body for sent in bad_requests(request, REFUSALS, 100.0)}
    assert made["malformed"] == b"{"
    assert len(made["oversized"]) >= 100
    assert sorted(made) == ["malformed", "oversized"]


def test_an_object_is_replaced_by_a_text():
    """An object in its place would be of the right type."""
    request = SmokeRequest(endpoint="x", path="/x", body={"filter": {"a": 1}})
    (sent,) = bad_requests(request, ("wrong_type",), 100.0)
    assert sent.body == b'{"filter":"loadgate"}'


@given(st.dictionaries(st.text(), st.none() | st.integers() | st.text() | st.lists(st.text()), max_size=4))
def test_malformed_json_is_malformed_and_the_others_are_not(body):
    """Whatever the good body holds."""
    for sent in bad_requests(SmokeRequest(endpoint="x", path="/x", body=body), REFUSALS, 200.0):
        if sent.refusal == "malformed":
            with pytest.raises(json.JSONDecodeError):
                json.loads(sent.body)
        else:
            assert json.loads(sent.body) != body


# -- refusals --

CLEAN = {"type": "auto", "content": {"error": "Text required"}, "timestamp": "x"}
LEAKY = {"error": "Unexpected end of JSON input", "stack": "SyntaxError: x\n    at JSON.parse (<anonymous>)"}


@pytest.mark.parametrize("status", [400, 409, 411, 413, 415, 422, 431])
def test_a_4xx_about_the_body_is_a_refusal(status):
    """Whichever the service finds right."""
    assert refused("malformed", answered(CLEAN, status), ()) == (
        f"{status}, and tells nothing of its inside",
        (),
    )


@pytest.mark.parametrize("status", [401, 403, 404, 405, 407, 408, 410, 429])
def test_a_4xx_about_something_else_shows_nothing(status):
    """A route that is not there, or a client that may not ask, refuses a good body as well."""
    assert fault(refused, "malformed", answered(CLEAN, status), ()).startswith(
        f"refused for another reason: {status}"
    )


def test_an_unknown_route_may_be_hidden_or_forbidden():
    """But a limit that was met, or a time-out, is no answer about it."""
    for status in (400, 401, 403, 404, 405, 410):
        assert refused("unknown_route", answered(CLEAN, status), ())[1] == ()
    for status in (408, 429):
        assert fault(refused, "unknown_route", answered(CLEAN, status), ()).startswith("refused for another")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (answered(PLAIN), "not refused: 200"),
        (answered(b"", 204), "not refused: 204"),
        (answered(b"", 302, location="/"), "redirected: 302 to /"),
        (answered({"error": "Internal error"}, 500), "answered: 500 Internal error"),
        (answered(b"<html>", 502), "answered: 502"),
        (
            answered(LEAKY, 400),
            'gives away: 400 with a stack trace ("stack": SyntaxError: x at JSON.parse (<anonymous>)); '
            "also a stack frame, an exception",
        ),
        (answered(LEAKY, 500), "answered: 500 Unexpected end of JSON input; it gives away a stack trace"),
        (answered({}, 400, x_error="at /srv/app/x.js:1:2"), "gives away: 400 with a stack frame"),
    ],
)
def test_what_is_no_refusal_or_tells_too_much_is_named(answer, words):
    """A leak is told even where the status is wrong already."""
    assert fault(refused, "malformed", answer, ()).startswith(words)


def test_our_own_address_may_be_echoed():
    """Some services tell a client who it is."""
    answer = Exchange(400, (("x-client", "10.1.2.3"),), b'{"ip":"10.1.2.3"}', own="10.1.2.3")
    assert refused("malformed", answer, ())[0].startswith("400")
    assert "an internal address" in fault(refused, "malformed", answer._replace(own="10.1.2.4"), ())


def test_a_header_that_names_a_product_is_a_note():
    """Worth removing, and no reason to stop a release."""
    _, notes = refused("malformed", answered(CLEAN, 400, x_powered_by="Express"), ())
    assert notes == ("the header x-powered-by: Express names what runs here",)


# -- rate limit, restarts --


@pytest.mark.parametrize(
    "name",
    [
        "x_ratelimit_limit",
        "x_rate_limit_limit",
        "ratelimit",
        "ratelimit_policy",
        "x_ratelimit_limit_requests",
    ],
)
def test_a_rate_limit_shows_in_headers(name):
    """By the names in use."""
    seen, notes = rate_limit([answered({}), answered({}, **{name: "100"})])
    assert seen == f"headers {name.replace('_', '-')}"
    assert notes == ()


def test_a_429_shows_a_rate_limit_as_well():
    """Without any header."""
    assert rate_limit([answered({}, 429)]) == ("a request was refused with 429", ())


def test_no_sign_of_a_rate_limit_is_a_failure():
    """Nor is a `Retry-After`, which a service that is down sends too; no answer is no sign either."""
    assert fault(rate_limit, [answered({}, retry_after="3")]).startswith(
        "no rate limit: no answer has a header"
    )
    assert fault(rate_limit, []).startswith("no rate limit: no answer came that could show one")


def test_a_limit_of_which_nothing_is_ever_used_is_doubted():
    """Each answer says that all of the limit is left; one that has less ends the doubt."""
    full = answered({}, x_ratelimit_limit="1000", x_ratelimit_remaining="1000")
    less = answered({}, x_ratelimit_limit="1000", x_ratelimit_remaining="999")
    assert rate_limit([full, full, full])[1] == (
        "all 3 answers say that nothing of the limit is used: is it in force?",
    )
    assert rate_limit([full, less])[1] == ()
    assert rate_limit([less, less])[1] == ()


def test_uptime_that_went_back_is_a_restart():
    """A bad request took the service down, and something started it again."""
    restarted(5.0, 6.0)
    restarted(None, 1.0)
    restarted(5.0, None)
    assert fault(restarted, 5000.0, 12.0) == "restarted: uptime went back from 5000 to 12"


@pytest.mark.parametrize(
    ("found", "wanted", "equal"),
    [
        (1, 1.0, True),
        (True, 1, False),
        (0, False, False),
        (None, False, False),
        ([1, True], [1, True], True),
        ([1, True], [1, 1], False),
        ({"a": [True]}, {"a": [True]}, True),
        ({"a": [True]}, {"a": [1]}, False),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ([1], [1, 2], False),
    ],
)
def test_json_values_are_compared_as_json(found, wanted, equal):
    """In Python true is 1."""
    assert same(found, wanted) is equal


documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["success", "data", "content", "type", "timestamp", "processes", "cached", "healthy"]
            ),
            inner,
        )
    ),
    max_leaves=10,
)


@given(documents | st.binary(max_size=40), st.integers(100, 599))
def test_no_answer_can_break_a_check(body, status):
    """Whatever comes is either good or a named failure; and what is good has the right status."""
    answer = answered(body, status)
    for judge in (
        lambda: valid(REQUEST, answer),
        lambda: cached(REQUEST, answer),
        lambda: page(answer),
        lambda: healthy_processes(answer),
    ):
        with contextlib.suppress(CheckFailed, NoReading):
            judge()
            assert status == 200
    with contextlib.suppress(CheckFailed):
        refused("malformed", answer, ())
        assert 400 <= status < 500
