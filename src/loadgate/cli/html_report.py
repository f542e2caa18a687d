"""`loadgate report`: a run, or two side by side, as one HTML page, and the page that a judged run leaves."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from loadgate.cli.options import results_option
from loadgate.cli.report import put
from loadgate.errors import LoadgateError, UsageError
from loadgate.report.html.collect import collect, common_extent
from loadgate.report.html.compare import render_two
from loadgate.report.html.report import render_run, write_report
from loadgate.store.folder import RunFolder, find_run, results_root


@click.command()
@click.argument("run")
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    help="File to write [default: report.html in the run's folder].",
)
@click.option("--against", metavar="RUN2", help="Show RUN beside RUN2, as a candidate beside its baseline.")
@click.option("--open", "opened", is_flag=True, help="Open the page in a browser.")
@results_option
def report(run: str, output: Path | None, against: str | None, opened: bool, results: str | None) -> None:
    """Write the stored RUN (a run id, a path, or "latest") as one HTML page, and print where it is.

    It works offline and on a run in any state: half-written, without a verdict, damaged. The exit code says
    whether it was written, not what the verdict is.
    """
    root = results_root(results, None)
    folder = find_run(root, run)
    if against is None:
        path, page = output or folder.report, render_run(collect(folder))
    else:
        other = find_run(root, against)
        path, page = output or folder.path / f"report-against-{other.id}.html", _two(folder, other, root)
    put(path, page.encode())
    click.echo(path)
    if opened:
        click.launch(str(path))


def _two(folder: RunFolder, other: RunFolder, root: Path) -> str:
    """Return the page of two runs; ones that cannot be compared stand beside each other all the same."""
    if folder.path.resolve() == other.path.resolve():
        raise UsageError(f"{folder.id} is compared with itself", hint="name another run: --against RUN2")
    content: dict[str, Any] | None = None
    refused = ""
    try:
        content = _compared(folder, other, root)
    except LoadgateError as error:
        more = [line for line in error.hint.splitlines() if "--force" not in line]
        refused = f"{error.message}: {'; '.join(more)}" if more else error.message
    extent = common_extent(folder, other)
    return render_two(collect(other, extent), collect(folder, extent), content, refused)


def _compared(folder: RunFolder, other: RunFolder, root: Path) -> dict[str, Any]:
    """Compare two runs as `loadgate compare` does with its own floors; nothing is written."""
    from loadgate.cli.compare import stored
    from loadgate.judge.effects import Floors
    from loadgate.store.baselines import Baselines, baselines_root

    kept = Baselines(baselines_root(None, root))
    names = (str(other.path.absolute()), str(folder.path.absolute()))
    comparison, _ = stored(names, None, root, kept, Floors(), None, force=False)
    return comparison.to_dict(strict=False, now=datetime.now(UTC))


def leave_report(folder: RunFolder) -> Path | None:
    """Write report.html into the folder of a run that was judged; what fails is told, and changes nothing.

    Returns its path, None where it could not be written.
    """
    try:
        return write_report(folder)
    except LoadgateError as error:
        _tell(error.message, error.hint)
    except OSError as error:
        _tell(error.strerror or str(error))
    except Exception as error:  # noqa: BLE001 - a verdict must be told, whatever is wrong with its picture
        _tell(f"{type(error).__name__}: {error}", "please report this")
    return None


def _tell(message: str, hint: str = "") -> None:
    click.echo(f"loadgate: report.html cannot be written: {message}{f' ({hint})' if hint else ''}", err=True)
