"""Loadgate: a load-testing harness that measures a release and says PASS or FAIL.

`import loadgate` alone is light: it imports neither Locust nor gevent, which change the whole process.
The names that a locustfile needs are loaded at first use, and bring the Locust plugin with them.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "Corpus": "loadgate.traffic.corpus",
    "Delete": "loadgate.traffic.values",
    "Get": "loadgate.traffic.values",
    "Head": "loadgate.traffic.values",
    "LoadUser": "loadgate.traffic.user",
    "Options": "loadgate.traffic.values",
    "Patch": "loadgate.traffic.values",
    "Post": "loadgate.traffic.values",
    "Put": "loadgate.traffic.values",
    "Request": "loadgate.traffic.values",
    "Response": "loadgate.traffic.values",
    "request": "loadgate.traffic.user",
}

__all__ = ["__version__", *sorted(_HOMES)]  # noqa: PLE0604 - the names are loaded by __getattr__


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'loadgate' has no attribute {name!r}")
    if home == "loadgate.traffic.user":
        importlib.import_module("loadgate.swarm.plugin")
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return sorted(__all__)
