from __future__ import annotations

import copy
import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

CHECKS_FILE = Path(__file__).resolve().parents[2] / "locustfiles" / "checks.py"


def load_checks() -> Any:
    """Load the shipped checks from their file, which is not part of the package."""
    spec = importlib.util.spec_from_file_location("shipped_checks", CHECKS_FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


checks = load_checks()

EMOTION = {
    "input": "hello",
    "analysis": {
        "primary": "joy",
        "secondary": [],
        "sentiment": "neutral",
        "intensity": 0.5,
        "nuance": "literal",
        "confidence": 0.3,
        "sentimentArc": {"arc": "stable", "startSentiment": "neutral"},
        "suggestions": ["Reinforce the positive tone"],
    },
    "confidence": 0.3,
    "emotionHistory": None,
}
CREATIVE = {
    "originalPrompt": "a name for a bakery",
    "variations": [
        {"variation": "a", "technique": "analogy", "noveltyScore": 0.6, "rationale": "r"},
        {"variation": "b", "technique": "inversion", "noveltyScore": 1, "rationale": "s"},
    ],
    "diversityScore": 1,
    "domainBrainstorm": None,
    "style": "balanced",
    "generationMetadata": {
        "techniqueCount": 2,
        "variationCount": 2,
        "avgNoveltyScore": 0.8,
        "enhancedNovelty": False,
    },
}
REASONING = {
    "reasoning": "All men are mortal.",
    "logicalChain": [{"step": 1}],
    "premiseValidation": {"valid": True, "count": 0, "premises": []},
    "fallacyDetection": [],
    "circularDependencies": {"hasCycles": False, "cycles": [], "dependencyMap": {}},
    "consistency": {"consistent": True, "contradictions": [], "consistencyScore": 1},
    "strength": {"score": 0.7, "chainLength": 1, "fallacyCount": 0, "assessment": "moderate", "extra": None},
    "suggestions": [],
    "overallAssessment": {"isValid": True, "confidenceScore": 0.85, "assessment": "moderate"},
}
ENDPOINTS = [
    pytest.param(checks.valid_emotion, EMOTION, id="emotion"),
    pytest.param(checks.valid_creative, CREATIVE, id="creative"),
    pytest.param(checks.valid_reasoning, REASONING, id="reasoning"),
]
Check = Callable[[Any], "str | None"]


class Answer:
    """Stand for a response: a status and a body that is parsed when asked for."""

    def __init__(self, body: Any, status: int = 200) -> None:
        self.body = body if isinstance(body, bytes) else orjson.dumps(body)
        self.status = status
        self.cached: bool | None = None

    def json(self) -> Any:
        """Parse the body; raises ValueError when it is not JSON."""
        return orjson.loads(self.body)


def plain(data: Any, **more: Any) -> dict[str, Any]:
    """Return the plain envelope."""
    return {"success": True, "title": "Analysis", "message": "done", "data": copy.deepcopy(data), **more}


def wrapped(data: Any, **more: Any) -> dict[str, Any]:
    """Return the wrapped envelope."""
    return {"type": "auto", "content": plain(data, **more), "timestamp": "2026-11-22T18:36:10.026Z"}


def spots(value: Any, name: str = "") -> Iterator[tuple[str, Callable[[Any], Any]]]:
    """Yield each field of a value: its full name (`[]` for a list's objects) and a way to its holder."""
    if isinstance(value, dict):
        for key in value:
            here = f"{name}.{key}" if name else key
            yield here, lambda root: root
            for inner, way in spots(value[key], here):
                yield inner, lambda root, key=key, way=way: way(root[key])
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        # The last object of a list is looked at as well as the first.
        for inner, way in spots(value[-1], f"{name}[]"):
            yield inner, lambda root, way=way: way(root[-1])


OPEN = {"data.logicalChain", "data.strength.extra"}
"""What the shape leaves open: what is in the chain, and fields beyond it."""


def required() -> list[Any]:
    """List every required field of every endpoint, in the plain envelope."""
    return [
        pytest.param(param.values[0], param.values[1], name, way, id=f"{param.id}: {name}")
        for param in ENDPOINTS
        for name, way in spots(plain(param.values[1]))
        if name not in OPEN and not name.startswith("data.logicalChain")
    ]


@pytest.mark.parametrize("envelope", [plain, wrapped])
@pytest.mark.parametrize(("check", "data"), ENDPOINTS)
class TestGood:
    def test_miss(self, check: Check, data: Any, envelope: Any) -> None:
        """An answer of the target's shape is good, and without `cached` a miss."""
        answer = Answer(envelope(data))
        assert check(answer) is None
        assert answer.cached is False

    @pytest.mark.parametrize("cached", [True, False])
    def test_cached(self, check: Check, data: Any, envelope: Any, cached: bool) -> None:
        """`cached` beside the data says whether it was a hit."""
        answer = Answer(envelope(data, cached=cached))
        assert check(answer) is None
        assert answer.cached is cached

    @pytest.mark.parametrize("status", [201, 204, 400, 429, 500, 503])
    def test_status(self, check: Check, data: Any, envelope: Any, status: int) -> None:
        """Only 200 is good, whatever the body, and says nothing of the cache otherwise."""
        answer = Answer(envelope(data, cached=True), status)
        assert check(answer) == f"HTTP {status}"
        assert answer.cached is None

    @pytest.mark.parametrize("success", [False, None, 1, "true"])
    def test_success(self, check: Check, data: Any, envelope: Any, success: Any) -> None:
        """`success` must be the boolean true."""
        assert check(Answer(envelope(data, success=success))) == "success is not true"

    @pytest.mark.parametrize("cached", [None, 1, "true"])
    def test_cached_of_another_type(self, check: Check, data: Any, envelope: Any, cached: Any) -> None:
        """`cached` must be a boolean where it is there."""
        assert check(Answer(envelope(data, cached=cached))) == "cached is not a boolean"


@pytest.mark.parametrize("name", ["emotionHistory", "domainBrainstorm"])
@pytest.mark.parametrize("value", [None, [], {"a": 1}])
def test_fields_that_may_be_null(name: str, value: Any) -> None:
    """The history and the brainstorm may be null, a list or an object; they must be there."""
    check, data = (checks.valid_emotion, EMOTION) if name in EMOTION else (checks.valid_creative, CREATIVE)
    assert check(Answer(plain({**data, name: value}))) is None
    assert check(Answer(plain({**data, name: "none"}))) == f"data.{name} is not an object, a list or null"


@pytest.mark.parametrize("envelope", [plain, wrapped])
@pytest.mark.parametrize(("check", "data", "name", "way"), required())
class TestRequired:
    def test_missing(self, check: Check, data: Any, name: str, way: Any, envelope: Any) -> None:
        """Without a required field the answer fails, and the kind names the field in full."""
        body = envelope(data)
        del way(body.get("content", body))[name.rpartition(".")[2]]
        expected = "success is not true" if name == "success" else f"{name} missing"
        assert check(Answer(body)) == expected

    def test_wrong_type(self, check: Check, data: Any, name: str, way: Any, envelope: Any) -> None:
        """A value of another JSON type fails and the kind names the field; a boolean is no number."""
        key = name.rpartition(".")[2]
        for other in (None, True, 0.5, "text", [], {}):
            body = envelope(data)
            holder = way(body.get("content", body))
            accepted = accepts(name, holder[key], other)
            holder[key] = other
            kind = check(Answer(body))
            if accepted:
                assert kind is None
            else:
                assert kind is not None
                assert kind.startswith((f"{name} is not", f"{name} is empty", f"{name}."))


ANY_VALUE = {
    "data.analysis.sentimentArc.arc",
    "data.analysis.sentimentArc.startSentiment",
    "data.generationMetadata.enhancedNovelty",
}
WHOLE = {
    "data.generationMetadata.techniqueCount",
    "data.generationMetadata.variationCount",
    "data.premiseValidation.count",
    "data.strength.chainLength",
    "data.strength.fallacyCount",
}


def accepts(name: str, good: Any, other: Any) -> bool:
    """Tell whether another value is of the type that the field has by the target's description."""
    if name in ANY_VALUE:
        return other is not None
    if name.endswith(("emotionHistory", "domainBrainstorm")):
        return other is None or isinstance(other, (list, dict))
    if name in WHOLE:
        return False  # none of the values tried is a whole number
    if isinstance(good, bool) or isinstance(other, bool):
        return isinstance(good, bool) and isinstance(other, bool)
    if isinstance(good, (int, float)):
        return isinstance(other, float)
    if isinstance(good, (dict, list)) and (name == "data.variations" or (isinstance(good, dict) and good)):
        return False  # the values tried are without what must be in it
    return type(good) is type(other)


def test_a_list_must_hold_objects() -> None:
    """Variations are objects, one at least."""
    for variations, kind in (
        ([], "data.variations is empty"),
        ([CREATIVE["variations"][0], 5], "data.variations[] is not an object"),  # type: ignore[index]
    ):
        body = plain({**CREATIVE, "variations": variations})
        assert checks.valid_creative(Answer(body)) == kind


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", "body is not JSON"),
        (b"<html>", "body is not JSON"),
        (b'{"success": true', "body is not JSON"),
        (b'{"success": true, "title": NaN}', "body is not JSON"),
        (b"[]", "body is not a JSON object"),
        (b"null", "body is not a JSON object"),
        (b"5", "body is not a JSON object"),
        (b"{}", "success is not true"),
        (b'{"type": "auto", "content": null, "timestamp": ""}', "content is not an object"),
        (b'{"type": "auto", "content": {"error": "Text required"}, "timestamp": ""}', "success is not true"),
        (b'{"type": 5, "content": {}, "timestamp": ""}', "type is not a string"),
        (b'{"type": "auto", "content": {"success": true}}', "timestamp missing"),
        (b'{"ok": false, "error": "Too many requests"}', "success is not true"),
    ],
)
def test_other_bodies(body: bytes, kind: str) -> None:
    """Each body that is no envelope has its kind of failure, and says nothing of the cache."""
    answer = Answer(body)
    assert checks.valid_emotion(answer) == kind
    assert answer.cached is None


def test_an_endpoint_refuses_the_data_of_another() -> None:
    """Valid data of one endpoint is not valid for another."""
    assert checks.valid_emotion(Answer(plain(CREATIVE))) == "data.input missing"
    assert checks.valid_creative(Answer(plain(REASONING))) == "data.originalPrompt missing"
    assert checks.valid_reasoning(Answer(plain(EMOTION))) == "data.reasoning missing"


def test_more_fields_are_no_fault() -> None:
    """Fields beyond the shape are left alone."""
    assert checks.valid_emotion(Answer(plain({**EMOTION, "model": 7}, traceId="x"))) is None


def test_a_good_answer_does_not_hide_a_later_bad_one() -> None:
    """What was learnt from a good answer lets no bad one pass: same names, one other type."""
    check = load_checks().valid_emotion
    bad = copy.deepcopy(EMOTION)
    bad["analysis"]["intensity"] = True  # type: ignore[index]
    for _ in range(3):
        assert check(Answer(plain(EMOTION))) is None
        assert check(Answer(plain(bad))) == "data.analysis.intensity is not a number"


KEYS = sorted({name.rpartition(".")[2] for param in required() for name in [param.values[2]]})
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*KEYS, "content", "x"]), inner)
    ),
    max_leaves=20,
)


@pytest.mark.parametrize(("check", "data"), ENDPOINTS)
class TestLaws:
    @given(body=VALUES)
    @settings(max_examples=60, deadline=None)
    def test_never_raises(self, check: Check, data: Any, body: Any) -> None:
        """Any JSON value gets an answer: None or a short kind."""
        class_of = type(check(Answer(body)))
        assert class_of in (str, type(None))

    @given(value=VALUES, pick=st.randoms(use_true_random=False), envelope=st.sampled_from([plain, wrapped]))
    @settings(max_examples=80, deadline=None)
    def test_one_field_replaced(self, check: Check, data: Any, value: Any, pick: Any, envelope: Any) -> None:
        """A good answer with any one field replaced by anything never raises, and kinds stay short."""
        body = envelope(data)
        name, way = pick.choice(list(spots(body)))
        way(body)[name.rpartition(".")[2]] = value
        kind = check(Answer(body))
        assert kind is None or 0 < len(kind) < 80
