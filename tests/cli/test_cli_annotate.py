"""`loadgate annotate`: what happened beside a run, from any terminal."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from loadgate.store.annotations import Annotation, annotations_of
from loadgate.store.database import open_writer
from loadgate.store.folder import RunFolder

# What the fixture `stored` says of minute 0: it began then.
BEGAN = datetime(2026, 1, 5, 8, tzinfo=UTC)


def test_an_annotation_has_both_times(told: Any, stored: Callable[..., RunFolder]) -> None:
    """90 s after the begin at 8:00 is 8:01:30."""
    run = stored()
    done = told("annotate", "latest", "deployed 1.4.2", "--kind", "deployment", "--at", "90s")
    done.expect(0, out="", err="deployment at run time 1m30s")
    wall = "2026-01-05T08:01:30.000+00:00"
    assert annotations_of(run) == [Annotation(90.0, wall, "deployment", "deployed 1.4.2")]


@pytest.mark.parametrize(
    "moment", ["2026-01-05T08:02:05", "2026-01-05T08:02:05Z", "2026-01-05T09:02:05+01:00"]
)
def test_a_time_of_day_becomes_run_time(told: Any, stored: Callable[..., RunFolder], moment: str) -> None:
    """125 s after the begin, in whatever zone it is written; without one it is UTC."""
    run = stored()
    told("annotate", run.id, "cache emptied", "--at", moment).expect(0)
    (found,) = annotations_of(run)
    assert (found.at, found.wall, found.kind) == (125.0, "2026-01-05T08:02:05.000+00:00", "note")


def test_without_a_time_it_is_now(told: Any, stored: Callable[..., RunFolder]) -> None:
    """A run may be annotated long after its end: its run time goes on."""
    run, before = stored(), datetime.now(UTC)
    told("annotate", run.id, "rolled back").expect(0)
    (found,) = annotations_of(run)
    assert found.at is not None
    assert -1 < found.at - (before - BEGAN).total_seconds() < 60
    assert -1 < (datetime.fromisoformat(found.wall) - before).total_seconds() < 60


def test_a_run_that_has_not_begun(told: Any, stored: Callable[..., RunFolder]) -> None:
    """It has no run time: a note is kept by the time of day, and one at a run time is refused."""
    run = stored(ended=None)
    with open_writer(run.database) as writer:
        writer.commit([], run_values={"anchor": None})
        told("annotate", run.id, "waiting for workers").expect(0)
        told("annotate", run.id, "too early", "--at", "5s").expect(2, err="has not begun")
    assert [(found.at, found.text) for found in annotations_of(run)] == [(None, "waiting for workers")]


def test_a_run_that_goes_on_can_be_annotated(told: Any, stored: Callable[..., RunFolder]) -> None:
    """Its writer is not disturbed: the lock of the run database is not asked for."""
    run = stored(ended=None)
    with open_writer(run.database) as writer:
        told("annotate", run.id, "deployed").expect(0)
        writer.commit([], run_values={"ended": "planned"})
    assert len(annotations_of(run)) == 1


def test_text_from_elsewhere_is_one_plain_line(told: Any, stored: Callable[..., RunFolder]) -> None:
    """A script may pass what a tool printed: nothing of it moves a cursor."""
    run = stored()
    told("annotate", run.id, " deployed\n\x1b[2J1.4.2 ").expect(0)
    assert [found.text for found in annotations_of(run)] == ["deployed ?[2J1.4.2"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("",), "empty"),
        (("x" * 501,), "501 characters"),
        (("ok", "--at", "soon"), "neither a run time nor an ISO time"),
        (("ok", "--at", "9999999999d"), "further away than a calendar goes"),
        (("ok", "--kind", "release"), "not one of"),
    ],
)
def test_what_cannot_be_kept_is_refused(
    told: Any, stored: Callable[..., RunFolder], words: tuple[str, ...], said: str
) -> None:
    """Exit 2 with the reason, and nothing is written."""
    run = stored()
    told("annotate", run.id, *words).expect(2, err=said)
    assert annotations_of(run) == []


def test_a_run_that_is_not_there(told: Any) -> None:
    """Exit 2, as everywhere."""
    told("annotate", "nothing", "deployed").expect(2, err="there is no run")
