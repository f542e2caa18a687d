"""Declare requests on a user class, and list what a set of user classes can send.

A *kind* is one thing that a user can be asked to do: a function marked `@request`, which
returns one request value, or an ordinary Locust `@task` method that sends requests itself
(a flow).
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from loadgate.errors import UsageError
from loadgate.measure.delta import CHECK_RETURNED
from loadgate.traffic.user_code import kind_of_check
from loadgate.traffic.values import Request, Response

Check = Callable[[Response], "str | None"]
"""Look at an answer: return None when it is good, or a short and stable kind of failure."""

_Function = TypeVar("_Function", bound=Callable[..., Request])


@dataclass(frozen=True, eq=False)
class Kind:
    """Name one thing that users of `user_class` do, with its weight within the whole mix.

    `name` is what a plan's mix speaks of: the endpoint of a request, the function's name of a
    flow. `check` is None for a flow, and for a request that is good whenever its status is.
    """

    name: str
    user_class: type[Any]
    function: Callable[[Any], Any]
    check: Check | None
    is_flow: bool
    weight: float


def request(
    endpoint: str, *, check: Check | None = None, weight: int = 1
) -> Callable[[_Function], _Function]:
    """Make a Locust task of a function that returns one request value.

    `endpoint` is the name that objectives and reports use. Without a `check`, any status
    below 400 is good. `weight` is the task's share among the tasks of its class.
    """
    if not endpoint or not isinstance(endpoint, str):
        raise UsageError("@request needs the name of an endpoint", hint='write @request("emotion")')

    def mark(function: _Function) -> _Function:
        attributes: dict[str, Any] = {
            "locust_task_weight": weight,
            "loadgate_endpoint": endpoint,
            "loadgate_check": check,
        }
        for name, value in attributes.items():
            setattr(function, name, value)
        return function

    return mark


def judge_answer(check: Check | None, response: Response) -> str | None:
    """Return None for a good answer, or the kind of its failure. A check that raises fails it."""
    if check is None:
        return None if response.status < 400 else f"HTTP {response.status}"
    try:
        result: object = check(response)
    except Exception as error:  # noqa: BLE001 - a check that cannot cope with an answer fails it
        return kind_of_check(error, response.status)
    if result is None or result is True or result == "":
        return None
    if result is False:
        return "the check returned False"
    return result if isinstance(result, str) else f"{CHECK_RETURNED} {type(result).__name__}"


def kinds_of(user_classes: Iterable[type[Any]], mix: Mapping[str, float] | None = None) -> tuple[Kind, ...]:
    """List what the user classes can do, weighted.

    Without a `mix` each class weighs its Locust `weight`, shared over its tasks. A `mix` gives
    the weight of each name instead; kinds of the same name share it by their own weights, and
    kinds that it does not name are left out. UsageError when it names what no class can do.
    """
    kinds = [kind for user_class in user_classes for kind in _kinds_of_class(user_class)]
    if not mix:
        return tuple(kinds)
    names = {kind.name for kind in kinds}
    if unknown := sorted(set(mix) - names):
        raise UsageError(
            f"the mix names {', '.join(map(repr, unknown))}, which no user class of the locustfile sends",
            hint=f"the locustfile has: {', '.join(sorted(names)) or 'nothing'}",
        )
    totals: Counter[str] = Counter()
    for kind in kinds:
        totals[kind.name] += kind.weight  # type: ignore[assignment]
    return tuple(
        Kind(k.name, k.user_class, k.function, k.check, k.is_flow, mix[k.name] * k.weight / totals[k.name])
        for k in kinds
        if mix.get(k.name, 0) > 0
    )


def _kinds_of_class(user_class: type[Any]) -> list[Kind]:
    # Locust lists a task as often as it weighs.
    weights = Counter(user_class.tasks)
    if not weights:
        raise UsageError(
            f"{user_class.__name__} has nothing to do", hint="give it a method marked @request or @task"
        )
    kinds = []
    for task, weight in weights.items():
        if inspect.isclass(task):
            raise UsageError(
                f"{user_class.__name__} uses the task set {task.__name__}, which a LoadUser cannot run",
                hint="write its tasks as methods of the user class, or derive from FastHttpUser",
            )
        endpoint = getattr(task, "loadgate_endpoint", None)
        kinds.append(
            Kind(
                name=endpoint or task.__name__,
                user_class=user_class,
                function=task,
                check=getattr(task, "loadgate_check", None),
                is_flow=endpoint is None,
                weight=user_class.weight * weight / sum(weights.values()),
            )
        )
    return kinds
