"""What "200 OK with valid data" means for each endpoint of the built-in target.

A check takes a response and returns None when it is good, else a short kind of failure that is the same
for every response with that fault ("data.analysis missing"), so that failures can be counted by kind.
It also sets `response.cached`, from the envelope's `cached`.

An answer comes plain, `{"success", "title", "message", "data"}`, or wrapped with the plain one under
`content`, `{"type", "content", "timestamp"}`; both are good. Each shape below lists the fields that must be
there with their types. Types are those of JSON: a boolean is no number, and `null` is none of them.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import Any, NamedTuple


class Type(NamedTuple):
    """A JSON type: how a failure calls it, and the Python types that a parser gives for it."""

    words: str
    python: frozenset[type]


STRING = Type("a string", frozenset({str}))
NUMBER = Type("a number", frozenset({int, float}))
WHOLE = Type("a whole number", frozenset({int}))
BOOLEAN = Type("a boolean", frozenset({bool}))
LIST = Type("a list", frozenset({list}))
OBJECT = Type("an object", frozenset({dict}))
ANY = Type("a value", frozenset({str, int, float, bool, list, dict}))
"""Where releases differ in the type: anything but null."""
MAYBE = Type("an object, a list or null", frozenset({dict, list, type(None)}))

Shape = dict[str, Any]
"""Field name to its `Type`, to the `Shape` of an object, or to `[Shape]`: a list of one object or more."""

EMOTION: Shape = {
    "input": STRING,
    "analysis": {
        "primary": STRING,
        "secondary": LIST,
        "sentiment": STRING,
        "intensity": NUMBER,
        "nuance": STRING,
        "confidence": NUMBER,
        "sentimentArc": {"arc": ANY, "startSentiment": ANY},
        "suggestions": LIST,
    },
    "confidence": NUMBER,
    "emotionHistory": MAYBE,
}
CREATIVE: Shape = {
    "originalPrompt": STRING,
    "variations": [{"variation": STRING, "technique": STRING, "noveltyScore": NUMBER, "rationale": STRING}],
    "diversityScore": NUMBER,
    "domainBrainstorm": MAYBE,
    "style": STRING,
    "generationMetadata": {
        "techniqueCount": WHOLE,
        "variationCount": WHOLE,
        "avgNoveltyScore": NUMBER,
        "enhancedNovelty": ANY,
    },
}
REASONING: Shape = {
    "reasoning": STRING,
    "logicalChain": LIST,
    "premiseValidation": {"valid": BOOLEAN, "count": WHOLE, "premises": LIST},
    "fallacyDetection": LIST,
    "circularDependencies": {"hasCycles": BOOLEAN, "cycles": LIST, "dependencyMap": OBJECT},
    "consistency": {"consistent": BOOLEAN, "contradictions": LIST, "consistencyScore": NUMBER},
    "strength": {"score": NUMBER, "chainLength": WHOLE, "fallacyCount": WHOLE, "assessment": STRING},
    "suggestions": LIST,
    "overallAssessment": {"isValid": BOOLEAN, "confidenceScore": NUMBER, "assessment": STRING},
}


class Field(NamedTuple):
    """One field of an object: its name, the Python types it may have, and the words of its faults."""

    name: str
    types: frozenset[type]
    missing: str
    mistyped: str


class Object:
    """A compiled shape: finds the first fault of a JSON object, and is quick with objects that have none.

    The types of an object's fields, taken together, were nearly always seen before. So they are compared
    at once with those that passed the slow look at each field, at a third of its cost.
    """

    MOST_KNOWN = 64
    """So many combinations of types are kept; a target that answers in more is only checked more slowly."""

    def __init__(self, shape: Shape, path: str) -> None:
        """Compile a shape of two fields or more; `path` is what its fields' names begin with."""
        self.fields: list[Field] = []
        self.inner: list[tuple[str, Object, bool, str]] = []
        self.known: set[tuple[type, ...]] = set()
        self.values = itemgetter(*shape)
        for name, value in shape.items():
            here = f"{path}{name}"
            kind = value if isinstance(value, Type) else LIST if isinstance(value, list) else OBJECT
            self.fields.append(Field(name, kind.python, f"{here} missing", f"{here} is not {kind.words}"))
            if kind is not value:
                each = kind is LIST
                inside = Object(value[0], f"{here}[].") if each else Object(value, f"{here}.")
                self.inner.append((name, inside, each, here))

    def fault(self, value: dict[str, Any]) -> str | None:
        """Name the first fault of a JSON object, None when every field is there with its type."""
        try:
            types = tuple(map(type, self.values(value)))
        except KeyError:
            return self._own_fault(value)
        if types not in self.known:
            wrong = self._own_fault(value)
            if wrong is not None:
                return wrong
            if len(self.known) < self.MOST_KNOWN:
                self.known.add(types)
        for name, inside, each, here in self.inner:
            wrong = inside.faults(value[name], here) if each else inside.fault(value[name])
            if wrong is not None:
                return wrong
        return None

    def faults(self, values: list[Any], path: str) -> str | None:
        """Name the first fault of a list of such objects, which must not be empty."""
        if not values:
            return f"{path} is empty"
        for value in values:
            wrong = self.fault(value) if type(value) is dict else f"{path}[] is not an object"
            if wrong is not None:
                return wrong
        return None

    def _own_fault(self, value: dict[str, Any]) -> str | None:
        """Look at each field of an object, not at what is inside them."""
        for name, types, missing, mistyped in self.fields:
            if name not in value:
                return missing
            if type(value[name]) not in types:
                return mistyped
        return None


def valid(shape: Shape) -> Callable[[Any], str | None]:
    """Make the check of an endpoint whose `data` has this shape."""
    plain = Object({"title": STRING, "message": STRING, "data": shape}, "")
    wrapper = Object({"type": STRING, "timestamp": STRING}, "")

    def check(response: Any) -> str | None:
        """Return what is wrong with the response, None when it is good; set `response.cached`."""
        if response.status != 200:
            return f"HTTP {response.status}"
        try:
            body = response.json()
        except ValueError:
            return "body is not JSON"
        if type(body) is not dict:
            return "body is not a JSON object"
        if "content" in body and "success" not in body:
            wrong = wrapper.fault(body)
            body = body["content"]
            if type(body) is not dict:
                return "content is not an object"
            if wrong is not None:
                return wrong
        if body.get("success") is not True:
            return "success is not true"
        cached = body.get("cached", False)
        if type(cached) is not bool:
            return "cached is not a boolean"
        response.cached = cached
        return plain.fault(body)

    return check


valid_emotion = valid(EMOTION)
valid_creative = valid(CREATIVE)
valid_reasoning = valid(REASONING)
