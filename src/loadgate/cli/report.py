"""`loadgate export`, and the outputs that a gate leaves: JUnit, Markdown, and what GitHub shows.

All of them are renderings of verdict.json. An output never changes a verdict, but a gate whose report is
missing must not look green: see `Outputs`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from loadgate.cli.files import written
from loadgate.cli.options import results_option
from loadgate.cli.output import printed
from loadgate.cli.window_exports import WINDOW_FORMATS, export_windows
from loadgate.errors import LoadgateError, UsageError
from loadgate.exit_codes import ExitCode
from loadgate.judge.stored import latest_verdict
from loadgate.measure.window import Series
from loadgate.plan.plan import Plan
from loadgate.plan.problems import PlanError
from loadgate.plan.timeline import PHASES
from loadgate.report import github, junit, markdown
from loadgate.store.folder import RunFolder, find_run, results_root

FORMATS: Final = ("junit", "markdown", "github", "json", *WINDOW_FORMATS)


@click.command()
@click.argument("run")
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    required=True,
    help="What to write: the verdict as junit, markdown, github or json; "
    "what was measured as hlog, csv, jsonl, parquet or arrow.",
)
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), help="File to write [default: standard output]."
)
@click.option("--phase", type=click.Choice(PHASES), help="Windows of this phase alone.")
@click.option(
    "--series",
    type=click.Choice([str(series) for series in Series]),
    default=str(Series.RESPONSE_OK),
    show_default=True,
    help="The latencies of an hlog.",
)
@results_option
def export(
    run: str, form: str, output: Path | None, phase: str | None, series: str, results: str | None
) -> None:
    """Write the latest verdict of the stored RUN (a run id, a path, or "latest"), or what it measured.

    The exit code says whether it was written, not what the verdict is.
    """
    folder = find_run(results_root(results, None), run)
    if form in WINDOW_FORMATS:
        export_windows(folder, form, output, phase, series)
        return
    if phase is not None:
        raise UsageError(
            f"--phase chooses windows, and {form} is the verdict", hint=f"for {', '.join(WINDOW_FORMATS)}"
        )
    path, content = latest_verdict(folder)
    rendered = _rendered(form, path, content, folder)
    if output is not None:
        put(output, rendered)
        return
    with printed(path):
        sys.stdout.buffer.write(rendered)


def _rendered(form: str, path: Path, content: dict[str, Any], folder: RunFolder) -> bytes:
    if form == "junit":
        return junit.render(content)
    if form == "markdown":
        page = named(folder.report if folder.report.is_file() else None)
        return markdown.render(content, report=page).encode()
    if form == "json":
        return path.read_bytes()
    sla = None
    with suppress(OSError, PlanError):
        sla = Plan.from_json(folder.plan.read_bytes()).scenario.sla
    return _lines(github.annotate(content, github.table_at(sla, repository(os.environ))))


def named(page: Path | None) -> str | None:
    """Return a run's report as it is found in a kept results folder, whatever that is called elsewhere."""
    return None if page is None else f"{page.parent.name}/{page.name}"


def repository(environ: Mapping[str, str]) -> Path:
    """Return the root of the checked-out repository: where GitHub says, else the working folder."""
    return Path(environ.get("GITHUB_WORKSPACE") or Path.cwd())


def put(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, with the folders above it; UsageError when that cannot be done.

    What is no regular file (a pipe, a device) is written as it stands.
    """
    with written(path) as file:
        file.write(content)


def _append(path: str, text: str) -> None:
    try:
        with open(path, "a", encoding="utf-8") as file:
            file.write(text)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{path} cannot be written: {reason}") from error


def _lines(commands: list[str]) -> bytes:
    return "".join(f"{command}\n" for command in commands).encode()


def code_after(code: int, problems: Sequence[str]) -> int:
    """Return a gate's exit code when `problems` kept reports from being written: a green one becomes 2."""
    return int(ExitCode.USAGE) if problems and code == ExitCode.PASS else code


@dataclass(frozen=True)
class Outputs:
    """The reports that a gate leaves, and where.

    `begin` writes each named file as one that says NO VERDICT, before anything else is done: a file of an
    earlier build cannot be taken for this one's, whatever happens later, and a place that cannot be written
    is told before any load. `finish` then replaces them. What it cannot write is told and costs a green exit
    code, since a gate whose report is missing must not look green; any other code says more, and stays.
    """

    scenario: str
    junit: Path | None
    markdown: Path | None
    github: bool
    annotate: Callable[[bytes], None]
    """Where annotations go: a stream that the job's log shows."""

    def begin(self) -> None:
        """Write the files that say NO VERDICT; UsageError when one cannot be written."""
        files = [path.resolve() for path in (self.junit, self.markdown) if path is not None]
        if len(set(files)) < len(files):
            raise UsageError("--junit and --markdown name the same file", hint="give each its own")
        self._files_without_verdict("the gate was ended before it had a verdict", [], ExitCode.INTERNAL)
        for name in ("GITHUB_STEP_SUMMARY", "GITHUB_OUTPUT"):
            if self.github and os.environ.get(name):
                _append(os.environ[name], "")

    def failed(self, messages: list[str], hint: str, exit_code: int) -> None:
        """Write why there is no verdict; what cannot be written is told on standard error."""
        more = [*messages[1:], *hint.splitlines()]
        for problem in self._attempt(
            lambda: self._files_without_verdict(messages[0], more, exit_code),
            lambda: self._annotate(github.without_verdict("loadgate gate: no verdict", messages)),
            lambda: self._summary(markdown.without_verdict(self.scenario, messages[0], more, exit_code)),
            lambda: self._step_outputs("", exit_code, ""),
        ):
            click.echo(f"loadgate: {problem}", err=True)

    def finish(self, content: dict[str, Any], plan: Plan, command: str, page: Path | None = None) -> int:
        """Write every report of a verdict, tell what could not be written, and return the exit code.

        `page` is the run's own report, which they name.
        """
        text = markdown.render(content, command, named(page))
        table = github.table_at(plan.scenario.sla, repository(os.environ))
        problems = self._attempt(
            lambda: self._put(self.junit, junit.render(content)),
            lambda: self._put(self.markdown, text.encode()),
            lambda: self._annotate(github.annotate(content, table)),
            lambda: self._summary(text),
        )
        code = code_after(content["exit_code"], problems)
        problems += self._attempt(lambda: self._step_outputs(content["verdict"], code, content["run"]))
        for problem in problems:
            click.echo(f"loadgate: {problem}", err=True)
        if problems and content["exit_code"] == ExitCode.PASS:
            click.echo("loadgate: a gate without its reports is not green", err=True)
        return code_after(code, problems)

    def _attempt(self, *steps: Callable[[], None]) -> list[str]:
        """Take every step, whatever becomes of the others; return what went wrong."""
        problems = []
        for step in steps:
            try:
                step()
            except LoadgateError as error:
                problems.append(error.message)
        return problems

    def _files_without_verdict(self, message: str, more: list[str], exit_code: int) -> None:
        kind = ExitCode(exit_code).name
        self._put(self.junit, junit.without_verdict(self.scenario, kind, message, more))
        self._put(self.markdown, markdown.without_verdict(self.scenario, message, more, exit_code).encode())

    def _put(self, path: Path | None, content: bytes) -> None:
        if path is not None:
            put(path, content)

    def _annotate(self, commands: list[str]) -> None:
        if self.github:
            self.annotate(_lines(commands))

    def _summary(self, text: str) -> None:
        if self.github and os.environ.get("GITHUB_STEP_SUMMARY"):
            _append(os.environ["GITHUB_STEP_SUMMARY"], f"{text}\n")

    def _step_outputs(self, verdict: str, exit_code: int, run: str) -> None:
        if self.github and os.environ.get("GITHUB_OUTPUT"):
            _append(os.environ["GITHUB_OUTPUT"], github.step_outputs(verdict, exit_code, run))
