"""Rules of the house that no linter knows."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEST_FILES = sorted((ROOT / "tests").rglob("test_*.py"))


@pytest.mark.parametrize("path", TEST_FILES, ids=lambda path: path.stem)
def test_every_test_states_its_rule(path: Path) -> None:
    """Each test function has a docstring that says what must hold."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    silent = [
        node.name
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]
    assert silent == []


def test_test_files_are_named_apart() -> None:
    """No two test files share a name, since tests are collected without packages."""
    names = [path.name for path in TEST_FILES]
    assert len(names) == len(set(names))


def test_loadgate_alone_imports_neither_locust_nor_gevent() -> None:
    """`import loadgate` and every room but traffic and swarm leave the process as it was."""
    rooms = ("plan", "measure", "store", "watch", "judge", "report", "staging", "cli")
    modules = sorted(
        str(path.relative_to(ROOT / "src").with_suffix("")).replace("/", ".")
        for room in rooms
        for path in (ROOT / "src" / "loadgate" / room).rglob("*.py")
        if path.name != "__main__.py"
    )
    code = (
        "import importlib, sys\n"
        f"for name in ['loadgate', *{modules!r}]: importlib.import_module(name)\n"
        "print(sorted(m for m in ('locust', 'gevent', 'geventhttpclient') if m in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"


def test_no_file_holds_an_address_of_a_package_registry() -> None:
    """Where packages come from is the installer's business."""
    found = [
        path.name
        for path in [
            ROOT / "pyproject.toml",
            ROOT / "constraints.txt",
            ROOT / "Makefile",
            ROOT / ".ci" / "run",
        ]
        if re.search(r"https?://|--index-url", path.read_text(encoding="utf-8"))
    ]
    assert found == []


def test_the_readme_names_every_page_of_the_docs() -> None:
    """A page that nothing points to is not read."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    pages = sorted(path.name for path in (ROOT / "docs").glob("*.md"))
    assert [page for page in pages if f"docs/{page}" not in readme] == []


def test_every_link_of_the_readme_leads_somewhere() -> None:
    """Files that the README points to exist."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = re.findall(r"\]\((?!https?:)([^)#]+)\)", readme)
    assert [target for target in targets if not (ROOT / target).exists()] == []
