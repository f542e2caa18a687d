"""The Locust user class that sends request values."""

from __future__ import annotations

from typing import Any

from locust import User

from loadgate.traffic.driver import Driver
from loadgate.traffic.engine import engine_of
from loadgate.traffic.flow import FlowClient
from loadgate.traffic.tasks import request

__all__ = ["LoadUser", "request"]


class LoadUser(User):
    """Send requests that are values, over one keep-alive connection.

    Mark methods with `@request(endpoint, check=...)` and let them return `Get(...)`, `Post(...)`
    and the like; or write Locust `@task` methods that call `self.client` several times (a flow).
    Under a plan with the open model, users form one pool that serves the arrivals of every
    user class; otherwise each user sends its next request after the last one and a wait.

    Everything but `client` and Locust's own names is free for the methods of a user class.
    """

    abstract = True
    client: FlowClient

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        engine = engine_of(environment)
        self._driver: Driver = engine.lender or Driver(engine, self)
        self.client = FlowClient(self._driver, self)

    # Locust marks run() as final for type checkers only; its own PytestUser overrides it too.
    def run(self) -> None:
        """Send requests until Locust ends this user."""
        self._driver.drive()
