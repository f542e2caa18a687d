"""Read a campaign's evidence from the disk: runs, smoke checks, JUnit files, bugs.

This is its rim: what it returns is plain facts. A file that cannot be read never reads as good: a run
without a usable verdict is none, and JUnit or bugs that cannot be read say so in `fault`.
"""

from __future__ import annotations

import hashlib
import re
import xml.etree.ElementTree as ET
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from loadgate.errors import LoadgateError, StoreError
from loadgate.judge.campaign_facts import (
    AlertFacts,
    BugFacts,
    RuleFacts,
    RunFacts,
    SmokeFacts,
    TestFacts,
    moment,
)
from loadgate.judge.campaign_life import DIED, Life, bare_run, life_of
from loadgate.judge.campaign_seen import downtimes, observed
from loadgate.judge.campaign_verdicts import said
from loadgate.judge.stored import contradictions
from loadgate.plan.campaign import Bugs, CampaignTests
from loadgate.plan.campaign_plans import CONDITION, likeness
from loadgate.store.annotations import annotations_of, annotations_path, read_annotations
from loadgate.store.faults import told_as_store_errors
from loadgate.store.folder import RunFolder
from loadgate.store.watch import Reading, WatchReader
from loadgate.watch.alert_summary import summary_of

LARGEST: Final = 64 * 2**20
"""Bytes of a JUnit or issue file that are read."""
SMOKE: Final = "smoke"
"""The folder of smoke checks below the results, as `watch.smoke_results` has it."""
_NOTES: Final = annotations_path(RunFolder(Path())).name
_SMOKE_TIME: Final = re.compile(r"-(\d{8}-\d{6})(?:-(\d+))?\.json$")


def same_target(one: str, other: str) -> bool:
    """Tell whether two base URLs name the same target: scheme, host, port and prefix."""
    return _place(one) == _place(other)


def _place(url: str) -> tuple[str, str, int | None, str]:
    parts = urlsplit(url)
    try:
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme.lower())
    except ValueError:
        port = None
    return parts.scheme.lower(), (parts.hostname or "").lower(), port, parts.path.rstrip("/")


def digest(path: Path) -> str | None:
    """Return the SHA-256 of a file; None where it is gone. StoreError when it cannot be read."""
    with told_as_store_errors("read", path):
        try:
            return hashlib.sha256(path.read_bytes()).hexdigest()
        except FileNotFoundError:
            return None


def run_ids(root: Path) -> list[str]:
    """List the run folders of a results root that hold a plan, by name."""
    with told_as_store_errors("list", root):
        return sorted(path.parent.name for path in root.glob("*/plan.json")) if root.is_dir() else []


def read_run(root: Path, run_id: str, now: datetime) -> RunFacts | None:
    """Read the facts of one run at a moment; None where it has not begun.

    A run that neither ended nor is written any more has died. StoreError when what it holds cannot be read.
    """
    folder = RunFolder(root / run_id)
    files = {
        path.name: path.read_bytes()
        for path in [folder.plan, *_verdicts(folder)]
        if path.is_file() and not path.is_symlink()
    }
    plan = _json(files.get("plan.json", b""), folder.plan)
    life = life_of(folder, now)
    sha256 = {f"{run_id}/{name}": hashlib.sha256(body).hexdigest() for name, body in files.items()}
    judged = []
    for name, body in files.items():
        # A watch has no load that one could judge, whoever tried to.
        if name == folder.plan.name or (life is not None and life.is_watch):
            continue
        content = _json(body, folder.path / name)
        # A verdict of a run that still went on says nothing of how it ended.
        if not content.get("running"):
            _refuse_unbelievable(folder, name, content)
            judged.append(content)
    if life is None and not judged:
        return None
    if not judged and life is not None and life.began is None:
        return None
    facts = _facts(folder, plan, judged, life, sha256)
    # While it goes on somebody may note something at any moment.
    return facts if facts.ended is None else with_notes(root, facts)


def _verdicts(folder: RunFolder) -> Iterator[Path]:
    """Give every verdict of a run; StoreError where one is gone that was made before another."""
    for number in range(1, _newest_verdict(folder) + 1):
        path = folder.verdict_path(number)
        if not path.is_file():
            raise StoreError(f"{path} is gone, and was made before another verdict of the run")
        yield path


def _newest_verdict(folder: RunFolder) -> int:
    with told_as_store_errors("list", folder.path):
        return folder.newest_verdict()


def _refuse_unbelievable(folder: RunFolder, name: str, content: Mapping[str, Any]) -> None:
    """Refuse a verdict of another run, and one that is better than what it was made of."""
    if content.get("run") != folder.id:
        raise StoreError(f"{folder.path} holds the verdict of another run, {content.get('run')!r}")
    if (fault := next(contradictions(content), None)) is not None:
        raise StoreError(f"{folder.path / name} cannot be believed: {fault}")


def _facts(
    folder: RunFolder,
    plan: Mapping[str, Any],
    judged: Sequence[Mapping[str, Any]],
    life: Life | None,
    sha256: Mapping[str, str],
) -> RunFacts:
    """Return the facts of a run that began: what its verdicts say, its database, and what probes saw."""
    scenario = plan.get("scenario", {})
    final = [content for content in judged if not _was_early(content, life)]
    early = [content for content in judged if _was_early(content, life)]
    # Of an end that was none only a FAIL counts.
    outcome = said([*final, *(content for content in early if content["verdict"] == "FAIL")], plan)
    began = life.began if life is not None and life.began is not None else moment(judged[-1]["started_at"])
    seen = _seen(folder, began, scenario)
    last = max((end for _, end in seen["observed"]), default=began)
    ended, length = (None, None) if life is None else (life.ended, life.length)
    if final:
        ended, length = str(final[-1]["ended"]), float(final[-1]["ended_at"] or 0.0)
    ended_at = last if length is None else began + timedelta(seconds=length)
    mode = "watch" if life is not None and life.is_watch else "load"
    before, after = (
        [alert for content in of for alert in _alerts(content.get("alerts", ()), began)]
        for of in (early, final)
    )
    # An alert may be resolved after an early verdict; what the final one says of it stands.
    alerts = {(one.rule, one.fired_at): one for one in [*before, *seen.pop("alerts"), *after]}
    return RunFacts(
        run=folder.id,
        scenario=str(final[-1]["scenario"] if final else scenario.get("name", "")),
        host=str(final[-1]["host"] if final else (life and life.host) or scenario.get("host", "")),
        mode=mode,
        stability=bool(scenario.get("stability")),
        monitored=bool(plan.get("alerts")),
        started_at=began,
        # One that died, was judged and resumed and died again has been seen after its verdict.
        ended_at=max(ended_at, last) if ended == DIED else ended_at,
        ended=ended,
        verdict=outcome.verdict,
        plan=likeness(plan),
        steady_seconds=outcome.steady_seconds,
        reasons=outcome.reasons,
        rows=outcome.rows,
        alerts=tuple(sorted(alerts.values(), key=lambda one: one.fired_at)),
        rules=_rules(plan, mode),
        deployments=_deployments(folder, began),
        sha256=sha256,
        **seen,
    )


def _was_early(content: Mapping[str, Any], life: Life | None) -> bool:
    """Tell whether a verdict took a run for dead that was resumed: it goes on, or has another end."""
    return content["ended"] == DIED and life is not None and life.ended != DIED


def _seen(folder: RunFolder, began: datetime, scenario: Mapping[str, Any]) -> dict[str, Any]:
    """Read what the probes of a run saw, and its alerts so far."""
    with WatchReader(folder.watch_database) as reader:
        readings, changes = reader.readings(), reader.alerts()
    return {
        "observed": observed(readings, began, _interval(readings, scenario)),
        "down": downtimes(readings, began),
        "alerts": _alerts(summary_of(changes), began),
    }


def _interval(readings: Iterable[Reading], scenario: Mapping[str, Any]) -> float:
    """Return the interval in seconds at which a run looked at its target: that of its fastest probe.

    A probe that never read anything makes no gaps. Without any probe in the plan it is a minute.
    """
    seeing = {reading.probe for reading in readings if reading.value is not None}
    probes = [probe for probe in scenario.get("probes", ()) if probe.get("name") in seeing]
    return min((float(probe.get("every", 0)) for probe in probes), default=60.0)


def _alerts(found: Any, began: datetime) -> tuple[AlertFacts, ...]:
    return tuple(
        AlertFacts(
            rule=str(alert["rule"]),
            severity=str(alert["severity"]),
            fired_at=began + timedelta(seconds=float(alert["fired_at"])),
            resolved_at=None
            if alert["resolved_at"] is None
            else began + timedelta(seconds=float(alert["resolved_at"])),
            text=str(alert["text"]),
        )
        for alert in found
    )


def _rules(plan: Mapping[str, Any], mode: str) -> tuple[RuleFacts, ...]:
    """Return the alert rules that a run can follow: without a load only those about probes."""
    found = []
    probes = {probe["name"]: probe for probe in plan.get("scenario", {}).get("probes", ())}
    for rule in plan.get("alerts", ()):
        if mode == "watch" and rule["subject"].get("probe") is None:
            continue
        asked = [rule.get(key) for key in CONDITION]
        # A probe of the same name that asks another URL would see something else.
        asked.append(probes.get(rule["subject"].get("probe")))
        condition = hashlib.sha256(orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)).hexdigest()
        found.append(RuleFacts(str(rule["name"]), max(float(rule["for"]), float(rule["every"])), condition))
    return tuple(found)


def with_notes(root: Path, facts: RunFacts) -> RunFacts:
    """Return the facts of a run with the deployments that people noted in it, also after its end.

    With the hash of the file, where all of it can be read.
    """
    folder = RunFolder(root / facts.run)
    path = annotations_path(folder)
    # Before it is read: what is noted meanwhile is then seen by the next look.
    found = digest(path)
    sha256 = dict(facts.sha256)
    if found is not None and not read_annotations(folder).faults:
        sha256[f"{facts.run}/{path.name}"] = found
    return replace(facts, deployments=_deployments(folder, facts.started_at), sha256=sha256)


def note_faults(root: Path, facts: RunFacts) -> list[str]:
    """Say which notes of a run cannot be read: each may have been a deployment.

    The last line of a run that goes on may just be being written.
    """
    faults = read_annotations(RunFolder(root / facts.run)).faults
    going = facts.ended is None
    return [f"{facts.run}: {fault}" for fault in faults if not (going and "being written" in fault)]


def noted_before_its_load(root: Path, run_id: str) -> tuple[RunFacts | None, str, list[str]]:
    """Return a run whose load never began, by the deployments that were noted in it; None without any.

    It ends with the newest of them, and shows nothing else. Beside it its target, and what cannot be read.
    """
    folder = RunFolder(root / run_id)
    notes = read_annotations(folder)
    if not notes.entries and not notes.faults:
        return None, "", []
    host = str(_json(folder.plan.read_bytes(), folder.plan).get("scenario", {}).get("host", ""))
    damaged = [f"{run_id}: {fault}" for fault in notes.faults]
    noted = [(moment(note.wall), note.text) for note in notes.entries if note.kind == "deployment"]
    if not noted:
        return None, host, damaged
    times = [at for at, _ in noted]
    facts = bare_run(run_id, host, min(times), max(times), DIED, "load")
    return replace(facts, deployments=tuple(noted)), host, damaged


def notes_changed_at(root: Path, run_id: str) -> datetime:
    """Return when the notes of a run were last changed: none of them was made later."""
    path = annotations_path(RunFolder(root / run_id))
    with told_as_store_errors("read", path):
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)


def has_new_verdict(root: Path, facts: RunFacts) -> bool:
    """Tell whether a run was judged again since its facts were read. StoreError where it cannot be listed."""
    folder = RunFolder(root / facts.run)
    newest = _newest_verdict(folder)
    return newest > 0 and f"{facts.run}/{folder.verdict_path(newest).name}" not in facts.sha256


def _deployments(folder: RunFolder, began: datetime) -> tuple[tuple[datetime, str], ...]:
    return tuple(
        (
            moment(note.wall) if note.at is None else began + timedelta(seconds=note.at),
            note.text,
        )
        for note in annotations_of(folder)
        if note.kind == "deployment"
    )


def newest_smoke(root: Path, host: str, scenarios: Collection[str]) -> SmokeFacts | None:
    """Read the newest smoke check of a target by one of some scenarios, by the time in its file's name.

    StoreError when one that could be the newest cannot be read: an older one must not stand in for it.
    """
    folder = root / SMOKE
    with told_as_store_errors("list", folder):
        paths = sorted(folder.glob("*.json"), key=_smoke_order, reverse=True) if folder.is_dir() else []
    for path in paths:
        with told_as_store_errors("read", path):
            body = path.read_bytes()
        content = _json(body, path)
        if same_target(str(content.get("host", "")), host) and content["scenario"] in scenarios:
            name = f"{SMOKE}/{path.name}"
            return SmokeFacts(
                name,
                str(content["scenario"]),
                str(content["host"]),
                str(content["result"]),
                moment(content["started_at"]),
                tuple(
                    (f"{check['group']} {check['name']}", check["state"], check["reason"] or check["seen"])
                    for check in content["checks"]
                ),
                {name: hashlib.sha256(body).hexdigest()},
            )
    return None


def _smoke_order(path: Path) -> tuple[str, int]:
    """Order by the time in the name, load-20261122-203512-2.json; what bears none comes last."""
    match = _SMOKE_TIME.search(path.name)
    return (match[1], int(match[2] or 1)) if match is not None else ("", 0)


def read_tests(tests: CampaignTests) -> list[TestFacts]:
    """Read the JUnit files of a set of tests."""
    return [_junit(tests.name, path) for path in tests.junit]


def _junit(name: str, path: Path) -> TestFacts:
    """Count the cases of a JUnit file themselves: the sums that it claims may be wrong."""
    never = datetime.fromtimestamp(0, UTC)
    try:
        body = path.read_bytes()[:LARGEST]
        made_at = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except FileNotFoundError:
        return TestFacts(name, str(path), never, 0, 0, 0, "", "the file is missing")
    except OSError as error:
        return TestFacts(name, str(path), never, 0, 0, 0, "", f"cannot be read: {error.strerror}")
    sha256 = hashlib.sha256(body).hexdigest()
    fault, counts = "", (0, 0, 0)
    if b"<!DOCTYPE" in body or b"<!ENTITY" in body:
        fault = "it declares entities, which no JUnit file does"
    else:
        try:
            counts = _cases(ET.fromstring(body))
        except (ET.ParseError, ValueError) as error:
            fault = f"it is no JUnit file: {error}"
    return TestFacts(name, str(path), made_at, *counts, sha256, fault)


def _cases(tree: ET.Element) -> tuple[int, int, int]:
    """Return tests, failures, skipped ones; whoever claims more failures than there are cases is believed.

    The root may claim them, a suite of suites, or the innermost suites together. ValueError for a claim that
    is no number.
    """
    if tree.tag not in ("testsuites", "testsuite"):
        raise ValueError(f"its root is <{tree.tag}>")
    cases = list(tree.iter("testcase"))
    failed = sum(any(child.tag in ("failure", "error") for child in case) for case in cases)
    skipped = sum(any(child.tag == "skipped" for child in case) for case in cases)
    suites = [tree, *tree.iter("testsuite")]
    parents = [_claimed(suite) for suite in suites if suite.find("testsuite") is not None]
    leaves = sum(_claimed(suite) for suite in tree.iter("testsuite") if suite.find("testsuite") is None)
    return len(cases), max(failed, leaves, _claimed(tree), *parents), skipped


def _claimed(suite: ET.Element) -> int:
    """Return the failures and errors that a suite claims; ValueError where that is no number."""
    total = 0
    for name in ("failures", "errors"):
        text = suite.get(name, "0").strip()
        if not (text.isascii() and text.isdecimal()):
            raise ValueError(f"its count of {name} is no number: {text[:40]!r}")
        total += int(text)
    return total


def read_bugs(bugs: Bugs, body: bytes, source: str, made_at: datetime) -> BugFacts:
    """Count the open critical bugs in JSON: a list of issues, or {"critical": N}."""
    sha256 = hashlib.sha256(body).hexdigest()
    try:
        content = orjson.loads(body)
        for key in filter(None, bugs.items.split(".")):
            content = content[key]
        total, critical = _critical(bugs, content)
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        return BugFacts(source, made_at, 0, (), sha256, f"cannot be read: {error}")
    return BugFacts(source, made_at, total, critical, sha256)


def _critical(bugs: Bugs, content: Any) -> tuple[int, tuple[str, ...]]:
    if isinstance(content, dict) and type(content.get("critical")) is int and content["critical"] >= 0:
        number = int(content["critical"])
        return number, tuple(f"critical bug {index}" for index in range(1, number + 1))
    if not isinstance(content, list):
        raise TypeError("it is neither a list of issues nor an object with the number `critical`")
    wanted, closed = ({word.strip().lower() for word in words} for words in (bugs.critical, bugs.closed))
    found = []
    for index, issue in enumerate(content):
        severity = issue[bugs.severity]
        # Labels, numbers and nothing at all are no severity that one could compare: it may be critical.
        if not isinstance(severity, str) or not severity.strip():
            raise ValueError(f"the severity of issue {index} is no text: {str(severity)[:40]!r}")
        if severity.strip().lower() in wanted and str(issue.get(bugs.state, "")).lower() not in closed:
            found.append(str(issue.get("id") or issue.get("title") or f"issue {index}"))
    return len(content), tuple(found)


def _json(body: bytes, path: Path) -> dict[str, Any]:
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise StoreError(f"{path} is no JSON: {error}") from error
    if not isinstance(content, dict):
        raise StoreError(f"{path} holds no JSON object")
    return content


def changed_files(root: Path, sha256: Mapping[str, str]) -> list[str]:
    """Say which files of the evidence are gone or are not what they were.

    People may add notes to a run at any time, so those are read again instead (`with_notes`).
    """
    faults = []
    for name, known in sha256.items():
        try:
            found = digest(root / name)
        except LoadgateError as error:
            faults.append(error.message)
            continue
        if found is None:
            faults.append(f"{name} was deleted")
        elif found != known and not name.endswith(f"/{_NOTES}"):
            faults.append(f"{name} was edited")
    return faults
