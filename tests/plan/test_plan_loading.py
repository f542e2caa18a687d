"""Loading a plan: snapshots, overrides, secrets, files."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loadgate.exit_codes import ExitCode
from loadgate.plan.draft import read_draft
from loadgate.plan.headers import resolve_headers
from loadgate.plan.plan import Plan, load_plan, load_sla
from loadgate.plan.problems import PlanError, Problem
from loadgate.plan.scenario import Http, Scenario, Stage, Traffic
from loadgate.plan.sla import Objective

Write = Callable[..., Path]


def faults(path: Path, *overrides: str) -> list[tuple[str, str]]:
    """Return (file name, key) of every error of a plan."""
    with pytest.raises(PlanError) as caught:
        load_plan(path, overrides)
    return [(Path(p.file).name, p.key) for p in caught.value.problems if p.is_error]


def test_a_plan_holds_si_values(write: Write) -> None:
    """Seconds, per second, shares and bytes, under the same names as in the file."""
    plan = load_plan(write())
    stage = plan.scenario.traffic.stages[0]
    assert (stage.rate, stage.ramp, stage.hold, stage.phase) == (1100.0, 30.0, 600.0, "steady")
    assert plan.scenario.http.timeout == 30.0
    assert plan.warnings == ()


def test_rows_have_names_and_defaults(write: Write) -> None:
    """endpoint.metric or the metric; p95 for latencies; `for` is 60 s or two windows."""
    rows = load_plan(write()).objectives
    assert [row.name for row in rows] == ["emotion.response_time", "throughput", "cpu"]
    assert [row.statistic for row in rows] == ["p95", None, None]
    assert [row.for_ for row in rows] == [60.0, 120.0, 120.0]
    assert rows[0].rank == 9500


def test_paths_are_relative_to_the_plan(write: Write, tmp_path: Path) -> None:
    """Whatever the working directory is."""
    scenario = load_plan(write()).scenario
    assert (scenario.locustfile, scenario.sla) == (tmp_path / "traffic.py", tmp_path / "sla.toml")


def test_every_file_is_remembered_by_its_hash(write: Write, tmp_path: Path) -> None:
    """Scenario, table and locustfile, by SHA-256 of their bytes."""
    files = load_plan(write()).files
    assert sorted(files) == [str(tmp_path / name) for name in ("load.toml", "sla.toml", "traffic.py")]
    assert files[str(tmp_path / "traffic.py")] == hashlib.sha256(b"class User: ...\n").hexdigest()


def test_left_out_rows_are_not_in_the_plan(write: Write) -> None:
    """By the row's name or by its metric; the rest stays."""
    path = write(("[[probes]]", '[verdict]\nleave_out = ["throughput", "response_time"]\n[[probes]]'))
    assert [row.name for row in load_plan(path).objectives] == ["cpu"]


def test_overrides_are_held_to_the_same_rules(write: Write) -> None:
    """TOML values, text, list entries; a wrong one is blamed on --set, with the nearest key."""
    path = write()
    plan = load_plan(
        path, ["traffic.users=50", "traffic.stages[0].rate=1200/s", 'name="x"', "http.verify=false"]
    )
    assert plan.scenario.traffic.users == 50
    assert plan.scenario.traffic.stages[0].rate == 1200.0
    assert (plan.scenario.name, plan.scenario.http.verify) == ("x", False)
    with pytest.raises(PlanError) as caught:
        load_plan(
            path, ["traffic.usres=50", "traffic.stages[7].rate=1/s", "nonsense", "http.timeout=5", "name.x=1"]
        )
    found = {problem.key: problem for problem in caught.value.problems}
    assert all(problem.file == "--set" for problem in found.values())
    assert found["traffic.usres"].hint == "did you mean 'users'?"
    assert found["traffic.stages[7].rate"].message == "there is no entry [7]"
    assert found["http.timeout"].message == "5 has no unit"
    assert set(found) == {"traffic.usres", "traffic.stages[7].rate", "nonsense", "http.timeout", "name.x"}


def test_an_override_cannot_smuggle_in_other_keys(write: Write) -> None:
    """A value with a line break is text, not more TOML."""
    assert faults(write(), "traffic.users=5\nname = 'x'") == [("--set", "traffic.users")]


def test_host_and_table_can_be_replaced(write: Write, tmp_path: Path) -> None:
    """By options, which are blamed when they are wrong."""
    path = write()
    other = tmp_path / "other.toml"
    other.write_text('[[objective]]\nmetric = "error_rate"\ntarget = "< 1%"\nevery = "30s"\n')
    plan = load_plan(path, host="https://staging.example.com/api/", sla=other)
    assert plan.scenario.host == "https://staging.example.com/api"
    assert [row.name for row in plan.objectives] == ["error_rate"]
    with pytest.raises(PlanError) as caught:
        load_plan(path, host="staging.example.com", sla=tmp_path / "none.toml")
    assert [problem.file for problem in caught.value.problems] == ["--host", "--sla"]


def test_a_snapshot_gives_the_plan_back(write: Write) -> None:
    """plan.json holds everything: the plan read from it is equal, and so is its fingerprint."""
    plan = load_plan(write(("[[traffic", '[http]\nheaders = { Authorization = "env:TOKEN" }\n[[traffic')))
    again = Plan.from_json(plan.to_json())
    assert again == plan
    assert again.to_json() == plan.to_json()
    assert plan.fingerprint == hashlib.sha256(plan.to_json()).hexdigest() == again.fingerprint


def test_a_changed_copy_has_its_own_timeline(write: Write) -> None:
    """The timeline is made once per plan, is no part of its value, and does not outlive a change."""
    plan = load_plan(write())
    assert plan.timeline is plan.timeline
    assert plan == load_plan(write())
    traffic = Traffic(users=1, stages=(Stage(rate=1.0, hold=7.0),))
    scenario = plan.scenario.model_copy(update={"traffic": traffic})
    assert plan.model_copy(update={"scenario": scenario}).timeline.end == 7.0


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.builds(Stage, rate=st.floats(0, 1e6), ramp=st.floats(0, 1e6), hold=st.floats(0, 1e7)), max_size=4
    ),
    st.dictionaries(st.text(min_size=1, max_size=5), st.floats(0.001, 1e6), max_size=3),
    st.integers(0, 2**63 - 1),
    st.text(max_size=20),
)
def test_snapshots_lose_nothing(stages: list[Stage], mix: dict[str, float], seed: int, word: str) -> None:
    """Any float, any endpoint name, any seed, any text of a warning."""
    traffic = Traffic(users=3, stages=tuple(stages), mix=mix, seed=seed, wait=(0.1, 0.7))
    scenario = Scenario(name="x", locustfile=Path("/a b/ü.py"), host="http://[::1]:80/p", traffic=traffic)
    row = (
        Objective(metric="response_time", endpoint=word or None, target="< 50ms", every=0.1)
        if word.strip()
        else None
    )
    plan = Plan(
        scenario=scenario,
        objectives=(row,) if row else (),
        files={"/a": "0" * 64},
        warnings=(Problem("f", "k", word, word, "warning"),),
    )
    assert Plan.from_json(plan.to_json()) == plan


@pytest.mark.parametrize("data", [b"", b"{}", b"[1]", b'{"version": 2}', b"\xff", b"null"])
def test_what_is_no_snapshot_is_refused(data: bytes) -> None:
    """A cut or foreign plan.json is a PlanError, not a crash."""
    with pytest.raises(PlanError, match="is not a plan"):
        Plan.from_json(data)


def test_secrets_stay_names_until_they_are_resolved(write: Write) -> None:
    """The snapshot says env:NAME; the value comes from the environment at the end."""
    plan = load_plan(
        write(("[[traffic", '[http]\nheaders = { Authorization = "env:TOKEN", Accept = "*/*" }\n[[traffic'))
    )
    assert b"env:TOKEN" in plan.to_json()
    resolved = resolve_headers(plan.scenario.http, {"TOKEN": "Bearer s3cret"})
    assert resolved == {"Authorization": "Bearer s3cret", "Accept": "*/*"}


@pytest.mark.parametrize(
    ("environ", "fault"),
    [({}, "is not set"), ({"TOKEN": " "}, "is empty"), ({"TOKEN": "s3cret\nX: y"}, "holds a line break")],
)
def test_a_missing_secret_is_named_and_never_shown(environ: dict[str, str], fault: str) -> None:
    """The message names the variable and not what is in it."""
    with pytest.raises(PlanError, match=f"TOKEN {fault}") as caught:
        resolve_headers(Http(headers={"Authorization": "env:TOKEN"}), environ)
    assert "s3cret" not in str(caught.value)


def test_a_plan_error_is_wrong_usage(write: Write) -> None:
    """Exit 2; the first error is the message, the others are counted."""
    with pytest.raises(PlanError) as caught:
        load_plan(write(("users = 400", "users = 0"), ('hold = "10m"', "hold = 10")))
    assert caught.value.exit_code is ExitCode.USAGE
    assert re.search(r"\(and 1 more\)$", caught.value.message)


def test_an_sla_table_can_be_read_by_itself(scenarios: Path, tmp_path: Path) -> None:
    """As `loadgate verdict RUN --sla FILE` does."""
    assert len(load_sla(scenarios / "sla" / "staging.toml")) == 9
    with pytest.raises(PlanError, match="there is no file"):
        load_sla(tmp_path / "none.toml")


VALUES = [
    "1",
    "-1",
    "0",
    "1.5",
    "nan",
    "inf",
    "true",
    '""',
    '"x"',
    "[]",
    "[1]",
    "[[1]]",
    "{}",
    "{a=1}",
    "2020-01-01",
    "🙂",
]
KEYS = [
    "name", "locustfile", "sla", "host", "traffic", "traffic.model", "traffic.arrivals", "traffic.trace",
    "traffic.users", "traffic.seed", "traffic.mix", "traffic.mix.emotion", "traffic.wait", "traffic.stages",
    "traffic.source_addresses", "traffic.stages[0]", "traffic.stages[0].rate", "traffic.stages[0].users",
    "traffic.stages[0].ramp", "traffic.stages[0].hold", "traffic.stages[0].phase", "http", "http.timeout",
    "http.headers", "http.headers.X", "http.ca", "http.verify", "http.connect_timeout", "verdict",
    "verdict.optional", "verdict.leave_out", "verdict.cpu_of", "generator", "generator.workers",
    "generator.on_worker_loss", "probes", "probes[0]", "probes[0].name", "probes[0].kind", "probes[0].http",
    "probes[0].process", "probes[0].values", "probes[0].every", "probes[0].timeout", "other",
]  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(KEYS), st.sampled_from(VALUES)), min_size=1, max_size=4))
def test_no_value_of_any_key_escapes_the_checks(write: Write, changes: list[tuple[str, str]]) -> None:
    """Whatever a file says, the outcome is a plan or problems, never another exception."""
    draft = read_draft(write(), overrides=[f"{key}={value}" for key, value in changes])
    usable = draft.scenario is not None and not any(problem.is_error for problem in draft.problems)
    assert usable or any(problem.is_error for problem in draft.problems)
    assert all(problem.message for problem in draft.problems)
