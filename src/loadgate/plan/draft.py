"""From files to a plan: read everything, check everything, and collect every problem.

A part that is wrong does not hide the faults of the others: sections that are well-formed are checked even
when their neighbours are not.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from loadgate.plan import overrides as overriding
from loadgate.plan.alert_files import RulesFile, looks_like_rules, read_rules
from loadgate.plan.alerts import AlertRule
from loadgate.plan.checks_alerts import Against, resolve
from loadgate.plan.checks_evidence import Planned, check_evidence
from loadgate.plan.checks_scenario import (
    check_http,
    check_probes,
    check_python,
    check_smoke,
    check_soak,
    check_stages,
    check_traffic,
)
from loadgate.plan.checks_table import check_policy, check_row, check_table
from loadgate.plan.drift import Drift
from loadgate.plan.fields import PlanModel
from loadgate.plan.notify import Notify, check_notify
from loadgate.plan.problems import PlanError, Problem
from loadgate.plan.reading import read_text, read_toml
from loadgate.plan.rollback import Rollback, check_rollback
from loadgate.plan.scenario import Http, Probe, Scenario, Traffic, VerdictPolicy, check_url
from loadgate.plan.sla import Objective, named
from loadgate.plan.smoke import Smoke
from loadgate.plan.soak import Soak
from loadgate.plan.strict import keys_of, problems_of, salvage, suggest
from loadgate.plan.timeline import Timeline
from loadgate.plan.trace import Trace, read_trace
from loadgate.plan.units import UnitError

Model = TypeVar("Model", bound=PlanModel)


@dataclass
class Table:
    """An SLA table as far as it could be read."""

    file: str
    rows: list[tuple[int, Objective]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    complete: bool = False

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """Return the rows that are well-formed, in the order of the file."""
        return tuple(row for _, row in self.rows)


@dataclass
class Draft:
    """A scenario as far as it could be read, its SLA table, and every problem of both."""

    file: str
    scenario: Scenario | None = None
    table: Table | None = None
    problems: list[Problem] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    alerts: tuple[AlertRule, ...] = ()
    alerts_left_out: tuple[tuple[str, str], ...] = ()
    """Rules that have no part in this run, each with the reason."""

    @property
    def judged(self) -> tuple[Objective, ...]:
        """Return the objectives that are not left out."""
        return tuple(row for _, row in self.judged_rows)

    @property
    def judged_rows(self) -> list[tuple[int, Objective]]:
        """Return the objectives that are not left out, with their index in the table."""
        left_out = self.scenario.verdict.leave_out if self.scenario is not None else ()
        rows = self.table.rows if self.table is not None else []
        return [(index, row) for index, row in rows if not any(row.matches(word) for word in left_out)]


def looks_like_table(raw: Mapping[str, Any]) -> bool:
    """Tell an SLA table from a scenario by its keys, a misspelt `objective` included."""
    if "objective" in raw:
        return True
    scenario = any(key in keys_of(Scenario) for key in raw)
    return not scenario and any(suggest(key, ["objective"], "").startswith("did you mean") for key in raw)


def read_table(path: Path, file: str, asked_by: tuple[str, str] | None = None) -> Table:
    """Read and check an SLA table; `asked_by` is the (file, key) to blame when it cannot be read."""
    where = asked_by or (file, "")
    raw, fault = read_toml(path, where[0], where[1], "SLA table" if asked_by else "file")
    if raw is None:
        return Table(file, problems=[fault] if fault is not None else [])
    return check_raw_table(raw, file)


def check_raw_table(raw: Mapping[str, Any], file: str) -> Table:
    """Check the contents of an SLA table."""
    table = Table(file)
    for key in raw:
        if key != "objective":
            hint = suggest(key, ["objective"], "known keys")
            table.problems.append(Problem(file, key, f"unknown key '{key}'", hint))
    entries = raw.get("objective", [])
    if not isinstance(entries, list) or not entries:
        hint = "write each row as [[objective]]"
        table.problems.append(Problem(file, "objective", "there are no objectives", hint))
        return table
    rows: list[tuple[int, Objective]] = []
    for index, entry in enumerate(entries):
        try:
            rows.append((index, Objective.model_validate(entry, context={"toml": True})))
        except ValidationError as error:
            faults = problems_of(error, Objective, file, ("objective", index))
            table.problems += faults
            rest = salvage(Objective, entry, {"toml": True}, ("metric", "target"), {"every": "30s"})
            if rest is not None:
                more = check_row(file, f"objective[{index}]", rest)
                table.problems += _others(more, faults, f"objective[{index}].for")
    names = named([row for _, row in rows])
    table.rows = [(index, row) for (index, _), row in zip(rows, names, strict=True)]
    table.complete = len(rows) == len(entries)
    table.problems += check_table(file, table.rows)
    return table


def _others(more: Iterable[Problem], faults: Iterable[Problem], *never: str) -> list[Problem]:
    """Keep the rule problems that are about another key than the faults found before."""
    keys = {fault.key for fault in faults} | set(never)
    return [problem for problem in more if problem.key not in keys]


def read_draft(
    path: Path, *, overrides: Sequence[str] = (), host: str | None = None, sla: Path | None = None
) -> Draft:
    """Read and check a scenario with everything it names; never raises for a faulty plan."""
    draft = Draft(str(path))
    raw, fault = read_toml(path, draft.file)
    if raw is None:
        draft.problems += [fault] if fault is not None else []
        return draft
    if looks_like_table(raw) and not any(key in raw for key in ("traffic", "locustfile")):
        hint = f"try: loadgate validate {path}"
        draft.problems.append(Problem(draft.file, "", "is an SLA table, not a scenario", hint))
        return draft
    if looks_like_rules(raw):
        hint = f"try: loadgate validate {path}"
        draft.problems.append(Problem(draft.file, "", "is a file of alert rules, not a scenario", hint))
        return draft
    keys, faults = overriding.apply(raw, overrides)
    draft.problems += faults
    origins = dict.fromkeys(keys, overriding.SOURCE)
    for key, value, option in (("host", host, "--host"), ("sla", sla, "--sla")):
        if value is not None:
            raw[key] = value if key == "host" else os.path.abspath(value)
            origins[key] = option
    _Reader(draft, raw, Path(os.path.abspath(path)).parent).read()
    _hash(draft, path)
    draft.problems = _blame(draft, origins)
    return draft


def _hash(draft: Draft, path: Path) -> None:
    """Remember the contents of a file by their SHA-256."""
    try:
        draft.files[os.path.abspath(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        draft.problems.append(Problem(draft.file, "", f"'{path}' cannot be read: {error.strerror}"))


def _blame(draft: Draft, origins: Mapping[str, str]) -> list[Problem]:
    """Name the option instead of the file where an option set the faulty key; drop doubles."""
    result: dict[tuple[str, str, str], Problem] = {}
    for problem in draft.problems:
        if problem.file == draft.file:
            for key, option in origins.items():
                if problem.key == key or problem.key.startswith((f"{key}.", f"{key}[")):
                    problem = Problem(option, problem.key, problem.message, problem.hint, problem.severity)
                    break
        result.setdefault((problem.file, problem.key, problem.message), problem)
    return sorted(result.values(), key=lambda problem: not problem.is_error)


class _Reader:
    """One pass over a scenario's raw contents."""

    def __init__(self, draft: Draft, raw: dict[str, Any], base: Path) -> None:
        self.draft, self.raw, self.base = draft, raw, base
        self.file = draft.file
        self.context = {"toml": True, "base": base}
        self.trace: Trace | None = None
        self.rules: RulesFile | None = None

    def read(self) -> None:
        """Check values, then files, then rules; add every problem to the draft."""
        problems = self.draft.problems
        try:
            self.draft.scenario = Scenario.model_validate(self.raw, context=self.context)
        except ValidationError as error:
            problems += problems_of(error, Scenario, self.file)
        self._files()
        faults = tuple(problems)
        essential = ("model", "arrivals", "stages", "trace", "mix")
        traffic = salvage(Traffic, self.raw.get("traffic", {}), self.context, essential, {})
        http = self._section(Http, "http")
        verdict = self._section(VerdictPolicy, "verdict")
        probes, all_probes = self._probes()
        if isinstance(self.raw.get("traffic"), dict):
            problems += _others(check_stages(self.file, self.raw["traffic"]), faults)
        if traffic is not None:
            problems += _others(check_traffic(self.file, traffic), faults)
        if http is not None:
            problems += check_http(self.file, http)
        problems += _others(check_probes(self.file, probes), faults)
        smoke = self._section(Smoke, "smoke")
        if smoke is not None:
            problems += check_smoke(self.file, smoke)
        soak = self._section(Soak, "soak")
        if soak is not None and traffic is not None:
            problems += check_soak(self.file, soak, traffic)
        self._answers(traffic)
        table = self.draft.table
        if table is not None and table.complete and verdict is not None:
            problems += check_policy(self.file, verdict, table.objectives)
        if traffic is not None and verdict is not None and not self._load_is_faulty():
            self._evidence(traffic, verdict, [probe for _, probe in probes] if all_probes else None)
        self._alerts(traffic, verdict, [probe for _, probe in probes] if all_probes else None)

    def _alerts(
        self, traffic: Traffic | None, verdict: VerdictPolicy | None, probes: list[Probe] | None
    ) -> None:
        """Look up what the alert rules point at; what hangs on a faulty part is left for later."""
        if self.rules is None:
            return
        table = self.draft.table
        rows = table.objectives if table is not None and table.complete else None
        timeline = None
        if traffic is not None and not self._load_is_faulty():
            timeline = Timeline.of_traffic(traffic, timeout=0.0, trace=self.trace)
        against = Against(
            rows=rows if "sla" in self.raw else (),
            probes=probes,
            traffic=traffic,
            timeline=timeline,
            policy=verdict or VerdictPolicy(),
            rollback=self._section(Rollback, "rollback"),
        )
        resolved = resolve(self.rules, against)
        self.draft.problems += resolved.problems
        self.draft.alerts = tuple(resolved.rules)
        self.draft.alerts_left_out = tuple(resolved.left_out)

    def _answers(self, traffic: Traffic | None) -> None:
        """Check what happens when an alert fires: who is told, and what is done."""
        notify, rollback = self._section(Notify, "notify"), self._section(Rollback, "rollback")
        if notify is not None:
            self.draft.problems += check_notify(self.file, notify)
        if rollback is not None:
            mix = traffic.mix if traffic is not None else {}
            self.draft.problems += check_rollback(self.file, rollback, mix)

    def _load_is_faulty(self) -> bool:
        """Tell whether the load itself has an error, so that nothing can be derived from it."""
        keys = ("traffic.stages", "traffic.trace", "traffic.model")
        return any(p.is_error and p.file == self.file and p.key.startswith(keys) for p in self.draft.problems)

    def _evidence(self, traffic: Traffic, verdict: VerdictPolicy, probes: list[Probe] | None) -> None:
        """Check the table against the load."""
        table = self.draft.table
        rows = table.rows if table is not None else []
        rows = [(i, row) for i, row in rows if not any(row.matches(word) for word in verdict.leave_out)]
        timeline = Timeline.of_traffic(traffic, timeout=0.0, trace=self.trace)
        planned = Planned(
            file=self.file,
            sla_file=table.file if table is not None else "",
            traffic=traffic,
            timeline=timeline,
            verdict=verdict,
            probes=probes,
            host=self._host(),
            rows=rows,
            drift=self._drift_rules(),
        )
        self.draft.problems += check_evidence(planned)

    def _drift_rules(self) -> list[tuple[int, Drift]]:
        """Return the drift rules that are well-formed, with their index."""
        entries = self.raw.get("drift", [])
        rules = []
        for index, entry in enumerate(entries if isinstance(entries, list) else []):
            with suppress(ValidationError):
                rules.append((index, Drift.model_validate(entry, context=self.context)))
        return rules

    def _host(self) -> str | None:
        """Return the host when it is well-formed."""
        host = self.raw.get("host")
        try:
            check_url(host, query=False) if isinstance(host, str) else None
        except UnitError:
            return None
        return host if isinstance(host, str) else None

    def _section(self, model: type[Model], key: str) -> Model | None:
        """Return one table of the scenario, all defaults when absent; None when it is not well-formed."""
        try:
            return model.model_validate(self.raw.get(key, {}), context=self.context)
        except ValidationError:
            return None

    def _probes(self) -> tuple[list[tuple[int, Probe]], bool]:
        """Return the usable probes with their index, and whether these are all."""
        entries = self.raw.get("probes", [])
        if not isinstance(entries, list):
            return [], False
        probes = []
        for index, entry in enumerate(entries):
            probe = salvage(Probe, entry, self.context, ("name", "kind", "every"), {})
            if probe is not None:
                probes.append((index, probe))
        return probes, len(probes) == len(entries)

    def _path(self, *keys: str) -> Path | None:
        """Return a path of the raw contents, made absolute; None where there is none."""
        value: Any = self.raw
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        usable = isinstance(value, str) and value.strip() and "\x00" not in value
        return Path(os.path.abspath(self.base / value)) if usable else None

    def _shown(self, path: Path) -> str:
        """Return a path as the user would type it, relative to the working directory where it lies below."""
        relative = os.path.relpath(path)
        return str(path) if relative.startswith("..") else relative

    def _files(self) -> None:
        """Read every file that the scenario names."""
        problems = self.draft.problems
        if (locustfile := self._path("locustfile")) is not None:
            text, fault = read_text(locustfile, self.file, "locustfile", "locustfile")
            shown = self._shown(locustfile)
            problems += [fault] if fault is not None else check_python(self.file, shown, text)
            self._hash_if_file(locustfile)
        if (ca := self._path("http", "ca")) is not None:
            text, fault = read_text(ca, self.file, "http.ca", "certificate file")
            if fault is None and "-----BEGIN CERTIFICATE-----" not in text:
                message = f"'{self._shown(ca)}' holds no certificate"
                fault = Problem(self.file, "http.ca", message, "a PEM file with BEGIN CERTIFICATE")
            problems += [fault] if fault is not None else []
            self._hash_if_file(ca)
        trace = self._path("traffic", "trace")
        if trace is not None and self.raw["traffic"].get("arrivals") == "trace":
            self._read_trace(trace)
        if (sla := self._path("sla")) is not None:
            self.draft.table = read_table(sla, self._shown(sla), (self.file, "sla"))
            problems += self.draft.table.problems
            self._hash_if_file(sla)
        elif "sla" not in self.raw:
            hint = 'name the SLA table: sla = "sla/staging.toml"'
            problems.append(
                Problem(self.file, "sla", "is missing, so nothing would be judged", hint, "warning")
            )
        if (alerts := self._path("alerts")) is not None:
            self.rules = read_rules(alerts, self._shown(alerts), (self.file, "alerts"))
            problems += self.rules.problems
            self._hash_if_file(alerts)

    def _read_trace(self, path: Path) -> None:
        """Read the trace; faults of its lines keep the trace's own name."""
        try:
            self.trace = read_trace(path)
        except PlanError as error:
            shown = self._shown(path)
            for problem in error.problems:
                message = f"'{shown}': {problem.message}"
                self.draft.problems.append(Problem(self.file, "traffic.trace", message, problem.hint))
        self._hash_if_file(path)

    def _hash_if_file(self, path: Path) -> None:
        """Remember the contents of a file that could be read (faults are reported by its reader)."""
        if path.is_file() and os.access(path, os.R_OK):
            self.draft.files[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
