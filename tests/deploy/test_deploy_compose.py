"""The Compose file keeps the master's port, the secret and the root of each container to itself."""

from __future__ import annotations

from typing import Any

import pytest
from deploy_files import COMPOSE, after

SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_is_shut(name: str) -> None:
    """Read-only root, no capabilities, no new privileges, and scratch space in memory alone."""
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert [mount.split(":")[0] for mount in service["tmpfs"]] == ["/tmp"]
    assert not {"privileged", "cap_add", "user", "pid", "network_mode", "ports"} & set(service)


def test_the_master_is_reached_by_workers_alone() -> None:
    """It shares a network of its own with them, which leads nowhere else; no port is published."""
    on_control = {name for name, service in SERVICES.items() if "control" in service["networks"]}
    assert on_control == {"master", "worker"}
    assert COMPOSE["networks"]["control"]["internal"] is True


@pytest.mark.parametrize("name", ["master", "worker"])
def test_the_secret_comes_from_a_file(name: str) -> None:
    """It is in no variable, which anyone who may inspect a container could read."""
    service = SERVICES[name]
    assert service["environment"] == {"LOADGATE_SECRET_FILE": "/run/secrets/loadgate"}
    assert service["secrets"] == ["loadgate"]
    # Secrets from the environment are copied into the container, which a read-only root refuses.
    assert set(COMPOSE["secrets"]["loadgate"]) == {"file"}


def test_the_target_does_not_know_the_secret() -> None:
    """Only those that have to prove it have it."""
    assert not {"environment", "secrets"} & set(SERVICES["target"])


def test_the_master_expects_the_workers_that_are_started() -> None:
    """One variable says both."""
    number = SERVICES["worker"]["deploy"]["replicas"]
    assert after(SERVICES["master"]["command"], "--expect-workers") == [number] == ["${WORKERS:-2}"]


def test_workers_call_the_master_by_its_name_and_port() -> None:
    """The name is the service's, and the port the one that it binds."""
    assert after(SERVICES["worker"]["command"], "--master") == ["master:5557"]
    assert after(SERVICES["master"]["command"], "--bind") == ["0.0.0.0:5557"]


def test_results_outlive_the_container() -> None:
    """They are on a volume, where the image expects them."""
    assert SERVICES["master"]["volumes"] == ["results:/results"]
    assert "results" in COMPOSE["volumes"]


def test_the_load_starts_when_the_target_answers() -> None:
    """The master waits for the target's health check."""
    assert SERVICES["master"]["depends_on"]["target"] == {"condition": "service_healthy"}
    assert "/health" in SERVICES["target"]["healthcheck"]["test"][-1]
