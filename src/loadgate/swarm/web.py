"""Locust's own web UI beside a run that `loadgate run` makes, with Loadgate's live page in it.

The run stays headless: its plan says when it begins and ends, so the UI's ways to start, edit or reset one
are refused, and its stop button ends it as `loadgate stop` does. What is shown of the verdict comes from the
control room, which is asked over loopback as the event loop allows: nothing here reads a disk. A login that
the locustfile gives the UI (`--web-login`) guards Loadgate's page as well.
"""

from __future__ import annotations

import http.client
import json
import time
from typing import Any, Final
from urllib.parse import urlsplit

import gevent

from loadgate.swarm.launch import Web
from loadgate.swarm.live_guard import PAGE, TOKEN, refusal
from loadgate.swarm.secret import is_loopback

_PATIENCE: Final = 5.0
"""Seconds in which the control room must have answered."""
_FRESH: Final = 1.0
"""Seconds for which what it said is told again."""
_TABLE: Final = (
    ("state", "so far"),
    ("title", "objective"),
    ("value", "value"),
    ("target", "target"),
    ("n", "samples"),
)
_PLANNED: Final = "this run follows a plan: `loadgate run` starts and ends it"


class ControlRoom:
    """The control room as it is asked from the master's event loop."""

    def __init__(self, web: Web) -> None:
        self._at = urlsplit(web.told)
        self._token = web.token
        self._state: dict[str, Any] = {}
        self._read_at = float("-inf")

    def ask(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, str, bytes, str]:
        """Return status, content type, body and content policy of one of its pages; 502 when it is gone."""
        connection = http.client.HTTPConnection(str(self._at.hostname), self._at.port, timeout=_PATIENCE)
        try:
            connection.request(method, path, headers={TOKEN: self._token, **headers})
            answer = connection.getresponse()
            policy = answer.getheader("Content-Security-Policy") or ""
            return answer.status, answer.getheader("Content-Type") or "", answer.read(), policy
        except (OSError, http.client.HTTPException) as error:
            return 502, "text/plain", f"the control room does not answer: {error}\n".encode(), ""
        finally:
            connection.close()

    def state(self) -> dict[str, Any]:
        """Return how the run stands, at most a second old; nothing when the control room does not say."""
        now = time.monotonic()
        if now - self._read_at >= _FRESH:
            self._read_at = now
            status, _, body, _ = self.ask("GET", f"{PAGE}/state", {})
            self._state = json.loads(body) if status == 200 else {}
        return self._state


def serve(environment: Any, web: Web) -> None:
    """Make the web UI and serve it once every `init` listener has added to it."""
    ui = environment.create_web_ui(host=web.host, port=web.port, web_login=web.login, delayed_start=True)
    room = ControlRoom(web)
    # Flask-CORS would let any page that a browser shows read this one.
    hooks = ui.app.after_request_funcs
    hooks[None] = [hook for hook in hooks.get(None, []) if not hook.__module__.startswith("flask_cors")]
    _add_page(ui, room)
    _guard(ui, web)
    _plan_decides(ui, room)
    _add_tab(ui, room)
    gevent.spawn_later(0.1, ui.start)


def _add_page(ui: Any, room: ControlRoom) -> None:
    """Add the live page: the control room's, under the UI's own login."""
    from flask import Blueprint, Response, redirect, request

    pages = Blueprint("loadgate", __name__)

    def page(path: str = "") -> Any:
        asked = {"X-Loadgate": request.headers.get("X-Loadgate", "")} if request.method == "POST" else {}
        status, kind, body, policy = room.ask(request.method, f"{PAGE}/{path}", asked)
        headers = {"Content-Security-Policy": policy} if policy else {}
        return Response(body, status, headers | {"Cache-Control": "no-store"}, content_type=kind)

    guarded = ui.auth_required_if_enabled(page)
    pages.add_url_rule(f"{PAGE}/", "page", guarded)
    pages.add_url_rule(f"{PAGE}/<path:path>", "part", guarded, methods=["GET", "POST"])
    pages.add_url_rule(PAGE, "bare", lambda: redirect(f"{PAGE}/"))
    ui.app.register_blueprint(pages)


def _guard(ui: Any, web: Web) -> None:
    """Refuse what another page in somebody's browser asks for."""
    from flask import request

    def check() -> Any:
        told = refusal(
            request.method, request.host, request.headers.get("Origin"), own_name=is_loopback(web.host)
        )
        return (f"{told}\n", 403) if told else None

    ui.app.before_request(check)


def _plan_decides(ui: Any, room: ControlRoom) -> None:
    """Leave the run to its plan: start, edit and reset nothing, and end it as the control room does."""
    from flask import jsonify

    def refuse(**_: Any) -> Any:
        return jsonify({"success": False, "message": _PLANNED}), 403

    def stop() -> Any:
        status, _, body, _ = room.ask("POST", f"{PAGE}/stop", {"X-Loadgate": "stop"})
        return jsonify({"success": status == 200, "message": body.decode("utf-8", "replace").strip()}), status

    views = ui.app.view_functions
    wanted = {"/swarm": refuse, "/user": refuse, "/stats/reset": refuse, "/stop": stop}
    for rule in ui.app.url_map.iter_rules():
        if rule.endpoint.startswith("locust.") and rule.rule in wanted:
            views[rule.endpoint] = ui.auth_required_if_enabled(wanted.pop(rule.rule))
    if wanted:
        raise RuntimeError(f"this Locust has no {', '.join(wanted)}: its web UI cannot be guarded")


def _add_tab(ui: Any, room: ControlRoom) -> None:
    """Add a tab with the table of objectives, which the UI asks for every two seconds, and a link."""
    from flask import request

    structure = [{"key": key, "title": title} for key, title in _TABLE]
    ui.template_args["extended_tabs"] = [{"title": "Loadgate", "key": "loadgate"}]
    ui.template_args["extended_tables"] = [{"key": "loadgate", "structure": structure}]
    ui.template_args["extended_csv_files"] = [{"href": f"{PAGE}/", "title": "Loadgate's live page"}]

    def add(answer: Any) -> Any:
        if request.path == "/stats/requests" and answer.is_json and answer.status_code == 200:
            rows = [{key: row[key] for key, _ in _TABLE} for row in room.state().get("objectives", [])]
            # Locust tells the same answer again for two seconds, so this may be there already.
            content = answer.get_json() | {"extended_stats": [{"key": "loadgate", "data": rows}]}
            answer.set_data(json.dumps(content))
        return answer

    ui.app.after_request(add)
