"""The sums of ten minutes are those of their rows, exactly, whatever comes when."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from types import SimpleNamespace

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loadgate.errors import StoreError
from loadgate.measure.delta import Delta
from loadgate.measure.parts import Parts
from loadgate.measure.slots import Interval, slots
from loadgate.plan.plan import Plan
from loadgate.plan.scenario import Scenario
from loadgate.plan.sla import Objective
from loadgate.store.blocks import Horizon
from loadgate.store.database import LedgerRow, RunReader, RunWriter, open_writer
from loadgate.store.totals import TOTALLED

SOON = Horizon(60, 600)
STEADY = (30, 2030)
"""The steady seconds: blocks of ten minutes begin at 30, 630 and 1230."""


def plan() -> object:
    """Return a plan with a ramp of 30 s and 2000 s of steady load."""
    scenario = Scenario.model_validate(
        {
            "name": "soak",
            "locustfile": "staging.py",
            "host": "http://127.0.0.1:3000",
            "traffic": {"users": 10, "stages": [{"rate": 5.0, "ramp": 30.0, "hold": 2000.0}]},
        }
    )
    return orjson.loads(Plan(scenario=scenario, objectives=()).to_json())


def compact(writer: RunWriter) -> None:
    while writer.compact(writer.latest, SOON):
        pass


def content(path: Path, build: SimpleNamespace, *, by_totals: bool) -> dict[tuple[int, str], object]:
    """Return what the steady rows of each block that has sums come to: from these, or from the rows."""
    with RunReader(path) as reader:
        blocks = reader.totals()
        found: dict[tuple[int, str], object] = {}
        pieces = reader.pieces("steady", series=TOTALLED, totals=blocks if by_totals else ())
        windows = [one for piece in pieces for one in piece.unpack()]
        for first, end in blocks:
            for name in {one.endpoint for one in windows}:
                own = [one for one in windows if first <= one.second < end and one.endpoint == name]
                if by_totals:
                    assert len(own) <= 1
                if own:
                    whole = own[0].copy()
                    for one in own[1:]:
                        whole.merge(one)
                    whole.second, whole.span = first, end - first
                    found[first, name] = build.content(whole)
        return found


def fill(writer: RunWriter, build: SimpleNamespace, until: int, number: int = 1) -> None:
    """Write a request of endpoint "a" in every tenth second."""
    windows = [
        build.window(at, [at + 1], "a", "steady" if STEADY[0] <= at else "ramp", threshold_us=200)
        for at in range(0, until, 10)
    ]
    writer.commit(
        [build.delta(number, windows)],
        run_values={"id": "r1", "plan": plan()},
        ledger=[LedgerRow(at, 1, 1, 0, 0, 0) for at in range(until)],
    )


def test_whole_blocks_are_summed_once_their_rows_are_merged(database: Path, build: SimpleNamespace) -> None:
    """Of 1400 s all before 1290 are merged: the blocks from 30 and 630 have sums, the next has not ended."""
    with open_writer(database) as writer:
        fill(writer, build, 1400)
        compact(writer)
    with RunReader(database) as reader:
        assert reader.totals() == [(0, 30), (30, 630), (630, 1230)]
    sums = content(database, build, by_totals=True)
    assert sums == content(database, build, by_totals=False)
    assert list(sums) == [(30, "a"), (630, "a")]


def test_what_comes_late_takes_a_sum_away_until_it_is_made_anew(
    database: Path, build: SimpleNamespace
) -> None:
    """A late delta and a late ledger row each make their block stale at once; steps make it whole again."""
    with open_writer(database) as writer:
        fill(writer, build, 1400)
        compact(writer)
        writer.commit([build.delta(2, [build.window(700, [9], "b", "steady")])])
        with RunReader(database) as reader:
            assert reader.totals() == [(0, 30), (30, 630)]
        compact(writer)
        writer.commit(ledger=[LedgerRow(100, 1, 1, 0, 1, 0)])
        with RunReader(database) as reader:
            assert reader.totals() == [(0, 30), (630, 1230)]
        compact(writer)
    sums = content(database, build, by_totals=True)
    assert sums == content(database, build, by_totals=False)
    assert set(sums) == {(30, "a"), (630, "a"), (630, "b")}
    with RunReader(database) as reader:
        pieces = reader.pieces("steady", totals=reader.totals())
        rows = [(one.second, one.loss) for piece in pieces for one in piece.tallies]
    assert (30, True) in rows
    assert (630, False) in rows


def test_a_row_across_an_edge_leaves_both_blocks_without_a_sum(
    database: Path, build: SimpleNamespace
) -> None:
    """A worker's window of 625..635 belongs to neither block, so both are read from their rows."""
    with open_writer(database) as writer:
        fill(writer, build, 1400)
        writer.commit([build.delta(2, [build.window(625, [9], "b", "steady", span=10)])])
        compact(writer)
    with RunReader(database) as reader:
        assert reader.totals() == [(0, 30)]


def test_a_step_that_fails_leaves_no_half_of_a_sum(
    database: Path, build: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the disk refuses while a sum is written, a new writer makes it; nothing is there twice."""

    def refuse(*_: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    with open_writer(database) as writer:
        fill(writer, build, 1400)
        with monkeypatch.context() as patch:
            patch.setattr("loadgate.store.totals.Totals._finish", refuse)
            with pytest.raises(StoreError):
                compact(writer)
    with open_writer(database) as writer:
        compact(writer)
    with RunReader(database) as reader:
        assert reader.totals() == [(0, 30), (30, 630), (630, 1230)]
    assert content(database, build, by_totals=True) == content(database, build, by_totals=False)


def test_an_objective_takes_sums_that_one_of_its_windows_holds() -> None:
    """Windows of 20 minutes take each ten; those of 15 minutes take the first ten, and not the next."""
    row = {"metric": "response_time", "statistic": "p99", "target": "< 1s"}
    long, short = (
        Parts(Objective.model_validate({**row, "every": every}), slots([Interval(30.0, 3630.0)], every))
        for every in (1200.0, 900.0)
    )
    assert [long.takes(first, first + 600) for first in (30, 630, 1230)] == [True, True, True]
    assert [short.takes(first, first + 600) for first in (30, 630, 1230)] == [True, False, True]


def test_a_throughput_takes_sums_only_of_windows_that_were_kept() -> None:
    """An answer counts where its second begins, which a sum does not tell."""
    row = {"metric": "throughput", "target": ">= 1/s", "every": 1200.0}
    parts = Parts(Objective.model_validate(row), slots([Interval(30.0, 3630.0)], 1200.0))
    assert not parts.takes(30, 630)


commits = st.lists(
    st.tuples(st.integers(0, 2100), st.sampled_from(["steady", "ramp"]), st.sampled_from(["a", "b"])),
    max_size=30,
)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(found=st.lists(st.tuples(commits, st.booleans()), min_size=1, max_size=5))
def test_however_rows_come_the_sums_are_those_of_the_rows(
    tmp_path_factory: pytest.TempPathFactory,
    build: SimpleNamespace,
    found: list[tuple[list[tuple[int, str, str]], bool]],
) -> None:
    """Commits in any order of time, merging and reopening between them: sums and rows say the same."""
    path = tmp_path_factory.mktemp("law") / "run.db"
    with open_writer(path) as writer:
        writer.commit(run_values={"id": "r1", "plan": plan()})
    for number, (rows, merge) in enumerate(found, 1):
        windows = {key: build.window(key[0], [key[0] + 1], key[2], key[1]) for key in rows}
        with open_writer(path) as writer:
            ledger = [LedgerRow(key[0], 1, 1, 0, int(key[0] % 7 == 0), 0) for key in rows[:3]]
            writer.commit([Delta("r1", "w1", 1, number, list(windows.values()), [], [])], ledger=ledger)
            if merge:
                compact(writer)
        assert content(path, build, by_totals=True) == content(path, build, by_totals=False)
