"""Serve with the settings given as one JSON object: what `StagingService` starts as its process."""

from __future__ import annotations

import sys

import orjson

from loadgate.errors import UsageError
from loadgate.staging.runner import serve
from loadgate.staging.settings import Settings


def main(text: str) -> int:
    """Serve until stopped; return the exit code."""
    values = orjson.loads(text)
    values["faults"] = tuple(values.get("faults", ()))
    try:
        serve(Settings(**values))
    except UsageError as error:
        sys.stderr.write(f"{error.message}\n{error.hint}\n")
        return int(error.exit_code)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
