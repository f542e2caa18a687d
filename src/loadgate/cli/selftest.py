"""`loadgate selftest`: show that the gate stops what it has to stop."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from loadgate.cli.options import json_option
from loadgate.cli.selftest_cases import BLOCKS, CASES, RATE, ROWS, SCENARIO, SECONDS, Case
from loadgate.cli.templates import templates
from loadgate.exit_codes import ExitCode

_TRIES = 3
"""Runs of a case on a machine that is too busy to make its load; each says so by itself."""
_CASE_WITHIN = 120.0
_TWINS_WITHIN = 400.0
_NOT_TOLD_APART = (ExitCode.PASS, ExitCode.INCONCLUSIVE)
"""How a comparison of two like services may exit: what is not shown either way does not blame a release."""
_NAMES = tuple(case.name for case in CASES)


@dataclass(frozen=True)
class Outcome:
    """What came of one case: `wrong` says what should not have come; `busy` that the machine decided."""

    case: Case
    exit_code: int
    verdict: str
    reason: str
    wrong: tuple[str, ...]
    busy: bool

    @property
    def word(self) -> str:
        """Say it in a word."""
        return "busy" if self.busy else "WRONG" if self.wrong else "right"

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "case": self.case.name,
            "what": self.case.what,
            "outcome": self.word,
            "exit_code": self.exit_code,
            "expected_exit_code": int(self.case.exit_code),
            "verdict": self.verdict,
            "reason": self.reason,
            "wrong": list(self.wrong),
        }


@click.command()
@click.option(
    "--case", "names", multiple=True, type=click.Choice(_NAMES), help="Only this case; can be repeated."
)
@click.option("--jobs", type=click.IntRange(1, 16), default=2, show_default=True, help="Cases at a time.")
@json_option
def selftest(names: tuple[str, ...], jobs: int, as_json: bool) -> int:
    """Break the reference service in every way that a gate must notice, and show that each is stopped.

    Each case is a real run of about 20 seconds, the last one eight of 3 seconds; all of them take about three
    minutes, and need the `staging` extra. Exit code 0: every breach was stopped with the right verdict and
    reason, the healthy service passed, and two like services were not told apart; 20: one of it was not so;
    31: this machine was too busy to tell.
    """
    chosen = [case for case in CASES if not names or case.name in names]
    with ThreadPoolExecutor(jobs) as threads:
        # The longest is begun first, and told in its place.
        begun = sorted(chosen, key=lambda case: not case.twins)
        coming = {case.name: threads.submit(_outcome_of, case) for case in begun}
        outcomes = []
        for case in chosen:
            outcome = coming[case.name].result()
            outcomes.append(outcome)
            if not as_json:
                click.echo(_line(outcome))
    if as_json:
        click.echo(json.dumps({"cases": [outcome.to_dict() for outcome in outcomes]}, indent=2))
    else:
        click.echo(_summary(outcomes), err=True)
    if any(outcome.wrong and not outcome.busy for outcome in outcomes):
        return ExitCode.FAIL
    return ExitCode.INCONCLUSIVE if any(outcome.busy for outcome in outcomes) else ExitCode.PASS


def _outcome_of(case: Case) -> Outcome:
    for _ in range(_TRIES):
        with tempfile.TemporaryDirectory(prefix="loadgate-selftest-") as name:
            outcome = _try(case, Path(name))
        if not outcome.busy:
            break
    return outcome


def _try(case: Case, folder: Path) -> Outcome:
    """Run one case from start to verdict."""
    from loadgate.staging.server import StagingService

    with StagingService() as service:
        case.begin(service)
        scenario = _write(case, folder, service.url)
        if case.twins:
            with StagingService() as twin:
                words = ("compare", "--interleave", service.url, twin.url, str(scenario), *BLOCKS)
                done = _command(words, folder, _TWINS_WITHIN)
            return judge_twins(case, done.returncode, done.stdout, done.stderr)
        done = _command(("run", str(scenario)), folder, _CASE_WITHIN)
    return judge_case(case, done.returncode, done.stdout, done.stderr)


def _command(words: Sequence[str], folder: Path, within: float) -> subprocess.CompletedProcess[str]:
    """Run a command of Loadgate in a process of its own, with its results in `folder`."""
    return subprocess.run(
        [sys.executable, "-m", "loadgate", *words, "--json", "--results", str(folder / "results")],
        capture_output=True,
        text=True,
        timeout=within,
        check=False,
        stdin=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )


def _write(case: Case, folder: Path, host: str) -> Path:
    locustfile = templates() / "locustfiles" / "staging.py"
    if case.locustfile:
        locustfile = folder / "locustfile.py"
        locustfile.write_text(case.locustfile, encoding="utf-8")
    (folder / "sla.toml").write_text(case.sla, encoding="utf-8")
    values = {
        "locustfile": str(locustfile),
        "host": host,
        "users": "60",
        "rate": str(RATE),
        "seconds": str(SECONDS),
        "health": "/health",
        "process": "listening",
        "mix": "mix = { emotion = 5, creative = 2, reasoning = 3 }",
    }
    path = folder / "scenario.toml"
    path.write_text(SCENARIO.format(**{**values, **case.plan}), encoding="utf-8")
    return path


def judge_case(case: Case, exit_code: int, stdout: str, stderr: str) -> Outcome:
    """Hold what a run said against what it must say of the case."""
    verdict = _read(stdout)
    reasons = [str(reason) for reason in verdict.get("reasons", ())]
    said = [*reasons, *stderr.splitlines()]
    wrong = list(_wrong_rows(case, verdict.get("objectives", ())))
    if exit_code != case.exit_code:
        wrong.insert(0, f"it exited {exit_code}, not {int(case.exit_code)}")
    if verdict.get("void", False) is not case.void:
        wrong.append("the run is void" if verdict.get("void") else "the run is not void")
    telling = [text for text in said if case.reason in text]
    if not telling:
        wrong.append(f"nothing said {case.reason!r}")
    busy = not case.void and any("the generator was saturated" in reason for reason in reasons)
    reason = (telling or reasons or stderr.strip().splitlines()[-1:] or ["nothing was said"])[0]
    return Outcome(
        case, exit_code, str(verdict.get("verdict", "refused")), reason.strip(), tuple(wrong), busy
    )


def judge_twins(case: Case, exit_code: int, stdout: str, stderr: str) -> Outcome:
    """Hold what a comparison of two like services said against what it must: that none is worse.

    PASS is not asked for: how far like runs spread is this machine's affair. But its rows must be there, each
    with its spread, since one that compared nothing would blame nobody either.
    """
    found = _read(stdout)
    rows = found.get("rows", ())
    names = {f"{row['endpoint']} {row['statistic']}": row for row in rows}
    wrong = [f"{name} is FAIL: {row['reason']}" for name, row in names.items() if row["verdict"] == "FAIL"]
    told_apart = bool(wrong)
    if exit_code not in _NOT_TOLD_APART:
        wrong.insert(0, f"it exited {exit_code}, not 0 or 31")
    wrong += [f"{name} was not compared" for name in _COMPARED if not _has_spread(names.get(name))]
    left_out = any("is left out with its pair" in str(note) for note in found.get("notes", ()))
    said = [str(reason) for reason in found.get("reasons", ())]
    reason = (said or stderr.strip().splitlines()[-1:] or ["nothing was said"])[0]
    verdict = str(found.get("verdict", "refused"))
    busy = bool(wrong) and left_out and not told_apart
    return Outcome(case, exit_code, verdict, reason.strip(), tuple(wrong), busy)


_COMPARED = tuple(
    f"{endpoint} {statistic}"
    for endpoint in ("emotion", "creative", "reasoning")
    for statistic in ("p50", "p95", "mean", "error_rate", "throughput")
)


def _has_spread(row: dict[str, Any] | None) -> bool:
    return row is not None and any(spread["source"] == "pairs" for spread in row["spread"])


def _read(stdout: str) -> dict[str, Any]:
    """Read the JSON that a command printed; empty where it printed none."""
    try:
        content = json.loads(stdout)
    except json.JSONDecodeError:
        return {}
    return content if isinstance(content, dict) else {}


def _wrong_rows(case: Case, rows: Sequence[dict[str, Any]]) -> list[str]:
    """Name the rows that did not come out as the case wants."""
    if case.void or not rows:
        return []
    wrong = []
    found = {str(row["name"]).split(" ")[0]: str(row["verdict"]) for row in rows}
    for name in ROWS:
        if name in case.also:
            continue
        wanted = "FAIL" if name in case.failed else "INVALID" if name in case.invalid else "PASS"
        if found.get(name) != wanted:
            wrong.append(f"{name} is {found.get(name, 'missing')}, not {wanted}")
    return wrong


def _line(outcome: Outcome) -> str:
    case = outcome.case
    head = f"{outcome.word:6} {case.name:14} {outcome.verdict} (exit {outcome.exit_code}): {case.what}"
    lines = [head, f"       {outcome.reason[:200]}"]
    lines += [f"       ! {text}" for text in outcome.wrong]
    return "\n".join(lines)


def _summary(outcomes: Sequence[Outcome]) -> str:
    wrong = [outcome.case.name for outcome in outcomes if outcome.wrong and not outcome.busy]
    busy = [outcome.case.name for outcome in outcomes if outcome.busy]
    if wrong:
        names = ", ".join(wrong)
        return f"{len(wrong)} of {len(outcomes)} cases came out wrong: {names}; do not trust this gate"
    if busy:
        return f"this machine was too busy to tell for: {', '.join(busy)}; run it again alone"
    return f"all {len(outcomes)} cases came out right"
