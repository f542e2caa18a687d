"""Reports in a real browser: headless Chromium opens them from the disk, uses them, and says what it saw.

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
from pathlib import Path
from typing import Any

import pytest

from loadgate.report.html.collect import collect, common_extent
from loadgate.report.html.compare import render_two
from loadgate.report.html.report import render_run
from report_runs import make

pytestmark = pytest.mark.system
VISIT = Path(__file__).parent / "visit.py"
CHROMIUM = shutil.which("chromium")
PAGES = ("good", "bad", "void", "two")
VISITS = [(page, look) for page in PAGES for look in ("light", "phone")] + [("bad", "dark")]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Open the reports of a passing, a failing and a void run, and one of two runs, in several looks."""
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
    pages = {name: render_run(collect(run)) for name, run in zip(PAGES, runs, strict=False)}
    extent = common_extent(*runs[:2])
    pages["two"] = render_two(*(collect(run, extent) for run in runs[:2]), None, "not asked for")
    for name, page in pages.items():
        (folder / f"{name}.html").write_text(page, encoding="utf-8")
    shots = Path(os.environ.get("LOADGATE_SCREENSHOTS") or folder / "screenshots")
    shots.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [sys.executable, VISIT, CHROMIUM, shots, *(folder / f"{name}.html" for name in PAGES)],
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, Any]] = json.loads(done.stdout)
    assert sorted(path.name for path in shots.glob("*.png"))
    return found


@pytest.mark.parametrize(("page", "look"), VISITS)
def test_a_page_is_quiet_whole_and_asks_nobody(seen, page, look) -> None:
    """No error, no request but for the page, no foreign element, all charts drawn, no sideways scrolling."""
    found = seen[page][look]
    assert found["console"] == []
    assert [url.rpartition("/")[2] for url in found["requests"]] == [f"{page}.html"]
    assert (found["hacked"], found["images"], found["scripts"]) == (None, 0, 2)
    assert found["canvases"] == found["charts"] > 0
    assert found["blank"] == 0
    assert found["width"] <= found["room"]
    assert (found["unnamed"], found["headings"], found["twice"]) == (0, 0, [])


@pytest.mark.parametrize(("page", "verdict"), [("good", "PASS"), ("bad", "FAIL"), ("void", "INVALID")])
def test_the_verdict_is_what_is_seen_first(seen, page, verdict) -> None:
    """In the title and at the top of the page, before any scrolling."""
    assert seen[page]["phone"]["title"].startswith(f"{verdict} {page} ")
    assert verdict in seen[page]["phone"]["badge"]
    assert all(look["badge_at"] < 200 for look in seen[page].values())


@pytest.mark.parametrize("page", PAGES)
def test_zoom_goes_through_all_charts_over_time(seen, page) -> None:
    """Dragging in one moves all to the same stretch; the button brings the whole run back."""
    found = seen[page]["light"]
    assert len(found["zoomed"]["lows"]) == 1
    assert found["zoomed"]["lows"][0] > 5
    assert found["zoomed"]["hidden"] is False
    assert found["whole"] == {"lows": [0], "hidden": True}


@pytest.mark.parametrize("page", PAGES)
def test_a_line_is_hidden_with_the_keyboard(seen, page) -> None:
    """The names in a legend are buttons: Enter takes the line away."""
    assert seen[page]["light"]["pressed"] == "false"


@pytest.mark.parametrize("page", PAGES)
def test_the_button_turns_light_into_dark(seen, page) -> None:
    """A light system shows a light page, and the button makes it another."""
    looks = seen[page]
    assert looks["light"]["paper"] == looks["phone"]["paper"] == "rgb(255, 255, 255)"
    assert looks["light"]["toggled"] != looks["light"]["paper"]


def test_a_dark_system_shows_a_dark_page(seen) -> None:
    """The same that the button makes of the light one."""
    assert seen["bad"]["dark"]["paper"] == seen["bad"]["light"]["toggled"]


@pytest.mark.parametrize(("page", "look"), VISITS)
def test_text_can_be_read(seen, page, look) -> None:
    """Every text stands out from what is behind it by at least 4.5 to 1, as WCAG AA asks."""
    assert seen[page][look]["faint"] == []
