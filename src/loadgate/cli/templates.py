"""Where the shipped scenarios and locustfiles are."""

from __future__ import annotations

from pathlib import Path

import loadgate
from loadgate.errors import UsageError


def templates() -> Path:
    """Return the folder that holds `locustfiles/` and `scenarios/`.

    An installed wheel carries them inside the package; a checkout has them at its root.
    """
    package = Path(loadgate.__file__).parent
    for folder in (package / "templates", package.parents[1]):
        if (folder / "scenarios" / "gate.toml").is_file():
            return folder
    raise UsageError("the shipped scenarios are missing", hint="install Loadgate again")
