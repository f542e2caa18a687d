"""Variations of a prompt by technique: what the reference service invents."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

_TECHNIQUES: tuple[tuple[str, str, str], ...] = (
    ("analogy", "{prompt}, seen as {image}", "Carries the structure of one domain over to another"),
    ("inversion", "What if the opposite held: {prompt}?", "Turns the central assumption around"),
    ("combination", "{prompt}, combined with {image}", "Joins two ideas that are rarely seen together"),
    ("constraint", "{prompt}, with only {image} to build on", "A hard limit forces an unusual route"),
    ("exaggeration", "{prompt}, a thousand times larger", "Scale makes hidden properties visible"),
    ("perspective", "{prompt}, told by {image}", "A new narrator notices other details"),
)
_IMAGES = (
    "a tide pool",
    "a night train",
    "a beehive",
    "an old lighthouse",
    "a jazz trio",
    "a city of paper",
    "a root network",
    "a glass clock",
)
_COUNT_OF_STYLE = {"balanced": 4, "bold": 5, "conservative": 3}
_BALANCED_COUNT = 4
_SHOWN_PROMPT = 80  # characters of the prompt that a variation repeats, so that bodies stay near 1 KB


def _brainstorm(domains: Sequence[str], seed: int) -> list[dict[str, str]] | None:
    if not domains:
        return None
    return [
        {"domain": domain, "idea": f"How {domain} would borrow from {_IMAGES[(seed + i) % len(_IMAGES)]}"}
        for i, domain in enumerate(domains[:5])
    ]


def generate_creative(
    prompt: str, style: str = "balanced", domains: Sequence[str] = (), cycles: int = 1
) -> dict[str, object]:
    """Return the `data` of a creative answer; the same arguments always give the same data.

    Each cycle (1 to 3) adds a variation. Novelty and diversity scores lie in 0..1.
    """
    seed = zlib.crc32(prompt.encode())
    wanted = _COUNT_OF_STYLE.get(style, _BALANCED_COUNT) + min(max(cycles, 1), 3) - 1
    variations: list[dict[str, object]] = []
    novelty_sum = 0.0
    for i in range(wanted):
        technique, pattern, rationale = _TECHNIQUES[(seed + i) % len(_TECHNIQUES)]
        novelty = round(0.55 + ((seed >> (3 * i)) % 40) / 100, 2)
        novelty_sum += novelty
        variations.append(
            {
                "variation": pattern.format(
                    prompt=prompt[:_SHOWN_PROMPT], image=_IMAGES[(seed // 7 + i) % len(_IMAGES)]
                ),
                "technique": technique,
                "noveltyScore": novelty,
                "rationale": rationale,
            }
        )
    techniques = {variation["technique"] for variation in variations}
    return {
        "originalPrompt": prompt,
        "variations": variations,
        "diversityScore": round(len(techniques) / len(variations), 2),
        "domainBrainstorm": _brainstorm(domains, seed),
        "style": style,
        "generationMetadata": {
            "techniqueCount": len(techniques),
            "variationCount": len(variations),
            "avgNoveltyScore": round(novelty_sum / len(variations), 3),
            "enhancedNovelty": cycles > 1,
        },
    }
