"""What error answers give away, and what they do not. Samples are of real servers, but for their names."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgate.watch.smoke_leaks import EXCERPT, leaks, pieces_of, telling_headers, unechoed

EXPRESS_JSON = {
    "ok": False,
    "error": "Unexpected token } in JSON at position 3",
    "stack": "SyntaxError: Unexpected token } in JSON at position 3\n    at JSON.parse (<anonymous>)\n"
    "    at parse (/srv/app/node_modules/body-parser/lib/types/json.js:92:19)",
}
EXPRESS_HTML = (
    '<!DOCTYPE html>\n<html lang="en"><head><title>Error</title></head><body><pre>SyntaxError: Unexpected'
    " end of JSON input<br> &nbsp; &nbsp;at JSON.parse (&lt;anonymous&gt;)<br> &nbsp; &nbsp;at parse "
    "(/home/deploy/svc/node_modules/body-parser/lib/types/json.js:89:19)</pre></body></html>"
)
PYTHON = (
    'Traceback (most recent call last):\n  File "/usr/lib/python3/dist-packages/flask/app.py", line 2073\n'
    "    response = self.full_dispatch_request()\nKeyError: 'text'"
)
JAVA = (
    'java.lang.NullPointerException: Cannot invoke "String.length()"\n\tat com.example.api.Texts.analyze('
    "Texts.java:42)\n\tat java.base/java.lang.Thread.run(Thread.java:840)\nCaused by: java.io.IOException"
)
DOTNET = (
    "System.NullReferenceException: Object reference not set to an instance of an object.\n"
    "   at Api.Controllers.TextController.Post(Request r) in /src/Api/TextController.cs:line 31"
)
PHP = (
    "<br />\n<b>Fatal error</b>:  Uncaught TypeError: strlen() in /var/www/html/index.php:3\nStack trace:\n"
    "#0 /var/www/html/lib.php(12): handle(Array)\n#1 {main}\n  thrown in <b>/var/www/html/index.php</b>"
)
RUBY = "NoMethodError (undefined method `length' for nil:NilClass):\napp/models/text.rb:12:in `analyze'"
GO = (
    "panic: runtime error: index out of range [3]\n\ngoroutine 17 [running]:\n"
    "main.handle(0xc0000b2000)\n\t/go/src/api/main.go:31 +0x1d"
)
RUST = (
    "thread 'tokio-runtime-worker' panicked at src/main.rs:12:5:\ncalled `Option::unwrap()` on a `None` value"
)


def kinds(body: str | bytes | dict[str, object] | list[object], *sent: str, **headers: str) -> list[str]:
    """Return the kinds of what an answer gives away."""
    if isinstance(body, dict | list):
        body = json.dumps(body)
    raw = body.encode() if isinstance(body, str) else body
    return [leak.kind for leak in leaks(raw, headers.items(), sent)]


@pytest.mark.parametrize(
    ("answer", "first"),
    [
        (EXPRESS_JSON, "a stack trace"),
        (EXPRESS_HTML, "a stack frame"),
        (PYTHON, "a stack frame"),
        (JAVA, "a stack frame"),
        (DOTNET, "a stack frame"),
        (PHP, "a stack frame"),
        (RUBY, "a stack frame"),
        (GO, "a stack frame"),
        (RUST, "a stack frame"),
    ],
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_stack_of_any_language_is_found(answer, first, wrapped):
    """As it is, and as a text within JSON, whose line ends and quotes are escaped there."""
    if wrapped:
        assert kinds({"error": answer}) != []
        assert kinds({"type": "auto", "content": {"detail": [answer]}})[0] in (first, "a stack frame")
    else:
        assert kinds(answer)[0] == first


@pytest.mark.parametrize("key", ["stack", "stackTrace", "stack_trace", "Backtrace", "traceback"])
@pytest.mark.parametrize("value", ["at x", ["a", "b"], {"frames": [1]}])
def test_a_key_that_holds_a_stack_is_found_wherever_it_is(key, value):
    """Whatever is in it, unless it is empty."""
    assert kinds({"error": {"inner": [{key: value}]}}) == ["a stack trace"]
    assert kinds({"error": {key: ""}, key: None, "x": {key: []}}) == []


def test_a_trace_is_a_stack_only_when_it_has_lines():
    """A trace is also what a request is followed by."""
    assert kinds({"trace": "4bf92f3577b34da6a3ce929d0e0e4736", "traceId": "a", "debug": False}) == []
    assert kinds({"trace": "a\nb"}) == ["a stack trace"]
    assert kinds({"trace": [{"file": "x"}]}) == ["a stack trace"]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("cannot open /etc/app/secrets", "a file path"),
        ("no such file /var/lib/app/data.db", "a file path"),
        ("see /app/server.py", "a file path"),
        ("see /dist/server.js:31:5", "a file path"),
        ("at C:\\inetpub\\wwwroot\\api\\web.config", "a file path"),
        ("in node_modules/express/lib/router", "a file path"),
        ("file:///opt/app/index.mjs", "a file path"),
        ("TypeError: Cannot read properties of undefined (reading 'length')", "an exception"),
        ("text.toLowerCase is not a function", "an exception"),
        ("'NoneType' object has no attribute 'lower'", "an exception"),
        ("ValueError('bad')", "an exception"),
        ("json: cannot unmarshal object into Go struct field Request.text of type string", "an exception"),
        ("Cannot deserialize value of type `java.lang.String` from Object value", "an exception"),
        ("org.springframework.http.converter.HttpMessageNotReadableException", "an exception"),
        ("SQLSTATE[42S02]: Base table or view not found", "a database error"),
        ("ORA-00942: table or view does not exist", "a database error"),
        ('relation "users" does not exist', "a database error"),
        ('near "x": syntax error', "a database error"),
        ("SELECT id, name FROM users WHERE id = 1", "a database error"),
        ("E11000 duplicate key error collection: app.users", "a database error"),
        ("connect ECONNREFUSED", "an internal address"),
        ("upstream 10.12.0.7:8080 is down", "an internal address"),
        ("upstream 192.168.1.20 is down", "an internal address"),
        ("upstream 172.31.0.1 is down", "an internal address"),
        ("redis://localhost:6379", "an internal address"),
        ("orders.shop.svc.cluster.local", "an internal address"),
    ],
)
def test_each_kind_is_found_in_text_json_and_headers(text, kind):
    """Wherever it stands."""
    assert kind in kinds(text)
    assert kind in kinds({"error": text})
    assert kind in kinds("{}", **{"x-error": text.replace("\n", " ")})


@pytest.mark.parametrize(
    "answer",
    [
        {
            "type": "auto",
            "content": {"error": "Text required for emotion analysis"},
            "timestamp": "2026-11-22T18:36:10.026Z",
        },
        {
            "ok": False,
            "service": "web-server",
            "error": "Malformed JSON",
            "code": 400,
            "timestamp": "2026-11-22T18:36:10Z",
        },
        {"error": "ValidationError", "message": "text is required", "path": "text", "status": 400},
        {"__type": "ValidationException", "message": "1 validation error detected"},
        {
            "error": {
                "code": "BadRequestError",
                "details": [{"loc": ["body", "text"], "msg": "Input should be a valid string"}],
            }
        },
        {
            "type": "https://example.com/problems/bad-request",
            "title": "Bad Request",
            "status": 400,
            "instance": "/items/5",
        },
        {
            "detail": [
                {
                    "type": "json_invalid",
                    "loc": ["body", 20],
                    "msg": "JSON decode error",
                    "ctx": {"error": "Expecting ',' delimiter"},
                }
            ]
        },
        {"error": "Unexpected end of JSON input"},
        {
            "error": "Please select an item from the list, where possible",
            "support": "https://docs.example.com/app/errors",
        },
        {"version": "1.10.0.3", "limit": "100kb", "time": "10:20:30"},
        {"message": "Too many requests", "retryAfter": 3, "traceId": "9b2e1d6a-8c1f-4d8e-9a34-1f2a3b4c5d6e"},
        "<!doctype html><html><head><link href='/build/a.css'><script src=\"/home/x/app.js\"></script></head>"
        '<body><h1>404</h1><a href="/app/home">Home</a></body></html>',
        {
            "error": "Not found",
            "docs": "/openapi.json",
            "spec": "/docs/v1/spec.yaml",
            "ui": "/static/js/app.js",
        },
        {
            "title": "One or more validation errors occurred.",
            "traceId": "00-4bf92f3577b34da6a3ce929d0e0e4736-00",
        },
        {"detail": [{"msg": "Input should be a valid string", "url": "https://errors.pydantic.dev/2.5/v/x"}]},
        {"message": "Syntax error: offset=20, error=unexpected EOF"},
        {"timestamp": "2026-11-24T09:00:00Z", "status": 400, "error": "Bad Request", "path": "/api/v1/items"},
        "<html><head><title>404 Not Found</title></head><body><center>nginx</center></body></html>",
        "Not Found",
        "",
    ],
)
def test_a_clean_refusal_gives_nothing_away(answer):
    """An API's own codes, its links and its identifiers are no inside of a server."""
    assert kinds(answer) == []


def test_the_headers_of_a_well_kept_service_give_nothing_away():
    """Policies and cross-origin headers hold addresses by design."""
    headers = {
        "content-security-policy": "default-src 'self' http://localhost:3001",
        "access-control-allow-origin": "http://localhost:3001",
        "etag": 'W/"1f-aGVsbG8gd29ybGQgaGVsbG8gd29ybGQ"',
        "date": "Tue, 24 Nov 2026 09:00:00 GMT",
        "x-ratelimit-remaining": "999",
        "set-cookie": "sid=abc; Path=/home/user/x",
    }
    assert leaks(b"{}", headers.items()) == ()
    assert telling_headers(headers.items()) == ()


def test_what_is_only_echoed_is_no_leak():
    """Of our request, and of the address that was asked."""
    text = "at f (/srv/app/x.js:1:2)"
    assert kinds({"error": f"cannot analyze: {text}"}, text) == []
    assert kinds("Cannot GET /etc/passwd", "/etc/passwd") == []
    assert kinds({"host": "127.0.0.1:3000"}, "127.0.0.1:3000") == []
    assert kinds({"host": "127.0.0.1:5432"}, "127.0.0.1:3000") == ["an internal address"]


def test_a_leak_beside_an_echo_is_found():
    """Taking out the echo joins nothing up, and hides nothing else."""
    assert kinds({"error": "Test message: TypeError: x"}, "Test message") == ["an exception"]


@given(st.text(min_size=0, max_size=40), st.text(max_size=5))
def test_short_pieces_of_a_request_hide_nothing(text, short):
    """A sample body such as {"a": "at"} must not take words out of every answer."""
    assert unechoed(text, [short]) == text


@given(st.text(max_size=30), st.text(alphabet="abcXYZ 019", max_size=20))
def test_more_words_around_a_stack_do_not_hide_it(before, after):
    """Wherever it stands in an answer."""
    assert "a stack frame" in kinds({"error": f"{before}\n{PYTHON}\n{after}"})


@given(st.binary(max_size=300))
def test_no_answer_can_break_the_search(body):
    """Whatever bytes come."""
    for leak in leaks(body, [("x", "y")]):
        assert len(leak.excerpt) <= EXCERPT + 30
        assert leak.excerpt.isprintable()


def test_deep_json_is_searched_without_end():
    """Nesting is bounded, and the text as it stands is searched as well."""
    deep = '{"a":' * 500 + '"SQLSTATE[1]"' + "}" * 500
    assert kinds(deep) == ["a database error"]


def test_headers_that_name_a_version_are_told_apart_from_leaks():
    """A product's name alone is nothing; its version is worth a note."""
    found = telling_headers(
        [
            ("x-powered-by", "Express"),
            ("server", "nginx/1.18.0 (Ubuntu)"),
            ("server", "gunicorn"),
            ("via", "1.1 proxy"),
        ]
    )
    assert found == ("x-powered-by: Express", "server: nginx/1.18.0 (Ubuntu)")


def test_the_pieces_of_a_request_are_all_its_texts():
    """Also those within lists and objects, but not its keys."""
    assert list(pieces_of({"a": "x", "b": [{"c": "y"}], "d": 3}, "z")) == ["x", "y", "z"]
