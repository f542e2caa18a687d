"""What a worker says of itself before it is let in, and how the master judges it.

Two workers may share a run only if they make the same traffic from the same code. And a worker that still
makes the load of another run, or holds reports of one, must not become part of this one.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loadgate.errors import UsageError
from loadgate.exit_codes import ExitCode
from loadgate.swarm.ask import ASK
from loadgate.swarm.fingerprint import Fingerprint, differences, fingerprint
from loadgate.swarm.frames import Refusal
from loadgate.traffic.job import corpora_of

BEAT = {"kind": "beat"}
"""The passport of a worker's second connection, which only beats."""


_WORKER = "worker"


def fingerprint_of(environment: Any) -> Fingerprint:
    """Take the fingerprint of a process whose locustfiles are imported; UsageError when it cannot be."""
    paths = locustfiles_of(environment)
    corpora = {corpus.path for cls in environment.user_classes for corpus in corpora_of(cls) if corpus.path}
    return fingerprint(paths, extra=sorted(corpora))


def locustfiles_of(environment: Any) -> list[Path]:
    """Return the paths of the locustfiles."""
    given = environment.parsed_locustfiles or ([environment.locustfile] if environment.locustfile else [])
    return [Path(path) for path in given]


def folder_of_locustfile(environment: Any) -> Path | None:
    """Return the folder of the first locustfile; None when a program made the environment without one."""
    paths = locustfiles_of(environment)
    return Path(os.path.abspath(paths[0])).parent if paths else None


def passport_of(own: Fingerprint | None, run: str) -> dict[str, Any]:
    """Say who this worker is; `run` is the run it makes load for or holds reports of, "" for none."""
    return {
        "kind": _WORKER,
        "fingerprint": own.to_wire() if own is not None else None,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "python": ".".join(str(number) for number in sys.version_info[:3]),
        "run": run,
    }


def judge(passport: dict[str, Any], own: Fingerprint | None, run: str) -> Refusal | None:
    """Say why a worker may not take part; None when it may. `run` is the master's, "" before it has one.

    UsageError for a passport that is none.
    """
    kind, busy_with = passport.get("kind"), passport.get("run", "")
    if kind in (BEAT["kind"], ASK["kind"]):
        return None
    if kind != _WORKER or not isinstance(busy_with, str):
        raise UsageError(
            "what asks to be let in does not say what it is",
            hint="install the same version of Loadgate on every host",
        )
    if busy_with and busy_with != run:
        return Refusal(
            f"this worker belongs to the run {busy_with}, the master keeps {run or 'none yet'}",
            "let it finish, or end it and start it again",
            int(ExitCode.USAGE),
        )
    given = passport.get("fingerprint")
    if given is None and own is None:
        return None
    if given is None or own is None:
        return Refusal(
            "the locustfile of this worker or of the master is not known, so they cannot be compared",
            "start both with a locustfile (-f)",
            int(ExitCode.USAGE),
        )
    theirs = Fingerprint.from_wire(given)
    said = differences(own, theirs)
    if not said:
        return None
    return Refusal(
        f"this worker does not have what the master has (fingerprint {own.digest} on the master, "
        f"{theirs.digest} here): {'; '.join(said)}",
        "give every host the same version of Loadgate and the same files",
        int(ExitCode.USAGE),
    )


def describe_locustfile(paths: Sequence[Path]) -> str:
    """Name the first locustfile as a worker on another host may find it: from the nearest project folder."""
    if not paths:
        return ""
    path = Path(os.path.abspath(paths[0]))
    for parent in path.parents:
        if (parent / "scenarios").is_dir():
            return path.relative_to(parent).as_posix()
    return path.name
