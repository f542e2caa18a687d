"""Describe a locustfile on standard output: `python -m loadgate.swarm.describe FILE`.

Prints a line with a JSON object: users, endpoints, kinds, open_names, error, hint.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from locust.util.load_locustfile import load_locustfile

from loadgate.errors import LoadgateError, UsageError
from loadgate.swarm.inspect import MARK
from loadgate.traffic.tasks import kinds_of
from loadgate.traffic.user import LoadUser


def _describe(path: str) -> dict[str, Any]:
    classes = list(load_locustfile(path)[0].values())
    load_users = [cls for cls in classes if issubclass(cls, LoadUser)]
    if not classes:
        raise UsageError("holds no user class", hint="derive one from loadgate.LoadUser")
    kinds = kinds_of(load_users)
    return {
        "users": [cls.__name__ for cls in classes],
        "endpoints": sorted({kind.name for kind in kinds if not kind.is_flow}),
        "kinds": sorted({kind.name for kind in kinds}),
        "open_names": len(load_users) < len(classes) or any(kind.is_flow for kind in kinds),
        "error": "",
        "hint": "",
    }


def main() -> None:
    """Print the description of the locustfile named on the command line."""
    try:
        found = _describe(sys.argv[1])
    except LoadgateError as error:
        found = {"error": error.message, "hint": error.hint}
    sys.stdout.write(MARK + json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
