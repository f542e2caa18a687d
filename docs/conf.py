"""How Sphinx makes the site of these pages: `make docs`.

The pages are plain Markdown that reads well without a site. What the site adds (navigation from the lists of
index.md, tables made from the code) is in _extensions/.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_extensions"), str(HERE.parent / "src")]

from loadgate import __version__  # noqa: E402

project = "Loadgate"
release = version = __version__
project_copyright = "MIT licence"

extensions = ["myst_parser", "loadgate_site"]
source_suffix = {".md": "markdown"}
root_doc = "index"
exclude_patterns = ["_extensions"]
nitpicky = True
suppress_warnings = ["myst.xref_ambiguous"]

# Headings are anchors as on a code host, so that one link is right in both places.
myst_heading_anchors = 4
myst_links_external_new_tab = False

html_theme = "furo"
html_title = "Loadgate"
html_copy_source = False
html_show_sphinx = False
html_show_sourcelink = False
html_theme_options = {
    "navigation_with_keys": True,
    "footer_icons": [],
}
pygments_style = "friendly"
pygments_dark_style = "native"
highlight_language = "text"
