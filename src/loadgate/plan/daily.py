"""When the daily summary is due: `daily = "08:00 Europe/Berlin"`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from loadgate.plan.units import UnitError

EXAMPLE: Final = 'for example "08:00 Europe/Berlin", or "06:30" in UTC'

_TIME = re.compile(r"\s*(\d{2}):(\d{2})(?:\s+(\S+))?\s*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Daily:
    """A time of day in a time zone."""

    at: time
    zone: ZoneInfo

    def due_on(self, day: date) -> datetime:
        """Return the moment of a day, in UTC.

        A time that the clock jumps over in spring is as long after the last one that there was: 02:30 becomes
        03:30 on the clock. Of one that comes twice in autumn it is the first.
        """
        return datetime.combine(day, self.at, self.zone).astimezone(UTC)

    def latest(self, now: datetime) -> tuple[date, datetime]:
        """Return the last day whose moment is not after `now` (which knows its zone), and that moment."""
        day = now.astimezone(self.zone).date()
        if self.due_on(day) > now:
            day -= timedelta(days=1)
        return day, self.due_on(day)


def parse_daily(text: str) -> Daily:
    """Read a time of day with or without a time zone; UnitError for anything else."""
    match = _TIME.fullmatch(text)
    if match is None or int(match[1]) > 23 or int(match[2]) > 59:
        raise UnitError(f"'{text}' is not a time of day", EXAMPLE)
    name = match[3] or "UTC"
    try:
        zone = ZoneInfo(name)
    except (OSError, ValueError):
        raise UnitError(f"'{name}' is not a time zone", EXAMPLE) from None
    except KeyError:
        hint = f"{EXAMPLE}; zones are those of the system's tzdata"
        raise UnitError(f"'{name}' is not a time zone that this machine knows", hint) from None
    return Daily(time(int(match[1]), int(match[2])), zone)
