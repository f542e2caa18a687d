"""The staging service's whole traffic: emotion, creative and reasoning, mixed by the classes' weights.

Run it with `loadgate run scenarios/load.toml`, or with Locust alone:

    locust -f locustfiles/staging.py --headless -u 50 -r 50 -t 20s -H http://127.0.0.1:3000
"""

from __future__ import annotations

from creative import CreativeUser
from emotion import EmotionUser
from reasoning import ReasoningUser

__all__ = ["CreativeUser", "EmotionUser", "ReasoningUser"]
