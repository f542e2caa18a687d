"""`loadgate annotate`: say in a run what happened beside it, from any terminal."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from loadgate.cli.options import results_option
from loadgate.errors import UsageError
from loadgate.plan.units import UnitError, format_duration, parse_duration
from loadgate.report.text import clean
from loadgate.store.annotations import KINDS, Annotation
from loadgate.store.annotations import annotate as keep
from loadgate.store.database import RunReader
from loadgate.store.folder import RunFolder, find_run, results_root
from loadgate.store.run_clock import Anchor, Now


@click.command()
@click.argument("run")
@click.argument("text")
@click.option("--kind", type=click.Choice(KINDS), default="note", show_default=True, help="What it tells of.")
@click.option(
    "--at",
    "moment",
    metavar="TIME",
    help="When it was: a run time such as 90s or 2h5m, or an ISO time, in UTC without a zone [default: now].",
)
@results_option
def annotate(run: str, text: str, kind: str, moment: str | None, results: str | None) -> None:
    """Write TEXT down in RUN, while the run goes on or after it, for whoever reads the run later.

    Nothing of the run is disturbed, and several may do so at once. Do not write secrets: it is kept as it is.
    """
    folder = find_run(results_root(results, None), run)
    annotation = made(folder, clean(text), kind, moment, Now.read())
    keep(folder, annotation)
    at = (
        f"run time {format_duration(round(annotation.at, 1))}"
        if annotation.at is not None
        else annotation.wall
    )
    click.echo(f"{annotation.kind} at {at} in {folder.path}: {annotation.text}", err=True)


def made(folder: RunFolder, text: str, kind: str, moment: str | None, now: Now) -> Annotation:
    """Return the annotation of a moment, on both clocks where the run has begun.

    UsageError for a time that cannot be read, and for a run time of a run that has not begun.
    """
    with RunReader(folder.database) as reader:
        anchor = Anchor.of(reader.value("anchor", None))
    at = anchor.run_time(now) if anchor is not None else None
    wall = now.wall
    if moment is not None:
        at, wall = _read(moment, anchor)
    elif anchor is not None and at is not None:
        # A step of the wall clock since the start must not part the two.
        wall = anchor.wall + at
    try:
        told = datetime.fromtimestamp(wall, UTC).isoformat(timespec="milliseconds")
    except (OverflowError, ValueError, OSError):
        raise UsageError(f"--at {clean(moment)} is further away than a calendar goes") from None
    return Annotation(at, told, kind, text)


def _read(moment: str, anchor: Anchor | None) -> tuple[float | None, float]:
    """Return a moment as run time and as wall-clock seconds."""
    try:
        at = parse_duration(moment)
    except UnitError:
        return _read_iso(moment, anchor)
    if anchor is None:
        raise UsageError("the run has not begun, so it has no run time yet", hint="leave --at out")
    return at, anchor.wall + at


def _read_iso(moment: str, anchor: Anchor | None) -> tuple[float | None, float]:
    try:
        found = datetime.fromisoformat(moment)
    except ValueError:
        raise UsageError(
            f"--at {clean(moment)!r} is neither a run time nor an ISO time",
            hint="for example 90s, 2h5m, or 2026-11-24T10:15:00+01:00",
        ) from None
    wall = (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()
    return (None if anchor is None else wall - anchor.wall), wall
