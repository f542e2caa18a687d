"""Sentence-level checks of an argument: what the reference service says about reasoning."""

from __future__ import annotations

import re
from collections.abc import Sequence

_SENTENCES = re.compile(r"(?<=[.!?。])\s+|\s*;\s*|\s*\n\s*")
_WORDS = re.compile(r"\w+", re.UNICODE)
_CONCLUSIONS = ("therefore", "thus", "hence", "so ", "consequently", "it follows", "donc", "daher")
_PREMISES = ("because", "since", "given", "if ", "as ", "parce que", "porque", "weil")
_FALLACIES: dict[str, tuple[str, ...]] = {
    "bandwagon": ("everyone knows", "everybody knows", "everyone agrees", "most people think"),
    "hasty generalization": ("always", "never", "all of them", "none of them"),
    "false dilemma": ("either", "only two options", "no other choice"),
    "appeal to authority": ("experts say", "the boss said", "studies prove"),
    "slippery slope": ("will lead to disaster", "next thing you know", "where will it end"),
    "ad hominem": ("stupid", "idiot", "you people"),
}
_LONGEST_CHAIN = 12


def _role(sentence: str) -> str:
    lowered = sentence.lower()
    if lowered.startswith(_CONCLUSIONS) or " therefore " in lowered:
        return "conclusion"
    return "premise" if any(mark in lowered for mark in _PREMISES) else "statement"


def _chain(reasoning: str) -> list[dict[str, object]]:
    sentences = [part.strip() for part in _SENTENCES.split(reasoning) if part.strip()]
    return [
        {"step": i, "statement": sentence, "type": _role(sentence)}
        for i, sentence in enumerate(sentences[:_LONGEST_CHAIN], 1)
    ]


def _fallacies(lowered: str) -> list[dict[str, str]]:
    return [
        {"type": name, "evidence": mark, "severity": "medium"}
        for name, marks in _FALLACIES.items()
        for mark in marks
        if mark in lowered
    ]


def _cycles(premises: Sequence[str], conclusion: str) -> dict[str, object]:
    """Report premises that merely repeat the conclusion (circular reasoning)."""
    wanted = set(_WORDS.findall(conclusion.lower()))
    cycles = [
        i
        for i, premise in enumerate(premises, 1)
        if wanted and set(_WORDS.findall(premise.lower())) == wanted
    ]
    dependencies = {f"premise{i}": ["conclusion"] for i in cycles}
    return {"hasCycles": bool(cycles), "cycles": cycles, "dependencyMap": dependencies}


def _contradictions(statements: list[str]) -> list[dict[str, str]]:
    """Find pairs of statements that differ in nothing but a "not"."""
    plain: dict[frozenset[str], tuple[bool, str]] = {}
    found: list[dict[str, str]] = []
    for statement in statements:
        words = frozenset(_WORDS.findall(statement.lower()))
        denied = "not" in words
        key = words - {"not"}
        earlier = plain.setdefault(key, (denied, statement))
        if earlier[0] != denied:
            found.append({"first": earlier[1], "second": statement})
    return found


def _assessment(score: float) -> str:
    if score >= 0.75:
        return "strong"
    return "moderate" if score >= 0.5 else "weak"


def _suggestions(fallacies: list[dict[str, str]], length: int, contradictions: int) -> list[str]:
    hints = [f"Replace the {fallacy['type']} by evidence" for fallacy in fallacies]
    if length < 2:
        hints.append("State at least one premise apart from the conclusion")
    if contradictions:
        hints.append("Resolve the contradicting statements")
    return hints


def verify_reasoning(reasoning: str, premises: Sequence[str] = ()) -> dict[str, object]:
    """Return the `data` of a reasoning answer; the same arguments always give the same data.

    All scores lie in 0..1: one fallacy costs 0.2, a contradiction or a circle 0.3, a chain of one
    sentence 0.2.
    """
    chain = _chain(reasoning)
    fallacies = _fallacies(reasoning.lower())
    statements = [str(step["statement"]) for step in chain]
    contradictions = _contradictions(statements)
    circles = _cycles(premises, statements[-1] if statements else "")
    empty = sum(not premise.strip() for premise in premises)
    score = 0.9 - 0.2 * len(fallacies) - 0.3 * len(contradictions) - (0.2 if len(chain) < 2 else 0.0)
    score = round(min(max(score - (0.3 if circles["hasCycles"] else 0.0), 0.0), 1.0), 2)
    consistency = round(1.0 / (1 + len(contradictions)), 2)
    return {
        "reasoning": reasoning,
        "logicalChain": chain,
        "premiseValidation": {"valid": empty == 0, "count": len(premises), "premises": list(premises)},
        "fallacyDetection": fallacies,
        "circularDependencies": circles,
        "consistency": {
            "consistent": not contradictions,
            "contradictions": contradictions,
            "consistencyScore": consistency,
        },
        "strength": {
            "score": score,
            "chainLength": len(chain),
            "fallacyCount": len(fallacies),
            "premiseCount": len(premises),
            "assessment": _assessment(score),
        },
        "suggestions": _suggestions(fallacies, len(chain), len(contradictions)),
        "overallAssessment": {
            "isValid": not fallacies and not contradictions and not circles["hasCycles"] and empty == 0,
            "confidenceScore": round((score + consistency) / 2, 2),
            "assessment": _assessment(score),
        },
    }
