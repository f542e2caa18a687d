"""What a smoke check comes to, and where it is kept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgate.errors import StoreError
from loadgate.store.folder import list_runs
from loadgate.watch.smoke import Check, State
from loadgate.watch.smoke_results import content_of, latest, prepare, store

MOMENT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
PASSED = Check("target", "health", State.PASSED, "up", limit=5.0, took=0.01)
NOTED = Check("target", "rate limit", State.PASSED, "headers", notes=("is it in force?",))
FAILED = Check("emotion", "answers with valid data", State.FAILED, "answered: 503", "answered", 5.0, 0.2)
SKIPPED = Check("emotion", "answers from its cache", State.SKIPPED, "its first answer failed")


def content(
    *checks: Check, strict: bool = False, scenario: str = "load", at: datetime = MOMENT
) -> dict[str, Any]:
    return content_of(
        checks, scenario=scenario, host="http://x", plan="abc", started_at=at, took=0.15, strict=strict
    )


@pytest.mark.parametrize(
    ("checks", "result", "code", "strict_code"),
    [
        ((PASSED,), "PASS", 0, 0),
        ((PASSED, NOTED), "WARN", 0, 10),
        ((PASSED, SKIPPED), "WARN", 0, 10),
        ((PASSED, FAILED, SKIPPED), "FAIL", 20, 20),
        ((FAILED,), "FAIL", 20, 20),
        ((SKIPPED,), "INVALID", 30, 30),
        ((), "INVALID", 30, 30),
    ],
)
def test_the_result_is_the_worst_of_the_checks(checks, result, code, strict_code):
    """Nothing checked is never green, and neither is one that failed among many."""
    assert (content(*checks)["result"], content(*checks)["exit_code"]) == (result, code)
    assert content(*checks, strict=True)["exit_code"] == strict_code


@given(st.lists(st.sampled_from([PASSED, NOTED, FAILED, SKIPPED])), st.booleans())
def test_green_means_that_something_passed_and_nothing_failed(checks, strict):
    """Whatever else there is."""
    found = content(*checks, strict=strict)
    assert (found["exit_code"] == 20) == (FAILED in checks)
    if found["exit_code"] == 0:
        assert found["counts"]["passed"] > 0
        assert found["counts"]["failed"] == 0
    assert sum(found["counts"].values()) == len(checks)


def test_a_result_holds_every_check():
    """In plain values, with the time in UTC."""
    found = content(PASSED, FAILED, at=MOMENT.astimezone(timezone(timedelta(hours=2))))
    assert found["started_at"] == "2026-01-02T03:04:05.000+00:00"
    assert found["checks"][1] == {
        "group": "emotion",
        "name": "answers with valid data",
        "state": "failed",
        "reason": "answered",
        "seen": "answered: 503",
        "limit": 5.0,
        "took": 0.2,
        "notes": [],
    }


def test_results_are_kept_beside_the_runs_and_none_is_overwritten(tmp_path: Path):
    """Two in one second have two names; no run is made of them, and no draft is left."""
    first, second = store(tmp_path, content(PASSED)), store(tmp_path, content(FAILED))
    assert [first.name, second.name] == ["load-20260102-030405.json", "load-20260102-030405-2.json"]
    assert first.parent == tmp_path / "smoke"
    assert list_runs(tmp_path) == []
    assert sorted(path.name for path in first.parent.iterdir()) == [second.name, first.name]
    assert first.stat().st_mode & 0o044 == 0o044


def test_the_latest_is_the_newest_by_its_name(tmp_path: Path):
    """Of one scenario, or of any; a scenario whose name begins alike is another."""
    assert latest(tmp_path) is None
    store(tmp_path, content(PASSED))
    store(tmp_path, content(FAILED))
    for _ in range(9):
        last = store(tmp_path, content(SKIPPED))
    other = store(tmp_path, content(PASSED, scenario="load-2", at=MOMENT + timedelta(days=1)))
    assert last.name.endswith("-11.json")
    assert latest(tmp_path, "load") == (last, content(SKIPPED))
    assert latest(tmp_path) == (other, content(PASSED, scenario="load-2", at=MOMENT + timedelta(days=1)))
    assert latest(tmp_path, "gate") is None


@pytest.mark.parametrize("body", ["", "{", "[]", '{"schema_version": 9}'])
def test_a_damaged_result_is_an_error_and_not_an_older_one(tmp_path: Path, body):
    """What is newest must not be passed over in silence."""
    store(tmp_path, content(PASSED))
    (tmp_path / "smoke" / "load-20270101-000000.json").write_text(body)
    with pytest.raises(StoreError, match="is no smoke check"):
        latest(tmp_path)


def test_results_that_cannot_be_kept_are_told_before_anything_is_asked(tmp_path: Path):
    """A file is in the way of the folder."""
    (tmp_path / "smoke").write_text("")
    with pytest.raises(StoreError):
        prepare(tmp_path)
    assert prepare(tmp_path / "new") == tmp_path / "new" / "smoke"
    assert list((tmp_path / "new" / "smoke").iterdir()) == []
