"""Keyword emotion analysis in four languages: what the reference service says about a message."""

from __future__ import annotations

import re

_WORDS = re.compile(r"\w+", re.UNICODE)
_SENTENCES = re.compile(r"[.!?…。]+\s*")

# Each emotion has its valence, and its words in English, French, Spanish and German.
_EMOTIONS: dict[str, tuple[int, str]] = {
    "joy": (
        1,
        "happy joy glad delighted wonderful great cheerful heureux heureuse joie ravi content "
        "feliz alegre alegria glücklich freude froh wunderbar",
    ),
    "love": (1, "love adore cherish dear amour aime adore cariño amor amo quiero liebe lieb geliebt"),
    "gratitude": (1, "thanks thank grateful appreciate merci reconnaissant gracias agradecido danke dankbar"),
    "pride": (1, "proud pride achieved accomplished fier fière orgulloso orgullo stolz"),
    "surprise": (0, "surprised surprise wow unexpected amazed étonné surpris sorprendido überrascht"),
    "sadness": (-1, "sad unhappy cry lonely lost grief triste seul pleure sola llorar traurig einsam weinen"),
    "anger": (
        -1,
        "angry anger furious hate annoyed terrible colère furieux déteste enojado furioso odio "
        "wütend ärger hasse",
    ),
    "fear": (-1, "afraid fear scared worried anxious nervous peur inquiet miedo asustado angst besorgt"),
    "disgust": (-1, "disgusting disgust gross awful dégoût horrible asco repugnante ekel eklig"),
}
_EMOTION_OF = {word: emotion for emotion, (_, words) in _EMOTIONS.items() for word in words.split()}
_STRONG = frozenset(("very", "so", "extremely", "really", "absolutely", "très", "muy", "sehr", "wirklich"))
_NEGATIONS = frozenset(
    ("not", "never", "no", "pas", "jamais", "non", "nunca", "jamás", "nicht", "nie", "kein")
)
_SARCASM = ("yeah right", "oh great", "as if", "thanks a lot for nothing", "bien sûr que non")
_SUGGESTIONS = {
    "positive": ["Reinforce the positive tone", "Invite the person to say more"],
    "negative": ["Acknowledge the feeling first", "Offer one concrete next step"],
    "neutral": ["Ask an open question to learn more"],
}


def _sentiment(valence: int) -> str:
    if valence == 0:
        return "neutral"
    return "positive" if valence > 0 else "negative"


def _valence(words: list[str], found: dict[str, int]) -> int:
    """Add up the valence of `words`, count each emotion into `found`; a negation flips what follows it."""
    total = 0
    negated = False
    for word in words:
        if word in _NEGATIONS:
            negated = True
            continue
        emotion = _EMOTION_OF.get(word)
        if emotion is not None:
            found[emotion] = found.get(emotion, 0) + 1
            valence = _EMOTIONS[emotion][0]
            total += -valence if negated else valence
            negated = False
    return total


def _arc(parts: list[int]) -> dict[str, str]:
    start, end = (parts[0], parts[-1]) if parts else (0, 0)
    arc = "stable" if start == end else ("rising" if end > start else "falling")
    return {"arc": arc, "startSentiment": _sentiment(start)}


def analyze_emotion(text: str) -> dict[str, object]:
    """Return the `data` of an emotion answer for `text`; the same text always gives the same data.

    A text without any known word is what the observed service calls it: joy, neutral,
    intensity 0.5, confidence 0.3. Intensity and confidence lie in 0..1.
    """
    lowered = text.lower()
    found: dict[str, int] = {}
    parts = [_valence(_WORDS.findall(part), found) for part in _SENTENCES.split(lowered) if part]
    ranked = sorted(found, key=lambda name: -found[name])
    hits = sum(found.values())
    strong = sum(word in _STRONG for word in _WORDS.findall(lowered)) + text.count("!")
    sentiment = _sentiment(sum(parts))
    confidence = min(0.95, round(0.3 + 0.15 * hits, 2))
    analysis = {
        "primary": ranked[0] if ranked else "joy",
        "secondary": ranked[1:3],
        "sentiment": sentiment,
        "intensity": min(1.0, round(0.5 + 0.1 * strong + 0.05 * hits, 2)),
        "nuance": "sarcastic" if any(mark in lowered for mark in _SARCASM) else "literal",
        "confidence": confidence,
        "sentimentArc": _arc(parts),
        "suggestions": _SUGGESTIONS[sentiment],
    }
    return {"input": text, "analysis": analysis, "confidence": confidence, "emotionHistory": None}
