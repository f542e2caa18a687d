"""Time a campaign's `status` and `decide` with 500 runs in the results, against the budget of 1 s each.

    python benchmarks/campaign.py [--runs N] [--repeat N]

One run of three endpoints and nine objectives is written by the store's own writers and judged, and its
folder copied under other names and times; half of the copies count for stability. The commands are timed as
people call them, a process each, beside `loadgate --version`, which does nothing; medians count. The first
`decide` takes all runs into the book, and is told apart. On a busy machine the CPU seconds say more than the
others. Exits 1 when a budget is missed.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

import orjson

from judging import write_run
from loadgate.judge.gather import gather
from loadgate.judge.verdict import judge, write
from loadgate.plan.plan import load_plan
from machine import machine, met

BUDGET_S = 1.0
ROOT = Path(__file__).parents[1]


def fill(results: Path, count: int) -> None:
    """Put so many runs of the last 30 days into a results folder."""
    with tempfile.TemporaryDirectory() as scratch:
        model = write_run(Path(scratch), 60, 1100.0)
        write(model, judge(gather(model), now=datetime.now(UTC)))
        verdict = orjson.loads((model.path / "verdict.json").read_bytes())
        plan = orjson.loads(load_plan(ROOT / "scenarios" / "load.toml").to_json())
        for number in range(count):
            began = datetime.now(UTC) - timedelta(days=30) * (number + 1) / (count + 1)
            folder = results / f"load-{began:%Y%m%d-%H%M%S}-{number}"
            shutil.copytree(model.path, folder)
            scenario = {**plan["scenario"], "stability": number % 2 == 0}
            (folder / "plan.json").write_bytes(orjson.dumps({**plan, "scenario": scenario}))
            told = {**verdict, "run": folder.name, "started_at": began.isoformat(), "verdict": "PASS"}
            told["host"] = "http://127.0.0.1:3000"
            (folder / "verdict.json").write_bytes(orjson.dumps(told, option=orjson.OPT_INDENT_2))


def timed(words: Sequence[str], results: Path) -> tuple[float, float]:
    """Return the seconds of one command, and those of its CPU."""
    before, began = cpu(), time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "loadgate", *words],
        env=os.environ | {"LOADGATE_RESULTS": str(results)},
        capture_output=True,
        text=True,
        check=False,
    )
    took = time.perf_counter() - began
    if done.returncode not in (0, 20, 30):
        raise SystemExit(f"loadgate {' '.join(words)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return took, cpu() - before


def cpu() -> float:
    """Return the CPU seconds of the commands that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def line(what: str, times: Sequence[tuple[float, float]], more: str = "") -> float:
    """Print the medians of a command's times; return that of its seconds."""
    took, busy = (median(column) for column in zip(*times, strict=True))
    print(f"{what:28} {took:6.2f} s  CPU {busy:5.2f} s  {more}")
    return took


def main() -> int:
    """Make the runs, and time the commands."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    print(machine())
    good = True
    with tempfile.TemporaryDirectory() as scratch:
        project = Path(scratch)
        shutil.copytree(ROOT / "scenarios", project / "scenarios")
        shutil.copytree(ROOT / "locustfiles", project / "locustfiles")
        file = project / "scenarios" / "campaigns" / "staging.toml"
        file.write_text(file.read_text().replace('lookback    = "7d"', 'lookback    = "60d"'))
        results = project / "results"
        results.mkdir()
        fill(results, options.runs)
        timed(("campaign", "start", str(file)), results)
        line("loadgate --version", [timed(("--version",), results) for _ in range(options.repeat)])
        line("status, nothing taken up", [timed(("campaign", "status"), results)])
        line("decide, takes up all", [timed(("campaign", "decide"), results)])
        for word in ("status", "decide"):
            times = [timed(("campaign", word), results) for _ in range(options.repeat)]
            within = median(took for took, _ in times) <= BUDGET_S
            good = good and within
            line(f"{word}, {options.runs} runs", times, f"budget {BUDGET_S:g} s: {met(within)}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
