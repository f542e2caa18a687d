"""What the site adds to the pages: navigation, and tables that are made from the code while it is built.

Neither needs a directive in the pages. The navigation is the lists of links in index.md: its headings are
the groups. A page that is in no list comes last. A table takes the place of a line such as
`<!-- from the code: settings -->`, which a code host does not show.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

from database_tables import database_tables
from settings_tables import settings_tables

MADE: dict[str, Callable[[], str]] = {"settings": settings_tables, "database": database_tables}
"""What can be made, by the word in the page."""

_MARK = re.compile(r"^<!-- from the code: (\w+) -->$", re.MULTILINE)
_LINE = "\n"
_GROUP = re.compile(r"^## (.+)$", re.MULTILINE)
_ENTRY = re.compile(r"^- \[[^\]]+\]\(([^)#]+)\.md\)", re.MULTILINE)


def navigation(index: str, pages: Iterable[str]) -> str:
    """Return the hidden tables of contents for the groups of links in the text of index.md.

    Those of `pages` that no group names come last, in a group "More", so that every page can be reached.
    """
    pieces = _GROUP.split(index)[1:]
    groups = {group: _ENTRY.findall(text) for group, text in zip(pieces[::2], pieces[1::2], strict=True)}
    named = {page for group in groups.values() for page in group}
    groups["More"] = sorted(set(pages) - named)
    return "\n".join(
        f"```{{toctree}}\n:hidden:\n:caption: {group}\n\n{_LINE.join(entries)}\n```\n"
        for group, entries in groups.items()
        if entries
    )


def with_tables(text: str) -> str:
    """Put what is made from the code in the place of each mark. Raises ExtensionError for an unknown word."""

    def made(found: re.Match[str]) -> str:
        if found[1] not in MADE:
            raise ExtensionError(f"nothing is made for {found[0]}: there are {', '.join(MADE)}")
        return MADE[found[1]]()

    return _MARK.sub(made, text)


def _read(app: Sphinx, name: str, source: list[str]) -> None:
    """Change the text of a page before it is parsed."""
    source[0] = with_tables(source[0])
    if name == app.config.root_doc:
        pages = set(app.env.found_docs) - {name}
        source[0] += "\n" + navigation(source[0], pages)


def setup(app: Sphinx) -> dict[str, Any]:
    """Tell Sphinx of it."""
    app.connect("source-read", _read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
