"""What holds for every test."""

from __future__ import annotations

import os

from hypothesis import settings

# Property tests look for new examples wherever people work. A gate must answer the same for the same code,
# and a machine that is busy for a moment is no fault of the code.
settings.register_profile("here", deadline=None)
settings.register_profile("gate", deadline=None, derandomize=True)
settings.load_profile("gate" if os.environ.get("CI") else "here")
