"""The breaches that `loadgate selftest` makes, and what must be said of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from loadgate.exit_codes import ExitCode
from loadgate.staging.server import StagingService

RATE, SECONDS = 200, 12
"""Arrivals per second, and steady seconds, of each case: 2400 requests, of which 2 % are 48."""

SLA = """
[[objective]]
metric   = "response_time"
endpoint = "emotion"
target   = "< 100ms"
alert    = "> 250ms"
every    = "2s"
for      = "6s"

[[objective]]
metric   = "response_time"
endpoint = "creative"
target   = "< 250ms"
alert    = "> 500ms"
every    = "2s"
for      = "6s"

[[objective]]
metric   = "response_time"
endpoint = "reasoning"
target   = "< 150ms"
alert    = "> 400ms"
every    = "2s"
for      = "6s"

[[objective]]
metric = "error_rate"
target = "< 0.5%"
alert  = "> 1%"
every  = "2s"
for    = "6s"

[[objective]]
metric = "cache_hit_rate"
target = "> 60%"
alert  = "< 30%"
every  = "2s"
for    = "6s"

[[objective]]
metric = "throughput"
target = ">= 180/s"
alert  = "< 100/s"
every  = "2s"
for    = "6s"

[[objective]]
metric = "memory"
target = "< 150MB"
alert  = "> 250MB"
every  = "2s"
for    = "6s"

[[objective]]
metric = "cpu"
target = "< 50%"
alert  = "> 70%"
every  = "2s"
for    = "6s"

[[objective]]
metric = "uptime"
target = ">= 99%"
alert  = "< 95%"
every  = "2s"
for    = "6s"
"""
ROWS = (
    "emotion.response_time",
    "creative.response_time",
    "reasoning.response_time",
    "error_rate",
    "cache_hit_rate",
    "throughput",
    "memory",
    "cpu",
    "uptime",
)

SCENARIO = """
name       = "selftest"
locustfile = "{locustfile}"
sla        = "sla.toml"
host       = "{host}"

[traffic]
model    = "open"
arrivals = "poisson"
users    = {users}
seed     = 1
{mix}

[[traffic.stages]]
rate  = "{rate}/s"
hold  = "3s"
phase = "warmup"

[[traffic.stages]]
rate = "{rate}/s"
hold = "{seconds}s"

[http]
connect_timeout = "1s"
timeout         = "3s"

[[probes]]
name  = "health"
http  = "{health}"
every = "1s"

[[probes]]
name    = "process"
process = "{process}"
every   = "1s"
"""

SATURATED = '''
"""A generator that has more to compute than one core can."""

import time

from loadgate import LoadUser, Post, request


def slow(response):
    """Take 20 ms of CPU for each answer: at 200 answers a second that is four cores."""
    until = time.process_time() + 0.020
    while time.process_time() < until:
        pass
    return None


class User(LoadUser):
    """Send one text, and think hard about the answer."""

    @request("emotion", check=slow)
    def analyze(self):
        """Send the text."""
        return Post("/api/v1/emotions/analyze", json={"text": "how hard this is"})
'''

Begin = Callable[[StagingService], object]


@dataclass(frozen=True)
class Case:
    """One breach: how it is made, and what must come of it.

    `begin` spoils the service before the load. `failed` are the rows that must FAIL, `invalid` those that
    must be INVALID; `also` may do as they like, since the breach touches them too; all others must PASS.
    `void` says that the run must be void, and `reason` is a part of what must be said.
    """

    name: str
    what: str
    exit_code: ExitCode
    begin: Begin = lambda _: None
    failed: tuple[str, ...] = ()
    invalid: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    void: bool = False
    twins: bool = False
    """Whether it is no run but an interleaved comparison of two services, neither of which is spoilt."""
    reason: str = ""
    plan: Mapping[str, str] = field(default_factory=dict)
    sla: str = SLA
    locustfile: str = ""


LATENCIES = ROWS[:3]
CASES = (
    Case("healthy", "a service without a fault", ExitCode.PASS, reason="9 of 9 objectives hold"),
    Case(
        "slow-endpoint",
        "emotion answers 400 ms late, the others do not",
        ExitCode.FAIL,
        lambda service: service.add_fault("latency", delay="400ms", endpoint="emotion"),
        failed=("emotion.response_time",),
        reason="response_time of emotion",
    ),
    Case(
        "errors",
        "2 % of the answers are errors",
        ExitCode.FAIL,
        lambda service: service.add_fault("error", status=500, share=0.02),
        failed=("error_rate",),
        also=LATENCIES,
        reason="error_rate",
    ),
    Case(
        "cache-off",
        "the cache answers nothing",
        ExitCode.FAIL,
        lambda service: service.add_fault("cache_off"),
        failed=("cache_hit_rate",),
        reason="cache_hit_rate",
    ),
    Case(
        "memory",
        "the service grows by 40 MB a second",
        ExitCode.FAIL,
        lambda service: service.add_fault("leak", rate="40MB/s"),
        failed=("memory",),
        also=("cpu", *LATENCIES),
        reason="memory",
    ),
    Case(
        "cpu",
        "the service burns its core",
        ExitCode.FAIL,
        lambda service: service.add_fault("cpu", share=0.9),
        failed=("cpu",),
        also=("throughput", "error_rate", *LATENCIES),
        reason="cpu",
    ),
    Case(
        "downtime",
        "the service ends in mid-run",
        ExitCode.FAIL,
        lambda service: service.add_fault("shutdown", after="8s"),
        failed=("error_rate", "uptime"),
        also=("throughput", "memory", "cpu", "cache_hit_rate", *LATENCIES),
        reason="uptime",
    ),
    Case(
        "throughput",
        "answers take a second, and ten users cannot wait for more than ten",
        ExitCode.FAIL,
        lambda service: service.add_fault("latency", delay="1s"),
        failed=("throughput", *LATENCIES),
        also=("error_rate", "cache_hit_rate"),
        reason="throughput",
        plan={"users": "10"},
    ),
    Case(
        "saturated",
        "the generator has no CPU left",
        ExitCode.INVALID,
        void=True,
        also=ROWS,
        reason="the generator was saturated",
        plan={"mix": "", "users": "40"},
        sla=SLA.split("[[objective]]")[1].join(["[[objective]]", ""]),
        locustfile=SATURATED,
    ),
    Case(
        "no-data",
        "next to no request is due",
        ExitCode.INVALID,
        void=True,
        also=ROWS,
        reason="no request was made",
        plan={"rate": "0.001"},
        sla=SLA.replace('target = ">= 180/s"', 'target = ">= 0.0001/s"').replace(
            'alert  = "< 100/s"', 'alert  = "< 0.00001/s"'
        ),
    ),
    Case(
        "silent-source",
        "nobody can read the service's process",
        ExitCode.INVALID,
        invalid=("memory", "cpu"),
        reason="memory",
        plan={"process": "pidfile:gone.pid"},
    ),
    Case(
        "unhealthy",
        "the health check answers 404",
        ExitCode.FAIL,
        failed=("uptime",),
        reason="uptime",
        plan={"health": "/no-such-page"},
    ),
    Case(
        "misspelt",
        "an objective names an endpoint that nothing sends",
        ExitCode.USAGE,
        reason="did you mean 'emotion'",
        sla=SLA.replace('endpoint = "emotion"', 'endpoint = "emotoin"'),
    ),
    Case("twins", "two services that are the same, compared in turn", ExitCode.PASS, twins=True),
)
BLOCKS = ("--blocks", "2", "--block", "2s", "--warmup", "1s")
"""Those of the comparison: four pairs of runs, of which three are enough to know how far like runs spread."""
