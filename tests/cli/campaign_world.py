"""A campaign in simulated time: real commands, a real book, real run databases and verdicts; no load.

The clock is `world.now`. What the calendar starts is not started: the world writes the run that it would
have left behind, through the store's writers and the judge, once the simulated time of its end has come.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
from made_runs import START, make_run

from loadgate.cli import campaign_slots
from loadgate.cli.main import run_cli
from loadgate.judge.gather import gather
from loadgate.judge.slots import Interval
from loadgate.judge.verdict import judge, write
from loadgate.plan.plan import load_plan
from loadgate.store.campaign import Stamp
from loadgate.store.folder import RunFolder
from loadgate.store.watch import AlertChange, Reading, WatchWriter
from loadgate.watch import smoke_results
from loadgate.watch.smoke import Check, State

HOST = "http://127.0.0.1:3000"
DAY = 86_400.0
HOUR = 3600.0

SCENARIO = """
name       = "{name}"
locustfile = "{locustfile}"
sla        = "sla.toml"
alerts     = "alerts.toml"
host       = "http://127.0.0.1:3000"
stability  = {stability}
[traffic]
arrivals = "constant"
users    = 10
mix      = {{ emotion = 1 }}
[[traffic.stages]]
rate = "100/s"
hold = "10s"
[[probes]]
name  = "health"
http  = "/health"
every = "5m"
"""
ALERTS = """
[[alert]]
name     = "down"
when     = "health.up < 1"
severity = "critical"
"""
SLA = """
[[objective]]
metric   = "response_time"
endpoint = "emotion"
target   = "< 1s"
every    = "10s"
"""
CAMPAIGN = """
name  = "weeks"
host  = "http://127.0.0.1:3000"
roles = ["qa", "operations", "product"]

[clock]
length = "7d"

[decision]
sign_off    = ["qa", "product"]
performance = ["load", "soak"]

[bugs]
file = "bugs.json"

[[tests]]
name  = "unit"
junit = ["unit.xml"]

[[phase]]
name   = "load-testing"
length = "5d"
[[phase.run]]
name      = "watch"
command   = "watch"
scenario  = "soak.toml"
every     = "1d"
arguments = ["--for", "23h50m"]
beside    = true
[[phase.run]]
name     = "smoke"
command  = "smoke"
scenario = "load.toml"
every    = "1d"
[[phase.run]]
name     = "load"
scenario = "load.toml"
at       = "6h"
every    = "1d"

[[phase]]
name   = "extended-load"
length = "2d"
[[phase.run]]
name     = "stress"
scenario = "stress.toml"
[[phase.run]]
name       = "soak"
scenario   = "soak.toml"
at         = "1h"
each_cycle = true

[[phase]]
name   = "acceptance"
length = "7d"

[[line]]
id         = "load-test"
text       = "Load testing completed"
objectives = ["emotion.response_time"]
[[line]]
id    = "rate-limit"
text  = "Rate limiting enabled"
smoke = ["target rate limit"]
[[step]]
id     = "backup"
text   = "Backup"
attest = ["operations"]
[[success]]
id        = "stable-week"
text      = "7+ days of stable operation"
criterion = "stability"
[[success]]
id        = "sustained-week"
text      = "Load test sustained (1 week)"
criterion = "sustained"
[[success]]
id     = "accepted"
text   = "User acceptance approved"
attest = ["product"]
renew  = true
"""
JUNIT = '<testsuites><testsuite name="u"><testcase name="a"/><testcase name="b"/></testsuite></testsuites>'


class World:
    """The folder of a campaign, and its simulated clock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.results = folder / "results"
        self.now = START
        self.pending: dict[str, tuple[datetime, Callable[[], object]]] = {}
        self.slow: set[datetime] = set()
        self.serial = 0
        self.write("sla.toml", SLA)
        self.write("alerts.toml", ALERTS)
        locustfile = Path(__file__).parents[2] / "locustfiles" / "staging.py"
        for name in ("load", "soak", "stress"):
            counts = "false" if name == "stress" else "true"
            self.write(f"{name}.toml", SCENARIO.format(name=name, locustfile=locustfile, stability=counts))
        self.plans = {name: load_plan(folder / f"{name}.toml") for name in ("load", "soak", "stress")}
        self.campaign = self.write("weeks.toml", CAMPAIGN)
        self.evidence()

    def write(self, name: str, text: str) -> Path:
        """Write a file beside the campaign."""
        path = self.folder / name
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    def evidence(self) -> None:
        """Let tests and bugs be of now."""
        for name, text in (("unit.xml", JUNIT), ("bugs.json", '[{"severity": "low", "state": "open"}]')):
            path = self.write(name, text)
            os.utime(path, (self.now.timestamp(), self.now.timestamp()))

    def stamp(self) -> Stamp:
        """Read the simulated clocks."""
        return Stamp(self.now, "boot", 1000.0 + (self.now - START).total_seconds())

    def run(self, *arguments: object) -> tuple[int, str]:
        """Run a campaign command at the simulated time; return its exit code and what it printed."""
        out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
        words = [str(word) for word in arguments]
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            code = run_cli(["campaign", *words, "--results", str(self.results)])
        return int(code), out.buffer.getvalue().decode()  # type: ignore[attr-defined]

    def json(self, *arguments: object) -> Any:
        """Run a command with --json, and read it."""
        return orjson.loads(self.run(*arguments, "--json")[1])

    def later(self, **length: float) -> None:
        """Let time pass, and write the runs that end meanwhile."""
        self.now += timedelta(**length)
        for key, (ends, make) in list(self.pending.items()):
            if ends <= self.now:
                make()
                del self.pending[key]

    # -- what the calendar starts --------------------------------------------------------------------

    def started(self, words: list[str], key: str) -> None:
        """Plan the run that a command would leave behind."""
        command, name, began = words[3], Path(words[4]).stem, self.now
        length = {"watch": 23 * HOUR + 3000, "smoke": 1, "run": 600}[command]
        if name == "soak" and command == "run":
            length = 7 * DAY
        make: Callable[[], object]
        if command == "smoke":
            make = lambda: self.smoke(began)  # noqa: E731
        elif command == "watch":
            make = lambda: self.watched(began, length)  # noqa: E731
        else:
            ms = 30_000.0 if began in self.slow else 20.0
            make = lambda: self.load(name, began, length, ms=ms)  # noqa: E731
        self.pending[key] = (began + timedelta(seconds=length), make)

    def copied(self, results: Path) -> World:
        """Return a world of its own in another results folder, for one test to spoil."""
        copy = World.__new__(World)
        copy.__dict__.update(self.__dict__)
        copy.results = results
        shutil.copytree(self.results, results)
        return copy

    def load(
        self,
        name: str,
        began: datetime,
        length: float,
        *,
        ms: float = 20.0,
        host: str = HOST,
    ) -> RunFolder:
        """Store and judge a run of ten seconds, which then counts as one of `length`."""
        run = make_run(
            self.results,
            (began - START).total_seconds() / 60,  # type: ignore[arg-type]
            ms,
            planned=self.plans[name],
            changes={"scenario": name, "host": host},
            verdict=False,
        )
        self.watch_database(run, length)
        verdict = judge(gather(run), now=began + timedelta(seconds=length))
        steady = (Interval(0.0, length),)
        told = replace(verdict.evidence, steady=steady, planned=steady, ended_at=length, fleet=())
        write(run, replace(verdict, evidence=told))
        return run

    def watch_database(self, run: RunFolder, length: float, *, alerts: bool = False) -> None:
        """Store readings of every five minutes; with `alerts` a critical alert in the middle."""
        with WatchWriter(run.watch_database) as writer:
            writer.readings(
                Reading(float(at), "health", "up", 1.0, "", 0.01)
                for at in [*range(0, int(length), 300), length]
            )
            if alerts:
                detail = {"text": "the service does not answer"}
                writer.alert(AlertChange(length / 2, "down", "critical", "firing", 0.0, detail))
                writer.alert(AlertChange(length / 2 + 60, "down", "critical", "resolved", 1.0, detail))

    def watched(self, began: datetime, length: float, *, alerts: bool = False) -> RunFolder:
        """Store a watch that has ended."""
        run = make_run(
            self.results,
            (began - START).total_seconds() / 60,  # type: ignore[arg-type]
            planned=self.plans["soak"],
            verdict=False,
            changes={"mode": "watch", "scenario": "soak", "ended_at_run_time": length},
        )
        self.watch_database(run, length, alerts=alerts)
        return run

    def smoke(self, began: datetime, host: str = HOST, *, limited: bool = True) -> Path:
        """Store a smoke check."""
        state = State.PASSED if limited else State.FAILED
        check = Check("target", "rate limit", state, "X-RateLimit-Limit", "", 1.0, 0.1)
        return smoke_results.store(
            self.results,
            smoke_results.content_of(
                [check], scenario="load", host=host, plan="", started_at=began, took=1.0
            ),
        )


@contextlib.contextmanager
def simulated(world: World, patch: Any) -> Iterator[World]:
    """Let the commands read the world's clock, and start nothing."""

    class Child:
        def __init__(self, words: list[str], _output: object, env: dict[str, str]) -> None:
            world.serial += 1
            self.pid = 2**22 + world.serial
            world.started(words, env[campaign_slots.MARK].partition("#")[2])

        def poll(self) -> int:
            return 0

    class Living:
        def __init__(self, pid: int) -> None:
            self.pid = pid

    def living(_place: object, slot: Any) -> Living | None:
        return Living(slot.pid) if slot.key in world.pending else None

    patch.setattr(Stamp, "now", classmethod(lambda _cls: world.stamp()))
    patch.setattr(campaign_slots, "spawn", Child)
    patch.setattr(campaign_slots, "_living", living)
    yield world
