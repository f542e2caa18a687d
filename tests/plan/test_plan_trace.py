"""Recorded arrivals."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadgate.plan.problems import PlanError
from loadgate.plan.trace import read_trace


def read(tmp_path: Path, text: str, name: str) -> tuple[list[float], tuple[str, ...] | None]:
    """Read a trace from text."""
    (tmp_path / name).write_text(text)
    trace = read_trace(tmp_path / name)
    return trace.times.tolist(), trace.endpoints


def faults(tmp_path: Path, text: str, name: str) -> list[str]:
    """Return the messages of a faulty trace."""
    with pytest.raises(PlanError) as caught:
        read(tmp_path, text, name)
    return [problem.message for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.csv", "0\n0.25\n\n3\n", ([0.0, 0.25, 3.0], None)),
        ("a.csv", "at,endpoint\n0,emotion\n1.5, creative\n", ([0.0, 1.5], ("emotion", "creative"))),
        (
            "a.jsonl",
            '{"at": 0, "endpoint": "emotion"}\n[1.5, "creative"]\n',
            ([0.0, 1.5], ("emotion", "creative")),
        ),
        ("a.jsonl", '0\n[1]\n{"at": 2}\n', ([0.0, 1.0, 2.0], None)),
    ],
)
def test_both_formats_are_read(tmp_path: Path, name: str, text: str, expected: object) -> None:
    """Seconds, with an endpoint for each arrival or for none."""
    assert read(tmp_path, text, name) == expected


def test_every_faulty_csv_line_is_named(tmp_path: Path) -> None:
    """Order, sign, numbers, columns: all at once, by line number."""
    text = "1\n0.5\n-1\nx\n2,a,b\nnan\n3\n"
    assert faults(tmp_path, text, "a.csv") == [
        "line 2: 0.5 s is before the arrival above it (1 s)",
        "line 3: -1 s is negative",
        "line 4: 'x' is not a number of seconds",
        "line 5: 3 columns where one or two are expected",
        "line 6: nan is not a number of seconds",
    ]


def test_every_faulty_json_line_is_named(tmp_path: Path) -> None:
    """What is not JSON, not a known shape, not a number, or names no endpoint."""
    text = '{"at": "1"}\n{oops\n{"when": 1}\ntrue\n[1, 2]\n{"at": 1, "endpoint": ""}\n'
    found = faults(tmp_path, text, "a.jsonl")
    assert [message.split(":")[0] for message in found] == [f"line {n}" for n in range(1, 7)]
    assert found[0] == "line 1: '1' is not a number of seconds"


def test_endpoints_are_for_all_lines_or_none(tmp_path: Path) -> None:
    """A line that lost its endpoint is a fault."""
    assert faults(tmp_path, "0,a\n1\n", "a.csv") == [
        "line 2: either every line names an endpoint or none does"
    ]


@pytest.mark.parametrize(("name", "text"), [("a.csv", ""), ("a.csv", "at\n"), ("a.jsonl", "\n")])
def test_an_empty_trace_is_refused(tmp_path: Path, name: str, text: str) -> None:
    """A run without arrivals shows nothing."""
    assert faults(tmp_path, text, name) == ["holds no arrivals"]


def test_a_trace_of_another_kind_is_refused(tmp_path: Path) -> None:
    """The ending of the name says the format."""
    assert faults(tmp_path, "0\n", "a.txt") == ["is neither a CSV nor a JSON Lines file"]


def test_many_faulty_lines_are_counted(tmp_path: Path) -> None:
    """Twenty are listed, the rest is a number."""
    found = faults(tmp_path, "x\n" * 50, "a.csv")
    assert (len(found), found[-1]) == (21, "and 30 more faulty lines")
