"""Read a campaign file strictly: every fault at once, with file, key and a hint."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from loadgate.plan.campaign import CRITERIA, DERIVED, Campaign, Line
from loadgate.plan.draft import read_draft
from loadgate.plan.problems import PlanError, Problem
from loadgate.plan.reading import parse_toml, read_text
from loadgate.plan.scenario import Scenario
from loadgate.plan.strict import problems_of, suggest
from loadgate.plan.units import format_duration

_LISTS: Final = ("line", "step", "success")


@dataclass
class CampaignDraft:
    """A campaign file as far as it could be read; `sha256` is that of the file."""

    file: str
    campaign: Campaign | None = None
    sha256: str = ""
    scenarios: dict[Path, Scenario] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Tell whether it can be used; warnings do not count."""
        return self.campaign is not None and not any(problem.is_error for problem in self.problems)


def looks_like_campaign(raw: Mapping[str, Any]) -> bool:
    """Tell a campaign file from the other plan files."""
    return any(key in raw for key in ("phase", "clock", "roles")) and "traffic" not in raw


def read_campaign(path: Path, file: str) -> CampaignDraft:
    """Read and check a campaign file and the scenarios that it names; never raises for a faulty one."""
    draft = CampaignDraft(file)
    text, fault = read_text(path, file, "")
    if fault is not None:
        draft.problems.append(fault)
        return draft
    raw, fault = parse_toml(text, file)
    if fault is not None:
        draft.problems.append(fault)
        return draft
    draft.sha256 = hashlib.sha256(text.encode()).hexdigest()
    try:
        draft.campaign = Campaign.model_validate(raw, context={"toml": True, "base": path.absolute().parent})
    except ValidationError as error:
        draft.problems += problems_of(error, Campaign, file)
        return draft
    draft.problems += _scenarios(draft)
    draft.problems += _rules(file, draft.campaign)
    draft.problems += _against_scenarios(draft)
    return draft


def load_campaign(path: Path) -> CampaignDraft:
    """Read a campaign file; PlanError with every problem when it has an error."""
    draft = read_campaign(path, str(path))
    if not draft.good:
        raise PlanError(draft.problems)
    return draft


def describe(draft: CampaignDraft) -> str:
    """Describe a campaign in a few words; nothing when it is faulty."""
    campaign = draft.campaign
    if campaign is None or not draft.good:
        return ""
    runs = sum(len(phase.run) for phase in campaign.phase)
    return (
        f"campaign '{campaign.name}': {len(campaign.phase)} phases over {format_duration(campaign.length)}, "
        f"{runs} entries in its calendar, {len(campaign.lines)} lines, "
        f"{format_duration(campaign.clock.length)} of stability"
    )


def _scenarios(draft: CampaignDraft) -> Iterator[Problem]:
    """Read each scenario once; its own faults are told with its own file."""
    assert draft.campaign is not None
    for p, phase in enumerate(draft.campaign.phase):
        for r, run in enumerate(phase.run):
            if run.scenario in draft.scenarios:
                continue
            key = f"phase[{p}].run[{r}].scenario"
            if not run.scenario.is_file():
                yield Problem(
                    draft.file,
                    key,
                    f"there is no scenario '{run.scenario.name}'",
                    "it is relative to the campaign file",
                )
                continue
            read = read_draft(run.scenario, host=draft.campaign.host)
            faults = [problem for problem in read.problems if problem.is_error]
            if faults or read.scenario is None:
                hint = f"loadgate validate {run.scenario.name}"
                yield Problem(
                    draft.file,
                    key,
                    f"'{run.scenario.name}' has {len(faults)} error(s): {faults[0].line()}",
                    hint,
                )
                continue
            name, where = read.scenario.name, run.scenario.resolve()
            taken = [p for p, one in draft.scenarios.items() if one.name == name and p.resolve() != where]
            if taken:
                message = f"'{run.scenario.name}' is called '{name}', and so is '{taken[0].name}'"
                yield Problem(draft.file, key, message, "give each scenario a name of its own")
            draft.scenarios[run.scenario] = read.scenario


def _rules(file: str, campaign: Campaign) -> Iterator[Problem]:
    """Check what ties the values of the file together."""
    yield from _unique(file, "phase", [phase.name for phase in campaign.phase])
    yield from _unique(file, "tests", [tests.name for tests in campaign.tests])
    if not campaign.phase:
        yield Problem(file, "phase", "is empty, so nothing would ever run", "write [[phase]]")
    for index, tests in enumerate(campaign.tests):
        if not tests.junit:
            yield Problem(file, f"tests[{index}].junit", "names no file", 'junit = ["unit.xml"]')
    for p, phase in enumerate(campaign.phase):
        yield from _unique(file, f"phase[{p}].run", [run.name for run in phase.run])
        for r, run in enumerate(phase.run):
            key = f"phase[{p}].run[{r}]"
            if run.at >= phase.length:
                yield Problem(file, f"{key}.at", "is after the end of the phase", "a shorter time")
            if run.beside and run.is_load:
                message = f"a {run.command} makes a load, and loads never overlap"
                yield Problem(file, f"{key}.beside", message, "leave it out")
            if run.each_cycle and run.every is not None:
                yield Problem(file, f"{key}.each_cycle", "stands beside `every`", "one of the two")
    for role in campaign.decision.sign_off:
        if role not in campaign.roles:
            hint = suggest(role, campaign.roles, "roles")
            yield Problem(file, "decision.sign_off", f"'{role}' is not one of the roles", hint)
    if not campaign.decision.sign_off:
        yield Problem(
            file,
            "decision.sign_off",
            "is missing, so nobody would sign",
            f'sign_off = ["{campaign.roles[0]}"]',
        )
    if campaign.bugs is None:
        yield Problem(file, "bugs", "is missing, so nobody would know of critical bugs", "write [bugs]")
    elif (campaign.bugs.file is None) == (not campaign.bugs.command):
        yield Problem(file, "bugs", "needs a file or a command, one of the two", 'file = "bugs.json"')
    if not campaign.tests:
        yield Problem(file, "tests", "is missing, so no test would be asked for", "write [[tests]]")
    yield from _lines(file, campaign)


def _lines(file: str, campaign: Campaign) -> Iterator[Problem]:
    """Check the lines of the checklist, the steps and the success criteria."""
    # A waiver names an item by its id alone, so a line must share none with a part of the decision.
    seen: dict[str, str] = dict.fromkeys((*CRITERIA, *DERIVED), "the decision")
    known = [tests.name for tests in campaign.tests]
    for kind in _LISTS:
        lines: tuple[Line, ...] = getattr(campaign, kind)
        for index, line in enumerate(lines):
            key = f"{kind}[{index}]"
            if line.id in seen:
                yield Problem(file, f"{key}.id", f"'{line.id}' is taken by {seen[line.id]}", "another name")
            seen.setdefault(line.id, key)
            for role in line.attest:
                if role not in campaign.roles:
                    hint = suggest(role, campaign.roles, "roles")
                    yield Problem(file, f"{key}.attest", f"'{role}' is not one of the roles", hint)
            for name in line.tests:
                if name not in known:
                    yield Problem(
                        file, f"{key}.tests", f"there are no tests '{name}'", suggest(name, known, "tests")
                    )
            if line.criterion and line.criterion not in DERIVED:
                hint = suggest(line.criterion, DERIVED, "criteria")
                yield Problem(file, f"{key}.criterion", f"'{line.criterion}' is no criterion", hint)
            if not line.is_measured and not line.attest:
                hint = f'attest = ["{campaign.roles[0]}"], or objectives, smoke, tests, commands, criterion'
                yield Problem(file, key, "says neither what measures it nor who attests it", hint)
            if line.is_measured and line.attest and not line.commands:
                message = "is measured, so nobody can attest it"
                yield Problem(file, f"{key}.attest", message, "leave it out, or let a waiver say why")


def _against_scenarios(draft: CampaignDraft) -> Iterator[Problem]:
    """Check what the decision needs against the scenarios of the calendar."""
    campaign, scenarios = draft.campaign, draft.scenarios
    assert campaign is not None
    if any(problem.is_error for problem in draft.problems):
        return
    names = sorted({found.name for found in scenarios.values()})
    smoked = any(run.command == "smoke" for phase in campaign.phase for run in phase.run)
    counting = {found.name for found in scenarios.values() if found.stability}
    for key, wanted in (
        ("clock.sustained", (campaign.clock.sustained,)),
        ("decision.performance", campaign.decision.performance),
    ):
        for name in wanted:
            if name not in names:
                yield Problem(
                    draft.file, key, f"no phase runs a scenario '{name}'", suggest(name, names, "scenarios")
                )
    for kind in _LISTS:
        lines: tuple[Line, ...] = getattr(campaign, kind)
        for index, line in enumerate(lines):
            if line.scenario and line.scenario not in names:
                hint = suggest(line.scenario, names, "scenarios")
                key = f"{kind}[{index}].scenario"
                yield Problem(draft.file, key, f"no phase runs a scenario '{line.scenario}'", hint)
            if line.smoke and not smoked:
                message = "asks for a smoke check, and no phase makes one"
                hint = 'command = "smoke" in a [[phase.run]]'
                yield Problem(draft.file, f"{kind}[{index}].smoke", message, hint)
    if campaign.clock.sustained in names and campaign.clock.sustained not in counting:
        message = f"scenario '{campaign.clock.sustained}' does not count for stability"
        yield Problem(draft.file, "clock.sustained", message, "write stability = true into it")
    for p, phase in enumerate(campaign.phase):
        for r, run in enumerate(phase.run):
            found = scenarios.get(run.scenario)
            if found is not None and run.command == "watch" and not found.stability:
                message = "watches for a scenario that does not count for stability"
                yield Problem(
                    draft.file, f"phase[{p}].run[{r}].scenario", message, "stability = true there", "warning"
                )


def _unique(file: str, key: str, names: list[str]) -> Iterator[Problem]:
    for index, name in enumerate(names):
        if name in names[:index]:
            message = f"{key}[{names.index(name)}] is called '{name}' too"
            yield Problem(file, f"{key}[{index}].name", message, "give each a name of its own")
