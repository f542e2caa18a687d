"""`loadgate baseline`: what is taken, what is refused, and what is shown."""

from __future__ import annotations

import pytest
from made_runs import make_run, plan

from loadgate.store.baselines import Baselines


@pytest.fixture
def root(tmp_path):
    """Where runs are stored: the place that `told` uses."""
    return tmp_path / "results"


@pytest.fixture
def kept(tmp_path):
    """The baselines beside it."""
    return Baselines(tmp_path / "baselines")


def test_accepted_runs_become_a_generation(told, root, kept) -> None:
    """Its name is printed; with fewer than five runs it says what is missing."""
    runs = [make_run(root, number).id for number in range(2)]
    told("baseline", "promote", *runs, "--name", "main").expect(0, out=r"^main@1\n$", err="2 of 5 runs")
    assert [run.id for run in kept.load("main").runs] == runs


def test_five_runs_are_enough(told, root) -> None:
    """Nothing is missing then."""
    runs = [make_run(root, number).id for number in range(5)]
    told("baseline", "promote", *runs, "--name", "main").expect(0, err="")


def test_adding_takes_the_generation_before_along(told, root, kept) -> None:
    """In its order; the earlier generation stays what it was."""
    one, two = make_run(root, 0).id, make_run(root, 1).id
    told("baseline", "promote", one, "--name", "main").expect(0)
    told("baseline", "promote", two, "--name", "main", "--add").expect(0, out="main@2")
    assert [run.id for run in kept.load("main").runs] == [one, two]
    assert [run.id for run in kept.load("main", 1).runs] == [one]


def test_a_run_that_did_not_pass_is_refused(told, root, kept) -> None:
    """Unless forced, which is recorded and shown."""
    slow = make_run(root, 0, ms=3_000).id
    told("baseline", "promote", slow, "--name", "main").expect(2, out="", err=f"{slow} ended FAIL")
    told("baseline", "promote", slow, "--name", "main", "--force").expect(0)
    assert kept.load("main").forced == (f"{slow} ended FAIL",)
    told("baseline", "show", "main").expect(0, out=f"by force: {slow} ended FAIL")


def test_unlike_runs_are_refused(told, root) -> None:
    """With what they differ in."""
    one = make_run(root, 0).id
    other = make_run(root, 1, changes={"versions": {"loadgate": "0.2.0"}}).id
    done = told("baseline", "promote", one, other, "--name", "main")
    done.expect(2, err="unlike loadgate: 0.1.0 in the baseline, 0.2.0 in the candidate")


def test_no_force_takes_a_run_that_is_not_whole(told, root) -> None:
    """It says nothing, or not enough."""
    cut = make_run(root, 0, ended="interrupted").id
    done = told("baseline", "promote", cut, "--name", "main", "--force")
    done.expect(2, err="a baseline needs whole runs: .* was cut short")


def test_a_run_counts_once(told, root) -> None:
    """Five times the same run has no spread."""
    one = make_run(root, 0).id
    told("baseline", "promote", one, one, "--name", "main").expect(2, err="is named twice")
    told("baseline", "promote", one, "--name", "main").expect(0)
    told("baseline", "promote", one, "--name", "main", "--add").expect(2, err="is named twice")


def test_a_run_without_a_verdict_is_judged(told, root, kept) -> None:
    """In memory: the run's folder gets no verdict by that."""
    run = make_run(root, 0, verdict=False)
    told("baseline", "promote", run.id, "--name", "main").expect(0)
    assert kept.load("main").runs[0].verdict["verdict"] == "PASS"
    assert not run.verdict_path().exists()


def test_the_list_says_how_many_and_how_old(told, root) -> None:
    """As a table and as JSON; without baselines it says how to make one."""
    told("baseline", "list").expect(0, out="", err="no baselines in .*promote")
    told("baseline", "promote", make_run(root, 0).id, "--name", "main").expect(0)
    told("baseline", "list").expect(0, out=r"main@1 +1 +\S+s +-")
    (row,) = told("baseline", "list", "--json").expect(0).json
    assert (row["name"], row["generation"], len(row["runs"])) == ("main", 1, 1)


def test_showing_names_the_drift_from_the_first_generation(told, root) -> None:
    """Small steps that each pass add up: 20 ms, then 24 ms is 20 % worse than the first."""
    for first, ms in ((0, 20.0), (10, 24.0)):
        runs = [make_run(root, first + number, ms * (1 + number / 1000)).id for number in range(5)]
        told("baseline", "promote", *runs, "--name", "main").expect(0)
    told("baseline", "show", "main").expect(
        0, out=r"main@2 is itself worse than main@1: emotion p95: .*\+(19\.9|20)"
    )
    assert told("baseline", "show", "main@1", "--json").expect(0).json["drift"] == []


def test_removing_names_the_files(told, root, kept) -> None:
    """One generation, then all; a name that is not there is an error."""
    for number in range(2):
        told("baseline", "promote", make_run(root, number).id, "--name", "main").expect(0)
    told("baseline", "remove", "main@1").expect(0, out=r"main/1\.baseline")
    assert kept.generations("main") == [2]
    told("baseline", "remove", "main").expect(0)
    told("baseline", "remove", "main").expect(2, err="there is no baseline 'main'")


def test_runs_of_another_plan_are_unlike(told, root) -> None:
    """Another mix is another load."""
    one = make_run(root, 0).id
    other = make_run(root, 1, planned=plan(mix={"emotion": 1.0, "creative": 1.0})).id
    told("baseline", "promote", one, other, "--name", "main").expect(2, err="unlike mix")
