"""Requests per second on one core: a Loadgate user against Locust's FastHttpUser.

    python benchmarks/throughput.py [--seconds 5] [--rounds 3] [--users 32]

Both send the same 60-byte JSON body and check the same 500-byte JSON answer, to the same nginx on
loopback, in turn. nginx is pinned to one core and the generator to another. What is compared is
requests per CPU second of the generator: on an idle machine that is the rate on one core, and on a
shared one it leaves out the time in which others had the core. The rate by the clock stands
beside it. Budget: at least 5 times as many.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from machine import machine, met

BUDGET = 5.0
BODY = {"text": "What a wonderful day to measure something honestly."}
ANSWER = {"success": True, "title": "Benchmark", "data": {"input": "x" * 380, "confidence": 0.5}}

NGINX = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  keepalive_requests 1000000000;
  keepalive_timeout 300;
  server {{
    listen 127.0.0.1:{port};
    location / {{ default_type application/json; return 200 '{answer}'; }}
  }}
}}
"""

LOADGATE_FILE = """
from loadgate import LoadUser, Post, request

def good(response):
    content = response.json()
    return None if content["success"] is True and "input" in content["data"] else "not a good answer"

class Bench(LoadUser):
    @request("bench", check=good)
    def send(self):
        return Post("/bench", json={body})
"""

STOCK_FILE = """
from locust import FastHttpUser, task

class Bench(FastHttpUser):
    @task
    def send(self):
        with self.client.post("/bench", json={body}, catch_response=True) as response:
            content = response.json()
            if not (content["success"] is True and "input" in content["data"]):
                response.failure("not a good answer")
"""


def main() -> int:
    """Run the rounds and print the table; exit 1 when the budget is missed, 2 without nginx."""
    options = _options()
    nginx = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin")
    if nginx is None:
        print("nginx is needed: apt-get install nginx-light", file=sys.stderr)
        return 2
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with nginx_on(nginx, folder, cores[0]) as url:
            rounds: dict[str, list[Round]] = {"FastHttpUser": [], "LoadUser": []}
            for _ in range(options.rounds):
                for label, text in (("FastHttpUser", STOCK_FILE), ("LoadUser", LOADGATE_FILE)):
                    rounds[label].append(_measure(text, url, folder, cores[-1], options))
    return _report(rounds, options)


@dataclass(frozen=True)
class Round:
    """Requests per CPU second of the generator, and per second by the clock."""

    per_cpu: float
    per_clock: float


def _report(rounds: dict[str, list[Round]], options: argparse.Namespace) -> int:
    print(machine())
    print(
        f"closed loop, {options.users} users, {options.seconds} s a round, {options.rounds} rounds in turn\n"
    )
    print(f"{'user class':14}{'requests per CPU second: each round':44}{'median':>10}{'by the clock':>14}")
    for label, values in rounds.items():
        each = "  ".join(f"{r.per_cpu:9,.0f}" for r in values)
        by_cpu, by_clock = (
            statistics.median(v) for v in zip(*((r.per_cpu, r.per_clock) for r in values), strict=True)
        )
        print(f"{label:14}{each:44}{by_cpu:10,.0f}{by_clock:14,.0f}")
    pairs = [
        new.per_cpu / old.per_cpu for new, old in zip(rounds["LoadUser"], rounds["FastHttpUser"], strict=True)
    ]
    ratio = statistics.median(pairs)
    print(f"\nratio, pair by pair: {'  '.join(f'{p:.2f}' for p in pairs)}   median {ratio:.2f}")
    print(f"budget: at least {BUDGET:g} times: {met(ratio >= BUDGET)}")
    return 0 if ratio >= BUDGET else 1


def _measure(text: str, url: str, folder: Path, core: int, options: argparse.Namespace) -> Round:
    locustfile = folder / "locustfile.py"
    locustfile.write_text(text.replace("{body}", json.dumps(BODY)), encoding="utf-8")
    command = [
        *["taskset", "-c", str(core), sys.executable, "-m", "locust", "-f", str(locustfile), "--headless"],
        *["--users", str(options.users), "--spawn-rate", str(options.users), "--host", url],
        *["--run-time", f"{options.seconds}s", "--only-summary", "--json", "--loglevel", "ERROR"],
    ]
    environment = os.environ | {
        "LOADGATE_RESULTS": str(folder / "results"),
        "GEVENT_TRACK_GREENLET_TREE": "0",
    }
    with (folder / "out").open("w+") as out, (folder / "err").open("w+") as err:
        generator = subprocess.Popen(command, cwd=folder, env=environment, stdout=out, stderr=err)
        samples = list(_cpu_samples(generator))
        out.seek(0)
        err.seek(0)
        if generator.returncode != 0:
            raise SystemExit(f"the generator failed:\n{err.read()}")
        entry = json.loads(out.read())[0]
    if entry["num_failures"]:
        raise SystemExit(f"{entry['num_failures']} requests failed")
    return _round(entry["num_reqs_per_sec"], samples)


def _cpu_samples(process: subprocess.Popen[bytes]) -> Iterator[tuple[float, float]]:
    """Yield (epoch second, CPU seconds used so far) ten times a second until the process ends."""
    ticks = os.sysconf("SC_CLK_TCK")
    deadline = time.monotonic() + 120
    while process.poll() is None:
        if time.monotonic() > deadline:
            process.kill()
            raise SystemExit("the generator did not end within 120 s")
        try:
            fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
            yield time.time(), (int(fields[11]) + int(fields[12])) / ticks
        except OSError:
            pass
        time.sleep(0.1)


def _round(per_second: dict[str, int], samples: list[tuple[float, float]]) -> Round:
    """Compare requests and CPU over the whole seconds: the first and the last are cut short."""
    seconds = sorted((int(second), count) for second, count in per_second.items())[1:-1]
    start, end = seconds[0][0], seconds[-1][0] + 1
    times, used = zip(*samples, strict=True)
    cpu = np.interp([start, end], times, used)
    requests = sum(count for _, count in seconds)
    return Round(requests / float(cpu[1] - cpu[0]), requests / (end - start))


def unused_port() -> int:
    """Return a port of loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def nginx_on(program: str, folder: Path, core: int) -> Iterator[str]:
    """Run nginx on one core; give its address."""
    port = unused_port()
    conf = folder / "nginx.conf"
    conf.write_text(NGINX.format(folder=folder, port=port, answer=json.dumps(ANSWER)), encoding="utf-8")
    server = subprocess.Popen(["taskset", "-c", str(core), program, "-p", str(folder), "-c", str(conf)])
    try:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with socket.socket() as client:
                if client.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        else:
            raise SystemExit("nginx did not start within 10 s")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=int, default=7, help="length of a round")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each")
    parser.add_argument("--users", type=int, default=32, help="users, and so connections")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
