"""Each change inside Locust is still needed: stock Locust, in a process of its own, shows the defect."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.system


def stock(code: str) -> str:
    """Run code with stock Locust, without Loadgate's plugin; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", "import locust\n" + textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def patched(code: str) -> str:
    """Run code with Locust as Loadgate changes it."""
    return stock("from loadgate.swarm import patches\npatches.apply()\n" + textwrap.dedent(code))


DEFAULTS = """
from locust import argument_parser as parser
print(parser.default_args_dict() is parser.default_args_dict())
"""


def test_the_default_arguments_are_parsed_anew_each_time() -> None:
    """Stock Locust builds its parser once per option and spawn message; here it is built once."""
    assert stock(DEFAULTS) == "False"
    assert patched(DEFAULTS) == "True"


RESET = """
import io, contextlib
from locust import stats
of = stats.RequestStats()
of.log_request("GET", "/", 5, 10)
with contextlib.redirect_stdout(io.StringIO()):
    stats.print_stats_json(of)
print(of.get("/", "GET").num_requests)
"""


def test_printing_json_empties_the_statistics() -> None:
    """Stock Locust resets what it prints as JSON, so what follows shows zeros."""
    assert stock(RESET) == "0"
    assert patched(RESET) == "1"


LAST_CSV = """
import os, tempfile
os.chdir(tempfile.mkdtemp())
import gevent
from locust import stats
from locust.env import Environment
environment = Environment()
writer = stats.StatsCSVFileWriter(environment, stats.PERCENTILES_TO_REPORT, "out", False)
loop = gevent.spawn(writer.stats_writer)
gevent.sleep(0.1)
environment.stats.log_request("GET", "/", 5, 10)
try:
    patches.write_last_csv()
except NameError:
    pass
writer.close_files()
print(open("out_stats.csv").read().count("GET"))
loop.kill()
"""


def test_the_last_second_is_missing_from_the_csv() -> None:
    """Stock Locust closes its CSV files without writing what came after the last pass."""
    assert stock(LAST_CSV) == "0"
    assert patched(LAST_CSV) == "1"


QUIT = """
import inspect
from locust.runners import MasterRunner
print("gevent.sleep(0.5)" in inspect.getsource(MasterRunner.quit))
"""


def test_a_quitting_master_waits_a_fixed_half_second() -> None:
    """Stock Locust sleeps 0.5 s for its workers' last reports, however long they take."""
    assert stock(QUIT) == "True"
    assert patched(QUIT) == "False"


SIGNAL = """
import inspect
from locust import main
source = inspect.getsource(main.main)
registered = source.index("gevent.signal_handler(signal.SIGTERM")
print(registered > source.index("shape_greenlet.join()"))
"""


def test_sigterm_is_handled_only_after_a_shape_has_ended() -> None:
    """Stock Locust registers its SIGTERM handler after the headless shape, which blocks until it is over."""
    assert stock(SIGNAL) == "True"


GROWTH = """
from locust import stats
of = stats.RequestStats()
entry = of.get("/", "GET")
for second in range(1000):
    entry.num_reqs_per_sec[second] = 1
    of.total.num_reqs_per_sec[second] = 1
try:
    patches.prune_seconds(of, now=1000.0, keep=120.0)
except NameError:
    pass
print(len(entry.num_reqs_per_sec), len(of.total.num_reqs_per_sec))
"""


def test_per_second_counts_grow_for_ever() -> None:
    """Stock Locust never forgets a second; here the last 120 are kept, 880 to 999."""
    assert stock(GROWTH) == "1000 1000"
    assert patched(GROWTH) == "120 120"


def test_the_installed_locust_is_the_one_the_changes_were_checked_against() -> None:
    """A new Locust must be looked at before the changes are trusted with it."""
    assert patched("import locust\nprint(locust.__version__ == patches.CHECKED_AGAINST)") == "True"
