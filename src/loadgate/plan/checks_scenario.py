"""Rules of a scenario that tie several of its values together. Each returns every fault it finds."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from loadgate.plan.problems import Problem
from loadgate.plan.scenario import Http, Probe, Traffic


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
    if probe.kind == "process":
        if probe.process is None:
            hint = 'process = "listening", "pid:1234" or "pidfile:service.pid"'
            yield Problem(file, f"{key}.process", "is missing", hint)
        if probe.http is not None:
            yield Problem(file, f"{key}.http", "a process probe asks no URL", "leave it out")
    else:
        if probe.http is None:
            hint = 'the path to ask, for example http = "/health"'
            yield Problem(file, f"{key}.http", "is missing", hint)
        if probe.process is not None:
            hint = 'leave it out, or use kind = "process"'
            yield Problem(file, f"{key}.process", f"a {probe.kind} probe looks at no process", hint)
    if probe.kind == "json" and not probe.values:
        hint = 'for example values = { memory = "processes[0].memory" }'
        yield Problem(file, f"{key}.values", "is missing, so nothing would be read", hint)
    if probe.kind != "json" and probe.values:
        hint = 'leave it out, or use kind = "json"'
        yield Problem(file, f"{key}.values", f"a {probe.kind} probe knows what to read", hint)


def check_python(file: str, path: str, text: str) -> Iterator[Problem]:
    """Check that a locustfile is Python at all; it is not run."""
    try:
        ast.parse(text)
    except SyntaxError as error:
        message = f"'{path}' is not valid Python: line {error.lineno}: {error.msg}"
        yield Problem(file, "locustfile", message, f"try: python -m py_compile {path}")
    except ValueError as error:
        yield Problem(file, "locustfile", f"'{path}' is not valid Python: {error}", "save it as plain text")
