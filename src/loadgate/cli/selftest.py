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
from loadgate.cli.selftest_cases import CASES, RATE, ROWS, SCENARIO, SECONDS, Case
from loadgate.cli.templates import templates
from loadgate.exit_codes import ExitCode

_TRIES = 3
"""Runs of a case on a machine that is too busy to make its load; each says so by itself."""
_CASE_WITHIN = 120.0
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

    Each case is a real run of about 20 seconds; all of them take about two minutes, and need the `staging`
    extra. Exit code 0: every breach was stopped with the right verdict and reason, and the healthy service
    passed; 20: one was not; 31: this machine was too busy to tell.
    """
    chosen = [case for case in CASES if not names or case.name in names]
    with ThreadPoolExecutor(jobs) as threads:
        outcomes = []
        for outcome in threads.map(_outcome_of, chosen):
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
        command = [sys.executable, "-m", "loadgate", "run", str(scenario), "--json"]
        done = subprocess.run(
            [*command, "--results", str(folder / "results")],
            capture_output=True,
            text=True,
            timeout=_CASE_WITHIN,
            check=False,
            stdin=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        )
    return judge_case(case, done.returncode, done.stdout, done.stderr)


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
    try:
        verdict: dict[str, Any] = json.loads(stdout)
    except json.JSONDecodeError:
        verdict = {}
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
