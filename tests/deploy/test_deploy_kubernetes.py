"""The manifests run each pod with the least it needs, and let only workers reach the master."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from deploy_files import APART, KUBERNETES, PODS, after, resource, resources

POLICIES = [one["spec"] for one in resources() if one["kind"] == "NetworkPolicy"]
RUN = ("loadgate-master", "loadgate-worker")


@pytest.mark.parametrize("name", PODS)
def test_every_pod_keeps_to_the_restricted_standard(name: str) -> None:
    """Not root, nothing to gain, a read-only root, the runtime's system-call filter, no token."""
    spec, container = PODS[name].spec, PODS[name].container
    pod = spec["securityContext"]
    assert (pod["runAsNonRoot"], pod["runAsUser"], pod["runAsGroup"]) == (True, 10001, 10001)
    assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert spec["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)


@pytest.mark.parametrize("name", PODS)
def test_no_pod_takes_a_service_for_a_setting(name: str) -> None:
    """Kubernetes would set LOADGATE_MASTER_PORT and its like, which look like settings of the program."""
    assert PODS[name].spec["enableServiceLinks"] is False


@pytest.mark.parametrize("name", PODS)
def test_every_mount_has_its_volume(name: str) -> None:
    """And no volume is there for nothing; what can be written is scratch space and the results."""
    spec, container = PODS[name].spec, PODS[name].container
    mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
    assert set(mounts) == {volume["name"] for volume in spec["volumes"]}
    writable = {mount["mountPath"] for mount in mounts.values() if not mount.get("readOnly")}
    assert writable <= {"/tmp", "/results"}


@pytest.mark.parametrize("name", PODS)
def test_memory_is_promised_in_full_and_no_cpu_quota_stops_a_pod(name: str) -> None:
    """A quota on CPU would make the load late; memory that is promised is there."""
    amounts = PODS[name].container["resources"]
    assert amounts["limits"] == {"memory": amounts["requests"]["memory"]}


@pytest.mark.parametrize("name", RUN)
def test_the_run_has_whole_cpus(name: str) -> None:
    """Shares of a core would make two workers wait for each other."""
    assert PODS[name].container["resources"]["requests"]["cpu"].isdigit()


@pytest.mark.parametrize("name", RUN)
def test_the_secret_comes_from_a_file(name: str) -> None:
    """The variable names the file that the Secret is mounted as."""
    container = PODS[name].container
    (variable,) = container["env"]
    (mount,) = [mount for mount in container["volumeMounts"] if mount["name"] == "secret"]
    (volume,) = [volume["secret"] for volume in PODS[name].spec["volumes"] if volume["name"] == "secret"]
    assert variable["name"] == "LOADGATE_SECRET_FILE"
    assert variable["value"] == f"{mount['mountPath']}/{volume['items'][0]['path']}"
    assert volume["secretName"] == "loadgate"
    # Owner and group may read it, others may not: the group is the pod's fsGroup.
    assert volume["defaultMode"] == 0o440
    assert PODS[name].spec["securityContext"]["fsGroup"] == 10001


def test_the_template_of_the_secret_holds_none() -> None:
    """A value in a file would be committed, and an empty one would be applied over the real one."""
    secret = resource("Secret", "loadgate")
    assert secret["data"] == {}
    assert "stringData" not in secret


def test_a_run_is_never_made_twice() -> None:
    """A second attempt would be another run, under the name of the first."""
    job = resource("Job", "loadgate-master")["spec"]
    assert job["backoffLimit"] == 0
    assert job.get("completions", 1) == job.get("parallelism", 1) == 1
    assert job["template"]["spec"]["restartPolicy"] == "Never"


def test_a_worker_that_dies_ends_no_other() -> None:
    """Failures count for each index by itself: with backoffLimit the Job would end all its pods."""
    job = resource("Job", "loadgate-worker")["spec"]
    assert (job["completionMode"], job["backoffLimitPerIndex"]) == ("Indexed", 0)
    assert not {"backoffLimit", "maxFailedIndexes"} & set(job)
    assert job["template"]["spec"]["restartPolicy"] == "Never"


def test_the_master_expects_the_workers_that_are_started() -> None:
    """The three places that say their number agree."""
    job = resource("Job", "loadgate-worker")["spec"]
    expected = after(PODS["loadgate-master"].container["args"], "--expect-workers")
    assert [str(job["completions"])] == [str(job["parallelism"])] == expected


def test_master_and_workers_are_the_same_image() -> None:
    """So they cannot differ in their traffic; kustomize names it, once."""
    assert {PODS[name].container["image"] for name in RUN} == {"loadgate"}
    kustomization = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())
    (image,) = kustomization["images"]
    assert image["name"] == "loadgate"
    assert PODS["loadgate-reader"].container["image"] == f"{image['newName']}:{image['newTag']}"


def test_the_service_leads_to_the_master() -> None:
    """Its selector holds for the master's pod alone, at the port that it binds and the workers call."""
    service = resource("Service", "loadgate-master")["spec"]
    selected = [name for name, pod in PODS.items() if service["selector"].items() <= pod.labels.items()]
    assert selected == ["loadgate-master"]
    assert [(port["port"], port["targetPort"]) for port in service["ports"]] == [(5557, 5557)]
    assert after(PODS["loadgate-master"].container["args"], "--bind") == ["0.0.0.0:5557"]
    assert after(PODS["loadgate-worker"].container["args"], "--master") == ["loadgate-master:5557"]


def test_what_is_applied_is_every_file_but_those_kept_apart() -> None:
    """A file that nobody applies would be forgotten."""
    kustomization = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())
    assert set(kustomization["resources"]) | APART == {path.name for path in KUBERNETES.glob("*.yaml")}
    assert not set(kustomization["resources"]) & APART
    spaces = {one["metadata"]["namespace"] for one in resources() if "namespace" in one["metadata"]}
    assert spaces == {kustomization["namespace"]} == {resource("Namespace", "loadgate")["metadata"]["name"]}


# -- who reaches whom: the rules of NetworkPolicy, by the words of its specification ------------------

PLACES: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    **{name: ({"kubernetes.io/metadata.name": "loadgate"}, pod.labels) for name, pod in PODS.items()},
    "dns": ({"kubernetes.io/metadata.name": "kube-system"}, {"k8s-app": "kube-dns"}),
    "neighbour": ({"kubernetes.io/metadata.name": "loadgate"}, {"app": "other"}),
    "worker elsewhere": ({"kubernetes.io/metadata.name": "other"}, PODS["loadgate-worker"].labels),
}


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Tell whether a label selector holds; only the forms that the files use are known."""
    assert set(selector) <= {"matchLabels", "matchExpressions"}
    for rule in selector.get("matchExpressions", []):
        assert rule["operator"] == "In"
        if labels.get(rule["key"]) not in rule["values"]:
            return False
    return selector.get("matchLabels", {}).items() <= labels.items()


def peers(rule: dict[str, Any], place: str) -> bool:
    assert set(rule) <= {"namespaceSelector", "podSelector"}
    space, labels = PLACES[place]
    if "namespaceSelector" in rule:
        here = selects(rule["namespaceSelector"], space)
    else:
        here = space["kubernetes.io/metadata.name"] == "loadgate"
    return here and selects(rule.get("podSelector", {}), labels)


def lets(direction: str, mine: str, other: str, port: int) -> bool:
    """Tell whether the policies let `mine` talk to `other` (Egress) or hear it (Ingress) at a port."""
    space, labels = PLACES[mine]
    if space["kubernetes.io/metadata.name"] != "loadgate":
        return True
    mine_are = [
        one for one in POLICIES if direction in one["policyTypes"] and selects(one["podSelector"], labels)
    ]
    if not mine_are:
        return True
    key, peer = {"Egress": ("egress", "to"), "Ingress": ("ingress", "from")}[direction]
    rules = [rule for policy in mine_are for rule in policy.get(key, [])]
    return any(
        any(peers(one, other) for one in rule[peer])
        and any(entry["port"] == port and entry["protocol"] == "TCP" for entry in rule["ports"])
        for rule in rules
    )


def reaches(source: str, sink: str, port: int) -> bool:
    return lets("Egress", source, sink, port) and lets("Ingress", sink, source, port)


@pytest.mark.parametrize(
    ("port", "pairs"),
    [
        (5557, {("loadgate-worker", "loadgate-master")}),
        (3000, {("loadgate-worker", "target"), ("loadgate-master", "target")}),
        (53, {("loadgate-worker", "dns"), ("loadgate-master", "dns")}),
        (8089, set()),
        (443, set()),
    ],
)
def test_only_these_reach_each_other(port: int, pairs: set[tuple[str, str]]) -> None:
    """Of all pairs, a neighbour in the namespace and pods of other namespaces among them."""
    outside = {("dns", "worker elsewhere"), ("worker elsewhere", "dns")}
    every = {(one, two) for one in PLACES for two in PLACES if one != two} - outside
    assert {pair for pair in every if reaches(*pair, port)} == pairs


def test_workers_do_not_reach_each_other() -> None:
    """Not even pods with the same labels."""
    assert not any(reaches("loadgate-worker", "loadgate-worker", port) for port in (5557, 3000, 53))
