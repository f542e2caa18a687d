"""Pages in a real browser: headless Chromium opens reports, a campaign's page and the live one, uses them,
and says what it saw.

Without Debian's `chromium` or its driver these tests are skipped with the reason. Screenshots stay in the
folder that `LOADGATE_SCREENSHOTS` names, else in pytest's own temporary folder.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from loadgate.cli.live_server import LivePageServer
from loadgate.cli.serving import Server
from loadgate.report.html import campaign
from loadgate.report.html.collect import collect, common_extent
from loadgate.report.html.compare import render_two
from loadgate.report.html.report import render_run
from loadgate.report.live_page import live_state
from loadgate.report.snapshot import (
    AlertView,
    EndpointView,
    FailureView,
    Latency,
    Moment,
    ObjectiveState,
    Snapshot,
    WorkerView,
)
from report_campaigns import seen_on
from report_runs import make, plan

pytestmark = pytest.mark.system
VISIT = Path(__file__).parent / "visit.py"
CHROMIUM = shutil.which("chromium")
RUNS = ("good", "bad", "void", "two")
FILES = (*RUNS, "campaign")
DARK = ("bad", "campaign")
VISITS = [(page, look) for page in FILES for look in ("light", "phone")] + [(page, "dark") for page in DARK]
LIVE = ("light", "phone", "dark")
EVIL = "<script>window.hacked = 1</script>"


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Open the reports of a good, a failing and a void run and of two, a campaign's page, the live one."""
    if CHROMIUM is None:
        pytest.skip("there is no chromium: apt-get install chromium")
    if importlib.util.find_spec("playwright") is None:
        pytest.skip("there is no playwright: pip install playwright")
    folder = tmp_path_factory.mktemp("pages")
    runs = [
        make(folder, "good"),
        make(folder, "bad", failing=True, minute=1),
        make(folder, "void", invalid=True, minute=2),
    ]
    pages = {name: render_run(collect(run)) for name, run in zip(RUNS, runs, strict=False)}
    extent = common_extent(*runs[:2])
    pages["two"] = render_two(*(collect(run, extent) for run in runs[:2]), None, "not asked for")
    pages["campaign"] = campaign.render(*seen_on(3))
    for name, page in pages.items():
        (folder / f"{name}.html").write_text(page, encoding="utf-8")
    shots = Path(os.environ.get("LOADGATE_SCREENSHOTS") or folder / "screenshots")
    shots.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{name}.html" for name in FILES]
    with served_live() as url:
        done = subprocess.run(
            [sys.executable, VISIT, CHROMIUM, shots, *files, f"live={url}"],
            capture_output=True,
            text=True,
            timeout=110,
        )
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, Any]] = json.loads(done.stdout)
    assert sorted(path.name for path in shots.glob("*.png"))
    return found


@contextmanager
def served_live() -> Iterator[str]:
    """Serve the live page of a run at its fiftieth second; give its address."""
    trend = tuple(Moment(second, 90, 1000.0, 2000.0, 4000.0) for second in range(50))
    views = tuple(
        EndpointView(name, 90.0, Latency(9, 1500.0, 20_000.0, 3e4), counts={"ok": 8}, trend=trend)
        for name in ("emotion", EVIL)
    )
    rows = (ObjectiveState("error_rate", "", "< 1%", "FAIL", "11%", 9, f"past the limit {EVIL}", 0.11),)
    failures = (FailureView("emotion", "failed", "status", f"HTTP 503 {EVIL}" * 9, 7),)
    alerts = (AlertView("errors", "high", "firing"),)
    snapshot = Snapshot(
        *(50.4, 50.0, "steady", 60.0, "open"),
        begun=True,
        endpoints=views,
        total=EndpointView("all", 180.0, counts={"ok": 16}),
        objectives=rows,
        alerts=alerts,
        failures=failures,
        workers=(WorkerView("worker-1", 0.5, 1, 5, 120.0, 100.0),),
        expected=2,
        requested=200.0,
    )
    state = json.dumps(live_state(plan("load", 5, 55), "run-1", snapshot, {})).encode()
    server = Server("127.0.0.1", 0, LivePageServer(lambda: state, lambda: "it ends", "").pages, "--web-port")
    try:
        yield f"{server.url}/loadgate/"
    finally:
        server.close()


@pytest.mark.parametrize(("page", "look"), VISITS)
def test_a_page_is_quiet_whole_and_asks_nobody(seen, page, look) -> None:
    """No error, no request but for the page, no foreign element, all charts drawn, no sideways scrolling."""
    found = seen[page][look]
    assert found["console"] == []
    assert [url.rpartition("/")[2] for url in found["requests"]] == [f"{page}.html"]
    assert (found["hacked"], found["images"], found["scripts"]) == (None, 0, 1 if page == "campaign" else 2)
    assert found["canvases"] == found["charts"]
    assert (found["charts"] > 0) is (page != "campaign")
    assert found["blank"] == 0
    assert found["width"] <= found["room"]
    assert (found["unnamed"], found["headings"], found["twice"]) == (0, 0, [])


@pytest.mark.parametrize(("page", "verdict"), [("good", "PASS"), ("bad", "FAIL"), ("void", "INVALID")])
def test_the_verdict_is_what_is_seen_first(seen, page, verdict) -> None:
    """In the title and at the top of the page, before any scrolling."""
    assert seen[page]["phone"]["title"].startswith(f"{verdict} {page} ")
    assert verdict in seen[page]["phone"]["badge"]
    assert all(look["badge_at"] < 200 for look in seen[page].values())


@pytest.mark.parametrize("page", RUNS)
def test_zoom_goes_through_all_charts_over_time(seen, page) -> None:
    """Dragging in one moves all to the same stretch; the button brings the whole run back."""
    found = seen[page]["light"]
    assert len(found["zoomed"]["lows"]) == 1
    assert found["zoomed"]["lows"][0] > 5
    assert found["zoomed"]["hidden"] is False
    assert found["whole"] == {"lows": [0], "hidden": True}


@pytest.mark.parametrize("page", RUNS)
def test_a_line_is_hidden_with_the_keyboard(seen, page) -> None:
    """The names in a legend are buttons: Enter takes the line away."""
    assert seen[page]["light"]["pressed"] == "false"


@pytest.mark.parametrize("page", FILES)
def test_the_button_turns_light_into_dark(seen, page) -> None:
    """A light system shows a light page, and the button makes it another."""
    looks = seen[page]
    assert looks["light"]["paper"] == looks["phone"]["paper"] == "rgb(255, 255, 255)"
    assert looks["light"]["toggled"] != looks["light"]["paper"]


@pytest.mark.parametrize("page", DARK)
def test_a_dark_system_shows_a_dark_page(seen, page) -> None:
    """The same that the button makes of the light one."""
    assert seen[page]["dark"]["paper"] == seen[page]["light"]["toggled"]


def test_the_campaigns_page_says_where_it_stands(seen) -> None:
    """Decision and what is missing first; then calendar, clock, checklist and sign-offs, as text."""
    found = seen["campaign"]["light"]
    assert found["title"] == "HOLD: campaign made"
    assert "HOLD" in found["badge"]
    assert all(look["badge_at"] < 200 for look in seen["campaign"].values())
    for told in (
        "evidence is missing",
        "day 4 of 6",
        "1d of 7d stable",
        "run soak-1 ended FAIL",
        "restart by qa",
        "a-line",
        "refused",
        "<script>window.hacked = 1</script>",
    ):
        assert told in found["words"]


@pytest.mark.parametrize("look", LIVE)
def test_the_live_page_is_quiet_and_asks_its_own_server(seen, look) -> None:
    """No error on the console, nothing from elsewhere, no foreign element, no sideways scrolling."""
    found = seen["live"][look]
    assert found["console"] == []
    assert {url.rpartition("/")[2] for url in found["requests"]} <= {"", "state"}
    assert (found["hacked"], found["images"], found["scripts"]) == (None, 0, 1)
    assert found["width"] <= found["room"]
    assert found["faint"] == []
    assert f"HTTP 503 {EVIL}" in found["words"]
    assert "FAIL error_rate" in " ".join(found["words"].split())


@pytest.mark.parametrize(("page", "look"), VISITS)
def test_text_can_be_read(seen, page, look) -> None:
    """Every text stands out from what is behind it by at least 4.5 to 1, as WCAG AA asks."""
    assert seen[page][look]["faint"] == []


def test_the_live_page_draws_the_percentile_that_is_chosen(seen) -> None:
    """The trend's p50 is 1 ms, its p95 2 ms, its p99 4 ms: each is the upper end of its own scale."""
    assert seen["live"]["light"]["tops"] == {"p50": "1.0", "p95": "2.0", "p99": "4.0"}
