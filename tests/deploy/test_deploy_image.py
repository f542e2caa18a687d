"""The image holds what it needs and no more, and runs as nobody in particular."""

from __future__ import annotations

import json
import re
import tomllib

from deploy_files import DEPLOY, ROOT

TEXT = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
LINES = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", TEXT, flags=re.MULTILINE)).splitlines()
INSTRUCTIONS = [tuple(line.split(None, 1)) for line in LINES if line.strip()]
STAGES = [index for index, (word, _) in enumerate(INSTRUCTIONS) if word == "FROM"]
IGNORED = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
LET_IN = {line[1:] for line in IGNORED if line.startswith("!")}


def values(word: str, start: int = 0) -> list[str]:
    return [value for name, value in INSTRUCTIONS[start:] if name == word]


def copied(first: int, last: int | None) -> set[str]:
    """List what the instructions copy from the checkout."""
    lines = [value.split() for name, value in INSTRUCTIONS[first:last] if name == "COPY"]
    return {source for words in lines if not words[0].startswith("--from") for source in words[:-1]}


def test_it_runs_as_a_numbered_user_that_is_not_root() -> None:
    """The last USER is a number that the manifests name too, so that runAsNonRoot can be checked."""
    assert values("USER", STAGES[-1]) == ["10001:10001"]


def test_its_command_is_loadgate() -> None:
    """In the form without a shell, so that signals reach it."""
    assert json.loads(values("ENTRYPOINT")[-1]) == ["loadgate"]


def test_its_base_images_name_no_registry() -> None:
    """And they say which Python, one that the project supports."""
    bases = [value.split()[0] for value in values("FROM")]
    assert bases == ["python:${PYTHON_VERSION}", "python:${PYTHON_VERSION}-slim"]
    version = values("ARG")[0].removeprefix("PYTHON_VERSION=")
    supported = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["classifiers"]
    assert f"Programming Language :: Python :: {version}" in supported


def test_it_installs_the_versions_that_were_tested() -> None:
    """With the constraints, the service's extra, and nothing kept of pip's cache."""
    (install,) = [run for run in values("RUN") if "install --constraint" in run]
    assert install.endswith("install --constraint constraints.txt '.[staging]'")
    assert any("PIP_NO_CACHE_DIR=1" in value for value in values("ENV"))


def test_what_is_copied_is_there_and_let_in() -> None:
    """The .dockerignore shuts everything out but the sources of the image, which exist."""
    assert IGNORED[1] == "*"
    assert copied(0, None) == LET_IN
    assert [name for name in LET_IN if not (ROOT / name).exists()] == []
    assert {"**/__pycache__", "**/*.pyc"} <= set(IGNORED)


def test_what_the_package_is_built_from_is_copied() -> None:
    """Readme, licence, sources and the templates that the wheel carries."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {
        project["project"]["readme"],
        *project["project"]["license-files"],
        *(path.split("/")[0] for path in wheel["packages"]),
        *wheel["force-include"],
        "pyproject.toml",
        "constraints.txt",
    }
    assert copied(STAGES[0], STAGES[-1]) == needed


def test_the_traffic_lies_where_the_commands_look() -> None:
    """Beside each other in the working folder, as in a checkout, and owned by root."""
    assert values("WORKDIR", STAGES[-1]) == ["/perf"]
    copies = [value for value in values("COPY", STAGES[-1]) if not value.startswith("--from")]
    assert copies == ["locustfiles /perf/locustfiles", "scenarios /perf/scenarios"]
    assert any("LOADGATE_RESULTS=/results" in value for value in values("ENV", STAGES[-1]))
