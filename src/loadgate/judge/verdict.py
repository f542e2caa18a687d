"""The verdict of a run: a pure function of its evidence, and the file that every output is made from."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from importlib.resources import files
from itertools import count
from pathlib import Path
from typing import Any, Final

import orjson

from loadgate.errors import StoreError
from loadgate.exit_codes import ExitCode
from loadgate.judge import attribution, findings, fleet, summary
from loadgate.judge.drift import DriftResult
from loadgate.judge.drift_series import drift
from loadgate.judge.evidence import Evidence
from loadgate.judge.findings import Finding, find_all
from loadgate.judge.objectives import evaluate_all
from loadgate.judge.results import SEVERITY, Grade, ObjectiveResult, iso, worst
from loadgate.judge.run import early_reason, overall, void_reasons
from loadgate.judge.slots import total_length
from loadgate.plan.units import format_duration, format_share
from loadgate.store.folder import RunFolder

SCHEMA_VERSION: Final = 1
"""Version of verdict.json; keys are only ever added to a version."""

EXIT_CODES: Final = {
    Grade.PASS: ExitCode.PASS,
    Grade.WARN: ExitCode.PASS,
    Grade.FAIL: ExitCode.FAIL,
    Grade.INVALID: ExitCode.INVALID,
    Grade.INCONCLUSIVE: ExitCode.INCONCLUSIVE,
}


@dataclass(frozen=True)
class Verdict:
    """What is said of a run: its grade, why, and the result of each objective."""

    evidence: Evidence
    grade: Grade
    void: bool
    reasons: tuple[str, ...]
    rows: tuple[ObjectiveResult, ...]
    findings: tuple[Finding, ...]
    drift: tuple[DriftResult, ...]
    exit_code: ExitCode
    strict: bool
    judged_at: datetime

    def to_dict(self) -> dict[str, Any]:
        """Return the content of verdict.json; `verdict.schema.json` and docs/verdict.md describe it."""
        evidence = self.evidence
        return {
            "schema_version": SCHEMA_VERSION,
            "run": evidence.run,
            "scenario": evidence.scenario,
            "verdict": self.grade.value,
            "void": self.void,
            "ended": evidence.ended,
            "exit_code": int(self.exit_code),
            "reasons": list(self.reasons),
            "objectives": [row.to_dict(evidence.anchor_wall) for row in self.rows],
            "findings": [finding.to_dict() for finding in self.findings],
            "drift": [result.to_dict() for result in self.drift],
            "alerts": [dict(alert) for alert in evidence.alerts],
            "decided": _decided(evidence),
            "strict": self.strict,
            "running": evidence.running,
            "ended_at": evidence.ended_at,
            "started_at": evidence.started_at or iso(evidence.anchor_wall),
            "judged_at": iso(self.judged_at.timestamp()),
            "host": evidence.host,
            "model": evidence.model,
            "phases": summary.phases(evidence),
            "steady": [{"start": part.start, "end": part.end} for part in evidence.steady],
            "steady_seconds": evidence.seconds,
            "steady_seconds_planned": sum(part.length for part in evidence.planned),
            "coverage": summary.covered(evidence),
            "books": summary.books(evidence),
            "latencies": summary.latencies(evidence),
            "generator": summary.generator(evidence),
            "fleet": fleet.fleet(evidence),
            "failures": summary.failures(evidence),
            "versions": dict(evidence.versions),
        }


def _decided(evidence: Evidence) -> dict[str, Any] | None:
    """Return when a run was decided that needed no more load; None for every other run."""
    look = evidence.look
    if look is None or not evidence.early:
        return None
    return {
        "after": evidence.seconds,
        "of": total_length(evidence.planned),
        "look": look.number,
        "looks": look.of,
        "doubt": look.doubt,
    }


def judge(evidence: Evidence, *, strict: bool = False, interrupted: bool = False, now: datetime) -> Verdict:
    """Judge a run. `strict` gives WARN an exit code of its own; `now` must know its time zone.

    `interrupted` says that the command that judges was: it exits so even when the run came to its end.
    """
    voided = void_reasons(evidence)
    void = bool(voided)
    rows = fleet.tagged(evidence, evaluate_all(evidence))
    limit = findings.rate_limit(evidence)
    if limit is not None:
        rows = tuple(_with_limit(row, limit) for row in rows)
    drifts = drift(evidence.drift, evidence, cuts=evidence.deployments) if evidence.drift else ()
    grade = overall(evidence, rows, void=void)
    if not void and rows:
        # What creeps decides as a required row does.
        grade = worst([grade, *(result.verdict for result in drifts)])
    return Verdict(
        evidence=evidence,
        grade=grade,
        void=void,
        reasons=_reasons(evidence, grade, voided, rows, drifts, limit),
        rows=rows,
        drift=drifts,
        findings=(*find_all(evidence, rows, void=void), *_moved_first(evidence, rows, void=void)),
        exit_code=exit_code(grade, "interrupted" if interrupted else evidence.ended, strict=strict),
        strict=strict,
        judged_at=now,
    )


def _moved_first(evidence: Evidence, rows: Sequence[ObjectiveResult], *, void: bool) -> list[Finding]:
    """Tell what moved before a row failed; of a void run nothing is said of the target."""
    return [] if void else [Finding(*told) for told in attribution.coincidences(evidence, rows)]


def exit_code(grade: Grade, ended: str, *, strict: bool) -> ExitCode:
    """Return how a command that judged a run exits: an interrupted one says so, whatever its verdict."""
    if ended == "interrupted":
        return ExitCode.INTERRUPTED
    if strict and grade is Grade.WARN:
        return ExitCode.WARN
    return EXIT_CODES[grade]


def _with_limit(row: ObjectiveResult, limit: Finding) -> ObjectiveResult:
    """Name the target's rate limit in the reason of a row that it explains."""
    if not findings.limited_row(row):
        return row
    number = limit.detail["rate_limited"]
    return replace(row, reason=f"{row.reason}; the target's rate limit was met ({number} answers were 429)")


def _reasons(
    evidence: Evidence,
    grade: Grade,
    voided: Sequence[str],
    rows: Sequence[ObjectiveResult],
    drifts: Sequence[DriftResult],
    limit: Finding | None,
) -> tuple[str, ...]:
    """List why the verdict is what it is, the most telling first."""
    reasons = [f"the run is void: {reason}" for reason in voided]
    if not rows:
        reasons.append("there are no objectives to judge by: name an SLA table with --sla")
    early = early_reason(evidence)
    if early and not (evidence.early and grade is Grade.FAIL):
        reasons.append(early)
    ordered = sorted(rows, key=lambda row: (not row.decides, SEVERITY.index(row.verdict)))
    for row in ordered:
        if row.verdict is not Grade.PASS:
            optional = "" if row.decides else " (optional)"
            reasons.append(f"{row.verdict.value} {row.objective.name}{optional}: {row.reason}")
    for result in sorted(drifts, key=lambda result: SEVERITY.index(result.verdict)):
        if result.verdict is not Grade.PASS:
            reasons.append(f"{result.verdict.value} drift of {result.reason}")
    if limit is not None and any(findings.limited_row(row) for row in rows):
        reasons.append(limit.message)
    if grade is Grade.PASS:
        passed = sum(row.verdict is Grade.PASS for row in rows)
        requests = evidence.books(None, "steady").arrivals
        steady = format_duration(evidence.seconds)
        reasons.insert(0, f"{passed} of {len(rows)} objectives hold over {steady} and {requests} requests")
    decided = _decided(evidence)
    if decided is not None:
        after, of = (format_duration(decided[key]) for key in ("after", "of"))
        reasons.append(
            f"decided after {after} of {of} planned steady load, at look {decided['look']} of "
            f"{decided['looks']}: each bound has {format_share(round(1 - decided['doubt'], 4))} confidence"
        )
    return tuple(reasons)


@cache
def schema() -> dict[str, Any]:
    """Return the JSON Schema of verdict.json."""
    text = files("loadgate.judge").joinpath("verdict.schema.json").read_bytes()
    loaded: dict[str, Any] = orjson.loads(text)
    return loaded


def write(run: RunFolder, verdict: Verdict) -> Path:
    """Write verdict.json, or verdict-2.json and so on where one exists, and return its path.

    The file appears whole or not at all, and none is ever overwritten. Raises StoreError when the folder
    cannot be written.
    """
    content = orjson.dumps(verdict.to_dict(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    try:
        return _publish(run, content)
    except OSError as error:
        hint = "see that the disk has room and that you may write there; the run itself can be judged again"
        raise StoreError(
            f"cannot write a verdict in {run.path}: {error.strerror or error}", hint=hint
        ) from error


def _publish(run: RunFolder, content: bytes) -> Path:
    draft = run.path / f".verdict-{os.getpid()}-{secrets.token_hex(4)}"
    try:
        with draft.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # Behind the newest, so that this one is the newest even where one between them is gone.
        for n in count(run.newest_verdict() + 1):
            path = run.verdict_path(n)
            # A link fails where the name is taken, which a rename would not.
            with suppress(FileExistsError):
                os.link(draft, path)
                return path
    finally:
        draft.unlink(missing_ok=True)
    raise AssertionError("unreachable: the numbers do not end")
