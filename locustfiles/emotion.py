"""Emotion detection: what kind of feeling a message carries."""

from __future__ import annotations

from checks import valid_emotion
from loadgate import Corpus, LoadUser, Post, Request, request


class EmotionUser(LoadUser):
    """Emotion detection: short messages, most of them seen before."""

    weight = 5
    messages = Corpus("corpora/emotion.jsonl", hot=200, fresh=0.1, skew=1.0)

    @request("emotion", check=valid_emotion)
    def analyze(self) -> Request:
        """Ask for the emotion of one message."""
        return Post("/api/v1/emotions/analyze", json={"text": self.messages.draw()})
