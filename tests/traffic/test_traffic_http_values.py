"""Requests and responses as values: what may be sent, and how what came is read."""

from __future__ import annotations

import gzip
import zlib

import pytest

from loadgate.traffic.values import Get, Headers, Post, Request, Response, decoded


def response(head: bytes, body: bytes = b"") -> Response:
    """Make a response of a head's header lines and a body."""
    made = Response()
    made.head, made.body = b"HTTP/1.1 200 OK\r\n" + head + b"\r\n", body
    return made


def test_json_is_serialised_once_and_typed() -> None:
    """json= becomes the body's bytes and a content type at construction."""
    request = Post("/x", json={"a": "ü"}, timeout=3.0)
    assert (request.method, request.path, request.body) == ("POST", "/x", '{"a":"ü"}'.encode())
    assert (request.content_type, request.timeout) == ("application/json", 3.0)
    assert (request.endpoint, request.check, request.headers) == ("", None, None)


def test_text_beyond_ascii_in_a_path_is_encoded() -> None:
    """A path is percent-encoded where it must be, and what is encoded stays as it is."""
    assert Get("/caf\u00e9?q=%20").path == "/caf%C3%A9?q=%20"
    assert Get("/caf\u00e9?q=%20").path == "/caf%C3%A9?q=%20"


@pytest.mark.parametrize("path", ["", "x", "/a b", "/a\r\nX: y", "/\n", "/\x00", "/a#b", "http://h/"])
def test_unfit_paths_are_refused(path: str) -> None:
    """What would break the request line is a programming error."""
    with pytest.raises(ValueError, match="path"):
        Get(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X", "a\r\nY: b"),
        ("X", "a\nb"),
        ("X", "a\x00"),
        ("X", "\u20ac"),
        ("X Y", "a"),
        ("X\r\n", "a"),
        ("", "a"),
        ("Content-Length", "3"),
        ("transfer-encoding", "chunked"),
    ],
)
def test_unfit_headers_are_refused(name: str, value: str) -> None:
    """Headers that would inject others, or frame the request anew, are a programming error."""
    with pytest.raises(ValueError):
        Get("/", headers={name: value})


def test_other_programming_errors_are_refused() -> None:
    """json with body, a method that is no token, CONNECT, and a time limit that is none."""
    with pytest.raises(ValueError, match="not both"):
        Post("/", json=1, body=b"x")
    for method in ("", "GE T", "GET\r\n", "CONNECT"):
        with pytest.raises(ValueError, match="method"):
            Request(method, "/")
    for timeout in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="timeout"):
            Get("/", timeout=timeout)


def test_headers_are_found_in_any_case_and_joined() -> None:
    """Header names are case-insensitive and several of one name are one list."""
    headers = Headers(b"HTTP/1.1 200 OK\r\nSet-Cookie: a\r\nX-Y:  z \r\nset-cookie: b\r\n\r\n")
    assert dict(headers) == {"set-cookie": "a, b", "x-y": "z"}
    assert headers["SET-COOKIE"] == "a, b"
    assert "X-y" in headers
    assert headers.get("nope") is None
    assert 3 not in headers


def test_json_is_parsed_and_text_decoded() -> None:
    """json() parses the body, text uses the charset named, and bad JSON is a ValueError."""
    made = response(b"Content-Type: application/json; charset=latin-1\r\n", b'["\xe9"]')
    assert made.text == '["\u00e9"]'
    with pytest.raises(ValueError):
        made.json()
    good = response(b"", b'{"a": 1}')
    assert good.json() == {"a": 1}
    assert good.json() is good.json()
    assert response(b"Content-Type: text/plain; charset=nonsense\r\n", b"\xff").text == "\ufffd"


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(b"hello", mtime=0)),
        ("x-gzip", gzip.compress(b"hel", mtime=0) + gzip.compress(b"lo", mtime=0)),
        ("GZIP", gzip.compress(b"hello", mtime=0)),
        ("deflate", zlib.compress(b"hello")),
        ("deflate", zlib.compress(b"hello")[2:-4]),
        ("deflate, gzip", gzip.compress(zlib.compress(b"hello"), mtime=0)),
        ("identity", b"hello"),
    ],
)
def test_content_is_decoded(encoding: str, body: bytes) -> None:
    """gzip and both kinds of deflate are undone; `body` stays as it came."""
    made = response(b"Content-Encoding: " + encoding.encode() + b"\r\n", body)
    assert (made.content, made.body) == (b"hello", body)


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", b"hello"),
        ("gzip", gzip.compress(b"hello", mtime=0)[:-1]),
        ("br", b"hello"),
        ("deflate", b"\xff\xff"),
    ],
)
def test_content_that_cannot_be_decoded_is_a_value_error(encoding: str, body: bytes) -> None:
    """Broken, cut and unknown encodings raise what a check can catch."""
    with pytest.raises(ValueError):
        _ = response(b"Content-Encoding: " + encoding.encode() + b"\r\n", body).content


def test_unfolding_is_bounded() -> None:
    """A small body that would unfold beyond the limit is refused; one of exactly the limit is not."""
    assert decoded(gzip.compress(b"x" * 1000, mtime=0), "gzip", limit=1000) == b"x" * 1000
    with pytest.raises(ValueError, match="more than 999"):
        decoded(gzip.compress(b"x" * 1000, mtime=0), "gzip", limit=999)
    with pytest.raises(ValueError, match="more than 1500"):
        decoded(gzip.compress(b"x" * 1000, mtime=0) * 2, "gzip", limit=1500)


def test_body_without_encoding_is_its_content() -> None:
    """A response that says nothing of encodings is read as it is, and so is an empty encoded one."""
    assert response(b"", b"plain").content == b"plain"
    assert response(b"Content-Encoding: gzip\r\n", b"").content == b""
