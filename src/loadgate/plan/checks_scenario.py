"""Rules of a scenario that tie several of its values together. Each returns every fault it finds."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from loadgate.plan.probe import CHOSEN, MARKS, Probe
from loadgate.plan.problems import Problem
from loadgate.plan.scenario import Http, Traffic
from loadgate.plan.smoke import Smoke
from loadgate.plan.soak import Soak


def check_stages(file: str, raw: Mapping[str, Any]) -> Iterator[Problem]:
    """Check which keys each stage has, on the raw table, so that a wrong value hides no missing key."""
    stages = raw.get("stages", [])
    model, arrivals = raw.get("model", "open"), raw.get("arrivals", "poisson")
    if not isinstance(stages, list) or model not in ("open", "closed"):
        return
    if arrivals == "trace":
        if stages:
            yield Problem(
                file, "traffic.stages", "a trace has no stages", "leave them out: the trace is the load"
            )
        return
    if not stages:
        hint = 'add a stage: [[traffic.stages]] with rate = "1100/s" and hold = "10m"'
        yield Problem(file, "traffic.stages", "there are no stages, so nothing would be sent", hint)
    wanted, other = ("rate", "users") if model == "open" else ("users", "rate")
    sample = 'rate = "1100/s"' if model == "open" else "users = 50"
    for index, stage in enumerate(stages):
        key = f"traffic.stages[{index}]"
        if not isinstance(stage, Mapping):
            continue
        if other in stage:
            both = "rate and users exclude each other; " if wanted in stage else ""
            yield Problem(
                file, f"{key}.{other}", f"{both}the {model} model is driven by {wanted}", f"write {sample}"
            )
        if wanted not in stage:
            yield Problem(file, f"{key}.{wanted}", "is missing", f"the {model} model needs it: {sample}")
        if "ramp" not in stage and "hold" not in stage:
            yield Problem(file, key, "has neither a ramp nor a hold", 'for example hold = "10m"')


def check_traffic(file: str, traffic: Traffic) -> Iterator[Problem]:
    """Check the traffic table as a whole."""
    if traffic.arrivals == "trace" and traffic.trace is None:
        yield Problem(
            file, "traffic.trace", "is missing", 'arrivals = "trace" needs it: trace = "arrivals.csv"'
        )
    if traffic.arrivals != "trace" and traffic.trace is not None:
        yield Problem(file, "traffic.trace", "is not used", 'add arrivals = "trace", or leave it out')
    if traffic.model == "closed" and traffic.arrivals == "trace":
        yield Problem(file, "traffic.model", "a trace has its own arrivals", 'use model = "open"')
    if traffic.model == "open" and traffic.wait != (0.0, 0.0):
        hint = 'leave it out, or use model = "closed"'
        yield Problem(file, "traffic.wait", "has no meaning in the open model", hint)
    if traffic.model == "closed" and traffic.arrivals != "trace" and "arrivals" in traffic.model_fields_set:
        message, hint = "has no meaning in the closed model", "leave it out: users and wait decide"
        yield Problem(file, "traffic.arrivals", message, hint, "warning")
    if traffic.users < 1 and "users" not in traffic.model_fields_set:
        hint = "the pool that serves arrivals; for example users = 400"
        yield Problem(file, "traffic.users", "is missing", hint)
    for index, stage in enumerate(traffic.stages):
        key = f"traffic.stages[{index}]"
        if stage.ramp == 0 and stage.hold == 0 and {"ramp", "hold"} & stage.model_fields_set:
            yield Problem(file, key, "takes no time", 'for example hold = "10m"')
        if stage.hold == 0 and stage.phase == "warmup":
            yield Problem(
                file, f"{key}.phase", "has no hold that it could apply to", 'a ramp is phase "ramp"'
            )
        if traffic.model == "closed" and stage.users is not None and stage.users > traffic.users:
            message = f"is more than traffic.users ({traffic.users})"
            yield Problem(file, f"{key}.users", message, f"set traffic.users to {stage.users} or more")


def check_soak(file: str, soak: Soak, traffic: Traffic) -> Iterator[Problem]:
    """Check that the planned end can be moved where it is to be."""
    if soak.planned_end == "move" and (traffic.model == "closed" or traffic.arrivals == "trace"):
        message = 'cannot be "move" with users that decide for themselves, or a recorded trace'
        yield Problem(file, "soak.planned_end", message, "leave it out: the end stays where it was planned")


def check_http(file: str, http: Http) -> Iterator[Problem]:
    """Check the time limits against each other."""
    if http.connect_timeout > http.timeout:
        message = "is longer than http.timeout, so it never applies"
        yield Problem(file, "http.connect_timeout", message, "make it shorter than http.timeout")


def check_probes(file: str, probes: Sequence[tuple[int, Probe]]) -> Iterator[Problem]:
    """Check that each probe has what its kind needs, and that names are unique."""
    seen: dict[str, int] = {}
    for index, probe in probes:
        key = f"probes[{index}]"
        if probe.name in seen:
            message = f"probes[{seen[probe.name]}] is called '{probe.name}' too"
            yield Problem(file, f"{key}.name", message, "give each probe a name of its own")
        seen.setdefault(probe.name, index)
        if probe.timeout > probe.every:
            message = "is longer than the interval, so readings would overlap"
            yield Problem(file, f"{key}.timeout", message, "make it at most `every`")
        yield from _kind(file, key, probe)


def _kind(file: str, key: str, probe: Probe) -> Iterator[Problem]:
    """Check the keys that belong to a probe's kind."""
    for name, (wanted, hint) in _PROBE_KEYS.items():
        given = getattr(probe, name) not in (None, (), {})
        missing = name in _NEEDED[probe.kind] and not given
        if probe.kind == "log" and name in ("file", "command") and not (probe.file or probe.command):
            missing = name == "file"
            hint = f'{hint}, or the command that prints it: command = ["journalctl", "--since", "@{{epoch}}"]'
        if missing:
            yield Problem(file, f"{key}.{name}", "is missing", hint)
        elif given and probe.kind not in wanted:
            message, remedy = _unwanted(probe.kind, name)
            yield Problem(file, f"{key}.{name}", message, remedy)
    unknown = [name for name in probe.counters if name not in probe.named]
    if unknown and probe.kind in CHOSEN:
        hint = f"its values: {', '.join(probe.named)}"
        yield Problem(file, f"{key}.counters", f"'{unknown[0]}' is none of its values", hint)
    twice = [name for name, count in Counter(probe.readings).items() if count > 1]
    if twice:
        hint = "choose another name, or leave it out"
        yield Problem(file, f"{key}.values", f"'{twice[0]}' would be the name of two readings", hint)
    if probe.kind == "log" and probe.file is not None and probe.command:
        yield Problem(file, f"{key}.command", "a log is read from a file or a command", "leave one out")
    elif probe.kind == "log" and probe.command and not any(m in w for w in probe.command for m in MARKS):
        message = "does not say from when lines are wanted, so lines would be counted again and again"
        hint = 'for example ["docker", "logs", "--since", "{since}", "app"], or "@{epoch}" for journalctl'
        yield Problem(file, f"{key}.command", message, hint)


_PROBE_KEYS: Final[Mapping[str, tuple[tuple[str, ...], str]]] = {
    "process": (("process",), 'process = "listening", "pid:1234" or "pidfile:service.pid"'),
    "http": (("health", "cache", "json", "prometheus"), 'the path to ask, for example http = "/health"'),
    "values": (CHOSEN, 'for example values = { memory = "processes[0].memory" }'),
    "counters": (CHOSEN, 'for example counters = ["requests"]'),
    "command": (("command", "log"), 'for example command = ["./queue-length"]'),
    "file": (("log",), 'for example file = "service.log"'),
    "pattern": (("log",), 'a regular expression, for example pattern = "ERROR|FATAL"'),
}
"""Which kinds a key belongs to, and a right value of it."""
_NEEDED: Final[Mapping[str, tuple[str, ...]]] = {
    "health": ("http",),
    "cache": ("http",),
    "json": ("http", "values"),
    "prometheus": ("http", "values"),
    "process": ("process",),
    "command": ("command",),
    "log": ("pattern",),
}


def _unwanted(kind: str, name: str) -> tuple[str, str]:
    """Say why a key does not belong to a kind of probe, and what to do about it."""
    if name == "http":
        return f"a {kind} probe asks no URL", "leave it out"
    if name == "process":
        return f"a {kind} probe looks at no process", 'leave it out, or use kind = "process"'
    if name == "values":
        return f"a {kind} probe knows what to read", 'leave it out, or use kind = "json"'
    return f"a {kind} probe takes no `{name}`", "leave it out"


def check_smoke(file: str, smoke: Smoke) -> Iterator[Problem]:
    """Check that each request of the smoke check can be told apart, and can be refused as it should be."""
    seen: dict[str, int] = {}
    for index, request in enumerate(smoke.request):
        key = f"smoke.request[{index}]"
        if request.endpoint in seen:
            message = f"smoke.request[{seen[request.endpoint]}] is called '{request.endpoint}' too"
            yield Problem(file, f"{key}.endpoint", message, "give each request a name of its own")
        seen.setdefault(request.endpoint, index)
        if request.body is not None and request.method == "GET":
            yield Problem(file, f"{key}.method", "a GET has no body", 'leave it out, or use method = "POST"')
        if request.field is not None and request.field not in (request.body or {}):
            hint = f"its fields: {', '.join(request.body or {})}" if request.body else "it has no fields"
            yield Problem(file, f"{key}.field", f"'{request.field}' is no field of its body", hint)
        if not request.require and not request.equals:
            message = "names nothing that the answer must hold, so any JSON would do"
            hint = 'for example require = { "data.items" = "list" }'
            yield Problem(file, f"{key}.require", message, hint, "warning")
        both = sorted(request.require.keys() & request.equals.keys())
        if both:
            message = f"'{both[0]}' is in equals as well"
            yield Problem(file, f"{key}.require", message, "once is enough: leave it out here")


def check_python(file: str, path: str, text: str) -> Iterator[Problem]:
    """Check that a locustfile is Python at all; it is not run."""
    try:
        ast.parse(text)
    except SyntaxError as error:
        message = f"'{path}' is not valid Python: line {error.lineno}: {error.msg}"
        yield Problem(file, "locustfile", message, f"try: python -m py_compile {path}")
    except ValueError as error:
        yield Problem(file, "locustfile", f"'{path}' is not valid Python: {error}", "save it as plain text")
