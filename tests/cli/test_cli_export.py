"""`loadgate export`: a stored verdict in other forms, and what was measured."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest
from pyarrow import feather, parquet

PASSED = """
[[objective]]
metric   = "response_time"
endpoint = "emotion"
target   = "< 50ms"
every    = "5s"
"""
FAILED = PASSED.replace("50ms", "500us")
FORMATS = ("junit", "markdown", "github", "json")


@pytest.fixture
def judged(told, stored, loadgate):
    """A stored run with a PASS first and a FAIL after it."""
    run = stored()
    told("verdict", run.id, "--sla", loadgate.write("table.toml", PASSED)).expect(0)
    told("verdict", run.id, "--sla", loadgate.write("table.toml", FAILED)).expect(20)
    return run


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ("junit", r"^<\?xml (?s:.)*<failure type=\"FAIL\""),
        ("markdown", r"^## FAIL: load\n"),
        ("github", r"^::error title=FAIL load%2C exit code 20::"),
        ("json", r"^\{\n"),
    ],
)
def test_the_latest_verdict_is_written(told, judged, form, said) -> None:
    """On standard output, with exit 0: it says that it was written, not what the verdict is."""
    told("export", "latest", "--format", form).expect(0, out=said, err="")


def test_json_is_the_file_itself(told, judged) -> None:
    """To the byte: of the second verdict, which is the newest."""
    assert told("export", judged.path, "--format", "json").out == judged.verdict_path(2).read_text()


@pytest.mark.parametrize("form", FORMATS)
def test_a_file_holds_what_is_printed(told, judged, form, tmp_path) -> None:
    """Folders above it are made, and nothing is printed then."""
    told("export", judged.id, "--format", form, "--output", "deep/er/file").expect(0, out="", err="")
    assert (tmp_path / "deep" / "er" / "file").read_text() == told("export", judged.id, "--format", form).out
    assert [path.name for path in (tmp_path / "deep" / "er").iterdir()] == ["file"]


def test_a_file_is_replaced(told, judged, tmp_path) -> None:
    """Whole, and a link is followed."""
    (tmp_path / "real.xml").write_text("old")
    (tmp_path / "link.xml").symlink_to("real.xml")
    told("export", judged.id, "--format", "junit", "--output", "link.xml").expect(0)
    assert ElementTree.parse(tmp_path / "real.xml").getroot().tag == "testsuites"
    assert (tmp_path / "link.xml").is_symlink()


@pytest.mark.parametrize("output", ["table.toml/x.xml", "results", "/proc/x.xml"])
def test_what_cannot_be_written_is_told(told, judged, output) -> None:
    """A file for a folder, a folder for a file, a file system that takes none: exit 2."""
    told("export", judged.id, "--format", "junit", "--output", output).expect(
        2, out="", err="cannot be written"
    )


def test_a_run_without_a_verdict_is_told(told, stored) -> None:
    """With the command that makes one; exporting never judges by itself."""
    run = stored()
    told("export", run.id, "--format", "junit").expect(
        2, out="", err=rf"run {run.id} has no verdict\n +make one: loadgate verdict {run.id}"
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "cannot be read"),
        ('{"schema_version": 1', "cannot be read"),
        ("[]", "no verdict of version 1"),
        ('{"schema_version": 2}', "no verdict of version 1"),
        ('{"schema_version": 1, "verdict": "PASS"}', "lacks run, scenario, "),
    ],
)
@pytest.mark.parametrize("form", FORMATS)
def test_a_damaged_verdict_is_never_exported(told, stored, form, content, said) -> None:
    """Exit 2 in every form, and nothing on standard output."""
    run = stored()
    run.verdict_path(1).write_text(content)
    told("export", run.id, "--format", form).expect(2, out="", err=said)


def test_annotations_point_to_the_plan_s_table(told, judged, tmp_path, monkeypatch) -> None:
    """Where the run had a plan, and its table lies in the repository."""
    plan = {"scenario": {"sla": str(tmp_path / "table.toml")}}
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path))
    done = told("export", judged.id, "--format", "github").expect(0)
    assert "file=" not in done.out
    snapshot = {
        "scenario": {
            **plan["scenario"],
            "name": "load",
            "locustfile": "x.py",
            "host": "http://127.0.0.1:3000",
            "traffic": {"users": 1, "stages": [{"rate": 1.0, "hold": 10.0}]},
        }
    }
    judged.plan.write_text(json.dumps(snapshot))
    assert "file=table.toml,line=2," in told("export", judged.id, "--format", "github").expect(0).out


WINDOWS = {
    "hlog": r"^#\[Loadgate: run load-",
    "csv": "^second,span,wall,endpoint,",
    "jsonl": r'^\{"second":0,',
}


@pytest.mark.parametrize("form", WINDOWS)
def test_what_was_measured_is_written_without_a_verdict(told, stored, form, tmp_path) -> None:
    """Of a run that goes on as well; a file holds what is printed, and nothing else is left beside it."""
    run = stored(ended=None)
    printed = told("export", run.id, "--format", form).expect(0, out=WINDOWS[form], err="").out
    told("export", run.id, "--format", form, "-o", "out/file").expect(0, out="", err="")
    assert (tmp_path / "out" / "file").read_bytes().decode().replace("\r\n", "\n") == printed.replace(
        "\r\n", "\n"
    )
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["file"]


@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_tables_are_written_to_a_file(told, stored, form, tmp_path) -> None:
    """Ten seconds of one endpoint are ten rows."""
    told("export", stored().id, "--format", form, "--output", "table").expect(0, out="", err="")
    read = parquet.read_table if form == "parquet" else feather.read_table
    assert read(tmp_path / "table").column("ok").to_pylist() == [100] * 10


def test_an_hdr_log_can_be_of_any_series(told, stored) -> None:
    """A series without a value has no line; one that is not recorded is refused."""
    run = stored()
    assert told("export", run.id, "--format", "hlog", "--series", "connect").out.count("Tag=") == 0
    assert told("export", run.id, "--format", "hlog").out.count("Tag=emotion,") == 10
    told("export", run.id, "--format", "hlog", "--series", "wait").expect(2, out="", err="wait")


def test_a_phase_is_of_windows_alone(told, judged) -> None:
    """A verdict has none to choose, which is told."""
    told("export", judged.id, "--format", "junit", "--phase", "steady").expect(2, out="", err="--phase")
    assert told("export", judged.id, "--format", "csv", "--phase", "drain").out.count("\n") == 1
