"""Text of others in Markdown: shown as it is, with no markup, link or mention of its own."""

from __future__ import annotations

import re
from typing import Final

from loadgate.report.text import clean

LONGEST: Final = 600
"""Characters of one sentence: GitHub refuses a comment of more than 65,536."""

_SPECIAL: Final = re.compile(r"[\\`*\[\]<>|~#]|(?<![^\W_])_|_(?![^\W_])")
_FENCES: Final = re.compile(r"`+")


def escaped(text: object) -> str:
    """Return text on one line that Markdown shows as it is: no markup, no link, no mention."""
    shown = clean(text)
    if len(shown) > LONGEST:
        shown = shown[: LONGEST - 1] + "…"
    shown = shown.replace("&", "&amp;")
    shown = _SPECIAL.sub(lambda match: f"\\{match[0]}", shown)
    # A comment between keeps GitHub and GitLab from calling the people of that name.
    return shown.replace("@", "@<!-- -->").replace("://", ":<!-- -->//")


def code(text: object) -> str:
    """Return text in a code span, whatever backquotes it holds itself."""
    shown = clean(text)
    if len(shown) > LONGEST:
        shown = shown[: LONGEST - 1] + "…"
    longest = max((len(run) for run in _FENCES.findall(shown)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if not shown.strip("` ") or shown[0] in "` " or shown[-1] in "` " else ""
    return f"{fence}{pad}{shown or ' '}{pad}{fence}"
