"""Where a campaign's evidence is, as seen from its page: the run's own report where there is one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from loadgate.store.folder import RunFolder


def links_from(folder: Path, root: Path) -> Callable[[str], str]:
    """Return what says how a page in `folder` links to a piece of evidence below the results `root`.

    A file of a run leads to the run's report. "" is for what is no file, is not there, or lies elsewhere.
    """
    where = folder.resolve()

    def link(evidence: str) -> str:
        path = Path(evidence)
        if path.is_absolute() or ".." in path.parts or len(path.parts) < 2:
            return ""
        for found in (RunFolder(root / path.parent).report, root / path):
            if found.is_file():
                return quote(Path(os.path.relpath(found.resolve(), where)).as_posix())
        return ""

    return link
