"""The unit and the manifest of a soak go on with a run, and never start a second one by accident."""

from __future__ import annotations

import configparser
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from deploy_files import DEPLOY, KUBERNETES
from test_deploy_commands import parse

from loadgate.exit_codes import ExitCode

UNIT = DEPLOY / "systemd" / "loadgate-soak.service"
MANIFEST = KUBERNETES / "soak" / "soak.yaml"
RESOURCES: list[dict[str, Any]] = list(yaml.safe_load_all(MANIFEST.read_text(encoding="utf-8")))


def unit() -> configparser.ConfigParser:
    """Read the unit; a key that stands twice would be an error."""
    parser = configparser.ConfigParser(interpolation=None, comment_prefixes="#", delimiters="=")
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(UNIT.read_text(encoding="utf-8"))
    return parser


def resource(kind: str, name: str = "loadgate-soak") -> dict[str, Any]:
    (found,) = [one for one in RESOURCES if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    return found


def command_of_unit() -> list[str]:
    return shlex.split(unit()["Service"]["ExecStart"])[1:]


def pod() -> dict[str, Any]:
    spec: dict[str, Any] = resource("StatefulSet")["spec"]["template"]["spec"]
    return spec


@pytest.mark.parametrize("words", [command_of_unit(), pod()["containers"][0]["args"]])
def test_the_command_can_be_started_blindly(words: list[str]) -> None:
    """It is understood, goes on with a run that is open, and starts none after one that ended."""
    try:
        parse(words)
    except click.UsageError as error:
        pytest.fail(error.format_message())
    assert words[0] == "soak"
    assert {"--resume", "--once"} <= set(words)


def test_an_answer_is_not_tried_again() -> None:
    """Verdicts, wrong usage and a pause end it; a fault, and a target that was down, do not."""
    service = unit()["Service"]
    assert service["Restart"] == "on-failure"
    prevented = {int(code) for code in service["RestartPreventExitStatus"].split()}
    tried_again = {ExitCode.UNREACHABLE, ExitCode.INTERNAL}
    assert prevented == {int(code) for code in ExitCode if code not in tried_again} - {0}
    assert service["SuccessExitStatus"] == str(int(ExitCode.INTERRUPTED))


def test_the_unit_leaves_a_living_generator_to_its_successor() -> None:
    """Only the control room is told to end, and it has the time to pause the run."""
    service = unit()["Service"]
    assert service["KillMode"] == "process"
    assert service["TimeoutStopSec"] == "90s"
    assert "KillSignal" not in service


@pytest.mark.system
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not there")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    """Its own checker has nothing to say, where the program and the folder exist."""
    text = UNIT.read_text(encoding="utf-8").replace("/opt/loadgate/bin/loadgate", "/bin/true")
    copy = tmp_path / UNIT.name
    copy.write_text(
        text.replace("/srv/loadgate", str(tmp_path)).replace("User=loadgate\n", ""), encoding="utf-8"
    )
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(copy)], capture_output=True, text=True, timeout=60
    )
    said = [line for line in (done.stdout + done.stderr).splitlines() if UNIT.name in line]
    assert said == []


def test_there_is_never_a_second_pod() -> None:
    """One replica, which ends before another begins, with a volume that only one node has."""
    spec = resource("StatefulSet")["spec"]
    assert spec["replicas"] == 1
    assert spec["serviceName"] == resource("Service")["metadata"]["name"]
    (claim,) = spec["volumeClaimTemplates"]
    assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]
    assert spec["selector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()


def test_the_pod_keeps_to_the_restricted_standard() -> None:
    """Not root, nothing to gain, a read-only root, no token, as the pods of the gate."""
    spec = pod()
    (container,) = spec["containers"]
    assert (spec["securityContext"]["runAsNonRoot"], spec["securityContext"]["runAsUser"]) == (True, 10001)
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert container["resources"]["limits"] == {"memory": container["resources"]["requests"]["memory"]}


def test_every_mount_has_its_volume() -> None:
    """The results are the claim of the StatefulSet, which stays when the pod goes."""
    mounts = {mount["name"]: mount["mountPath"] for mount in pod()["containers"][0]["volumeMounts"]}
    claims = {one["metadata"]["name"] for one in resource("StatefulSet")["spec"]["volumeClaimTemplates"]}
    assert claims == {"results"}
    assert set(mounts) == claims | {volume["name"] for volume in pod()["volumes"]}
    assert mounts["results"] == "/results"


def test_the_pod_has_time_to_pause() -> None:
    """The drain of 30 s, the last reports and the commit."""
    assert pod()["terminationGracePeriodSeconds"] >= 90


def test_nobody_reaches_the_soak() -> None:
    """Its policy has no rule that lets anybody in."""
    policy = resource("NetworkPolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in policy
