"""What a plan says of smoke checks, and of the kinds of probes."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadgate.plan.draft import read_draft
from loadgate.plan.plan import Plan, load_plan
from loadgate.plan.problems import Problem
from loadgate.plan.smoke import REFUSALS

SMOKE = """
[smoke]
{smoke}

[[smoke.request]]
endpoint = "emotion"
path     = "/analyze"
json     = {{ text = "Test message", mode = "fast" }}
require  = {{ "data.primary" = "text" }}
{request}
"""


def written(write, smoke: str = "", request: str = "", more: str = "") -> Path:
    """Write a scenario with a smoke check."""
    path: Path = write()
    path.write_text(path.read_text() + SMOKE.format(smoke=smoke, request=request) + more)
    return path


def probed(write, *lines: str) -> Path:
    """Write a scenario with one more probe."""
    path: Path = write()
    path.write_text(path.read_text() + "\n".join(["[[probes]]", 'name = "p"', 'every = "10s"', *lines, ""]))
    return path


def only(path: Path) -> Problem:
    """Return the one problem of a plan."""
    problems = read_draft(path).problems
    assert len(problems) == 1, [item.line() for item in problems]
    return problems[0]


def test_what_is_left_out_has_a_default(write):
    """Every refusal, a body's first field, POST with a body and GET without."""
    more = '[[smoke.request]]\nendpoint = "list"\npath = "/list"\nequals = { a = 1 }\n'
    smoke = load_plan(written(write, more=more)).scenario.smoke
    assert smoke is not None
    assert (smoke.refuse, smoke.oversized, smoke.timeout, smoke.rate_limit) == (REFUSALS, 2e6, 5.0, False)
    first, second = smoke.request
    assert (first.method, first.field, first.status, first.cached) == ("POST", "text", 200, "cached")
    assert (second.method, second.field, second.body) == ("GET", None, None)


def test_a_scenario_without_smoke_has_none(write):
    """Then its probes are checked, and nothing else."""
    assert load_plan(write()).scenario.smoke is None


def test_the_snapshot_keeps_the_smoke_check_and_every_probe(write):
    """As it was read: paths are made absolute once."""
    more = """
[[probes]]
name = "log"
kind = "log"
file = "service.log"
pattern = "ERROR"
every = "10s"

[[probes]]
name = "queue"
kind = "command"
command = ["./queue", "-n"]
every = "10s"
"""
    path = written(
        write, 'oversized = "1MB"\npages = ["/a"]\nprocesses = "/p"', "equals = { b = [1, true] }", more
    )
    plan = load_plan(path)
    assert Plan.from_json(plan.to_json()) == plan
    log, queue = plan.scenario.probes[1:]
    assert log.file == path.parent / "service.log"
    assert queue.command == (str(path.parent / "queue"), "-n")


@pytest.mark.parametrize(
    ("smoke", "request_line", "key", "words"),
    [
        ('processes = "x"', "", "smoke.processes", "is not a path on the host"),
        ('pages = ["//evil/x"]', "", "smoke.pages", "is not a path on the host"),
        ('pages = ["/a b"]', "", "smoke.pages", "is not a path on the host"),
        ("timeout = 5", "", "smoke.timeout", "has no unit"),
        ('timeout = "2m"', "", "smoke.timeout", "at most 60"),
        ("oversized = 5", "", "smoke.oversized", "must be a size"),
        ('oversized = "65MB"', "", "smoke.oversized", "is not between 1B and 64MB"),
        ('refuse = ["malformd"]', "", "smoke.refuse[0]", "malformd"),
        ('rate_limit = "yes"', "", "smoke.rate_limit", "true or false"),
        ("colour = 1", "", "smoke.colour", "unknown key"),
        ("", 'method = "get"', "smoke.request[0].method", "is not one of"),
        ("", 'method = "GET"', "smoke.request[0].method", "a GET has no body"),
        ("", 'field = "txt"', "smoke.request[0].field", "is no field of its body"),
        ("", "status = 99", "smoke.request[0].status", "at least 200"),
        ("", 'equals = { "a..b" = 1 }', "smoke.request[0].equals.a..b", "is not a path"),
        ("", 'equals = { "data.primary" = 1 }', "smoke.request[0].require", "is in equals as well"),
        ("", 'cached = "a b"', "smoke.request[0].cached", "is not a path"),
        ("", "repeat_cached = 1", "smoke.request[0].repeat_cached", "true or false"),
    ],
)  # fmt: skip
def test_a_fault_of_a_smoke_check_is_named_at_its_key(write, smoke, request_line, key, words):
    """One fault, one problem."""
    problem = only(written(write, smoke, request_line))
    assert problem.key == key
    assert words in problem.message + problem.hint


def test_a_wrong_type_word_and_a_double_name_are_named(write):
    """With their keys."""
    path = written(write)
    text = path.read_text()
    path.write_text(text.replace('= "text" }', '= "string" }'))
    assert only(path).key.startswith("smoke.request[0].require")
    path.write_text(text + '[[smoke.request]]\nendpoint = "emotion"\npath = "/b"\nequals = { a = 1 }\n')
    assert only(path).message == "smoke.request[0] is called 'emotion' too"


def test_a_request_that_demands_nothing_is_warned_of(write):
    """Any JSON would do."""
    path = written(write)
    path.write_text(path.read_text().replace('require  = { "data.primary" = "text" }', ""))
    problem = only(path)
    assert (problem.key, problem.severity) == ("smoke.request[0].require", "warning")


@pytest.mark.parametrize(
    ("lines", "key", "words"),
    [
        (('kind = "prometheus"', 'values = { a = "up" }'), "http", "is missing"),
        (('kind = "prometheus"', 'http = "http://p:9090"'), "values", "is missing"),
        (('kind = "prometheus"', 'http = "http://p:9090"', 'values = { a = " " }'), "values", "is empty"),
        (('kind = "command"',), "command", "is missing"),
        (('kind = "command"', "command = []"), "command", "is missing"),
        (('kind = "command"', 'command = [""]'), "command", "names no program"),
        (('kind = "command"', 'command = "ls"'), "command", "must be a list"),
        (('kind = "command"', 'command = ["a"]', 'http = "/x"'), "http", "a command probe asks no URL"),
        (('kind = "command"', 'command = ["a"]', 'values = { a = "b..c" }'), "values", "is not a path"),
        (('kind = "command"', 'command = ["a"]', 'counters = ["b"]'), "counters", "its values: value"),
        (('kind = "command"', 'command = ["a"]', 'values = { exit_status = "b" }'), "values", "two readings"),
        (('kind = "command"', 'command = ["a"]', 'pattern = "x"'), "pattern", "takes no `pattern`"),
        (('kind = "log"', 'pattern = "x"'), "file", "is missing"),
        (('kind = "log"', 'file = "a.log"'), "pattern", "is missing"),
        (('kind = "log"', 'file = "a.log"', 'pattern = "("'), "pattern", "is not a regular expression"),
        (('kind = "log"', 'file = "a.log"', 'pattern = "x*"'), "pattern", "matches every line"),
        (('kind = "log"', 'file = "a.log"', 'pattern = "(?u)x"'), "pattern", "is not a regular expression"),
        (('kind = "log"', 'command = ["logs"]', 'pattern = "x"'), "command", "again and again"),
        (
            ('kind = "log"', 'file = "a.log"', 'command = ["logs", "{since}"]', 'pattern = "x"'),
            "command",
            "from a file or a command",
        ),
        (('kind = "log"', 'file = "a.log"', 'pattern = "x"', 'counters = ["total"]'), "counters", "takes no"),
        (
            ('kind = "json"', 'http = "/x"', 'values = { a = "a", a_rate = "b" }', 'counters = ["a"]'),
            "values",
            "'a_rate' would be the name of two readings",
        ),
    ],
)
def test_a_fault_of_a_probe_is_named_at_its_key(write, lines, key, words):
    """One fault, one problem."""
    problem = only(probed(write, *lines))
    assert problem.key == f"probes[1].{key}"
    assert words in problem.message + problem.hint


@pytest.mark.parametrize(
    ("lines", "readings"),
    [
        (('kind = "prometheus"', 'http = "http://p"', 'values = { a = "sum(x) by (y)" }'), ("a",)),
        (('kind = "command"', 'command = ["a"]'), ("value", "exit_status")),
        (
            ('kind = "command"', 'command = ["a"]', 'counters = ["value"]'),
            ("value", "value_rate", "exit_status"),
        ),
        (('kind = "command"', 'command = ["a"]', 'values = { b = "c" }'), ("b", "exit_status")),
        (('kind = "log"', 'file = "a.log"', 'pattern = "E"'), ("matches", "lines", "total")),
        (('kind = "log"', 'command = ["l", "@{epoch}"]', 'pattern = "E"'), ("matches", "lines", "total")),
        (
            ('kind = "json"', 'http = "/x"', 'values = { a = "a", b = "b" }', 'counters = ["b"]'),
            ("a", "b", "b_rate"),
        ),
    ],
)
def test_each_kind_names_its_readings(write, lines, readings):
    """Those that an objective or an alert may speak of."""
    assert load_plan(probed(write, *lines)).scenario.probes[1].readings == readings


def test_a_row_on_a_reading_that_no_probe_gives_is_an_error(write):
    """The probe is there, and has no such reading."""
    path = probed(write, 'kind = "log"', 'file = "a.log"', 'pattern = "E"')
    table = path.parent / "sla.toml"
    row = '\n[[objective]]\nmetric = "p.{}"\ntarget = "<= 0"\nevery = "10s"\n'
    good = table.read_text()
    table.write_text(good + row.format("total"))
    assert load_plan(path).warnings == ()
    table.write_text(good + row.format("errors"))
    problem = only(path)
    assert (problem.key, problem.is_error) == ("probes", True)
    assert "no probe gives 'p.errors'" in problem.message
