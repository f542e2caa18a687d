"""What a worker must have in common with its master, and how the two are compared.

Workers on other hosts bring files of their own. One that runs last week's locustfile would make another
load than the plan says, and no number would show it. So both sides take a fingerprint (Loadgate's version
and code, and the SHA-256 of every file that makes the traffic), and a worker whose fingerprint differs is
turned away, with each difference in words. Files that the plan names and a worker reads (a trace, a
certificate authority) are another matter: the plan is the master's, so the worker looks for them on its own
disk, by name and hash.

What is compared: locustfiles, the modules that lie beside or below the first one and are loaded, and the
corpora. What is not: packages that are installed in the Python environment; give every host the same ones.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import sysconfig
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Self

import orjson

import loadgate
from loadgate.errors import UsageError
from loadgate.plan.plan import Plan

MOST_FILES: Final = 1000
"""Files in one fingerprint; a folder with more of them loaded is not that of a locustfile."""
MOST_BYTES: Final = 48 * 1024
"""Bytes of names and hashes: a fingerprint travels in a worker's first message, which is bounded."""
_LONGEST_NAME: Final = 1024
_LONGEST_VERSION: Final = 100
_HASH_BYTES: Final = 72
"""A hash in hex, with what msgpack adds to it and to its name."""
_SHORT: Final = 12
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Fingerprint:
    """Hold what has to be equal on both sides.

    `version` is Loadgate's; `code` is the SHA-256 of its installed code ("" when it cannot be read), since
    two commits may have one version. `files` maps the POSIX path of each file, relative to the folder of
    the first locustfile, to the SHA-256 of its content in hex.
    """

    version: str
    files: dict[str, str] = field(default_factory=dict)
    code: str = ""

    @property
    def digest(self) -> str:
        """Return a short hash of everything, for people; compare with `==` or `differences`."""
        content = orjson.dumps(self.to_wire(), option=orjson.OPT_SORT_KEYS)
        return hashlib.sha256(content).hexdigest()[:_SHORT]

    def to_wire(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {"version": self.version, "code": self.code, "files": dict(self.files)}

    @classmethod
    def from_wire(cls, data: object) -> Self:
        """Read it back; UsageError unless it is exactly a fingerprint of at most `MOST_FILES` files."""
        if not isinstance(data, dict) or set(data) != {"version", "code", "files"}:
            raise _not_one("it is no map of version, code and files")
        version, code, files = data["version"], data["code"], data["files"]
        if not isinstance(version, str) or not 0 < len(version) <= _LONGEST_VERSION or not _plain(version):
            raise _not_one("its version is not one")
        if code != "" and not _is_hash(code):
            raise _not_one("its code is not a SHA-256")
        if not isinstance(files, dict) or len(files) > MOST_FILES:
            raise _not_one(f"its files are no map of at most {MOST_FILES}")
        for name, sha in files.items():
            if not _is_name(name) or not _is_hash(sha):
                raise _not_one("a file of it is not a relative name with a SHA-256")
        if _weight(files) > MOST_BYTES:
            raise _not_one(f"its files take more than {MOST_BYTES} bytes")
        return cls(version, dict(files), code)


def fingerprint(
    locustfiles: Sequence[Path], modules: Iterable[ModuleType] | None = None, extra: Iterable[Path] = ()
) -> Fingerprint:
    """Take the fingerprint of this process; `modules` are all that are loaded unless given.

    `extra` are further files to compare wherever they lie: the corpora of the user classes. Take it once,
    when the locustfiles have been imported and before any user runs, and keep it: a module that a task
    imports later would make equal hosts look unlike. UsageError when a file cannot be read, or there are
    too many.
    """
    if not locustfiles:
        raise UsageError("there is no locustfile to compare", hint="name one with -f or --locustfile")
    root = _Root(locustfiles[0])
    loaded = list(sys.modules.values()) if modules is None else modules
    files: dict[str, str] = {}
    for path in [*locustfiles, *root.own_modules(loaded), *extra]:
        name, sha = root.name_of(path), sha256_of(path)
        if not _is_name(name):
            raise UsageError(f"{name!r} cannot be compared between hosts", hint="give the file a plain name")
        if files.setdefault(name, sha) != sha:
            raise UsageError(
                f"two files are called {name} here", hint="do not link one of them beside the other"
            )
    if len(files) > MOST_FILES or _weight(files) > MOST_BYTES:
        raise UsageError(
            f"{len(files)} files below {root.folder} make the traffic, too many to compare between hosts",
            hint="put the locustfile into a folder of its own, with only what it needs beside it",
        )
    return Fingerprint(loadgate.__version__, files, own_code())


def differences(
    mine: Fingerprint, theirs: Fingerprint, me: str = "the master", them: str = "this worker"
) -> list[str]:
    """Say in words, one sentence each, what differs; nothing when and only when the two are equal."""
    said = []
    if mine.version != theirs.version:
        said.append(f"Loadgate is {mine.version} on {me} and {theirs.version} on {them}")
    elif mine.code != theirs.code:
        said.append(
            f"the code of Loadgate {mine.version} differs: "
            f"{short(mine.code)} on {me}, {short(theirs.code)} on {them}"
        )
    for name in sorted(mine.files.keys() | theirs.files.keys()):
        here, there = mine.files.get(name), theirs.files.get(name)
        if here is None or there is None:
            where, other = (me, them) if here is None else (them, me)
            said.append(f"{name} is missing on {where} ({short(here or there)} on {other})")
        elif here != there:
            said.append(f"{name} differs: {short(here)} on {me}, {short(there)} on {them}")
    return said


def named_files(plan: Plan, base: Path) -> dict[str, Path]:
    """List the files that a plan names and a worker reads, by their POSIX path relative to `base`.

    `base` is the locustfile's folder; a name may begin with `..`. Every other file of a plan is read by the
    master or the control room alone.
    """
    return {_relative(path, base): path for path in _paths(plan).values()}


def expect(plan: Plan, base: Path) -> dict[str, dict[str, str]]:
    """Say what a worker must have of the plan's files: their key in the plan, with name and SHA-256.

    The master calls this, once, and sends the result beside the plan; `base` is the folder of its own
    locustfile. UsageError when a file cannot be read.
    """
    wanted = {}
    for key, path in _paths(plan).items():
        name = _relative(path, base)
        if not _is_name(name):
            raise UsageError(f"{name!r} cannot be told to a worker", hint="give the file a plain name")
        wanted[key] = {"name": name, "sha256": sha256_of(path)}
    return wanted


def resolve(plan: Plan, wanted: object, base: Path) -> Plan:
    """Return a copy of the master's plan whose paths are those of this host; a worker calls this.

    `wanted` is what `expect` gave on the master, and `base` the folder of the worker's own locustfile.
    UsageError, with both hashes, when a file is not here or differs: the worker must not begin.
    """
    paths = _paths(plan)
    if not isinstance(wanted, dict) or wanted.keys() != paths.keys():
        raise _not_expected("it does not list the files that the plan names")
    found: dict[str, Path] = {}
    for key, entry in wanted.items():
        if not isinstance(entry, dict) or entry.keys() != {"name", "sha256"}:
            raise _not_expected(f"{key} is no name with a SHA-256")
        if not _is_name(entry["name"]) or not _is_hash(entry["sha256"]):
            raise _not_expected(f"{key} is no relative name with a SHA-256")
        found[key] = _checked(key, entry["name"], entry["sha256"], base)
    return _with_paths(plan, found)


def _paths(plan: Plan) -> dict[str, Path]:
    """Return the paths of the files that a worker reads, by their key in the scenario."""
    scenario = plan.scenario
    named = {"traffic.trace": scenario.traffic.trace, "http.ca": scenario.http.ca}
    return {key: path for key, path in named.items() if path is not None}


def _with_paths(plan: Plan, paths: dict[str, Path]) -> Plan:
    scenario = plan.scenario
    traffic, http = scenario.traffic, scenario.http
    if "traffic.trace" in paths:
        traffic = traffic.model_copy(update={"trace": paths["traffic.trace"]})
    if "http.ca" in paths:
        http = http.model_copy(update={"ca": paths["http.ca"]})
    return plan.model_copy(
        update={"scenario": scenario.model_copy(update={"traffic": traffic, "http": http})}
    )


def _checked(key: str, name: str, sha: str, base: Path) -> Path:
    """Return where a file lies on this host, once its content is known to be the master's."""
    path = Path(os.path.abspath(base / name))
    hint = f"copy it to every host, beside the locustfile as on the master: {name}"
    try:
        own = sha256_of(path)
    except UsageError as error:
        raise UsageError(
            f"{error.message}; it is {key} of the plan ({short(sha)} on the master, none here)", hint=hint
        ) from error
    if own != sha:
        raise UsageError(
            f"{path}, which is {key} of the plan, differs: {short(sha)} on the master, {short(own)} here",
            hint=hint,
        )
    return path


def _relative(path: Path, base: Path) -> str:
    # Paths of a plan are put together as text, so links are not followed: the same text holds on every host.
    return Path(os.path.relpath(path, base)).as_posix()


def _not_expected(reason: str) -> UsageError:
    return UsageError(
        f"what the master said of the plan's files cannot be used: {reason}",
        hint="install the same version of Loadgate on every host",
    )


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content in hex; UsageError when it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror or error}",
            hint="every host needs the files that make the traffic, as they were loaded",
        ) from error


def short(sha: str | None) -> str:
    """Return the first digits of a hash, as they are shown to people."""
    return sha[:_SHORT] if sha else "unknown"


def _is_name(name: object) -> bool:
    """Tell whether a value can name a file of a fingerprint: relative, plain and not endless."""
    return (
        isinstance(name, str)
        and 0 < len(name) <= _LONGEST_NAME
        and not name.startswith("/")
        and name not in (".", "..")
        and _plain(name)
    )


def _plain(text: str) -> bool:
    # Names are printed, and travel as UTF-8: no control characters, no halves of characters.
    return text.isprintable()


def _is_hash(value: object) -> bool:
    return isinstance(value, str) and _SHA256.fullmatch(value) is not None


def _weight(files: dict[str, str]) -> int:
    return sum(len(name.encode()) + _HASH_BYTES for name in files)


def _not_one(reason: str) -> UsageError:
    return UsageError(
        f"what the other side sent is not a fingerprint: {reason}",
        hint="install the same version of Loadgate on every host",
    )


class _Root:
    """Name files by where they lie from the first locustfile's folder.

    Links are followed on both sides, since a mounted folder may be a layer of links whose targets are called
    otherwise on every host. A link to a file that lies elsewhere is named by the link.
    """

    def __init__(self, locustfile: Path) -> None:
        self.folder = Path(os.path.abspath(locustfile)).parent
        self._real = locustfile.resolve().parent
        own = Path(loadgate.__file__).resolve().parent
        self._skipped = [*_installed_below(self._real), own]
        self._templates = own / "templates"

    def name_of(self, path: Path) -> str:
        """Return the POSIX path of a file, relative to the folder; it may begin with `..`."""
        real, given = path.resolve(), Path(os.path.abspath(path))
        if not real.is_relative_to(self._real) and given.is_relative_to(self.folder):
            return given.relative_to(self.folder).as_posix()
        return Path(os.path.relpath(real, self._real)).as_posix()

    def own_modules(self, modules: Iterable[ModuleType]) -> list[Path]:
        """List the files of the loaded modules that lie below the folder, apart from installed packages."""
        found = []
        for module in modules:
            # Some objects in sys.modules import things when they are asked; their dictionary does not.
            attributes = getattr(module, "__dict__", {})
            file = attributes.get("__file__")
            # The program that was started is not traffic: it may be another one on the master.
            started = attributes.get("__name__") == "__main__"
            if isinstance(file, str) and not file.startswith("<") and not started and self._holds(Path(file)):
                found.append(Path(file))
        return found

    def _holds(self, path: Path) -> bool:
        real, given = path.resolve(), Path(os.path.abspath(path))
        if not real.is_relative_to(self._real) and not given.is_relative_to(self.folder):
            return False
        if real.is_relative_to(self._templates):
            return True
        return not any(real.is_relative_to(skipped) for skipped in self._skipped)


def _installed_below(folder: Path) -> list[Path]:
    """List the places of installed packages below a folder: a project may hold its own environment."""
    places = {sys.prefix, sys.exec_prefix, sys.base_prefix, *sysconfig.get_paths().values()}
    real = {Path(place).resolve() for place in places}
    return sorted(place for place in real if place != folder and place.is_relative_to(folder))


def changed_files(known: Fingerprint, locustfile: Path) -> list[str]:
    """Say in words which files of a fingerprint are gone or changed beside a locustfile; nothing for none."""
    said = []
    for name, sha in sorted(known.files.items()):
        try:
            now = sha256_of(Path(os.path.abspath(locustfile)).parent / name)
        except UsageError as error:
            said.append(error.message)
            continue
        if now != sha:
            said.append(f"{name} was changed ({short(sha)} before, {short(now)} now)")
    return said


@lru_cache(maxsize=1)
def own_code() -> str:
    """Return the SHA-256 over the installed code of Loadgate; "" when it is not in files.

    The templates are left out: an installed package holds them, a checkout does not.
    """
    package = Path(loadgate.__file__).parent
    whole = hashlib.sha256()
    paths = sorted(path.relative_to(package).as_posix() for path in package.rglob("*.py"))
    paths = [name for name in paths if not name.startswith("templates/")]
    for name in paths:
        whole.update(f"{name}\0{sha256_of(package / name)}\n".encode())
    return whole.hexdigest() if paths else ""
