"""Creative generation: variations on a prompt."""

from __future__ import annotations

from typing import Any
from zlib import crc32

from checks import valid_creative
from loadgate import Corpus, LoadUser, Post, Request, request

STYLES = ("balanced", "bold", "conservative")
DOMAINS = ("music", "cooking", "architecture", "biology", "sport", "travel", "craft")


def brief(prompt: str) -> dict[str, Any]:
    """Return the body for a prompt: one in four names a style, one in four domains, one in four both.

    What it holds follows from the prompt alone: the target caches by the whole body, so a prompt that is
    sent again must be sent with the same style and domains to repeat the request.
    """
    number = crc32(prompt.encode())
    body: dict[str, Any] = {"prompt": prompt}
    if number & 1:
        body["style"] = STYLES[(number >> 2) % len(STYLES)]
    if number & 2:
        start = (number >> 8) % (len(DOMAINS) - 1)
        body["domains"] = list(DOMAINS[start : start + 2])
    return body


class CreativeUser(LoadUser):
    """Creative generation: prompts are fresher than messages, and a few are asked for again and again."""

    weight = 2
    prompts = Corpus(
        "corpora/creative.jsonl",
        hot=120,
        fresh=0.2,
        skew=0.8,
        forms=(
            "{text} It is for project {reference}.",
            "For {reference}: {text}",
            "{text} File the result under {reference}.",
            "{text}\n\n(Brief {reference})",
            "This is another round for {reference}. {text}",
        ),
    )

    @request("creative", check=valid_creative)
    def generate(self) -> Request:
        """Ask for variations on one prompt."""
        return Post("/api/v1/creative/generate", json=brief(self.prompts.draw()))
