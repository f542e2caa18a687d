"""`loadgate report`: a stored run as one HTML page, two side by side, and the page that judging leaves."""

from __future__ import annotations

import pytest

import loadgate.report.html.page as page_module
from loadgate.store.folder import RunFolder
from report_runs import make


@pytest.fixture
def runs(tmp_path):
    """A good run, a slower one like it, and one of another scenario, in the folder that commands look in."""
    root = tmp_path / "results"
    return [
        make(root, ramp=1, steady=10),
        make(root, ramp=1, steady=10, slow=3.0, minute=1),
        make(root, "other", ramp=1, steady=30, minute=2),
    ]


def test_a_run_becomes_a_page_in_its_folder(told, runs) -> None:
    """The command prints where it is; by id, by path and as the latest it is the same."""
    name = f"results/{runs[2].id}/report.html"
    for asked in (runs[2].id, runs[2].path, "latest"):
        assert told("report", asked).expect(0, err="").out.strip().endswith(name)
    assert runs[2].id in (runs[2].path / "report.html").read_text(encoding="utf-8")


def test_a_page_goes_where_it_is_wanted(told, runs, tmp_path) -> None:
    """Folders above it are made, and the run's own folder stays as it was."""
    before = sorted(path.name for path in runs[0].path.iterdir())
    told("report", runs[0].id, "-o", "deep/er/page.html").expect(0, out="page.html")
    assert (tmp_path / "deep" / "er" / "page.html").read_bytes().startswith(b"<!doctype html>")
    assert sorted(path.name for path in runs[0].path.iterdir()) == before


def test_a_page_that_cannot_be_written_is_told(told, runs) -> None:
    """A folder in its place: exit 2, with the reason."""
    told("report", runs[0].id, "-o", "results").expect(2, out="", err="results cannot be written")


def test_an_unknown_run_is_told(told, runs) -> None:
    """With the ids that come near."""
    told("report", "gate-2026").expect(2, out="", err="there is no run 'gate-2026'")


def test_two_runs_stand_side_by_side(told, runs) -> None:
    """The candidate's page is named after its baseline; rows are compared as `loadgate compare` does it."""
    done = told("report", runs[1].id, "--against", runs[0].id).expect(0, err="")
    assert done.out.strip().endswith(f"{runs[1].id}/report-against-{runs[0].id}.html")
    page = (runs[1].path / f"report-against-{runs[0].id}.html").read_text(encoding="utf-8")
    assert f"{runs[1].id} against {runs[0].id} (stored)" in page
    assert "emotion p95" in page
    assert not list(runs[1].path.glob("comparison*.json"))


def test_unlike_runs_stand_side_by_side_without_a_judgement(told, runs) -> None:
    """The page says in what they differ."""
    told("report", runs[2].id, "--against", runs[0].id).expect(0, err="")
    page = (runs[2].path / f"report-against-{runs[0].id}.html").read_text(encoding="utf-8")
    assert "NOT COMPARED" in page
    assert "the runs are not alike" in page
    assert "steady" in page


def test_a_run_is_not_compared_with_itself(told, runs) -> None:
    """By whatever name."""
    told("report", runs[2].id, "--against", "latest").expect(2, out="", err="is compared with itself")


def test_judging_leaves_the_report(told, stored) -> None:
    """Beside the verdict, and again for the next one, which it shows."""
    run: RunFolder = stored()
    told("verdict", run.id).expect(30, out=rf"\nreport +\S*results/{run.id}/report\.html\n$", err="")
    told("verdict", run.id, "--json").expect(30, err="")
    assert "verdict-2.json" in (run.path / "report.html").read_text(encoding="utf-8")


def test_a_report_that_cannot_be_written_changes_no_verdict(told, stored, monkeypatch) -> None:
    """It is told on standard error, and the exit code is the verdict's."""
    run: RunFolder = stored()
    (run.path / "report.html").mkdir()
    told("verdict", run.id).expect(30, out="INVALID", err=r"^loadgate: report\.html cannot be written: ")
    (run.path / "report.html").rmdir()
    page_module.library_file.cache_clear()
    page_module._charts.cache_clear()
    monkeypatch.setattr(page_module, "LIBRARY", "no-such-package-anywhere")
    done = told("verdict", run.id).expect(30, out="INVALID")
    page_module.library_file.cache_clear()
    assert "pip install no-such-package-anywhere" in done.err
