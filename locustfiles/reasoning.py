"""Reasoning verification: whether an argument holds."""

from __future__ import annotations

import re
from typing import Any
from zlib import crc32

from checks import valid_reasoning
from loadgate import Corpus, LoadUser, Post, Request, request

SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
MOST_PREMISES = 4


def argument(reasoning: str) -> dict[str, Any]:
    """Return the body for a text: one in three names its first sentences as premises, the last never.

    What it holds follows from the text alone: the target caches by the whole body, so a text that is sent
    again must be sent with the same premises to repeat the request. One sentence alone has no premises.
    """
    body: dict[str, Any] = {"reasoning": reasoning}
    if crc32(reasoning.encode()) % 3 == 0:
        premises = SENTENCE_END.split(reasoning.strip())[:-1][:MOST_PREMISES]
        if premises:
            body["premises"] = premises
    return body


class ReasoningUser(LoadUser):
    """Reasoning verification: arguments of a few sentences, most of them seen before."""

    weight = 3
    arguments = Corpus(
        "corpora/reasoning.jsonl",
        hot=150,
        fresh=0.15,
        skew=1.0,
        forms=(
            "This is from {reference}. {text}",
            "{text} So it says in {reference}.",
            "As argued in {reference}: {text}",
            "{text} The figures behind this are in {reference}.",
            "In review {reference} someone wrote: {text}",
        ),
    )

    @request("reasoning", check=valid_reasoning)
    def verify(self) -> Request:
        """Ask whether one argument holds."""
        return Post("/api/v1/reasoning/verify", json=argument(self.arguments.draw()))
