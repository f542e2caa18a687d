"""The probes of a plan, run for real against small servers on loopback."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable

import pytest

from loadgate.errors import StoreError
from loadgate.plan.problems import PlanError
from loadgate.plan.scenario import Http, Probe
from loadgate.staging.server import StagingService
from loadgate.store.watch import WatchReader
from loadgate.watch.restarts import restarts_in
from loadgate.watch.runner import ProbeRunner

HEALTH = Probe(name="health", http="/health", every=0.1, timeout=0.1)
HEALTHY = b'{"ok":true,"ready":true,"uptime":1234}'

Until = Callable[[Callable[[], object]], None]


def own_threads() -> set[threading.Thread]:
    """Return the threads that are ours."""
    return {thread for thread in threading.enumerate() if thread.name.startswith("loadgate-")}


@pytest.mark.system
def test_all_probes_against_the_reference_service(tmp_path, make_plan, until: Until):
    """Every reading of every kind has a value, is stored, and no thread is left."""
    with StagingService() as service:
        plan = make_plan(
            service.url,
            HEALTH,
            Probe(name="cache", http="/api/v1/cache/stats", every=0.1),
            Probe(name="process", process="listening", every=0.1),
            Probe(
                name="own",
                kind="json",
                http="/api/v1/system/processes",
                values={"memory": "processes[0].memory"},
                every=0.1,
            ),
        )
        expected = {
            ("health", "up"),
            ("health", "uptime"),
            ("health", "restarts"),
            *(("cache", name) for name in ("hits", "misses", "hit_rate", "entries", "total_requests")),
            *(("process", name) for name in ("cpu", "memory", "anon", "processes", "cores", "restarts")),
            ("own", "memory"),
        }
        with ProbeRunner(plan, time.monotonic(), tmp_path / "watch.db", {}) as runner:
            until(
                lambda: {key for key, item in runner.latest().items() if item.value is not None} == expected
            )
        assert runner.errors == ()
    with WatchReader(tmp_path / "watch.db") as reader:
        stored = reader.readings()
    assert {(item.probe, item.reading) for item in stored if item.value is not None} == expected
    assert not own_threads()


@pytest.mark.system
def test_a_release_without_cache_statistics_is_recorded_as_such(tmp_path, make_plan, until: Until):
    """The 502 is an error in the readings and no fault of ours."""
    with StagingService() as service:
        service.change(cache_stats="no_proxy")
        plan = make_plan(service.url, Probe(name="cache", http="/api/v1/cache/stats", every=0.1))
        with ProbeRunner(plan, time.monotonic(), tmp_path / "watch.db", {}) as runner:
            until(lambda: ("cache", "hits") in runner.latest())
            seen = runner.latest()["cache", "hits"]
        assert seen.value is None
        assert seen.error == "answered: 502 No proxy target configured"
        assert runner.errors == ()


@pytest.mark.system
def test_a_restart_of_the_target_is_noticed(tmp_path, make_plan, until: Until):
    """Uptime goes back and the process is another one; in between the service is down, with data."""
    first = StagingService().start()
    try:
        plan = make_plan(first.url, HEALTH, Probe(name="process", process="listening", every=0.1))
        with ProbeRunner(plan, time.monotonic(), tmp_path / "watch.db", {}) as runner:
            until(lambda: _value(runner, "health", "uptime") and _value(runner, "process", "memory"))
            first.stop()
            until(lambda: _value(runner, "health", "up") == 0)
            until(
                lambda: ("process", "memory") in runner.latest() and not _value(runner, "process", "memory")
            )
            assert runner.latest()["process", "memory"].value is None
            assert "nothing listens" in runner.latest()["process", "memory"].error
            with StagingService(port=first.port, uptime="s"):  # a lower number at once
                until(lambda: {item.probe for item in runner.restarts} == {"health", "process"})
        assert runner.errors == ()
    finally:
        if first.returncode is None:
            first.stop()


def _value(runner: ProbeRunner, probe: str, reading: str) -> float | None:
    found = runner.latest().get((probe, reading))
    return None if found is None else found.value


def test_readings_keep_to_their_slots(raw_server, http_answer, tmp_path, make_plan, until: Until):
    """None before run time 0, and never more of them than slots have begun."""
    server = raw_server(http_answer(HEALTHY))
    plan = make_plan(server.url, HEALTH)
    with ProbeRunner(plan, time.monotonic() + 0.2, tmp_path / "watch.db", {}):
        until(lambda: len(server.requests) >= 4)
    with WatchReader(tmp_path / "watch.db") as reader:
        times = [item.at for item in reader.readings("health.up")]
    assert times == sorted(times)
    assert min(times) >= 0
    assert len(times) <= times[-1] / HEALTH.every + 1


def test_a_target_that_hangs_is_down(raw_server, tmp_path, make_plan, until: Until):
    """No answer in time is `up` 0 with the reason; uptime has no value."""
    server = raw_server(None)
    with ProbeRunner(make_plan(server.url, HEALTH), time.monotonic(), tmp_path / "watch.db", {}) as runner:
        until(lambda: ("health", "up") in runner.latest())
        seen = runner.latest()["health", "up"]
    assert seen.value == 0
    assert seen.error.startswith("no answer in time")
    assert runner.latest()["health", "uptime"].value is None


def test_slots_that_a_slow_attempt_took_are_counted_as_missed(raw_server, tmp_path, make_plan, until: Until):
    """Attempts of 200 ms in slots of 50 ms: three or more pass without one each time."""
    server = raw_server(None)
    probe = Probe(name="health", http="/health", every=0.05, timeout=0.2)
    with ProbeRunner(make_plan(server.url, probe), time.monotonic(), tmp_path / "watch.db", {}) as runner:
        until(lambda: runner.missed["health"] >= 6)


def test_stopping_does_not_wait_for_a_target_that_hangs(raw_server, tmp_path, make_plan, until: Until):
    """An attempt with a minute left is given up, and its threads end."""
    server = raw_server(None)
    probe = Probe(name="health", http="/health", every=60.0, timeout=60.0)
    runner = ProbeRunner(make_plan(server.url, probe), time.monotonic(), tmp_path / "watch.db", {}).start()
    until(lambda: server._held)
    runner.stop()
    runner.stop()
    assert runner.errors == ()
    assert not own_threads()
    assert runner.latest() == {}


def test_a_fault_of_a_probe_does_not_reach_the_run(
    raw_server, http_answer, tmp_path, make_plan, until: Until, monkeypatch
):
    """It is an error in its readings and among ours; the other probes go on."""
    server = raw_server(http_answer(HEALTHY))

    def broken(self: object) -> object:
        raise RuntimeError("a defect")

    monkeypatch.setattr("loadgate.watch.process.ProcessReader.read", broken)
    plan = make_plan(server.url, HEALTH, Probe(name="process", process="listening", every=0.1))
    with ProbeRunner(plan, time.monotonic(), tmp_path / "watch.db", {}) as runner:
        until(lambda: ("process", "cpu") in runner.latest() and _value(runner, "health", "up") == 1)
        seen = runner.latest()["process", "cpu"]
    assert seen.value is None
    assert seen.error == "fault of the probe: process: RuntimeError: a defect"
    assert "process: RuntimeError: a defect" in runner.errors


def test_secrets_go_to_the_target_and_to_nobody_else(
    raw_server, http_answer, tmp_path, make_plan, until: Until
):
    """A probe that asks another host sends none of the plan's headers."""
    target, other = raw_server(http_answer(HEALTHY)), raw_server(http_answer(b'{"a":1}'))
    plan = make_plan(
        target.url,
        HEALTH,
        Probe(name="other", kind="json", http=other.url + "/x", values={"a": "a"}, every=0.1),
        http=Http(headers={"Authorization": "env:TOKEN"}),
    )
    with ProbeRunner(plan, time.monotonic(), tmp_path / "watch.db", {"TOKEN": "Bearer x"}):
        until(lambda: target.requests and other.requests)
    assert b"Bearer x" in target.requests[0]
    assert b"Bearer x" not in other.requests[0]


def test_a_missing_secret_is_an_error_before_the_load(tmp_path, make_plan):
    """The runner is not even made."""
    plan = make_plan("http://127.0.0.1:9", HEALTH, http=Http(headers={"Authorization": "env:TOKEN"}))
    with pytest.raises(PlanError):
        ProbeRunner(plan, 0.0, tmp_path / "watch.db", {})


def test_a_database_that_cannot_be_written_is_an_error_before_the_load(tmp_path, make_plan):
    """Starting fails and leaves no thread."""
    runner = ProbeRunner(make_plan("http://127.0.0.1:9", HEALTH), 0.0, tmp_path / "nowhere" / "watch.db", {})
    with pytest.raises(StoreError):
        runner.start()
    runner.stop()
    for thread in own_threads():
        thread.join(5)
    assert not own_threads()


def test_a_runner_without_probes_stops_as_well(tmp_path, make_plan):
    """It only waits to be stopped."""
    with ProbeRunner(make_plan("http://127.0.0.1:9"), time.monotonic(), tmp_path / "watch.db", {}) as runner:
        pass
    assert runner.latest() == {}
    assert not own_threads()


@pytest.mark.system
def test_the_other_kinds_of_probes_beside_each_other(
    raw_server, http_answer, tmp_path, make_plan, until: Until
):
    """Prometheus, commands and logs are read, stored with their cost, and leave no thread behind."""
    prometheus = raw_server(
        http_answer(
            b'{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"7e6"]}]}}'
        )
    )
    log = tmp_path / "service.log"
    log.write_text("ERROR of yesterday\n")
    json_command = [sys.executable, "-c", "print('{\"jobs\": 5}')"]
    plan = make_plan(
        prometheus.url,
        Probe(name="prom", kind="prometheus", http="/prom", values={"memory": "m"}, every=0.2),
        Probe(
            name="queue",
            kind="command",
            command=tuple(json_command),
            values={"jobs": "jobs"},
            counters=("jobs",),
            every=0.5,
        ),
        Probe(name="number", kind="command", command=("echo", "12ms"), every=0.2),
        Probe(name="log", kind="log", file=log, pattern="ERROR", every=0.2),
        Probe(name="absent", kind="log", file=tmp_path / "no.log", pattern="ERROR", every=0.2),
        Probe(name="output", kind="log", command=("echo", "ERROR since {since}"), pattern="ERROR", every=0.2),
    )
    with ProbeRunner(plan, time.monotonic(), tmp_path / "watch.db", {}) as runner:
        until(lambda: _value(runner, "log", "lines") is not None)
        with log.open("a") as file:
            file.write("ERROR now\nfine\n")
        until(
            lambda: _value(runner, "log", "total") == 1 and _value(runner, "queue", "jobs_rate") is not None
        )
        until(lambda: _value(runner, "output", "total") and ("absent", "total") in runner.latest())
        assert _value(runner, "prom", "memory") == 7e6
        assert _value(runner, "queue", "jobs") == 5
        assert _value(runner, "queue", "jobs_rate") == 0
        assert _value(runner, "queue", "exit_status") == 0
        assert _value(runner, "number", "value") == 0.012
        assert runner.latest()["absent", "total"].error.startswith("no such file")
        assert runner.errors == ()
    with WatchReader(tmp_path / "watch.db") as reader:
        stored = reader.readings()
    assert {(item.probe, item.reading) for item in stored} == {
        (probe.name, reading) for probe in plan.scenario.probes for reading in probe.readings
    }
    assert all(item.took > 0 for item in stored)
    assert sum(item.value or 0 for item in stored if (item.probe, item.reading) == ("log", "matches")) == 1
    assert not own_threads()


@pytest.mark.system
def test_stopping_does_not_wait_for_a_command_that_hangs(tmp_path, make_plan, until: Until):
    """It is killed."""
    mark = tmp_path / "pid"
    code = f"import os, time; open({str(mark)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    probe = Probe(name="slow", kind="command", command=(sys.executable, "-c", code), every=60.0, timeout=60.0)
    runner = ProbeRunner(make_plan("http://127.0.0.1:9", probe), time.monotonic(), tmp_path / "watch.db", {})
    runner.start()
    until(lambda: mark.exists() and mark.read_text())
    runner.stop()
    assert runner.errors == ()
    until(lambda: not own_threads())
    with pytest.raises(ProcessLookupError):
        os.kill(int(mark.read_text()), 0)


@pytest.mark.system
def test_restarts_are_stored_and_found_again(tmp_path, make_plan, until: Until):
    """As readings: what the runner saw is what the stored readings show."""
    first = StagingService().start()
    try:
        plan = make_plan(first.url, HEALTH, Probe(name="process", process="listening", every=0.1))
        with ProbeRunner(plan, time.monotonic(), tmp_path / "watch.db", {}) as runner:
            until(lambda: _value(runner, "health", "uptime") and _value(runner, "process", "memory"))
            assert _value(runner, "health", "restarts") == 0
            first.stop()
            until(lambda: _value(runner, "health", "up") == 0)
            assert _value(runner, "health", "restarts") is None
            with StagingService(port=first.port, uptime="s"):
                until(lambda: _value(runner, "health", "restarts") == 1)
                until(lambda: _value(runner, "process", "restarts") == 1)
            seen = runner.restarts
    finally:
        if first.returncode is None:
            first.stop()
    with WatchReader(tmp_path / "watch.db") as reader:
        found = restarts_in(reader.readings(), plan.scenario.probes)
    assert {(item.probe, item.at) for item in found} == {(item.probe, item.at) for item in seen}
