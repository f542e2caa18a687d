"""Smoke checks over real connections to loopback."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import orjson
import pytest

from loadgate.errors import TargetUnreachable
from loadgate.plan.plan import load_plan
from loadgate.plan.probe import Probe
from loadgate.plan.scenario import Http, Scenario, Stage, Traffic
from loadgate.plan.smoke import Smoke, SmokeRequest
from loadgate.staging.server import StagingService
from loadgate.watch.smoke import Check, State
from loadgate.watch.smoke_run import SmokeRun, wait_for_target

SHIPPED = Path(__file__).parents[2] / "scenarios" / "load.toml"
HEALTH = Probe(name="health", http="/health", every=1.0, timeout=1.0)
ASK = SmokeRequest(
    endpoint="emotion",
    path="/ask",
    body={"text": "Test message"},
    equals={"success": True},
    repeat_cached=True,
)
GOOD = b'{"success":true,"data":{}}'
CACHED = b'{"success":true,"data":{},"cached":true}'
JSON = "application/json"
Answer = tuple[int, str, bytes]


class Target:
    """A server whose routes a test writes; every request is kept, and each has a place in the order."""

    def __init__(self) -> None:
        self.routes: dict[str, Callable[[bytes], Answer]] = {}
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        target = self

        class Handler(BaseHTTPRequestHandler):
            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except OSError:
                    self.close_connection = True

            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                target.requests.append((self.command, self.path, dict(self.headers), body))
                route = target.routes.get(self.path)
                status, kind, sent = route(body) if route else (404, JSON, b'{"error":"Not found"}')
                self.send_response_only(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(sent)))
                if status == 302:
                    self.send_header("Location", "/elsewhere")
                self.end_headers()
                self.wfile.write(sent)

            do_POST = do_GET  # noqa: N815 - http.server's name

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def says(self, path: str, body: bytes, status: int = 200, kind: str = JSON) -> None:
        """Answer a route always alike."""
        self.routes[path] = lambda _: (status, kind, body)

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self._thread.join(5)


@pytest.fixture
def target() -> Iterator[Target]:
    """A target that is up, answers /ask well and from its cache, and refuses what is no good."""
    made = Target()
    made.says("/health", b'{"ok":true,"uptime":5}')

    def ask(body: bytes) -> Answer:
        try:
            good = isinstance(orjson.loads(body)["text"], str) and len(body) < 100_000
        except (orjson.JSONDecodeError, KeyError):
            good = False
        asked = sum(1 for request in made.requests if request[3] == body)
        return (
            (200, JSON, CACHED if asked > 1 else GOOD) if good else (400, JSON, b'{"error":"Text required"}')
        )

    made.routes["/ask"] = ask
    yield made
    made.close()


def scenario(host: str, *probes: Probe, smoke: Smoke | None = None, http: Http | None = None) -> Scenario:
    """Make a scenario; its load does not matter."""
    return Scenario(
        name="checked",
        locustfile=Path("none.py"),
        host=host,
        traffic=Traffic(stages=(Stage(rate=1.0, hold=60.0),), users=1),
        probes=probes,
        smoke=smoke,
        http=http or Http(connect_timeout=0.5),
    )


def check(plan: Scenario, environ: dict[str, str] | None = None) -> dict[str, Check]:
    """Check a target; by group and name."""
    found = asyncio.run(SmokeRun(plan, environ or {}).checks())
    assert len({(item.group, item.name) for item in found}) == len(found)
    return {item.name if item.group == "target" else f"{item.group} {item.name}": item for item in found}


def states(found: dict[str, Check]) -> dict[str, str]:
    """Return what came of each check."""
    return {name: str(item.state) for name, item in found.items()}


# -- the reference service --


@pytest.fixture(scope="module")
def staging() -> Iterator[StagingService]:
    with StagingService(leak_stack=False) as service:
        yield service


@pytest.fixture
def service(staging: StagingService) -> Iterator[StagingService]:
    yield staging
    staging.clear_faults()
    staging.change(envelope="wrapped", cache_stats="on", processes="full", dashboard="on", leak_stack=False)


def shipped(service: StagingService) -> Scenario:
    return load_plan(SHIPPED, host=service.url).scenario


@pytest.mark.system
@pytest.mark.parametrize("envelope", ["plain", "wrapped"])
def test_a_clean_release_passes_the_shipped_checks(service, envelope):
    """All 26 of them, in either envelope."""
    service.change(envelope=envelope)
    found = check(shipped(service))
    assert {name for name, item in found.items() if item.state is not State.PASSED} == set()
    assert len(found) == 26
    assert f"({envelope})" in found["emotion answers with valid data"].seen
    assert all(item.took < 5 for item in found.values())


@pytest.mark.system
def test_a_release_that_leaks_its_stack_fails_exactly_there(service):
    """Malformed JSON and oversized bodies show it, as the real target does; the rest is as before."""
    service.change(leak_stack=True)
    found = check(shipped(service))
    failed = {name: item for name, item in found.items() if item.state is State.FAILED}
    assert set(failed) == {
        f"{endpoint} {what}"
        for endpoint in ("emotion", "creative", "reasoning")
        for what in ("malformed JSON is refused", "an oversized body is refused")
    }
    assert all(item.reason == "gives away" for item in failed.values())
    assert "SyntaxError" in failed["emotion malformed JSON is refused"].seen


@pytest.mark.system
@pytest.mark.parametrize(
    ("change", "name", "words"),
    [
        ({"cache_stats": "no_proxy"}, "cache statistics", "502 No proxy target configured"),
        ({"processes": "down"}, "processes", "answered: 500 Orchestrator unavailable"),
        ({"dashboard": "off"}, "page /web-app/dashboard.html", "answered: 404"),
    ],
)
def test_what_a_release_lacks_is_named(service, change, name, words):
    """One line fails, and says why."""
    service.change(**change)
    found = check(shipped(service))
    assert [key for key, item in found.items() if item.state is not State.PASSED] == [name]
    assert words in found[name].seen


@pytest.mark.system
@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"kind": "error", "status": 503}, "answered"),
        ({"kind": "reset"}, "no answer"),
        ({"kind": "truncate"}, "no answer"),
        ({"kind": "malformed"}, "not JSON"),
        ({"kind": "hang", "endpoint": "emotion"}, "no answer in time"),
    ],
)
def test_each_fault_of_an_endpoint_is_a_named_failure(service, fault, reason):
    """Its cache is not asked then; the other endpoints are checked all the same."""
    service.add_fault(**{"endpoint": "emotion"} | fault)
    plan = shipped(service)
    assert plan.smoke is not None
    plan = plan.model_copy(update={"smoke": plan.smoke.model_copy(update={"timeout": 0.5, "refuse": ()})})
    found = check(plan)
    assert found["emotion answers with valid data"].reason == reason
    assert found["emotion answers from its cache"].state is State.SKIPPED
    assert found["creative answers from its cache"].state is State.PASSED


@pytest.mark.system
def test_a_cache_that_is_off_is_noticed(service):
    """The answers are good, and never cached."""
    service.add_fault("cache_off")
    found = check(shipped(service))
    failed = {name for name, item in found.items() if item.state is State.FAILED}
    assert failed == {
        f"{endpoint} answers from its cache" for endpoint in ("emotion", "creative", "reasoning")
    }


# -- any target --


def test_good_requests_come_before_bad_ones_and_health_comes_last(target):
    """A bad request that takes the service down must not look like an endpoint that answers badly."""
    found = check(scenario(target.url, HEALTH, smoke=Smoke(request=(ASK,))))
    assert set(states(found).values()) == {"passed"}
    paths = [path for _, path, _, _ in target.requests]
    assert paths[:3] == ["/health", "/ask", "/ask"]
    assert paths[-1] == "/health"
    assert sorted(paths[3:-1]) == ["/ask"] * 4 + ["/loadgate-smoke/no-such-route"]


def test_without_smoke_the_probes_are_checked(target):
    """And nothing is assumed about other routes."""
    numbers = Probe(name="numbers", kind="json", http="/numbers", values={"a": "a", "b": "b"}, every=1.0)
    target.says("/numbers", b'{"a":1}')
    found = check(scenario(target.url, HEALTH, numbers))
    assert states(found) == {"health": "passed", "probe numbers": "failed"}
    assert found["probe numbers"].seen == "not as required: no b: no such field: 'b'"
    assert {path for _, path, _, _ in target.requests} == {"/health", "/numbers"}


def test_a_scenario_without_anything_to_check_checks_nothing(target):
    """That is not green: see the results."""
    assert check(scenario(target.url)) == {}


BAD = {
    "HTML": ((200, "text/html", b"<!doctype html><html>Welcome</html>"), "not JSON"),
    "a redirect": ((302, JSON, b""), "redirected"),
    "a 502 of a proxy": ((502, "text/html", b"<html>502 Bad Gateway</html>"), "answered"),
    "half a JSON": ((200, JSON, GOOD[:12]), "not JSON"),
    "nothing": ((200, JSON, b""), "not JSON"),
    "10 MB": ((200, JSON, b" " * 10_000_000), "answer too large"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_answer_of_an_endpoint_is_a_named_failure(target, case):
    """Over a real connection; redirects are not followed."""
    (status, kind, body), reason = BAD[case]
    target.says("/ask", body, status, kind)
    found = check(scenario(target.url, smoke=Smoke(request=(ASK,), refuse=())))
    assert found["emotion answers with valid data"].reason == reason
    assert {path for _, path, _, _ in target.requests} == {"/ask"}


@pytest.mark.parametrize(
    ("body", "kind"), [(b"<pre>at f (/srv/x.js:1:2)</pre>", "text/html"), (b" " * 100_000, JSON)]
)
def test_a_refusal_that_leaks_or_is_too_long_to_search_fails(target, body, kind):
    """What lies beyond the bound cannot be vouched for."""
    target.routes["/ask"] = lambda _: (400, kind, body)
    found = check(scenario(target.url, HEALTH, smoke=Smoke(request=(ASK,), refuse=("malformed",))))
    assert found["emotion malformed JSON is refused"].reason in ("gives away", "answer too large")


def hang_up(host: str = "127.0.0.1") -> tuple[str, Callable[[], None]]:
    """Serve /health, and reset every connection that asks anything else."""
    listening = socket.create_server((host, 0))

    def serve() -> None:
        while True:
            try:
                taken, _ = listening.accept()
            except OSError:
                return
            with taken:
                if taken.recv(65536).startswith(b"GET /health"):
                    body = b'{"ok":true,"uptime":5}'
                    taken.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
                else:
                    taken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()

    def close() -> None:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join(5)

    return f"http://{host}:{listening.getsockname()[1]}", close


@pytest.mark.parametrize(
    ("probes", "refusal", "title", "state", "reason"),
    [
        ((HEALTH,), "oversized", "an oversized body is refused", "passed", ""),
        ((), "oversized", "an oversized body is refused", "failed", "cannot be told from a crash"),
        ((HEALTH,), "malformed", "malformed JSON is refused", "failed", "no answer"),
    ],
)
def test_hanging_up_refuses_an_oversized_body_when_health_vouches_for_it(
    probes, refusal, title, state, reason
):
    """A crash hangs up as well. Malformed JSON was read to its end: no reason to hang up on it."""
    url, close = hang_up()
    try:
        found = check(scenario(url, *probes, smoke=Smoke(request=(ASK,), refuse=(refusal,))))
    finally:
        close()
    assert (found[f"emotion {title}"].state, found[f"emotion {title}"].reason) == (state, reason)


def test_a_service_that_restarts_under_bad_requests_is_noticed(target):
    """Its uptime went back, though it is up again."""
    uptimes = iter([b"5000", b"12"])
    target.routes["/health"] = lambda _: (200, JSON, b'{"ok":true,"uptime":' + next(uptimes) + b"}")
    found = check(scenario(target.url, HEALTH, smoke=Smoke(request=(ASK,))))
    assert states(found)["health"] == "passed"
    assert found["still well afterwards"].seen == "restarted: uptime went back from 5000 to 12"


def test_a_target_that_hangs_costs_each_check_its_own_limit(raw_server):
    """All at once: a dozen checks of 0.3 s do not take 4 s."""
    server = raw_server(None)
    requests = tuple(SmokeRequest(endpoint=f"e{n}", path=f"/{n}", equals={"a": 1}) for n in range(6))
    begun = time.monotonic()
    found = check(scenario(server.url, smoke=Smoke(request=requests, timeout=0.3, refuse=("unknown_route",))))
    assert time.monotonic() - begun < 2
    assert {item.reason for item in found.values()} == {"no answer in time"}
    assert len(found) == 7


def test_secrets_are_sent_and_never_shown(target):
    """A target that echoes one back finds it masked in the report."""
    target.routes["/ask"] = lambda _: (
        403,
        JSON,
        b'{"error":"the token tok-12345 of Bearer tok-12345 is wrong"}',
    )
    plan = scenario(
        target.url, smoke=Smoke(request=(ASK,), refuse=()), http=Http(headers={"Authorization": "env:TOKEN"})
    )
    found = check(plan, {"TOKEN": "Bearer tok-12345"})
    assert target.requests[0][2]["Authorization"] == "Bearer tok-12345"
    assert found["emotion answers with valid data"].seen == "answered: 403 the token *** of *** is wrong"


def test_a_process_elsewhere_cannot_be_checked_and_is_no_fault_of_the_target(target):
    """The check is skipped, with the reason."""
    process = Probe(name="process", process="listening", every=1.0)
    plan = scenario("http://198.51.100.7:3000", process)
    found = check(plan)
    assert found["probe process"].state is State.SKIPPED
    assert found["probe process"].reason == "the target is not on this machine"


def test_a_rate_limit_is_looked_for_in_the_endpoints_answers(target):
    """Where the scenario expects one."""
    found = check(scenario(target.url, smoke=Smoke(request=(ASK,), refuse=(), rate_limit=True)))
    assert found["rate limit"].state is State.FAILED
    assert found["rate limit"].reason == "no rate limit"


def test_a_note_is_made_once(target):
    """A header that every answer has is worth one line."""
    target.server.RequestHandlerClass.end_headers = with_header(target.server.RequestHandlerClass.end_headers)
    found = check(scenario(target.url, HEALTH, smoke=Smoke(request=(ASK,))))
    notes = [note for item in found.values() for note in item.notes]
    assert notes == ["the header x-powered-by: Express names what runs here"]


def with_header(end: Callable[[Any], None]) -> Callable[[Any], None]:
    """Let a server say what it is."""

    def ended(self: Any) -> None:
        self.send_header("X-Powered-By", "Express")
        end(self)

    return ended


# -- waiting --


def test_waiting_ends_when_the_health_probe_says_up(target):
    """A deployment that answers 503 at first is waited for."""
    answers = iter([503, 503, 200])

    def health(_: bytes) -> Answer:
        status = next(answers, 200)
        return status, JSON, b'{"ok":true}' if status == 200 else b'{"ok":false}'

    target.routes["/health"] = health
    assert wait_for_target(scenario(target.url, HEALTH), {}, 10.0) < 5
    assert [path for _, path, _, _ in target.requests].count("/health") == 3


def test_a_target_that_never_gets_well_is_checked_all_the_same(target):
    """It can be reached, so that it is not well is a failed check."""
    target.says("/health", b'{"ok":false}', 503)
    plan = scenario(target.url, HEALTH)
    assert 0.3 <= wait_for_target(plan, {}, 0.3) < 3
    assert check(plan)["health"].seen == "not healthy: answered: 503"


def test_a_target_that_cannot_be_reached_is_an_error_in_time(closed_port):
    """At once without --wait, and after it with."""
    plan = scenario(f"http://127.0.0.1:{closed_port}", HEALTH)
    with pytest.raises(TargetUnreachable, match="connection refused"):
        wait_for_target(plan, {}, 0.0)
    begun = time.monotonic()
    with pytest.raises(TargetUnreachable) as caught:
        wait_for_target(plan, {}, 0.6)
    assert time.monotonic() - begun < 3
    assert "waited 600ms" in caught.value.hint


@pytest.mark.system
def test_a_service_that_starts_late_is_waited_for(closed_port):
    """Connections are refused until it listens."""
    plan = scenario(f"http://127.0.0.1:{closed_port}", HEALTH)
    service = StagingService(port=closed_port)
    starter = threading.Timer(0.5, service.start)
    starter.start()
    try:
        assert wait_for_target(plan, {}, 20.0) >= 0.4
    finally:
        starter.join()
        service.stop()
