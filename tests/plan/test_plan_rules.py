"""Every rule of a plan: one row each, with the key that is blamed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from loadgate.plan.draft import read_draft
from loadgate.plan.problems import Problem

Write = Callable[..., Path]


def problems(path: Path) -> list[Problem]:
    """Return every problem of a scenario."""
    return read_draft(path).problems


def check(path: Path, key: str, words: str, severity: str = "error") -> Problem:
    """Assert that exactly one problem of this key says the words; return it."""
    found = [p for p in problems(path) if p.key == key and words in p.message]
    assert len(found) == 1, [p.line() for p in problems(path)]
    assert found[0].severity == severity
    return found[0]


def test_a_good_plan_has_no_problems(write: Write) -> None:
    """The plan that the other tests break."""
    assert problems(write()) == []


@pytest.mark.parametrize(
    ("old", "new", "key", "words"),
    [
        ('hold = "10m"', 'hold = "10m"\nhodl = "1s"', "traffic.stages[0].hodl", "unknown key 'hodl'"),
        ('rate = "1100/s"', "rate = 1100", "traffic.stages[0].rate", "1100 has no unit"),
        ('rate = "1100/s"', 'rate = "1100"', "traffic.stages[0].rate", "'1100' has no unit"),
        ('rate = "1100/s"', "", "traffic.stages[0].rate", "is missing"),
        (
            'rate = "1100/s"',
            'rate = "1100/s"\nusers = 5',
            "traffic.stages[0].users",
            "rate and users exclude",
        ),
        ('rate = "1100/s"', "users = 5", "traffic.stages[0].users", "driven by rate"),
        ("users = 400", 'users = 400\nmodel = "closed"', "traffic.stages[0].users", "is missing"),
        ('ramp = "30s"\nhold = "10m"', "", "traffic.stages[0]", "neither a ramp nor a hold"),
        ('ramp = "30s"\nhold = "10m"', 'hold = "0s"', "traffic.stages[0]", "takes no time"),
        ('hold = "10m"', 'hold = "10m"\nphase = "warmup"', "traffic.stages", "no load in a steady phase"),
        ('hold = "10m"', 'phase = "warmup"', "traffic.stages[0].phase", "has no hold"),
        ('rate = "1100/s"', 'rate = "0/s"', "traffic.stages", "no load in a steady phase"),
        ("users = 400", "users = 0", "traffic.users", "at least 1"),
        ("users = 400", "", "traffic.users", "is missing"),
        ("users = 400", "users = 400.0", "traffic.users", "must be a whole number"),
        ("users = 400", "users = true", "traffic.users", "must be a whole number"),
        ("users = 400", 'users = 400\nwait = "1s"', "traffic.wait", "no meaning in the open model"),
        ("users = 400", 'users = 400\nwait = "3s..1s"', "traffic.wait", "ends before it begins"),
        ("users = 400", "users = 400\nwait = 1", "traffic.wait", "must be a duration"),
        ("users = 400", 'users = 400\nmodel = "opne"', "traffic.model", "'opne' is not one of open, closed"),
        ("users = 400", "users = 400\nseed = -1", "traffic.seed", "at least 0"),
        ("emotion = 5", "emotion = 0", "traffic.mix.emotion", "more than 0"),
        ("emotion = 5", "emotion = -5", "traffic.mix.emotion", "more than 0"),
        ("emotion = 5", "emotion = nan", "traffic.mix.emotion", "finite"),
        (
            "users = 400",
            'users = 9\nsource_addresses = ["127.0.0.300"]',
            "traffic.source_addresses[0]",
            "is not an add",
        ),
        (
            "users = 400",
            'users = 9\nsource_addresses = ["1.2.3.9-1.2.3.4"]',
            "traffic.source_addresses[0]",
            "ends bef",
        ),
        (
            "users = 400",
            'users = 9\nsource_addresses = ["10.0.0.0/24"]',
            "traffic.source_addresses[0]",
            "is not an add",
        ),
        (
            "users = 400",
            'users = 9\nsource_addresses = ["1.2.3.4", "1.2.3.4"]',
            "traffic.source_addresses",
            "twice",
        ),
        (
            "users = 400",
            "users = 9\nsource_addresses = [5]",
            "traffic.source_addresses[0]",
            "5 is not an address",
        ),
        ("users = 400", 'users = 9\narrivals = "trace"', "traffic.trace", "is missing"),
        ("users = 400", 'users = 9\ntrace = "x.csv"', "traffic.trace", "is not used"),
        ('name = "load"', 'name = "a/b"', "name", "not a name for a run"),
        ('name = "load"', "", "name", "is missing"),
        ('name = "load"', "name = 5", "name", "must be text"),
        ('host = "http://127.0.0.1:3000"', "", "host", "is missing"),
        ("http://127.0.0.1:3000", "127.0.0.1:3000", "host", "is not an http or https URL"),
        ("http://127.0.0.1:3000", "ftp://127.0.0.1", "host", "is not an http or https URL"),
        ("http://127.0.0.1:3000", "http://127.0.0.1:0", "host", "wrong port"),
        ("http://127.0.0.1:3000", "http://127.0.0.1:99999", "host", "wrong port"),
        ("http://127.0.0.1:3000", "http://h/a?b=1", "host", "has a query"),
        ("http://127.0.0.1:3000", "http://h/#x", "host", "has a fragment"),
        ("http://127.0.0.1:3000", "http://u:s3cret@h", "host", "holds credentials"),
        ('"traffic.py"', '"nofile.py"', "locustfile", "there is no locustfile"),
        ('"traffic.py"', '"."', "locustfile", "is a directory"),
        ('"traffic.py"', '"load.toml"', "locustfile", "is not valid Python: line"),
        ('"sla.toml"', '"."', "sla", "is a directory"),
        ('"sla.toml"', '"none.toml"', "sla", "there is no SLA table"),
        ("[[traffic", '[http]\ntimeout = "2h"\n[[traffic', "http.timeout", "more than 1h"),
        ("[[traffic", '[http]\ntimeout = "0s"\n[[traffic', "http.timeout", "more than 0"),
        (
            "[[traffic",
            '[http]\ntimeout = "1s"\n[[traffic',
            "http.connect_timeout",
            "longer than http.timeout",
        ),
        ("[[traffic", '[http]\nca = "."\n[[traffic', "http.ca", "is a directory"),
        ("[[traffic", '[http]\nca = "traffic.py"\n[[traffic', "http.ca", "holds no certificate"),
        (
            "[[traffic",
            "[http]\nheaders = { Cookie = 'a=b' }\n[[traffic",
            "http.headers.Cookie",
            "looks like a secret",
        ),
        (
            "[[traffic",
            "[http]\nheaders = { X-Api-Key = 'a' }\n[[traffic",
            "http.headers.X-Api-Key",
            "looks like a se",
        ),
        (
            "[[traffic",
            "[http]\nheaders = { X = 'Bearer a' }\n[[traffic",
            "http.headers.X",
            "looks like a secret",
        ),
        (
            "[[traffic",
            "[http]\nheaders = { X = 'env:1' }\n[[traffic",
            "http.headers.X",
            "does not name an environment",
        ),
        ("[[traffic", '[http]\nheaders = { X = "a\\nb" }\n[[traffic', "http.headers.X", "no header may hold"),
        (
            "[[traffic",
            "[http]\nheaders = { 'a b' = 'c' }\n[[traffic",
            "http.headers.a b",
            "not the name of a header",
        ),
        (
            "[[traffic",
            "[http]\nheaders = { Content-Length = '1' }\n[[traffic",
            "http.headers.Content-Length",
            "set by",
        ),
        ("[[probes", "[generator]\nworkers = 0\n[[probes", "generator.workers", "at least 1"),
        (
            "[[probes",
            "[generator]\non_worker_loss = 'x'\n[[probes",
            "generator.on_worker_loss",
            "is not a policy",
        ),
        (
            "[[probes",
            "[verdict]\noptional = ['cup']\n[[probes",
            "verdict.optional[0]",
            "no row is called 'cup'",
        ),
        (
            "[[probes",
            "[verdict]\nleave_out = ['cup']\n[[probes",
            "verdict.leave_out[0]",
            "no row is called 'cup'",
        ),
        (
            "[[probes",
            "[verdict]\nleave_out = ['cpu', 'throughput', 'response_time']\n[[probes",
            "verdict.leave_out",
            "leaves no row to judge",
        ),
        (
            "[[probes",
            "[verdict]\nleave_out = ['cpu']\noptional = ['cpu']\n[[probes",
            "verdict.optional",
            "left out",
        ),
        ('name = "process"', 'name = "other"', "probes[0].kind", "not a kind of probe"),
        ('name = "process"', 'name = "a.b"', "probes[0].name", "is not a name"),
        ('process = "listening"', "", "probes[0].process", "is missing"),
        ('process = "listening"', 'process = "nginx"', "probes[0].process", "names no process"),
        ('process = "listening"', 'process = "listening"\nhttp = "/x"', "probes[0].http", "asks no URL"),
        ('every = "10s"', 'every = "10s"\ntimeout = "11s"', "probes[0].timeout", "would overlap"),
        ('every = "10s"', 'every = "10s"\nvalues = { a = "b" }', "probes[0].values", "knows what to read"),
        (
            'every = "10s"',
            '[[probes]]\nname = "process"\nevery = "1s"',
            "probes[1].name",
            "called 'process' too",
        ),
        (
            'every = "10s"',
            'every = "10s"\n[[probes]]\nname = "health"\nevery = "1s"',
            "probes[1].http",
            "is missing",
        ),
        (
            'every = "10s"',
            'every = "10s"\n[[probes]]\nname = "q"\nkind = "json"\nvalues = { a = "b..c" }\nevery = "1s"',
            "probes[1].values",
            "is not a path",
        ),
    ],
)
def test_a_faulty_scenario_is_refused_at_its_key(
    write: Write, old: str, new: str, key: str, words: str
) -> None:
    """One change, one error, at the key that was changed."""
    if old == 'every = "10s"' and "called" in words:
        new = f"{old}\n{new}"
    problem = check(write((old, new)), key, words)
    assert Path(problem.file).name == "load.toml"
    assert "s3cret" not in problem.line()


@pytest.mark.parametrize(
    ("old", "new", "key", "words"),
    [
        ('alert = "> 200ms"', 'alert = "> 20ms"', "objective[0].alert", "lies inside the target"),
        ('alert = "> 200ms"', 'alert = "< 200ms"', "objective[0].alert", "points the wrong way"),
        ('target = "< 50ms"', 'target = "> 50ms"', "objective[0].target", "points the wrong way"),
        ('target = ">= 1000/s"', 'target = "< 1000/s"', "objective[1].target", "points the wrong way"),
        ('target = "< 50ms"', 'target = "< 50"', "objective[0].target", "has no unit"),
        ('target = "< 50ms"', "target = 50", "objective[0].target", "neither a comparison nor a unit"),
        ('target = "< 50ms"', 'target = "< 2h"', "objective[0].target", "outside of what is recorded"),
        ('target = "< 50ms"', 'target = "< 50%"', "objective[0].target", "is not a duration"),
        ('target = "< 50ms"', "", "objective[0].target", "is missing"),
        ('target = "< 50%"', 'target = "< 0%"', "objective[2].target", "can never hold"),
        (
            'endpoint = "emotion"',
            'endpoint = "emoton"',
            "objective[0].endpoint",
            "no request goes to 'emoton'",
        ),
        ('endpoint = "emotion"', 'endpoint = ""', "objective[0].endpoint", "is empty"),
        (
            'metric = "cpu"',
            'metric = "cpu"\nendpoint = "emotion"',
            "objective[2].endpoint",
            "not measured per endpoint",
        ),
        (
            'metric = "cpu"',
            'metric = "cpu"\nstatistic = "p95"',
            "objective[2].statistic",
            "takes no statistic",
        ),
        (
            'metric = "cpu"',
            'metric = "cpu"\nlatency_on = "ok"',
            "objective[2].latency_on",
            "would not be read",
        ),
        ('metric = "cpu"', 'metric = "cqu"', "objective[2].metric", "unknown metric 'cqu'"),
        ('every = "30s"', "every = 30", "objective[0].every", "30 has no unit"),
        ('every = "30s"', "", "objective[0].every", "is missing"),
        ('every = "30s"', 'every = "30s"\nfor = "10s"', "objective[0].for", "shorter than a window"),
        ('every = "30s"', 'every = "30s"\nfro = "1m"', "objective[0].fro", "unknown key 'fro'"),
        ('every = "30s"', 'every = "30s"\nname = "cpu"', "objective[0].name", "the name of another metric"),
    ],
)
def test_a_faulty_table_is_refused_at_its_key(write: Write, old: str, new: str, key: str, words: str) -> None:
    """One change, one error, in the table's own file."""
    assert Path(check(write((old, new)), key, words).file).name == "sla.toml"


ROW = '\n[[objective]]\nmetric = "response_time"\nendpoint = "emotion"\nevery = "30s"\n'


@pytest.mark.parametrize(
    ("row", "key", "words", "severity"),
    [
        (f'{ROW}target = "< 50ms"', "objective[3]", "judges the same as objective[0]", "error"),
        (f'{ROW}target = "< 90ms"', "objective[3]", "judges the same as objective[0]", "error"),
        (
            f'{ROW}statistic = "p99"\ntarget = "< 50ms"\nalert = "> 100ms"',
            "objective[0]",
            "is shadowed",
            "warning",
        ),
        (
            f'{ROW}statistic = "p90"\ntarget = "< 60ms"\nalert = "> 300ms"',
            "objective[3]",
            "is shadowed",
            "warning",
        ),
        (f'{ROW}latency_on = "ok"\ntarget = "< 50ms"', "objective[3].name", "is called", "error"),
        ("\n[[objectiv]]\na = 1", "objectiv", "unknown key 'objectiv'", "error"),
    ],
)
def test_rows_are_held_against_each_other(
    write: Write, row: str, key: str, words: str, severity: str
) -> None:
    """The same number twice is a slip; a row that another implies decides nothing."""
    path = write(('metric = "cpu"', 'metric = "cpu"'))
    table = path.with_name("sla.toml")
    table.write_text(table.read_text() + row)
    check(path, key, words, severity)


def test_two_percentiles_with_limits_of_their_own_are_fine(write: Write) -> None:
    """p95 < 50ms and p99 < 100ms say two things."""
    path = write()
    table = path.with_name("sla.toml")
    table.write_text(table.read_text() + f'{ROW}statistic = "p99"\ntarget = "< 100ms"\nalert = "> 400ms"')
    assert problems(path) == []


@pytest.mark.parametrize(
    ("target", "alert", "bad"),
    [("< 50ms", "> 50ms", False), ("< 50ms", ">= 50ms", False), ("<= 50ms", "> 50ms", False),
     ("<= 50ms", ">= 50ms", True), ("< 50ms", "> 49ms", True)],
)  # fmt: skip
def test_target_and_alert_may_meet_but_not_overlap(write: Write, target: str, alert: str, bad: bool) -> None:
    """No value may both pass and fail; without a gap there is nothing to warn about."""
    path = write(('"< 50ms"', f'"{target}"'), ('"> 200ms"', f'"{alert}"'))
    assert bool(problems(path)) == bad


@pytest.mark.parametrize(
    ("rate", "severity"),
    [("999/s", "error"), ("1000/s", "error"), ("1001/s", "warning"), ("1049/s", "warning"), ("1050/s", None)],
)
def test_the_offered_rate_must_be_able_to_show_the_throughput(
    write: Write, rate: str, severity: str | None
) -> None:
    """At or below the target it cannot; within 5% above it fails by chance."""
    found = problems(write(("1100/s", rate)))
    assert [p.severity for p in found if "throughput" in p.message] == ([severity] if severity else [])


def test_a_hold_below_the_alert_threshold_would_fail_by_plan(write: Write) -> None:
    """10 minutes of 400/s are under 500/s for more than 2 minutes, whatever the mean of the run is."""
    more = '[[traffic.stages]]\nrate = "400/s"\nhold = "3m"\n[[probes]]'
    path = write(("[[probes]]", more), ('hold = "10m"', 'hold = "60m"'))
    check(path, "traffic.stages", "so 'throughput' would fail")


def test_a_closed_model_has_no_arrivals_to_space(write: Write) -> None:
    """A key that would not be read is warned of."""
    path = write(
        ("users = 400", 'model = "closed"\narrivals = "constant"'), ('rate = "1100/s"', "users = 2000")
    )
    check(path, "traffic.arrivals", "no meaning in the closed model", "warning")


def test_a_closed_model_makes_no_claim_about_throughput(write: Write) -> None:
    """It offers what the target lets it; that is a warning, not an error."""
    path = write(("users = 400", 'model = "closed"\nwait = "1s"'), ('rate = "1100/s"', "users = 2000"))
    check(path, "traffic.model", "offers only what", "warning")


def test_a_closed_model_that_can_never_give_the_samples_is_warned_of(write: Write) -> None:
    """One user with a minute's wait sends at most 10 requests in 10 minutes, 5 of them emotion."""
    path = write(("users = 400", 'model = "closed"\nwait = "1m"'), ('rate = "1100/s"', "users = 1"))
    check(path, "traffic.stages", "is expected to give at most 5", "warning")


def test_too_few_samples_for_the_statistic_are_warned_of(write: Write) -> None:
    """p99.9 needs 2995; 1100/s for 5 s, half of it emotion, gives 2750."""
    path = write(
        ('hold = "10m"', 'hold = "5s"'), ('endpoint = "emotion"', 'endpoint = "emotion"\nstatistic = "p99.9"')
    )
    problem = check(path, "traffic.stages", "needs 2995 requests", "warning")
    assert "about 2750" in problem.message
    assert problem.hint.startswith("hold it for 6s")


@pytest.mark.parametrize(("hold", "short"), [("19s", True), ("20s", False)])
def test_a_run_too_short_to_estimate_its_noise_is_warned_of(write: Write, hold: str, short: bool) -> None:
    """It takes 20 windows of a second."""
    found = [
        p.message for p in problems(write(('hold = "10m"', f'hold = "{hold}"'))) if "its noise" in p.message
    ]
    assert bool(found) is short


def test_a_row_without_its_probe_is_an_error_unless_optional(write: Write) -> None:
    """An objective that can never have data must not wait for the verdict."""
    swap = ('name = "process"\nprocess = "listening"', 'name = "health"\nhttp = "/health"')
    check(write(swap), "probes", "no probe gives 'cpu'")
    optional = ("[[probes]]", '[verdict]\noptional = ["cpu"]\n[[probes]]')
    check(write(swap, optional), "probes", "no probe gives 'cpu'", "warning")


def test_a_probe_that_reads_too_seldom_is_warned_of(write: Write) -> None:
    """Every 3 minutes in 10 minutes from 30 s on: at 3, 6 and 9 minutes."""
    problem = check(write(('every = "10s"', 'every = "3m"')), "probes[0].every", "gives 3 in the", "warning")
    assert "INVALID" in problem.message


def test_a_local_process_probe_of_a_remote_host_is_warned_of(write: Write) -> None:
    """A process can be read only on this machine."""
    path = write(("http://127.0.0.1:3000", "http://staging.example.com:3000"))
    check(path, "probes[0].process", "the host is another address", "warning")


def test_a_run_shorter_than_an_explicit_for_is_warned_of(write: Write) -> None:
    """A breach cannot last 20 minutes in 10."""
    path = write(('every = "30s"', 'every = "30s"\nfor = "20m"'))
    check(path, "traffic.stages", "is shorter than `for` of 'emotion.response_time' (20m)", "warning")


def test_a_scenario_without_a_table_is_warned_of(write: Write) -> None:
    """Nothing would be judged."""
    check(write(('sla = "sla.toml"', "")), "sla", "nothing would be judged", "warning")


def test_a_trace_takes_no_stages_and_is_the_load(write: Write, tmp_path: Path) -> None:
    """Its own arrivals are counted, also per endpoint; stages beside it are an error."""
    (tmp_path / "a.csv").write_text("".join(f"{n / 1200},emotion\n" for n in range(30_000)))
    swap = ("users = 400", 'users = 400\narrivals = "trace"\ntrace = "a.csv"')
    check(write(swap), "traffic.stages", "a trace has no stages")
    stage = ('[[traffic.stages]]\nrate = "1100/s"\nramp = "30s"\nhold = "10m"\n', "")
    assert problems(write(swap, stage, ('every = "10s"', 'every = "1s"'))) == []
    (tmp_path / "a.csv").write_text("0\nx\n")
    check(write(swap, stage), "traffic.trace", "a.csv': line 2: 'x' is not a number")


def test_faults_of_all_files_come_at_once(write: Write) -> None:
    """Scenario, table and locustfile; values, names and rules in one go."""
    path = write(
        ("users = 400", "usres = 400"),
        ('every = "10s"', "every = 10"),
        ('"traffic.py"', '"none.py"'),
        ('alert = "> 200ms"', 'alert = "> 20ms"'),
        ('target = "< 50%"', 'target = "< 50"'),
    )
    keys = {problem.key for problem in problems(path)}
    assert keys == {
        "traffic.usres", "traffic.users", "probes[0].every", "locustfile",
        "objective[0].alert", "objective[2].target",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b'name = "x"\nhost = http://a\n', "syntax error in line 2, column 8"),
        (b'name = "x"\nname = "y"\n', "syntax error in line 2"),
        (b"\xff\xfe", "is not UTF-8 text (byte 0)"),
        (b'[[objective]]\nmetric = "cpu"\n', "is an SLA table, not a scenario"),
    ],
)
def test_a_file_that_is_no_scenario_is_said_so(tmp_path: Path, text: bytes, words: str) -> None:
    """Syntax faults come with their line."""
    path = tmp_path / "x.toml"
    path.write_bytes(text)
    check(path, "", words)


def test_words_are_corrected(write: Write) -> None:
    """Keys, choices, metrics, endpoints and row names: did you mean."""
    cases = {
        ("users = 400", "usres = 400"): "did you mean 'users'?",
        ("users = 400", 'users = 400\narrivals = "posson"'): "did you mean 'poisson'?",
        ('metric = "cpu"', 'metric = "CPU"'): "did you mean 'cpu'?",
        ('endpoint = "emotion"', 'endpoint = "emotions"'): "did you mean 'emotion'?",
        ("[[probes]]", '[verdict]\noptional = ["thruput"]\n[[probes]]'): "did you mean 'throughput'?",
    }
    for swap, hint in cases.items():
        assert hint in [problem.hint for problem in problems(write(swap))]


def test_a_drift_rule_on_what_nothing_measures_is_an_error(write: Write) -> None:
    """A reading without its probe, an endpoint outside of the mix: each with the rule's own key."""
    rules = '[[drift]]\nmetric = "cache.entries"\n[[drift]]\nmetric = "response_time"\nendpoint = "nobody"\n'
    path = write(("[[probes]]", rules + "[[probes]]"))
    check(path, "drift[0].metric", "no probe gives 'cache.entries'")
    check(path, "drift[1].endpoint", "no request goes to 'nobody'")
