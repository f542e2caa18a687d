"""What CI installs for the tests here, tried with stand-ins for the system's commands."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / ".ci" / "system-packages"
INSTALLS = '[ "$1" != install ] || { printf "#!/bin/sh\\n" >"${0%/*}/ip"; chmod +x "${0%/*}/ip"; }'


@pytest.fixture
def system(tmp_path: Path) -> Path:
    """Make a folder of commands that is all that the script finds."""
    for name in ("bash", "timeout", "chmod"):
        found = shutil.which(name)
        assert found is not None
        (tmp_path / name).symlink_to(found)
    return tmp_path


def command(system: Path, name: str, body: str) -> None:
    (system / name).write_text(
        f"#!/usr/bin/env bash\n{body}\n".replace("/usr/bin/env bash", f"{system}/bash")
    )
    (system / name).chmod(0o755)


def said(system: Path, package: str = "iproute2") -> str:
    """Run the script; it must succeed and say one line of a package, which is returned."""
    done = subprocess.run(
        [system / "bash", SCRIPT], env={"PATH": str(system)}, capture_output=True, text=True
    )
    assert done.returncode == 0
    assert done.stderr == ""
    lines = [line.removeprefix("system packages: ") for line in done.stdout.splitlines()]
    (line,) = [line for line in lines if line.startswith(f"{package} ")]
    return line


def test_a_package_that_is_there_is_left_alone(system: Path) -> None:
    """With `ip` on the path nothing is installed."""
    command(system, "ip", "exit 0")
    command(system, "id", "echo 0")
    command(system, "apt-get", "echo called >&2; exit 1")
    assert said(system) == "iproute2 is there"


def test_each_package_is_told_by_itself(system: Path) -> None:
    """One that is there says so, whatever became of the others."""
    command(system, "prometheus", "exit 0")
    command(system, "id", "echo 1000")
    command(system, "apt-get", INSTALLS)
    assert said(system, "prometheus") == "prometheus is there"
    assert said(system) == "iproute2 is missing, and installing it takes root"


def test_only_root_installs(system: Path) -> None:
    """Another user is told that it takes root."""
    command(system, "id", "echo 1000")
    command(system, "apt-get", INSTALLS)
    assert said(system) == "iproute2 is missing, and installing it takes root"
    assert not (system / "ip").exists()


def test_a_missing_package_is_installed(system: Path) -> None:
    """As root, apt-get is asked, and what it prints is not shown."""
    command(system, "id", "echo 0")
    command(system, "apt-get", f"echo much; {INSTALLS}")
    assert said(system) == "iproute2 was installed"


@pytest.mark.parametrize("apt", ["echo first >&2; echo 'E: no network' >&2; exit 100", None])
def test_a_package_that_cannot_be_installed_fails_nothing_and_is_told(system: Path, apt: str | None) -> None:
    """The script still succeeds, and says what stood in the way."""
    command(system, "id", "echo 0")
    if apt is None:
        assert said(system) == "iproute2 is missing, and there is no apt-get to install it with"
    else:
        command(system, "apt-get", apt)
        assert said(system) == "iproute2 is missing, and apt-get could not install it: E: no network"


def test_success_is_not_believed_without_the_command(system: Path) -> None:
    """An apt-get that installs nothing and succeeds is a failure."""
    command(system, "id", "echo 0")
    command(system, "apt-get", "exit 0")
    assert said(system).startswith("iproute2 is missing, and apt-get could not install it")
