"""The documentation as a site: it builds without a warning, asks no other host, and has every page."""

from __future__ import annotations

import html.parser
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import loadgate_site

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(str(path.relative_to(DOCS).with_suffix("")) for path in DOCS.rglob("*.md"))
FETCHED = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src", "video": "src"}
"""Elements for which a browser asks by itself, and where they say what for."""
pytestmark = pytest.mark.system


def build(source: Path, target: Path) -> subprocess.CompletedProcess[str]:
    """Do what `make docs` does."""
    command = next(
        line.strip() for line in (ROOT / "Makefile").read_text().splitlines() if "-m sphinx" in line
    )
    words = command.replace("build/doctrees", str(target / "doctrees")).split()[1:-2]
    return subprocess.run(
        [sys.executable, *words, str(source), str(target / "site")],
        capture_output=True,
        text=True,
        timeout=100,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site once."""
    target = tmp_path_factory.mktemp("docs")
    done = build(DOCS, target)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return target / "site"


class Fetched(html.parser.HTMLParser):
    """Collect what a browser would ask for when it opens a page, and the page's own links."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.links: list[str] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        if tag in FETCHED and (where := attributes.get(FETCHED[tag])):
            self.asked.append(where)
        if tag == "a" and (where := attributes.get("href")):
            self.links.append(where)


def test_every_page_is_built_and_in_the_navigation(site: Path) -> None:
    """The first page leads to each of them."""
    links = {link.split("#")[0] for link in Fetched(site / "index.html").links}
    assert [page for page in PAGES if not (site / f"{page}.html").exists()] == []
    assert [page for page in PAGES if page != "index" and f"{page}.html" not in links] == []


def test_opening_a_page_asks_no_other_host(site: Path) -> None:
    """No font, script, style or image comes from elsewhere; style sheets import nothing from there either."""
    asked = {where for page in site.rglob("*.html") for where in Fetched(page).asked}
    assert asked
    assert sorted(where for where in asked if re.match(r"(https?:)?//", where)) == []
    styles = "\n".join(path.read_text(encoding="utf-8") for path in site.rglob("*.css"))
    assert re.findall(r"(?:@import\s+|url\()[\"']?(?:https?:)?//[^)\s]*", styles) == []


def test_a_page_in_no_list_comes_last() -> None:
    """The navigation is the lists of index.md by their headings, then whatever they do not name."""
    index = "# Index\n\n[a](a.md)\n\n## One\n\n- [B](b.md): x\n- [C](sub/c.md)\n\n## Two\n\nText.\n"
    made = loadgate_site.navigation(index, ["a", "b", "sub/c", "d"])
    assert re.findall(r":caption: (.+)\n\n((?:[\w/]+\n)+)", made) == [
        ("One", "b\nsub/c\n"),
        ("More", "a\nd\n"),
    ]


def test_the_tables_of_the_code_are_on_the_pages(site: Path) -> None:
    """The marks of the pages are gone, and what takes their place is there."""
    settings = (site / "reference" / "settings.html").read_text(encoding="utf-8")
    assert "from the code:" not in settings
    assert "source_addresses" in settings
    assert "window_revision" in (site / "reference" / "database.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("link", "complaint"),
    [("second.md#no-such-heading", "no-such-heading"), ("third.md", "third.md"), ("../x.toml", "x.toml")],
)
def test_a_broken_link_fails_the_build(tmp_path: Path, link: str, complaint: str) -> None:
    """An anchor, a page or a file that is not there is an error that names it."""
    docs = tmp_path / "docs"
    shutil.copytree(DOCS / "_extensions", docs / "_extensions", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(DOCS / "conf.py", docs)
    (docs / "second.md").write_text(f"# Second\n\nSee [this]({link}).\n")
    (docs / "index.md").write_text("# Index\n\n## Pages\n\n- [Second](second.md)\n")
    done = build(docs, tmp_path)
    assert done.returncode != 0
    assert complaint in done.stderr
