"""The deployment files hold against the linters and schemas of their own worlds."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
BIN = Path(sys.executable).parent
MANIFESTS = sorted(
    path for path in (DEPLOY / "kubernetes").glob("*.yaml") if path.name != "kustomization.yaml"
)
FILES = sorted(
    path
    for path in [*DEPLOY.rglob("*"), ROOT / ".dockerignore"]
    # The secret of somebody who tried it out is ignored by git.
    if path.is_file() and DEPLOY / "secret" not in path.parents
)


def lint(*command: str | Path) -> str:
    """Run a linter of this environment; return what it found, with its exit code."""
    done = subprocess.run(
        [BIN / str(command[0]), *map(str, command[1:])], capture_output=True, text=True, timeout=60
    )
    return "" if done.returncode == 0 else f"exit {done.returncode}\n{done.stdout}{done.stderr}"


def test_the_dockerfile_has_no_finding() -> None:
    """hadolint finds nothing, down to matters of style."""
    assert lint("hadolint", "--no-color", "-t", "style", DEPLOY / "Dockerfile") == ""


def test_a_fault_in_a_dockerfile_is_found(tmp_path: Path) -> None:
    """The linter runs for real: an image without a tag is a finding."""
    (tmp_path / "Dockerfile").write_text("FROM python\n")
    assert "DL3006" in lint("hadolint", "--no-color", "-t", "style", tmp_path / "Dockerfile")


def test_the_compose_file_is_one() -> None:
    """It keeps to the schema of the Compose specification."""
    schema = ("--builtin-schema", "vendor.compose-spec")
    assert lint("check-jsonschema", *schema, DEPLOY / "compose.yaml") == ""


def test_a_fault_in_a_compose_file_is_found(tmp_path: Path) -> None:
    """The schema is strict: a key that Compose does not know is a finding."""
    text = (DEPLOY / "compose.yaml").read_text().replace("read_only: true", "readonly: true")
    (tmp_path / "compose.yaml").write_text(text)
    schema = ("--builtin-schema", "vendor.compose-spec")
    assert "readonly" in lint("check-jsonschema", *schema, tmp_path / "compose.yaml")


def test_every_yaml_file_is_tidy() -> None:
    """yamllint finds nothing: no key twice, no tabs, no odd indentation."""
    assert lint("yamllint", "--strict", "-c", DEPLOY / ".yamllint", DEPLOY) == ""


@pytest.mark.parametrize("version", ["1.29", "1.33", "1.37"])
@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_every_manifest_is_known_to_kubernetes(path: Path, version: str) -> None:
    """From the oldest version that the files claim to the newest, with no key that it does not know."""
    for resource in yaml.safe_load_all(path.read_text(encoding="utf-8")):
        kubernetes_validate.validate(resource, version, strict=True)


def test_a_fault_in_a_manifest_is_found() -> None:
    """The schemas are strict: a misspelt key is refused."""
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}}
    spec = {"containers": [{"name": "a", "image": "b"}], "enableServicelinks": False}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(pod | {"spec": spec}, "1.37", strict=True)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_file_holds_a_secret_or_an_address_of_a_registry(path: Path) -> None:
    """Secrets are made where they are used; where packages come from is the installer's business."""
    text = path.read_text(encoding="utf-8")
    assert re.findall(r"[0-9a-f]{32,}|index-url|(?:docker|quay|gcr|ghcr)\.io|pypi\.", text) == []
    urls = set(re.findall(r"https?://[^\s\"'}]+", text))
    assert urls <= {"http://target:3000", "http://127.0.0.1:3000/health"}
