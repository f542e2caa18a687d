"""The stored verdict: the newest is read, and none is believed that is better than its own rows."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from loadgate.errors import StoreError
from loadgate.judge.stored import believable_verdict, contradictions, latest_verdict
from loadgate.store.folder import RunFolder

DATA = Path(__file__).parents[1] / "data" / "report"
WORDS = ("FAIL", "INVALID", "INCONCLUSIVE", "WARN", "PASS")


def content(case: str = "pass", **changes: Any) -> dict[str, Any]:
    """Return a whole verdict that Loadgate made, changed."""
    made: dict[str, Any] = json.loads((DATA / f"verdict-{case}.json").read_bytes())
    return made | changes


def rows(*verdicts: str) -> list[dict[str, Any]]:
    """Return rows with these verdicts; one in brackets is optional."""
    return [{"verdict": word.strip("()"), "optional": word.startswith("(")} for word in verdicts]


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """Return the folder of the run that the verdicts are of."""
    run = RunFolder(tmp_path / content()["run"])
    run.path.mkdir()
    return run


def store(folder: RunFolder, given: dict[str, Any], number: int = 1) -> None:
    """Write a verdict as it stands."""
    folder.verdict_path(number).write_text(json.dumps(given), encoding="utf-8")


@pytest.mark.parametrize("case", ["pass", "fail", "invalid", "interrupted"])
def test_a_verdict_that_loadgate_made_is_read(folder: RunFolder, case: str) -> None:
    """Every kind of it, with its path."""
    store(folder, content(case))
    assert latest_verdict(folder) == (folder.verdict_path(1), content(case))


def test_the_highest_number_is_the_newest_whatever_is_missing(folder: RunFolder) -> None:
    """verdict-2.json is gone: verdict-10.json is the newest, not verdict.json, nor 3 that sorts behind it."""
    store(folder, content())
    store(folder, content("fail"), 3)
    store(folder, content("invalid"), 10)
    (folder.path / "verdict-011.json").write_text("not one of ours")
    path, found = latest_verdict(folder)
    assert (path.name, found["verdict"]) == ("verdict-10.json", "INVALID")


def test_a_run_without_a_verdict_says_how_to_get_one(folder: RunFolder) -> None:
    """Also where its folder is gone."""
    for gone in (False, True):
        if gone:
            shutil.rmtree(folder.path)
        with pytest.raises(StoreError, match="has no verdict"):
            latest_verdict(folder)


def test_the_verdict_of_another_run_is_refused(folder: RunFolder) -> None:
    """A file that was copied says nothing of this run."""
    store(folder, content(run="other-1"))
    with pytest.raises(StoreError, match="verdict of another run, 'other-1'"):
        latest_verdict(folder)


def test_a_copy_of_a_run_has_its_verdict(tmp_path: Path) -> None:
    """Under another name it can be compared; only as that other run it says nothing."""
    copy = RunFolder(tmp_path / "copy")
    copy.path.mkdir()
    store(copy, content())
    assert believable_verdict(copy)[1] == content()
    store(copy, content(objectives=rows("FAIL")))
    with pytest.raises(StoreError, match="it says PASS, and what it was made of says FAIL"):
        believable_verdict(copy)


@pytest.mark.parametrize(
    "changes",
    [
        {"verdict": "GREEN"},
        {"verdict": None},
        {"objectives": rows("PASS", "FINE")},
        {"objectives": [{}]},
        {"objectives": 3},
        {"drift": [{"verdict": "?"}]},
        {"exit_code": "none"},
        {"steady_seconds": None},
    ],
)
def test_unknown_words_are_refused(folder: RunFolder, changes: dict[str, Any]) -> None:
    """Of the run, of a row, of a drift: nobody can say what they mean."""
    store(folder, content(**changes))
    with pytest.raises(StoreError, match="cannot be believed: its verdicts are damaged"):
        latest_verdict(folder)


@pytest.mark.parametrize(
    ("changes", "follows"),
    [
        ({"objectives": []}, "INVALID"),
        ({"void": True}, "INVALID"),
        ({"running": True}, "INVALID"),
        ({"ended": "died"}, "INVALID"),
        ({"ended": "aborted"}, "INVALID"),
        # Of its 25 s of steady load a tenth of a second is missing, and nothing decided it before.
        ({"steady_seconds": 24.9}, "INVALID"),
        ({"objectives": rows("PASS", "FAIL")}, "FAIL"),
        ({"objectives": rows("PASS", "INVALID")}, "INVALID"),
        ({"objectives": rows("INCONCLUSIVE", "WARN")}, "INCONCLUSIVE"),
        ({"objectives": rows("WARN", "PASS")}, "WARN"),
        # An optional row decides where it fails, and where no other row can.
        ({"objectives": rows("PASS", "(FAIL)")}, "FAIL"),
        ({"objectives": rows("(WARN)", "(INVALID)")}, "INVALID"),
        ({"drift": [{"verdict": "PASS"}, {"verdict": "FAIL"}]}, "FAIL"),
        ({"drift": [{"verdict": "INCONCLUSIVE"}]}, "INCONCLUSIVE"),
        # A void run says nothing of the target, whatever its drift says.
        ({"void": True, "drift": [{"verdict": "FAIL"}]}, "INVALID"),
        ({"ended": "died", "drift": [{"verdict": "FAIL"}]}, "FAIL"),
    ],
)
def test_a_verdict_that_is_better_than_what_it_was_made_of_is_refused(
    folder: RunFolder, changes: dict[str, Any], follows: str
) -> None:
    """A PASS of a file that was cut or edited is the worst thing that could be told."""
    store(folder, content(**changes))
    with pytest.raises(StoreError, match=f"it says PASS, and what it was made of says {follows}"):
        latest_verdict(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"objectives": rows("PASS", "(INVALID)", "(WARN)", "(INCONCLUSIVE)")},
        {"objectives": rows("(PASS)", "(INVALID)")},
        {"objectives": rows("PASS", "WARN"), "verdict": "WARN"},
        {"drift": [{"verdict": "WARN"}], "verdict": "WARN"},
        {"objectives": rows("WARN"), "verdict": "WARN", "strict": True, "exit_code": 10},
        {"exit_code": 130},
        {"verdict": "INVALID", "ended": "died", "exit_code": 30},
        # A run without a plan may be stopped at any time.
        {"ended": "stopped"},
        {
            "steady_seconds": 12.0,
            "decided": {"after": 12.0, "of": 25.0, "look": 2, "looks": 4, "doubt": 0.01},
        },
    ],
)
def test_a_verdict_that_follows_from_its_rows_is_read(folder: RunFolder, changes: dict[str, Any]) -> None:
    """Optional rows decide nothing unless they fail; an interrupted command keeps its exit code."""
    store(folder, content(**changes))
    assert latest_verdict(folder)[1] == content(**changes)


@pytest.mark.parametrize("verdict", WORDS)
def test_an_exit_code_of_success_is_that_of_a_green_run_alone(verdict: str) -> None:
    """`soak --once` exits with the stored code: 0 beside FAIL would be a green gate."""
    found = list(contradictions(content(objectives=rows(verdict), verdict=verdict, exit_code=0)))
    assert (found == []) == (verdict in ("WARN", "PASS"))
