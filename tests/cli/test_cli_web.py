"""The live page: what it is told, who may ask, and that a browser shows it during a real run."""

from __future__ import annotations

import html
import json
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from made_runs import plan

from loadgate.cli.live_server import LivePageServer
from loadgate.cli.outlets import Listening, Outlets
from loadgate.cli.serving import Server
from loadgate.errors import UsageError
from loadgate.report.live_page import MOST_ENDPOINTS, live_page, live_state
from loadgate.report.snapshot import (
    AlertView,
    EndpointView,
    FailureView,
    Latency,
    Moment,
    ObjectiveState,
    Snapshot,
    WorkerView,
)
from loadgate.store.watch import Reading

CHROMIUM = shutil.which("chromium")
INF = float("inf")
EVIL = "<script>document.title = 'broken'</script>"


def snapshot(**more: Any) -> Snapshot:
    """Return a run at its fiftieth second, with something in every part, some of it hostile."""
    views = tuple(
        EndpointView(
            name,
            90.0,
            Latency(9, 1500.0, 20_000.0, INF),
            counts={"arrivals": 9, "ok": 8, "failed": 1},
            trend=tuple(
                Moment(second, 90, 1000.0, 2000.0 if second < 45 else INF, INF) for second in range(50)
            ),
        )
        for name in ("emotion", EVIL)
    )
    rows = (
        ObjectiveState("emotion.response_time", "p95", "< 50ms", "PASS", "20ms", 9, "", 0.02),
        ObjectiveState("error_rate", "", "< 1%", "FAIL", "11%", 9, "past the limit", 0.11),
    )
    content: dict[str, Any] = {
        "endpoints": views,
        "total": EndpointView("all", 180.0, counts={"ok": 16}),
        "objectives": rows,
        "alerts": (AlertView("errors", "high", "firing"), AlertView("calm", "low", "inactive")),
        "workers": (WorkerView("worker-1", 0.5, 1, 5, 120.0, 100.0),),
        "failures": (FailureView("emotion", "failed", "status", f"HTTP 503 {EVIL}", 7),),
        "expected": 2,
        "requested": 200.0,
    }
    return Snapshot(50.4, 50.0, "steady", 60.0, "open", begun=True, **content | more)


READINGS = {
    ("health", "up"): Reading(49.0, "health", "up", 1.0, "", 0.01),
    ("cache", "entries"): Reading(49.0, "cache", "entries", None, "refused", 0.01),
}


def test_a_state_is_plain_json() -> None:
    """Latencies in ms, "inf" for infinite; a failed reading is "no data"."""
    state = live_state(plan(), "run-1", snapshot(), READINGS)
    assert json.loads(json.dumps(state, allow_nan=False)) == state
    first = state["endpoints"][0]
    assert (first["p50"], first["p95"], first["p99"]) == (1.5, 20.0, "inf")
    assert first["trend"][0] == [0, 90, 1.0, 2.0, "inf"]
    assert state["probes"][0] == {"name": "cache.entries", "value": "no data", "error": "refused"}
    assert (state["reporting"], state["expected"]) == (1, 2)


def test_a_state_is_bounded() -> None:
    """Of a thousand endpoints those with the most arrivals are told one by one, in the order of names."""
    views = tuple(EndpointView(f"e{n:04}", counts={"arrivals": n}) for n in range(1000))
    state = live_state(plan(), "r", snapshot(endpoints=views), {})
    assert [one["name"] for one in state["endpoints"]] == [
        f"e{n:04}" for n in range(1000 - MOST_ENDPOINTS, 1000)
    ]
    assert state["more_endpoints"] == 1000 - MOST_ENDPOINTS


def test_a_state_leaves_out_nothing_that_is_worse() -> None:
    """Of 203 rows, rules, workers and readings the bad ones come last in the plan, and are shown first."""
    words = ["PASS"] * 201 + ["waiting", "FAIL"]
    rows = tuple(ObjectiveState(f"r{n}", "", "< 1", word) for n, word in enumerate(words))
    alerts = tuple(AlertView(f"a{n}", "low", "inactive") for n in range(202))
    workers = tuple(WorkerView(f"w{n}", 0.1, 0, 1, 1.0, 1.0, silent=n == 202) for n in range(203))
    readings = {("p", f"{n:03}"): Reading(1.0, "p", f"{n:03}", 1.0, "", 0.0) for n in range(202)}
    readings["p", "999"] = Reading(1.0, "p", "999", None, "refused", 0.0)
    shown = snapshot(objectives=rows, alerts=(*alerts, AlertView("bad", "high", "firing")), workers=workers)
    state = live_state(plan(), "r", shown, readings)
    assert [row["state"] for row in state["objectives"][:3]] == ["FAIL", "waiting", "PASS"]
    assert [one["rule"] for one in state["alerts"][:2]] == ["bad", "a0"]
    assert (state["workers"][0]["name"], state["probes"][0]["name"]) == ("w202", "p.999")
    assert state["left_out"] == {
        "objectives": "and 3 more rows: 3 PASS",
        "alerts": "and 3 more rows: 3 inactive",
        "workers": "and 3 more rows: 3 reporting",
        "probes": "and 3 more rows: 3 read",
    }


def test_a_state_that_fits_keeps_the_order_of_its_plan() -> None:
    """And says nothing of rows that are left out."""
    state = live_state(plan(), "r", snapshot(), READINGS)
    assert [row["state"] for row in state["objectives"]] == ["PASS", "FAIL"]
    assert not any(state["left_out"].values())


def test_before_the_load_a_state_says_so() -> None:
    """Which run it is, and that it has not begun."""
    state = live_state(plan(), "r", None, {})
    assert (state["run"], state["begun"], state["scenario"]) == ("r", False, "load")


def test_the_page_runs_its_own_script_alone() -> None:
    """Its policy names the script and the style by their hashes, and no other place."""
    page = live_page()
    assert len(re.findall(r"'sha256-[\w+/=]{44}'", page.policy)) == 2
    assert "unsafe" not in page.policy
    assert "http" not in page.policy
    assert not re.search(rb'(src|href)="(?!data:)', page.html)


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """Serve a live page to browsers, or with a token to a master; return its address."""
    servers: list[Server] = []

    def make(token: str = "", stop: Callable[[], str] = lambda: "it ends") -> str:
        state = json.dumps(live_state(plan(), "run-1", snapshot(), READINGS)).encode()
        page = LivePageServer(lambda: state, stop, token)
        servers.append(Server("127.0.0.1", 0, page.pages, "--web-port"))
        return servers[-1].url

    yield make
    for server in servers:
        server.close()


def test_a_browser_of_this_machine_is_served(serve: Callable[..., str]) -> None:
    """The page, with its policy, and the state; the root leads to it."""
    url = serve()
    answer = httpx.get(url, follow_redirects=True)
    assert answer.url.path == "/loadgate/"
    assert answer.headers["content-security-policy"] == live_page().policy
    assert httpx.get(f"{url}/loadgate/state").json()["run"] == "run-1"


def test_other_pages_of_the_browser_are_not(serve: Callable[..., str]) -> None:
    """A name that was bent to this machine, another origin, a form without the page's header."""
    url = serve()
    assert httpx.get(f"{url}/loadgate/state", headers={"Host": "evil.example"}).status_code == 403
    sent = {"X-Loadgate": "stop", "Origin": "http://evil.example"}
    assert httpx.post(f"{url}/loadgate/stop", headers=sent).status_code == 403
    assert httpx.post(f"{url}/loadgate/stop").status_code == 403
    assert httpx.post(f"{url}/loadgate/stop", headers={"X-Loadgate": "stop"}).text == "it ends\n"


def test_a_stop_that_is_not_possible_is_told(serve: Callable[..., str]) -> None:
    """With why."""

    def stop() -> str:
        raise UsageError("no run has begun yet")

    answer = httpx.post(f"{serve(stop=stop)}/loadgate/stop", headers={"X-Loadgate": "stop"})
    assert (answer.status_code, answer.text) == (409, "no run has begun yet\n")


def test_a_masters_page_answers_the_master_alone(serve: Callable[..., str]) -> None:
    """Who does not bring the token gets nothing, a browser of this machine neither."""
    url = serve(token="secret")
    assert httpx.get(f"{url}/loadgate/state").status_code == 403
    assert httpx.get(f"{url}/loadgate/state", headers={"X-Loadgate-Token": "other"}).status_code == 403
    assert httpx.get(f"{url}/loadgate/state", headers={"X-Loadgate-Token": "secret"}).status_code == 200


def test_elsewhere_than_on_loopback_it_wants_a_login() -> None:
    """Anybody who reaches it could end the run."""
    with pytest.raises(UsageError, match="--web-bind"):
        Outlets(plan(), Listening(web=True, web_port=0, web_bind="0.0.0.0"), print, through_locust=True)


def test_a_port_in_use_is_told(serve: Callable[..., str]) -> None:
    """For a page of our own and for one of the master's, before any load."""
    port = int(serve().rsplit(":", 1)[1])
    for through_locust in (False, True):
        with pytest.raises(UsageError, match=f"--web-port: port {port}"):
            Outlets(plan(), Listening(web=True, web_port=port), print, through_locust=through_locust)


def browse(url: str, width: int = 390) -> tuple[str, str]:
    """Open a page in Chromium; return the words on it once its script has run, and what the console said."""
    assert CHROMIUM is not None
    done = subprocess.run(
        [
            *[
                CHROMIUM,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--dump-dom",
                "--enable-logging=stderr",
            ],
            *["--virtual-time-budget=3000", f"--window-size={width},900", url],
        ],
        capture_output=True,
        text=True,
        timeout=90,
    )
    said = "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)
    body = done.stdout.split("<body>", 1)[1]
    return html.unescape(re.sub(r"<script>.*?</script>|<[^>]+>", " ", body, flags=re.DOTALL)), said


@pytest.mark.system
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium (Debian package chromium)")
def test_a_browser_shows_what_the_state_says(serve: Callable[..., str]) -> None:
    """Objectives, endpoints, alerts, fleet and probes; markup from the target is text; no error is logged."""
    words, said = browse(f"{serve()}/loadgate/")
    told = " ".join(words.split())
    assert "steady: 50s of 1m, 9s left" in told
    assert "PASS emotion.response_time p95 20ms < 50ms 9" in told
    assert "FAIL error_rate 11% < 1% 9 past the limit" in told
    assert "emotion 90.0/s 1.50 ms 20.0 ms ∞ 8 1 0 0" in told
    assert "firing errors high" in told
    assert "1 of 2 workers report" in told
    assert "worker-1 50 % 5 1 0.12 ms" in told
    assert f"7 emotion failed status HTTP 503 {EVIL}" in told
    assert "cache.entries no data refused" in told
    assert said == ""


@pytest.mark.system
def test_a_run_is_seen_and_stopped_in_a_browser(loadgate, service) -> None:
    """Locust's UI and the live page tell of the run under way; the stop button ends it, and it is judged."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    path = loadgate.scenario(service.url, hold="60s")
    running = loadgate.start("run", path, "--web", "--web-port", str(port))
    running.until_answered(30)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as web:
        state = web.get("/loadgate/state").json()
        assert state["run"] == running.folder_of_run().id
        assert [row["title"] for row in state["objectives"]] == ["emotion.response_time p95", "error_rate"]
        shown = web.get("/stats/requests").json()
        assert [row["title"] for row in shown["extended_stats"][0]["data"]] == [
            "emotion.response_time p95",
            "error_rate",
        ]
        assert shown["user_count"] == 20
        assert web.post("/swarm", data={"user_count": 1}).status_code == 403
        assert web.post("/stop").json()["success"] is True
    done = running.wait()
    verdict = running.verdict()
    assert verdict["ended"] == "stopped"
    assert done.code == verdict["exit_code"] != 0
    assert (
        f"live page: http://127.0.0.1:{port}/loadgate/ (Locust's own: http://127.0.0.1:{port}/)" in done.err
    )
    assert running.left() == []
