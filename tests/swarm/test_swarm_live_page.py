"""Locust's web UI beside a planned run: what it shows of Loadgate, what it refuses, and who may ask."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import gevent
import pytest
from flask_login import UserMixin
from locust import HttpUser
from locust.env import Environment

from loadgate.swarm import web as module
from loadgate.swarm.launch import Web
from loadgate.swarm.web import ControlRoom, serve

ROW = {"state": "PASS", "title": "error_rate", "value": "0%", "target": "< 1%", "n": 9, "reason": ""}
Serve = Callable[..., Any]


class Nobody(HttpUser):
    """A user class, which Locust wants to have."""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, dict[str, str]]]:
    """Be the control room: note what is asked, and answer."""
    found: list[tuple[str, str, dict[str, str]]] = []

    def ask(
        _room: ControlRoom, method: str, path: str, headers: dict[str, str]
    ) -> tuple[int, str, bytes, str]:
        found.append((method, path, headers))
        body = json.dumps({"objectives": [ROW]}).encode() if path.endswith("/state") else b"said\n"
        return (
            200,
            "application/json" if path.endswith("/state") else "text/plain",
            body,
            "default-src 'none'",
        )

    monkeypatch.setattr(ControlRoom, "ask", ask)
    return found


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Make the web UI without serving it, and return a client of it."""
    monkeypatch.setattr(gevent, "spawn_later", lambda *_: None)
    # Locust reads its command line again for each view of its first page.
    monkeypatch.setattr(sys, "argv", ["locust"])

    def make(host: str = "127.0.0.1", *, login: bool = False) -> Any:
        environment = Environment(user_classes=[Nobody])
        environment.create_local_runner()
        serve(environment, Web(host, 1, "http://127.0.0.1:1", "token", login))
        return environment.web_ui.app.test_client()

    return make


def test_what_the_master_is_told_comes_back() -> None:
    """From the text of a variable."""
    web = Web("::1", 8089, "http://127.0.0.1:1", "secret", login=True)
    assert Web.from_text(web.to_text()) == web


def test_the_live_page_is_the_control_rooms(client: Serve, asked: list[Any]) -> None:
    """Its answers come as they are, with its policy."""
    browser = client()
    answer = browser.get("/loadgate/state")
    assert answer.get_json() == {"objectives": [ROW]}
    assert answer.headers["Content-Security-Policy"] == "default-src 'none'"
    assert browser.get("/loadgate").headers["Location"] == "/loadgate/"
    assert asked == [("GET", "/loadgate/state", {})]


def test_a_control_room_that_is_gone_is_told(client: Serve) -> None:
    """502 with words; Locust's own pages go on, with an empty table."""
    browser = client()
    answer = browser.get("/loadgate/state")
    assert (answer.status_code, "the control room does not answer" in answer.text) == (502, True)
    assert browser.get("/stats/requests").get_json()["extended_stats"] == [{"key": "loadgate", "data": []}]


def test_the_objectives_are_a_table_of_locusts(client: Serve, asked: list[Any]) -> None:
    """Its tab, its columns and its rows; telling the same answer again changes nothing."""
    browser = client()
    rows = [{key: ROW[key] for key in ("state", "title", "value", "target", "n")}]
    for _ in range(2):
        found = browser.get("/stats/requests").get_json()
        assert found["extended_stats"] == [{"key": "loadgate", "data": rows}]
        assert "stats" in found
    page = browser.get("/").text
    assert "extended_tabs" in page
    assert "/loadgate/" in page


def test_the_control_room_is_asked_once_a_second(monkeypatch: pytest.MonkeyPatch, asked: list[Any]) -> None:
    """However many browsers look."""
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    room = ControlRoom(Web("127.0.0.1", 1, "http://127.0.0.1:1", "t"))
    for moment in (100.0, 100.5, 100.9, 101.0):
        now[0] = moment
        assert room.state() == {"objectives": [ROW]}
    assert len(asked) == 2


@pytest.mark.parametrize("path", ["/swarm", "/user", "/stats/reset"])
def test_a_planned_run_is_not_edited(path: str, client: Serve, asked: list[Any]) -> None:
    """The plan says what it is; nothing is asked of anybody."""
    answer = client().post(path, data={"user_count": 1})
    assert answer.status_code == 403
    assert "follows a plan" in answer.get_json()["message"]
    assert asked == []


def test_locusts_stop_button_ends_the_run_as_we_do(client: Serve, asked: list[Any]) -> None:
    """By the control room, so that it is judged as one that was stopped."""
    answer = client().post("/stop")
    assert answer.get_json() == {"success": True, "message": "said"}
    assert asked == [("POST", "/loadgate/stop", {"X-Loadgate": "stop"})]


def test_only_the_page_itself_can_stop(client: Serve, asked: list[Any]) -> None:
    """Its header is passed on, and without it nothing is made up."""
    browser = client()
    browser.post("/loadgate/stop")
    browser.post("/loadgate/stop", headers={"X-Loadgate": "stop"})
    assert [headers["X-Loadgate"] for _, _, headers in asked] == ["", "stop"]


def test_other_pages_of_the_browser_are_refused(client: Serve, asked: list[Any]) -> None:
    """Another origin may not post; another name may not read; nobody is told that reading is fine."""
    browser = client()
    assert browser.post("/stop", headers={"Origin": "http://evil.example"}).status_code == 403
    assert browser.get("/loadgate/state", headers={"Host": "evil.example"}).status_code == 403
    assert asked == []
    answer = browser.get("/stats/requests", headers={"Origin": "http://evil.example"})
    assert not [name for name, _ in answer.headers if name.startswith("Access-Control")]
    assert browser.post("/stop", headers={"Origin": "http://localhost"}).status_code == 200


def test_where_it_listens_for_others_they_ask_by_its_name(client: Serve, asked: list[Any]) -> None:
    """Bound elsewhere than to loopback, its name is not ours to know."""
    assert client("0.0.0.0").get("/loadgate/state", headers={"Host": "ci.example"}).status_code == 200


@pytest.mark.parametrize("path", ["/loadgate/", "/loadgate/state", "/stats/requests", "/"])
def test_behind_a_login_nothing_is_told(path: str, client: Serve, asked: list[Any]) -> None:
    """A login that the locustfile did not provide lets nobody in."""
    answer = client(login=True).get(path)
    assert "error_rate" not in answer.text
    assert "objectives" not in answer.text


def test_who_has_logged_in_sees_the_page(client: Serve, asked: list[Any]) -> None:
    """The login that the locustfile gives Locust's pages opens ours as well."""
    browser = client(login=True)
    app = browser.application
    app.secret_key = "of the test"
    app.login_manager.user_loader(lambda name: UserMixin() if name == "me" else None)
    assert "objectives" not in browser.get("/loadgate/state").text
    with browser.session_transaction() as session:
        session["_user_id"] = "me"
    assert browser.get("/loadgate/state").get_json() == {"objectives": [ROW]}


def test_behind_a_login_nobody_stops(client: Serve, asked: list[Any]) -> None:
    """Neither by Locust's button nor by ours."""
    browser = client(login=True)
    browser.post("/stop")
    browser.post("/loadgate/stop", headers={"X-Loadgate": "stop"})
    assert asked == []
