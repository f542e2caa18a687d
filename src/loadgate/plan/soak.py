"""What a long run does about processes that die: how often and how soon they are started again."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StrictInt

from loadgate.plan.fields import PlanModel, Seconds


class Soak(PlanModel):
    """The supervision of `loadgate soak` and of a run that was resumed; other commands restart nothing."""

    planned_end: Literal["keep", "move"] = Field(
        default="keep",
        description="what a resumed run does about steady seconds without load: leave out, or run later",
    )
    restarts: Annotated[StrictInt, Field(ge=0, le=1000)] = Field(
        default=20,
        description="restarts of one process within an hour, or in a row at its start; one more ends the run",
    )
    backoff: Annotated[Seconds, Field(gt=0)] = Field(
        default=1.0, description="pause before the first restart; each further one is twice as long"
    )
    backoff_most: Annotated[Seconds, Field(gt=0)] = Field(
        default=60.0, description="the longest pause; a process that lived ten times as long begins anew"
    )
