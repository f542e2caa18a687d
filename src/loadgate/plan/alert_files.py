"""Read a rules file: each rule by itself, whatever scenario it is for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from loadgate.plan.alerts import AlertEntry
from loadgate.plan.conditions import EXAMPLE, Condition, parse_when
from loadgate.plan.problems import Problem
from loadgate.plan.reading import read_toml
from loadgate.plan.strict import problems_of, suggest


@dataclass
class RulesFile:
    """A rules file as far as it could be read."""

    file: str
    entries: list[tuple[int, AlertEntry]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def looks_like_rules(raw: Mapping[str, Any]) -> bool:
    """Tell a rules file from the other plan files."""
    rules = "alert" in raw or isinstance(raw.get("alerts"), list)
    return rules and "traffic" not in raw and "objective" not in raw


def read_rules(path: Path, file: str, asked_by: tuple[str, str] | None = None) -> RulesFile:
    """Read and check a rules file; `asked_by` is the (file, key) to blame when it cannot be read."""
    where = asked_by or (file, "")
    raw, fault = read_toml(path, where[0], where[1], "rules file" if asked_by else "file")
    if raw is None:
        return RulesFile(file, problems=[fault] if fault is not None else [])
    return check_raw_rules(raw, file)


def check_raw_rules(raw: Mapping[str, Any], file: str) -> RulesFile:
    """Check the contents of a rules file, each rule by itself."""
    found = RulesFile(file)
    for key in raw:
        if key != "alert":
            found.problems.append(
                Problem(file, key, f"unknown key '{key}'", suggest(key, ["alert"], "known keys"))
            )
    entries = raw.get("alert", [])
    if not isinstance(entries, list) or not entries:
        found.problems.append(Problem(file, "alert", "there are no rules", "write each rule as [[alert]]"))
        return found
    names: dict[str, int] = {}
    for index, raw_entry in enumerate(entries):
        key = f"alert[{index}]"
        try:
            entry = AlertEntry.model_validate(raw_entry, context={"toml": True})
        except ValidationError as error:
            found.problems += problems_of(error, AlertEntry, file, ("alert", index))
            continue
        if (entry.when is None) == (entry.burn is None):
            message = "has neither `when` nor `burn`" if entry.when is None else "has both `when` and `burn`"
            found.problems.append(Problem(file, key, message, EXAMPLE))
            continue
        if entry.name in names:
            message = f"alert[{names[entry.name]}] is called '{entry.name}' too"
            found.problems.append(Problem(file, f"{key}.name", message, "give each rule a name of its own"))
        names.setdefault(entry.name, index)
        found.entries.append((index, entry))
    return found


def needs_scenario(entry: AlertEntry) -> bool:
    """Tell whether a rule says nothing by itself: it points at the SLA table, or follows the run's length."""
    return entry.burn is not None or not isinstance(parse_when(entry.when or ""), Condition)
