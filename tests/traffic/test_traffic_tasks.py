from __future__ import annotations

from pathlib import Path

import pytest

from loadgate.errors import UsageError
from loadgate.traffic.tasks import judge_answer, kinds_of, request
from loadgate.traffic.user_code import place_of
from loadgate.traffic.values import Get, Response


def user_class(name: str, weight: float, *tasks) -> type:
    """A stand-in for a Locust user class: its weight, and its tasks listed as often as they weigh."""
    return type(name, (), {"weight": weight, "tasks": list(tasks)})


def asks(endpoint: str):
    @request(endpoint)
    def send(self):
        return Get("/")

    return send


def flow(self):
    """A task method without @request."""


def test_request_makes_a_locust_task_that_knows_its_endpoint() -> None:
    """@request marks the function for Locust and for the recorder, and leaves it callable."""

    @request("emotion", check=None, weight=3)
    def send(self):
        return Get("/x")

    assert send.locust_task_weight == 3
    assert send.loadgate_endpoint == "emotion"
    assert send(None).path == "/x"


def test_an_endpoint_needs_a_name() -> None:
    """An empty name would make numbers that no objective can speak of."""
    with pytest.raises(UsageError, match="name of an endpoint"):
        request("")


def test_without_a_mix_the_classes_weights_count() -> None:
    """Class weights 3 and 1; the second's two tasks share its weight one to one."""
    a, b, c = asks("a"), asks("b"), asks("c")
    kinds = kinds_of([user_class("A", 3, a), user_class("B", 1, b, c)])
    assert {k.name: k.weight for k in kinds} == {"a": 3, "b": 0.5, "c": 0.5}


def test_a_mix_gives_each_endpoint_its_weight() -> None:
    """Two classes that send the same endpoint share its weight by their own: 8 as 6 and 2."""
    kinds = kinds_of([user_class("A", 3, asks("x")), user_class("B", 1, asks("x"))], {"x": 8})
    assert [k.weight for k in kinds] == [6.0, 2.0]


def test_what_the_mix_leaves_out_is_not_sent() -> None:
    """An endpoint with no place in the mix has no kind."""
    kinds = kinds_of([user_class("A", 1, asks("a"), asks("b"))], {"a": 1})
    assert [k.name for k in kinds] == ["a"]


def test_a_mix_that_names_the_unknown_is_refused() -> None:
    """A misspelt endpoint is an error that lists what there is, never silently no traffic."""
    with pytest.raises(UsageError, match="'emotoin'") as error:
        kinds_of([user_class("A", 1, asks("emotion"))], {"emotoin": 1})
    assert "emotion" in error.value.hint


def test_a_flow_is_named_by_its_function() -> None:
    """An ordinary task method is a kind too; its endpoints show only while it runs."""
    (kind,) = kinds_of([user_class("A", 1, flow)])
    assert (kind.name, kind.is_flow) == ("flow", True)


def test_a_task_set_is_refused_with_a_remedy() -> None:
    """A nested task set cannot be run by this user class, and says so before the load."""
    with pytest.raises(UsageError, match="task set"):
        kinds_of([user_class("A", 1, type("Nested", (), {}))])


def test_a_class_without_tasks_is_refused() -> None:
    """A user class with nothing to do would offer less load than asked for."""
    with pytest.raises(UsageError, match="nothing to do"):
        kinds_of([user_class("A", 1)])


def response(status: int) -> Response:
    answer = Response()
    answer.status = status
    return answer


@pytest.mark.parametrize(
    ("status", "failure"), [(200, None), (304, None), (400, "HTTP 400"), (503, "HTTP 503")]
)
def test_without_a_check_a_status_below_400_is_good(status: int, failure: str | None) -> None:
    """The status alone decides where no check does."""
    assert judge_answer(None, response(status)) == failure


@pytest.mark.parametrize(
    ("result", "failure"),
    [
        (None, None),
        (True, None),
        ("", None),
        ("no data", "no data"),
        (False, "the check returned False"),
        (0, "the check returned a value of type int"),
    ],
)
def test_only_a_check_that_says_good_passes(result: object, failure: str | None) -> None:
    """Whatever a check returns that is not plainly good is a failure with a name."""
    assert judge_answer(lambda _: result, response(200)) == failure


def test_a_check_that_raises_fails_the_answer() -> None:
    """An answer that the check cannot cope with is not good."""

    def check(answer: Response) -> None:
        raise KeyError("data")

    line = check.__code__.co_firstlineno + 1
    place = f"test_traffic_tasks.py, line {line} in check"
    assert judge_answer(check, response(200)) == f"the check raised KeyError ({place})"


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (503, b"<html>", "HTTP 503"),
        (404, b"{}", "HTTP 404"),
        (200, b"<html>", "the answer could not be read: JSONDecodeError"),
    ],
)
def test_what_a_check_raises_over_a_failed_answer_is_the_answers_failure(
    status: int, body: bytes, kind: str
) -> None:
    """A status that says failure, or a body that is not JSON, is the target's doing."""
    answer = response(status)
    answer.body = body
    assert judge_answer(lambda one: one.json()["data"], answer) == kind


def test_the_place_of_an_error_is_in_the_users_own_files() -> None:
    """What a library raises arose where the user called it; where no own file had a part, nothing is said."""

    def load() -> None:
        Path("/none/at/all").read_text()

    with pytest.raises(FileNotFoundError) as caught:
        load()
    line = load.__code__.co_firstlineno + 1
    assert place_of(caught.value) == f"test_traffic_tasks.py, line {line} in load"
    assert place_of(ValueError("never raised")) == ""
