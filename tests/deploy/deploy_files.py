"""The deployment files, read once, and the commands that they hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
APART = {"kustomization.yaml", "secret.yaml", "reader.yaml"}
"""Files that `kubectl apply -k` does not apply: its own, the template of the secret, the reader."""


@dataclass(frozen=True)
class Pod:
    """One pod template: the labels, the specification and the only container."""

    name: str
    labels: dict[str, str]
    spec: dict[str, Any]

    @property
    def container(self) -> dict[str, Any]:
        (container,) = self.spec["containers"]
        return container


def resources() -> list[dict[str, Any]]:
    """Read every Kubernetes resource but the kustomization."""
    paths = sorted(path for path in KUBERNETES.glob("*.yaml") if path.name != "kustomization.yaml")
    return [one for path in paths for one in yaml.safe_load_all(path.read_text(encoding="utf-8"))]


def _pods() -> Iterator[Pod]:
    for resource in resources():
        name = resource["metadata"]["name"]
        if resource["kind"] == "Pod":
            yield Pod(name, resource["metadata"]["labels"], resource["spec"])
        elif "template" in resource.get("spec", {}):
            template = resource["spec"]["template"]
            yield Pod(name, template["metadata"]["labels"], template["spec"])


PODS = {pod.name: pod for pod in _pods()}
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))


def resource(kind: str, name: str) -> dict[str, Any]:
    (found,) = [one for one in resources() if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    return found


def after(words: list[str], flag: str) -> list[str]:
    """Return what follows each use of a flag."""
    return [value for word, value in pairwise(words) if word == flag]
