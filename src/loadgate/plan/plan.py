"""A complete, checked plan, and its snapshot: what every process of a run reads."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import orjson
from pydantic import Field, ValidationError

from loadgate.plan.alerts import AlertRule
from loadgate.plan.draft import read_draft, read_table
from loadgate.plan.fields import PlanModel
from loadgate.plan.problems import PlanError, Problem
from loadgate.plan.scenario import Scenario
from loadgate.plan.sla import Objective
from loadgate.plan.timeline import Timeline


class Plan(PlanModel):
    """A scenario with the objectives that it judges and its alert rules (those left out are gone).

    `files` maps the absolute path of every file that the plan was read from to its SHA-256; `warnings` are
    the problems that do not stop the run. Secrets are not resolved here: headers still say `env:NAME`.
    """

    version: Literal[1] = 1
    scenario: Scenario
    objectives: tuple[Objective, ...] = ()
    alerts: tuple[AlertRule, ...] = ()
    files: dict[str, str] = Field(default_factory=dict)
    warnings: tuple[Problem, ...] = ()

    def to_json(self) -> bytes:
        """Write the snapshot: JSON with sorted keys; `from_json` gives an equal plan back."""
        return orjson.dumps(self.model_dump(mode="json", by_alias=True), option=orjson.OPT_SORT_KEYS)

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Read a snapshot; raise PlanError when it is not one."""
        try:
            return cls.model_validate(orjson.loads(data))
        except (orjson.JSONDecodeError, ValidationError) as error:
            reason = str(error).splitlines()[0]
            hint = "it was cut short, or written by another version of Loadgate"
            raise PlanError([Problem("plan.json", "", f"is not a plan: {reason}", hint)]) from error

    @property
    def fingerprint(self) -> str:
        """Return the SHA-256 of the snapshot, in hex."""
        return hashlib.sha256(self.to_json()).hexdigest()

    @cached_property
    def timeline(self) -> Timeline:
        """Return the planned load over time; made once (a trace is read then; PlanError when it is gone)."""
        return Timeline.of(self.scenario)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Copy the plan; the copy makes a timeline of its own, since the update may change the load."""
        copy = super().model_copy(update=update, deep=deep)
        copy.__dict__.pop("timeline", None)
        return copy


def load_plan(
    path: Path, overrides: Sequence[str] = (), host: str | None = None, sla: Path | None = None
) -> Plan:
    """Read a scenario, its SLA table and the files they name; raise PlanError with every problem.

    `overrides` are "key=value" (see `overrides.py`), applied before anything is checked; `host` and `sla`
    replace the scenario's own, `sla` relative to the working directory.
    """
    draft = read_draft(path, overrides=overrides, host=host, sla=sla)
    problems = draft.problems
    if draft.scenario is None or any(problem.is_error for problem in problems):
        raise PlanError(problems)
    return Plan(
        scenario=draft.scenario,
        objectives=draft.judged,
        alerts=draft.alerts,
        files=draft.files,
        warnings=tuple(problems),
    )


def load_sla(path: Path) -> tuple[Objective, ...]:
    """Read an SLA table by itself; raise PlanError with every problem when it has an error."""
    table = read_table(path, str(path))
    if any(problem.is_error for problem in table.problems):
        raise PlanError(table.problems)
    return table.objectives
