"""The campaign: phases, what runs when, the stability clock, and what has to hold before a release goes on.

A campaign file says it all in one place, and holds roles, never persons. The models check each value by
itself; the rules that tie values together are in `campaign_file.py`.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal

from pydantic import Field, StrictBool, StrictInt, ValidationInfo, field_validator

from loadgate.plan.address import check_url
from loadgate.plan.fields import PlanModel, PlanPath, Seconds, is_toml
from loadgate.plan.notify import SEVERITIES
from loadgate.plan.units import UnitError, parse_share

CRITERIA: Final = {
    "bugs": "Zero critical bugs",
    "performance": "Performance better than target",
    "tests": "All tests passing",
    "monitoring": "Monitoring healthy",
    "sign-off": "Team sign-off",
}
"""The rows of the decision matrix, by key."""
DERIVED: Final = ("stability", "sustained", "performance", "monitoring", "tests", "bugs")
"""What a line can point at with `criterion`."""
COMMANDS: Final = ("run", "soak", "gate", "smoke", "watch")
"""The commands that a calendar can start; the first three make a load."""
LOADS: Final = ("run", "soak", "gate")
LONGEST: Final = 366 * 86_400.0

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)

Positive = Annotated[Seconds, Field(gt=0, le=LONGEST)]
Words = tuple[str, ...]


def check_name(name: str) -> str:
    """Return a name that is also a file's and a word on the command line; UnitError for another one."""
    if not _NAME.fullmatch(name):
        raise UnitError(f"'{name}' is not a name", "at most 64 small letters, digits, '.', '-' and '_'")
    return name


class StabilityClock(PlanModel):
    """How long the target must be stable on end, and what ends that."""

    length: Positive = Field(
        default=7 * 86_400.0, description="how long the target must be stable on end", examples=["7d"]
    )
    observed: float = Field(
        default=0.95, description="share of that time that counting runs must have watched", examples=["95%"]
    )
    downtime: Positive = Field(
        default=60.0, description="how long the target may be down at a time", examples=["1m"]
    )
    severities: tuple[Literal["critical", "high", "medium", "low"], ...] = Field(
        default=("critical",), description="alerts that stop the clock", examples=['["critical"]']
    )
    deployment_restarts: StrictBool = Field(
        default=True, description="whether an annotated deployment starts the clock again"
    )
    sustained: str = Field(
        default="soak", description="scenario of which one run must be as long as the clock"
    )

    @field_validator("observed", mode="before")
    @classmethod
    def _share(cls, value: Any, info: ValidationInfo) -> Any:
        if not isinstance(value, str):
            if is_toml(info):
                raise UnitError("must be a share", 'for example "95%"')
            return value
        share = parse_share(value)
        if not 0.5 <= share <= 1:
            raise UnitError("must be from 50% to 100%", 'for example "95%"')
        return share

    @field_validator("severities")
    @classmethod
    def _holds_critical(cls, found: Words) -> Words:
        if "critical" not in found:
            raise UnitError("leaves out critical", f"some of {', '.join(SEVERITIES)}; critical is always one")
        return found


class CampaignRun(PlanModel):
    """Something that the calendar starts."""

    name: str = Field(description="name of the entry, in its phase", examples=["daily-load"])
    command: Literal["run", "soak", "gate", "smoke", "watch"] = Field(
        default="run", description="which command of Loadgate is started"
    )
    scenario: PlanPath = Field(description="the scenario", examples=["../load.toml"])
    at: Seconds = Field(default=0.0, description="how long after the beginning of the phase", examples=["1h"])
    every: Positive | None = Field(
        default=None, description="again after so long, while the phase lasts", examples=["1d"]
    )
    each_cycle: StrictBool = Field(
        default=False, description="again whenever the stability clock was started again"
    )
    beside: StrictBool = Field(default=False, description="may be made beside a load; smoke and watch only")
    arguments: Words = Field(default=(), description="further words of the command")

    _named = field_validator("name")(check_name)

    @property
    def is_load(self) -> bool:
        """Tell whether it makes a load, which never overlaps another one."""
        return self.command in LOADS


class Phase(PlanModel):
    """A part of the calendar; phases follow one another."""

    name: str = Field(description="name of the phase", examples=["load-testing"])
    title: str = Field(default="", description="what it is called for people")
    length: Positive = Field(description="how long it lasts", examples=["5d"])
    run: tuple[CampaignRun, ...] = Field(default=(), description="what is started in it")

    _named = field_validator("name")(check_name)


class CampaignTests(PlanModel):
    """A set of tests, by the JUnit files that it writes."""

    name: str = Field(description="name of the set", examples=["unit"])
    junit: tuple[PlanPath, ...] = Field(
        description="its JUnit files", examples=['["../../reports/unit.xml"]']
    )

    _named = field_validator("name")(check_name)


class Bugs(PlanModel):
    """Where the open bugs are: a JSON file, or a command that prints such JSON."""

    file: PlanPath | None = Field(default=None, description="JSON file of the issues")
    command: Words = Field(default=(), description="program and arguments that print the JSON")
    timeout: Positive = Field(default=60.0, description="limit for the command")
    fresh: Positive = Field(
        default=86_400.0, description="how old the file may be when it is decided", examples=["1d"]
    )
    items: str = Field(default="", description="key of the list, where the JSON is not the list itself")
    severity: str = Field(default="severity", description="key of an issue's severity")
    critical: Words = Field(
        default=("critical",), min_length=1, description="severities that count, in any case"
    )
    state: str = Field(default="state", description="key of an issue's state")
    closed: Words = Field(default=("closed", "done", "resolved"), description="states that do not count")

    @field_validator("critical")
    @classmethod
    def _severities(cls, critical: Words) -> Words:
        if not all(word.strip() for word in critical):
            raise UnitError("holds a severity without a word", 'for example ["critical"]')
        return critical


class Line(PlanModel):
    """A line that must be ticked: measured, run, or attested by a role. Nothing is ticked by itself."""

    id: str = Field(description="name of the line", examples=["rate-limit"])
    group: str = Field(default="", description="heading that it stands under")
    text: str = Field(min_length=1, description="the line")
    attest: Words = Field(default=(), description="roles of which one may attest it")
    renew: StrictBool = Field(
        default=False, description="whether it must be attested again when the clock was started again"
    )
    objectives: Words = Field(
        default=(), description="rows of the SLA table that pass", examples=['["error_rate"]']
    )
    scenario: str = Field(default="", description="scenario whose newest run says so; any that has the rows")
    smoke: Words = Field(default=(), description="smoke checks that pass, with * for any text")
    tests: Words = Field(default=(), description="sets of tests that pass")
    commands: tuple[Words, ...] = Field(default=(), description="commands that end with status 0")
    timeout: Positive = Field(default=600.0, description="limit for each command")
    criterion: str = Field(default="", description="part of the decision that it repeats")

    _named = field_validator("id")(check_name)

    @field_validator("commands")
    @classmethod
    def _programs(cls, commands: tuple[Words, ...]) -> tuple[Words, ...]:
        if any(not words or not words[0].strip() or "\x00" in "".join(words) for words in commands):
            raise UnitError("names no program", 'for example [["npm", "run", "qa:suite"]]')
        return commands

    @property
    def is_measured(self) -> bool:
        """Tell whether something else than a person says that it holds."""
        return bool(self.objectives or self.smoke or self.tests or self.commands or self.criterion)


class DecisionPlan(PlanModel):
    """What the decision asks for beside the lines."""

    sign_off: Words = Field(
        default=(), description="roles that must sign", examples=['["engineering", "qa"]']
    )
    performance: Words = Field(
        default=(), description="scenarios whose newest run must pass", examples=['["load", "soak"]']
    )
    lookback: Positive = Field(
        default=7 * 86_400.0, description="how much older than the campaign its first evidence may be"
    )
    passes: Annotated[StrictInt, Field(ge=1)] = Field(
        default=1, description="runs of each of these scenarios that must pass on end"
    )


class Campaign(PlanModel):
    """One campaign file, complete."""

    name: str = Field(description="name of the campaign", examples=["staging"])
    host: str = Field(
        description="base URL of the target; runs of another one never count",
        examples=["http://127.0.0.1:3000"],
    )
    roles: Words = Field(description="who attests and signs: roles, not persons", examples=['["qa"]'])
    clock: StabilityClock = Field(default_factory=StabilityClock, description="the stability clock")
    phase: tuple[Phase, ...] = Field(description="the calendar")
    tests: tuple[CampaignTests, ...] = Field(default=(), description="sets of tests")
    bugs: Bugs | None = Field(default=None, description="where the bugs are")
    decision: DecisionPlan = Field(
        default_factory=DecisionPlan, description="what the decision asks for beside the lines"
    )
    line: tuple[Line, ...] = Field(default=(), description="lines of the checklist before the deployment")
    step: tuple[Line, ...] = Field(default=(), description="steps of the deployment")
    success: tuple[Line, ...] = Field(default=(), description="success criteria")

    _named = field_validator("name")(check_name)

    @field_validator("host")
    @classmethod
    def _base_url(cls, host: str) -> str:
        check_url(host, query=False)
        return host.rstrip("/")

    @field_validator("roles")
    @classmethod
    def _some_roles(cls, roles: Words) -> Words:
        if not roles:
            raise UnitError("is empty, so nobody could sign", 'for example ["engineering", "qa"]')
        for role in roles:
            check_name(role)
        if len(set(roles)) != len(roles):
            raise UnitError("names a role twice", "each once")
        return roles

    @property
    def lines(self) -> tuple[Line, ...]:
        """Return every line that must be ticked: checklist, steps, success criteria."""
        return (*self.line, *self.step, *self.success)

    @property
    def length(self) -> float:
        """Return the seconds of the whole calendar."""
        return sum(phase.length for phase in self.phase)

    def line_of(self, name: str) -> Line | None:
        """Return the line of a name."""
        return next((line for line in self.lines if line.id == name), None)
