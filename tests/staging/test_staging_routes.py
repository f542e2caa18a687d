"""The service's routes over real HTTP: the shapes that were observed, and the switches between them."""

from __future__ import annotations

import re

import httpx
import pytest

from loadgate.errors import UsageError
from loadgate.staging.server import StagingService

pytestmark = pytest.mark.system

EMOTION = "/api/v1/emotions/analyze"
CREATIVE = "/api/v1/creative/generate"
REASONING = "/api/v1/reasoning/verify"
BODIES = {EMOTION: {"text": "Hello"}, CREATIVE: {"prompt": "Hello"}, REASONING: {"reasoning": "Hello"}}
FIELDS = {
    EMOTION: {"input", "analysis", "confidence", "emotionHistory"},
    CREATIVE: {
        "originalPrompt",
        "variations",
        "diversityScore",
        "domainBrainstorm",
        "style",
        "generationMetadata",
    },
    REASONING: {
        "reasoning",
        "logicalChain",
        "premiseValidation",
        "fallacyDetection",
        "circularDependencies",
        "consistency",
        "strength",
        "suggestions",
        "overallAssessment",
    },
}
ISO = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")


@pytest.mark.parametrize("path", BODIES)
def test_a_wrapped_answer_has_the_observed_fields(client: httpx.Client, path: str):
    """Type, content and timestamp outside; success, title, message and data inside."""
    answer = client.post(path, json=BODIES[path])
    assert answer.status_code == 200
    body = answer.json()
    assert set(body) == {"type", "content", "timestamp"}
    assert body["type"] == "auto"
    assert ISO.match(body["timestamp"])
    assert body["content"]["success"] is True
    assert set(body["content"]["data"]) == FIELDS[path]


def test_a_plain_answer_is_the_content_of_the_wrapped_one(service: StagingService, client: httpx.Client):
    """Switched while it runs."""
    body = {"text": "The same in both envelopes"}
    client.post(EMOTION, json=body)
    wrapped = client.post(EMOTION, json=body).json()
    service.change(envelope="plain")
    assert client.post(EMOTION, json=body).json() == wrapped["content"]


@pytest.mark.parametrize("path", BODIES)
def test_a_repeated_text_is_a_hit_with_the_same_data(client: httpx.Client, path: str):
    """A miss has no `cached`; a hit has it, and a title that says so."""
    body = {key: f"{value} repeated" for key, value in BODIES[path].items()}
    miss = client.post(path, json=body).json()["content"]
    hit = client.post(path, json=body).json()["content"]
    assert "cached" not in miss
    assert hit["cached"] is True
    assert hit["title"] == f"{miss['title']} (Cached)"
    assert hit["data"] == miss["data"]


def test_options_are_part_of_what_is_cached(client: httpx.Client):
    """Another style is another answer; unknown fields are ignored."""
    client.post(CREATIVE, json={"prompt": "options", "style": "bold", "domains": ["art"], "cycles": 2})
    other = client.post(CREATIVE, json={"prompt": "options", "style": "conservative"}).json()["content"]
    assert "cached" not in other
    assert other["data"]["style"] == "conservative"


def test_the_headers_are_about_twenty_and_keep_the_connection(client: httpx.Client):
    """Framing by length, keep-alive of 5 s, CORS, helmet, entity tag, rate limit."""
    headers = client.post(EMOTION, json={"text": "headers"}).headers
    assert 18 <= len(headers) <= 24
    assert headers["keep-alive"] == "timeout=5"
    assert headers["connection"] == "keep-alive"
    assert headers["content-type"] == "application/json; charset=utf-8"
    assert headers["access-control-allow-origin"] == "*"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-ratelimit-limit"] == "1000"
    assert headers["x-ratelimit-remaining"] == "1000"
    assert re.match(r'^W/"[0-9a-f]+-[A-Za-z0-9+/]{27}"$', headers["etag"])
    assert "transfer-encoding" not in headers


def test_typical_bodies_have_the_observed_size(client: httpx.Client):
    """About 0.4 to 1.5 KB."""
    text = "I was worried about the launch, but the team did a wonderful job and I am proud. It holds."
    for path, body in BODIES.items():
        size = len(client.post(path, json=dict.fromkeys(body, text)).content)
        assert 400 <= size <= 1600, (path, size)


@pytest.mark.parametrize(
    ("path", "body", "error"),
    [
        (EMOTION, {}, "Text required for emotion analysis"),
        (EMOTION, {"text": ""}, "Text required for emotion analysis"),
        (EMOTION, [], "Text required for emotion analysis"),
        (EMOTION, {"text": 5}, "Text must be a string"),
        (CREATIVE, {}, "Prompt required for creative generation"),
        (CREATIVE, {"prompt": "a", "domains": "b"}, "Domains must be a list of strings"),
        (CREATIVE, {"prompt": "a", "cycles": True}, "Cycles must be a whole number"),
        (REASONING, {}, "Reasoning required for verification"),
        (REASONING, {"reasoning": "a", "premises": [1]}, "Premises must be a list of strings"),
    ],
)
def test_a_missing_or_wrong_field_gets_400(client: httpx.Client, path: str, body: object, error: str):
    """In the envelope, with the error as the only content."""
    answer = client.post(path, json=body)
    assert answer.status_code == 400
    assert answer.json()["type"] == "auto"
    assert answer.json()["content"] == {"error": error}


def test_a_body_that_is_not_declared_as_json_is_not_read(client: httpx.Client):
    """As with the observed server: the field is then missing."""
    answer = client.post(EMOTION, content=b'{"text":"x"}', headers={"content-type": "text/plain"})
    assert answer.status_code == 400
    assert answer.json()["content"] == {"error": "Text required for emotion analysis"}


def test_malformed_json_leaks_the_stack_unless_switched_off(service: StagingService, client: httpx.Client):
    """The finding that the checklist's security line should make."""
    headers = {"content-type": "application/json"}
    leaking = client.post(EMOTION, content=b'{"text": oops}', headers=headers)
    assert leaking.status_code == 400
    body = leaking.json()
    assert set(body) == {"ok", "service", "error", "code", "timestamp", "stack"}
    assert (body["ok"], body["service"], body["code"]) == (False, "web-server", 400)
    assert body["stack"].startswith("SyntaxError: ")
    service.change(leak_stack=False)
    assert "stack" not in client.post(EMOTION, content=b'{"text": oops}', headers=headers).json()


def test_an_oversized_body_gets_413(client: httpx.Client):
    """The bound is 100 KiB."""
    answer = client.post(EMOTION, json={"text": "x" * (100 * 1024)})
    assert answer.status_code == 413
    assert answer.json()["error"] == "request entity too large"


@pytest.mark.parametrize(("method", "path"), [("GET", "/nope"), ("GET", EMOTION), ("POST", "/health")])
def test_an_unknown_route_gets_404_as_json(client: httpx.Client, method: str, path: str):
    """A wrong method is an unknown route."""
    answer = client.request(method, path)
    assert answer.status_code == 404
    assert answer.json()["error"] == "Not found"


def test_health_has_the_observed_fields(service: StagingService, client: httpx.Client):
    """Uptime in whole milliseconds, or in seconds when switched: a thousand times less."""
    body = client.get("/health").json()
    assert list(body) == ["ok", "service", "time", "uptime", "ready", "metrics"]
    assert set(body["metrics"]) == {"requests", "successfulRequests", "errors", "avgLatency", "errorsByCode"}
    assert isinstance(body["uptime"], int)
    service.change(uptime="s")
    seconds = client.get("/health?verbose=1").json()["uptime"]
    assert seconds * 1000 >= body["uptime"] > seconds


def test_cache_statistics_count_from_the_start_of_the_process(client: httpx.Client):
    """One miss and two hits move the counters by just that; rates are strings."""
    before = client.get("/api/v1/cache/stats").json()["content"]["data"]
    for _ in range(3):
        client.post(EMOTION, json={"text": "counted by the cache"})
    after = client.get("/api/v1/cache/stats").json()["content"]["data"]
    assert after["hits"] - before["hits"] == 2
    assert after["misses"] - before["misses"] == 1
    assert re.match(r"^\d+\.\d\d%$", after["hitRate"])
    assert re.match(r"^\d+\.\d\d (B|KB|MB)$", after["totalMemory"])
    assert re.match(r"^\d+\.\d\d$", after["avgAccessCount"])
    assert set(after["newestEntry"]) == {"key", "createdAt"}


def test_cache_statistics_can_answer_502(service: StagingService, client: httpx.Client):
    """As some releases do."""
    service.change(cache_stats="no_proxy")
    answer = client.get("/api/v1/cache/stats")
    assert answer.status_code == 502
    assert answer.json() == {"ok": False, "error": "No proxy target configured"}


def test_processes_tell_memory_and_cpu_unless_switched(service: StagingService, client: httpx.Client):
    """Full, without the two, or not at all."""
    observed = {
        "name",
        "port",
        "health_endpoint",
        "healthy",
        "latency",
        "lastCheck",
        "uptimePercent",
        "avgLatency",
    }
    process = client.get("/api/v1/system/processes").json()["processes"][0]
    assert set(process) == observed | {"pid", "memory", "cpu", "cpuSeconds"}
    assert process["pid"] == service.pid
    assert process["port"] == service.port
    assert 10_000_000 < process["memory"] < 500_000_000
    service.change(processes="bare")
    assert set(client.get("/api/v1/system/processes").json()["processes"][0]) == observed
    service.change(processes="down")
    assert client.get("/api/v1/system/processes").status_code == 500


def test_a_disabled_endpoint_answers_503_until_it_is_enabled(client: httpx.Client):
    """Twice is the same as once; the others go on."""
    for _ in range(2):
        done = client.post("/api/v1/system/disable-endpoint", json={"endpoint": EMOTION})
        assert done.status_code == 200
    assert client.post(EMOTION, json={"text": "a"}).status_code == 503
    assert client.post(REASONING, json={"reasoning": "a"}).status_code == 200
    assert client.post("/api/v1/system/enable-endpoint", json={"endpoint": EMOTION}).status_code == 200
    assert client.post(EMOTION, json={"text": "a"}).status_code == 200


@pytest.mark.parametrize("body", [{}, {"endpoint": "/nope"}, {"endpoint": 5}])
def test_only_known_endpoints_can_be_disabled(client: httpx.Client, body: object):
    """Anything else is a 400."""
    assert client.post("/api/v1/system/disable-endpoint", json=body).status_code == 400


def test_a_lowered_rate_limit_delays_and_then_refuses(client: httpx.Client):
    """One per 20 s, patience 30 s: one at once, one delayed by 20 s, one that would wait 40 s is refused."""
    body = {"text": "limited"}
    client.post(EMOTION, json=body)
    answer = client.post("/api/v1/system/rate-limit", json={"rateLimit": 0.05, "service": "emotions"})
    assert answer.json()["content"]["data"] == {"service": "emotions", "rateLimit": 0.05}
    assert client.post(EMOTION, json=body).status_code == 200
    with pytest.raises(httpx.ReadTimeout):
        client.post(EMOTION, json=body, timeout=0.1)
    refused = client.post(EMOTION, json=body)
    assert refused.status_code == 429
    assert set(refused.json()) == {"ok", "error", "retryAfter", "traceId"}
    assert refused.json()["error"] == "Too many requests"
    assert 30 < refused.json()["retryAfter"] <= 40
    assert refused.headers["x-ratelimit-remaining"] == "0"
    assert client.post(CREATIVE, json={"prompt": "not limited"}).status_code == 200
    client.post("/api/v1/system/rate-limit", json={"rateLimit": None, "service": "emotions"})
    assert client.post(EMOTION, json=body).status_code == 200


@pytest.mark.parametrize("body", [{}, {"rateLimit": 0}, {"rateLimit": "9"}, {"rateLimit": 9, "service": "x"}])
def test_a_wrong_rate_limit_gets_400(client: httpx.Client, body: object):
    """A number above 0 and a known service."""
    assert client.post("/api/v1/system/rate-limit", json=body).status_code == 400


def test_the_address_limit_counts_each_client_address(service: StagingService):
    """127.0.0.2 uses two tokens, 127.0.0.3 one; both had 1000."""
    service.change(rate_limit=True)
    left = {}
    for address, requests in (("127.0.0.2", 2), ("127.0.0.3", 1)):
        transport = httpx.HTTPTransport(local_address=address, verify=False)
        with httpx.Client(base_url=service.url, transport=transport) as client:
            for _ in range(requests):
                answer = client.post(EMOTION, json={"text": "limited by address"})
        left[address] = answer.headers["x-ratelimit-remaining"]
    assert left == {"127.0.0.2": "998", "127.0.0.3": "999"}


def test_the_dashboard_is_a_page_with_a_tag(service: StagingService, client: httpx.Client):
    """HTML, 304 when the client has it, 404 when switched off."""
    page = client.get("/web-app/dashboard.html")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert "<title>" in page.text
    again = client.get("/web-app/dashboard.html", headers={"if-none-match": page.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    service.change(dashboard="off")
    assert client.get("/web-app/dashboard.html").status_code == 404


def test_a_preflight_request_is_allowed(client: httpx.Client):
    """CORS for every route."""
    answer = client.options(EMOTION)
    assert answer.status_code == 204
    assert "POST" in answer.headers["access-control-allow-methods"]


def test_counts_tell_routes_statuses_and_sources(service: StagingService, client: httpx.Client):
    """Two answers and a 400 more than before; control requests are not counted."""

    def books() -> tuple[int, int, int]:
        counts = service.counts()
        route = counts["routes"].get("reasoning", {"received": 0, "statuses": {}})
        statuses = route["statuses"]
        return route["received"], statuses.get("200", 0), statuses.get("400", 0)

    before = books()
    for body in ({"reasoning": "a"}, {"reasoning": "b"}, {}):
        client.post(REASONING, json=body)
    assert tuple(now - then for now, then in zip(books(), before, strict=True)) == (3, 2, 1)
    counts = service.counts()
    assert sum(counts["sources"].values()) == counts["received"]
    assert "(control)" not in counts["routes"]


def test_control_is_refused_to_web_pages(client: httpx.Client):
    """A page in a browser on this machine sends its origin."""
    answer = client.get("/_staging/faults", headers={"origin": "http://example.com"})
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers


def test_wrong_settings_are_refused_with_their_choices(service: StagingService):
    """Nothing is changed by a request of which one part is wrong."""
    with pytest.raises(UsageError, match="cannot be 'bare'") as refusal:
        service.change(uptime="s", envelope="bare")
    assert refusal.value.hint == "One of: wrapped, plain."
    assert service.control("GET", "settings")["uptime"] == "ms"
