"""The scenario: what is sent, where to, how much of it and for how long.

The models hold SI floats (seconds, per second, shares of one). They check each value by itself;
rules that tie values together are in `checks.py`.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from typing import Annotated, Any, Final, Literal

from pydantic import Field, StrictBool, StrictFloat, StrictInt, ValidationInfo, field_validator

from loadgate.plan.address import check_url as check_url
from loadgate.plan.drift import Drift
from loadgate.plan.fields import PerSecond, PlanModel, PlanPath, Seconds, is_toml
from loadgate.plan.headers import check_header
from loadgate.plan.notify import Notify
from loadgate.plan.probe import Probe as Probe
from loadgate.plan.results import Results
from loadgate.plan.rollback import Rollback
from loadgate.plan.smoke import Smoke as Smoke
from loadgate.plan.soak import Soak as Soak
from loadgate.plan.units import UnitError, UnitErrors, parse_duration, parse_share

LONGEST: Final = 3600.0
"""Seconds that a histogram can hold; a request that may take longer could not be recorded."""
MOST_ADDRESSES: Final = 65_536

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)
_DEGRADE = re.compile(r"degrade\s*<=\s*(\S+)")

Positive = Annotated[Seconds, Field(gt=0)]


class Stage(PlanModel):
    """One step of the load: a linear ramp from the stage before, then a hold."""

    rate: PerSecond | None = Field(
        default=None, description="arrivals per second (open model)", examples=["1100/s"]
    )
    users: Annotated[StrictInt, Field(ge=1)] | None = Field(
        default=None, description="active users (closed model)"
    )
    ramp: Seconds = Field(default=0.0, description="linear from the stage before; phase ramp")
    hold: Seconds = Field(default=0.0, description="how long the level is kept")
    phase: Literal["steady", "warmup"] = Field(default="steady", description="phase of the hold")


def _default_users(data: dict[str, Any]) -> int:
    """Size the pool of a closed model by its largest stage; 0, a fault, in the open model."""
    stages = data.get("stages", ())
    return max((stage.users or 0 for stage in stages), default=0)


class Traffic(PlanModel):
    """Who sends what, and when."""

    model: Literal["open", "closed"] = Field(default="open", description="who decides when a request starts")
    arrivals: Literal["poisson", "constant", "trace"] = Field(
        default="poisson", description="spacing of arrivals"
    )
    trace: PlanPath | None = Field(default=None, description="file of recorded arrivals")
    stages: tuple[Stage, ...] = Field(default=(), description="the load over time")
    users: StrictInt = Field(default_factory=_default_users, description="the pool of users", examples=[400])
    seed: Annotated[StrictInt, Field(ge=0, lt=2**63)] = Field(
        default=1, description="seed of every random draw"
    )
    mix: dict[str, Annotated[StrictFloat, Field(gt=0, allow_inf_nan=False)]] = Field(
        default_factory=dict, description="weights of the endpoints"
    )
    wait: tuple[float, float] = Field(default=(0.0, 0.0), description="pause of a closed-model user")
    source_addresses: tuple[str, ...] = Field(default=(), description="local addresses to send from")

    @field_validator("users")
    @classmethod
    def _some_users(cls, users: int) -> int:
        if users < 1:
            raise UnitError("must be at least 1", "nobody would send the requests; for example users = 400")
        return users

    @field_validator("wait", mode="before")
    @classmethod
    def _wait(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, str):
            return parse_wait(value)
        if is_toml(info):
            raise UnitError("must be a duration or a range", 'for example "1s" or "1s..3s"')
        return value

    @field_validator("source_addresses", mode="before")
    @classmethod
    def _addresses(cls, value: Any) -> Any:
        if not isinstance(value, list | tuple):
            raise UnitError("must be a list", 'for example ["127.0.0.2-127.0.0.21"]')
        expanded: list[str] = []
        faults: list[tuple[str | int, UnitError]] = []
        for index, item in enumerate(value):
            try:
                expanded += expand_addresses(item)
            except UnitError as error:
                faults.append((index, error))
        if faults:
            raise UnitErrors(faults)
        if len(expanded) > MOST_ADDRESSES:
            raise UnitError(f"names {len(expanded)} addresses", f"at most {MOST_ADDRESSES}")
        twice = [address for address, count in Counter(expanded).items() if count > 1]
        if twice:
            raise UnitError(f"names {twice[0]} twice", "each address once")
        return tuple(expanded)

    def share_of(self, endpoint: str | None) -> float | None:
        """Return an endpoint's share of the mix (1.0 for all); None where the mix does not say."""
        if endpoint is None:
            return 1.0
        if not self.mix:
            return None
        return self.mix.get(endpoint, 0.0) / sum(self.mix.values())


class Http(PlanModel):
    """How requests travel."""

    connect_timeout: Positive = Field(default=2.0, description="limit for opening a connection")
    timeout: Positive = Field(
        default=30.0, description="limit for a whole request, and the length of the drain"
    )
    headers: dict[str, str] = Field(default_factory=dict, description="headers of every request")
    ca: PlanPath | None = Field(default=None, description="PEM file of the certificate authority")
    verify: StrictBool = Field(default=True, description="check the target's certificate")

    @field_validator("timeout")
    @classmethod
    def _recordable(cls, timeout: float) -> float:
        if timeout > LONGEST:
            raise UnitError("is more than 1h, the longest time that is recorded", 'for example "30s"')
        return timeout

    @field_validator("headers")
    @classmethod
    def _headers(cls, headers: dict[str, str]) -> dict[str, str]:
        faults: list[tuple[str | int, UnitError]] = []
        for name, value in headers.items():
            try:
                check_header(name, value)
            except UnitError as error:
                faults.append((name, error))
        if faults:
            raise UnitErrors(faults)
        return headers


class Generator(PlanModel):
    """The processes that make the load."""

    workers: Annotated[StrictInt, Field(ge=1, le=10_000)] = Field(default=1, description="worker processes")
    on_worker_loss: str = Field(
        default="invalid", description="what the loss of a worker does to the verdict"
    )
    preflight: Literal["refuse", "warn", "off"] = Field(
        default="refuse", description="what a plan over 70% of what its workers can carry leads to"
    )
    control: StrictBool = Field(
        default=True, description="measure the generator by requests to a server that does nothing"
    )

    @field_validator("on_worker_loss")
    @classmethod
    def _policy(cls, policy: str) -> str:
        parse_loss(policy)
        return policy

    @property
    def loss_allowed(self) -> float:
        """Return the share of workers that may be lost before the run is void: 0.0 to 1.0."""
        return parse_loss(self.on_worker_loss)


class VerdictPolicy(PlanModel):
    """Which rows of the SLA table decide."""

    optional: tuple[str, ...] = Field(
        default=(), description="rows that may lack data or warn without deciding"
    )
    leave_out: tuple[str, ...] = Field(default=(), description="rows that this scenario does not judge")
    cpu_of: Literal["core", "machine"] = Field(default="core", description="what 100% CPU means")
    stop_when_certain: StrictBool = Field(
        default=False, description="end the run as soon as every row is decided, never later than planned"
    )


class Scenario(PlanModel):
    """One scenario file, complete: everything that a run does."""

    name: str = Field(description="name of the scenario, also in the run's id", examples=["load"])
    locustfile: PlanPath = Field(
        description="the traffic, a Python file", examples=["../locustfiles/staging.py"]
    )
    sla: PlanPath | None = Field(default=None, description="the SLA table", examples=["sla/staging.toml"])
    alerts: PlanPath | None = Field(
        default=None, description="the alert rules", examples=["alerts/staging.toml"]
    )
    host: str = Field(description="base URL of the target", examples=["http://127.0.0.1:3000"])
    stability: StrictBool = Field(
        default=False, description="whether its runs count for the stability clock of a campaign"
    )
    traffic: Traffic = Field(description="the load")
    http: Http = Field(default_factory=Http, description="how requests travel")
    verdict: VerdictPolicy = Field(default_factory=VerdictPolicy, description="which rows decide")
    generator: Generator = Field(default_factory=Generator, description="the processes that make the load")
    probes: tuple[Probe, ...] = Field(default=(), description="readings of the target")
    drift: tuple[Drift, ...] = Field(default=(), description="series that must not creep over a long run")
    notify: Notify = Field(default_factory=Notify, description="who is told of alerts")
    rollback: Rollback = Field(
        default_factory=Rollback, description="what can be done about a target that fails"
    )
    smoke: Smoke | None = Field(default=None, description="what `loadgate smoke` asks beside the probes")
    results: Results = Field(default_factory=Results, description="what the run may leave behind")
    soak: Soak = Field(default_factory=Soak, description="what a long run does about processes that die")

    @field_validator("name")
    @classmethod
    def _file_name(cls, name: str) -> str:
        if not _NAME.fullmatch(name) or len(name) > 64:
            raise UnitError("is not a name for a run", "at most 64 letters, digits, '.', '-' and '_'")
        return name

    @field_validator("host")
    @classmethod
    def _base_url(cls, host: str) -> str:
        check_url(host, query=False)
        return host.rstrip("/")


def parse_wait(text: str) -> tuple[float, float]:
    """Read "1s" or "1s..3s" and return the shortest and longest wait in seconds."""
    low, dots, high = text.partition("..")
    shortest = parse_duration(low)
    longest = parse_duration(high) if dots else shortest
    if longest < shortest:
        raise UnitError(f"'{text}' ends before it begins", 'for example "1s..3s"')
    return shortest, longest


def parse_loss(policy: str) -> float:
    """Return the share of workers that a policy allows to be lost: invalid 0, continue 1, degrade its own."""
    hint = 'use "invalid", "continue" or "degrade <= 10%"'
    if policy == "invalid":
        return 0.0
    if policy == "continue":
        return 1.0
    match = _DEGRADE.fullmatch(policy)
    if match is None:
        raise UnitError(f"'{policy}' is not a policy", hint)
    try:
        share = parse_share(match[1])
    except UnitError as error:
        raise UnitError(error.message, hint) from error
    if share > 1:
        raise UnitError(f"'{match[1]}' is more than all", hint)
    return share


def expand_addresses(item: object) -> list[str]:
    """Expand one address or an inclusive range "a-b"; IPv4 or IPv6."""
    hint = 'for example "127.0.0.2" or "127.0.0.2-127.0.0.21"'
    if not isinstance(item, str):
        raise UnitError(f"{item!r} is not an address", hint)
    first, dash, last = (part.strip() for part in item.partition("-"))
    try:
        low = ipaddress.ip_address(first)
        high = ipaddress.ip_address(last) if dash else low
    except ValueError:
        raise UnitError(f"'{item}' is not an address or a range of addresses", hint) from None
    if low.version != high.version or int(high) < int(low):
        raise UnitError(f"'{item}' ends before it begins", hint)
    if int(high) - int(low) >= MOST_ADDRESSES:
        raise UnitError(f"'{item}' names more than {MOST_ADDRESSES} addresses", hint)
    kind = type(low)
    return [str(kind(number)) for number in range(int(low), int(high) + 1)]
