"""What a campaign knows of its evidence, as its book keeps it, so that a decision can be replayed from it.

Each kind of evidence has one class, with `content` for the book and `of` to read it back. Times are wall
clock in UTC; `sha256` maps the files behind the facts, relative to the results, to their hashes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Self

from loadgate.errors import StoreError

Span = tuple[datetime, datetime]

WORST_FIRST: Final = ("FAIL", "INVALID", "INCONCLUSIVE", "WARN", "PASS")


def iso(moment: datetime) -> str:
    """Write a moment as ISO 8601 in UTC, to the millisecond."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")


def moment(text: str) -> datetime:
    """Read a moment; without a zone it is UTC. StoreError when it is none."""
    try:
        found = datetime.fromisoformat(text)
    except (TypeError, ValueError) as error:
        raise StoreError(f"{text!r} is no time") from error
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class RowFacts:
    """One objective of a run's verdict."""

    name: str
    verdict: str
    value: str
    target: str

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Self:
        """Read one back."""
        return cls(*(str(content[key]) for key in ("name", "verdict", "value", "target")))


@dataclass(frozen=True, slots=True)
class AlertFacts:
    """One firing of an alert rule; `resolved_at` is None where it still fires, or did at the end."""

    rule: str
    severity: str
    fired_at: datetime
    resolved_at: datetime | None
    text: str

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Self:
        """Read one back."""
        resolved = content["resolved_at"]
        return cls(
            content["rule"],
            content["severity"],
            moment(content["fired_at"]),
            moment(resolved) if resolved is not None else None,
            content["text"],
        )


@dataclass(frozen=True, slots=True)
class RuleFacts:
    """An alert rule that a run could follow: `takes` are the seconds in which it cannot fire at all.

    `condition` tells rules of one name apart: it is the SHA-256 of what the rule looks at (its probe is part
    of that) and of when it fires.
    """

    name: str
    takes: float
    condition: str

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Self:
        """Read one back."""
        return cls(content["name"], float(content["takes"]), content["condition"])


@dataclass(frozen=True)
class RunFacts:
    """One run: what was judged of it, and what was seen of the target meanwhile.

    `verdict` is the worst that was ever said of it, None for a watch and while it goes on, but for a FAIL of
    before it was resumed. `plan` tells plans
    apart that ask for other loads or objectives (`plan.campaign_plans`). `observed` are the
    times in which a probe had readings, `down` those in which the health probe found the target down.
    """

    run: str
    scenario: str
    host: str
    mode: str
    stability: bool
    monitored: bool
    started_at: datetime
    ended_at: datetime
    ended: str | None
    verdict: str | None
    plan: str = ""
    steady_seconds: float = 0.0
    reasons: tuple[str, ...] = ()
    rows: tuple[RowFacts, ...] = ()
    alerts: tuple[AlertFacts, ...] = ()
    rules: tuple[RuleFacts, ...] = ()
    observed: tuple[Span, ...] = ()
    down: tuple[Span, ...] = ()
    deployments: tuple[tuple[datetime, str], ...] = ()
    sha256: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_over(self) -> bool:
        """Tell whether it has ended, and as a load been judged."""
        return self.ended is not None and (self.verdict is not None or self.mode == "watch")

    @property
    def passed(self) -> bool:
        """Tell whether every objective holds."""
        return self.verdict == "PASS"

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Self:
        """Read one back; StoreError for what is none."""
        try:
            return cls(
                **{
                    key: content[key]
                    for key in (
                        "run",
                        "scenario",
                        "host",
                        "mode",
                        "stability",
                        "monitored",
                        "ended",
                        "verdict",
                        "plan",
                    )
                },
                started_at=moment(content["started_at"]),
                ended_at=moment(content["ended_at"]),
                steady_seconds=float(content["steady_seconds"]),
                reasons=tuple(content["reasons"]),
                rows=tuple(map(RowFacts.of, content["rows"])),
                alerts=tuple(map(AlertFacts.of, content["alerts"])),
                rules=tuple(map(RuleFacts.of, content.get("rules", ()))),
                observed=_spans(content["observed"]),
                down=_spans(content["down"]),
                deployments=tuple((moment(at), text) for at, text in content["deployments"]),
                sha256=dict(content["sha256"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise StoreError(f"the book holds a run that cannot be read: {error}") from error

    def rule(self, name: str) -> RuleFacts | None:
        """Return an alert rule that it could follow, by its name."""
        return next((rule for rule in self.rules if rule.name == name), None)

    def content(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "run": self.run,
            "scenario": self.scenario,
            "host": self.host,
            "mode": self.mode,
            "stability": self.stability,
            "monitored": self.monitored,
            "started_at": iso(self.started_at),
            "ended_at": iso(self.ended_at),
            "ended": self.ended,
            "verdict": self.verdict,
            "plan": self.plan,
            "steady_seconds": self.steady_seconds,
            "reasons": list(self.reasons),
            "rows": [
                {"name": row.name, "verdict": row.verdict, "value": row.value, "target": row.target}
                for row in self.rows
            ],
            "alerts": [
                {
                    "rule": alert.rule,
                    "severity": alert.severity,
                    "fired_at": iso(alert.fired_at),
                    "resolved_at": iso(alert.resolved_at) if alert.resolved_at is not None else None,
                    "text": alert.text,
                }
                for alert in self.alerts
            ],
            "rules": [
                {"name": rule.name, "takes": rule.takes, "condition": rule.condition} for rule in self.rules
            ],
            "observed": [[iso(begin), iso(end)] for begin, end in self.observed],
            "down": [[iso(begin), iso(end)] for begin, end in self.down],
            "deployments": [[iso(at), text] for at, text in self.deployments],
            "sha256": dict(self.sha256),
        }


@dataclass(frozen=True, slots=True)
class SmokeFacts:
    """One smoke check: each check as (group and name, state, reason)."""

    file: str
    scenario: str
    host: str
    result: str
    started_at: datetime
    checks: tuple[tuple[str, str, str], ...]
    sha256: Mapping[str, str]

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Self:
        """Read one back."""
        return cls(
            content["file"],
            content["scenario"],
            content["host"],
            content["result"],
            moment(content["started_at"]),
            tuple((name, state, reason) for name, state, reason in content["checks"]),
            dict(content["sha256"]),
        )

    def content(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "file": self.file,
            "scenario": self.scenario,
            "host": self.host,
            "result": self.result,
            "started_at": iso(self.started_at),
            "checks": [list(check) for check in self.checks],
            "sha256": dict(self.sha256),
        }


@dataclass(frozen=True, slots=True)
class TestFacts:
    """One JUnit file: how many tests, failures (errors included) and skipped ones; `fault` when unusable."""

    __test__ = False

    name: str
    file: str
    made_at: datetime
    tests: int
    failed: int
    skipped: int
    sha256: str
    fault: str = ""

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Self:
        """Read one back."""
        return cls(**{**content, "made_at": moment(content["made_at"])})

    def content(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "name": self.name,
            "file": self.file,
            "made_at": iso(self.made_at),
            "tests": self.tests,
            "failed": self.failed,
            "skipped": self.skipped,
            "sha256": self.sha256,
            "fault": self.fault,
        }


@dataclass(frozen=True, slots=True)
class BugFacts:
    """The open critical bugs, at a moment; `fault` when they could not be read."""

    source: str
    made_at: datetime
    total: int
    critical: tuple[str, ...]
    sha256: str
    fault: str = ""

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Self:
        """Read them back."""
        return cls(
            content["source"],
            moment(content["made_at"]),
            content["total"],
            tuple(content["critical"]),
            content["sha256"],
            content["fault"],
        )

    def content(self) -> dict[str, Any]:
        """Return them as plain values."""
        return {
            "source": self.source,
            "made_at": iso(self.made_at),
            "total": self.total,
            "critical": list(self.critical),
            "sha256": self.sha256,
            "fault": self.fault,
        }


@dataclass(frozen=True, slots=True)
class CommandFacts:
    """One command of a line, as it ended; `status` is None when it could not be run, or took too long."""

    line: str
    index: int
    command: tuple[str, ...]
    at: datetime
    status: int | None
    output: str
    fault: str = ""

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Self:
        """Read one back."""
        return cls(
            content["line"],
            content["index"],
            tuple(content["command"]),
            moment(content["at"]),
            content["status"],
            content["output"],
            content["fault"],
        )

    def content(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "line": self.line,
            "index": self.index,
            "command": list(self.command),
            "at": iso(self.at),
            "status": self.status,
            "output": self.output,
            "fault": self.fault,
        }


def _spans(content: list[list[str]]) -> tuple[Span, ...]:
    return tuple((moment(begin), moment(end)) for begin, end in content)
