"""`loadgate gate`: everything that a CI job needs of a release, in one command and one exit code."""

from __future__ import annotations

import io
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import click
from click.core import ParameterSource

from loadgate.cli.comparison_options import baselines_option, floor_options, statistic_option
from loadgate.cli.control_room import ControlRoom, Judged, Request
from loadgate.cli.durations import DURATION
from loadgate.cli.gate_regression import Against, Compared, Regression, joined
from loadgate.cli.interrupts import Interrupts
from loadgate.cli.options import host_option, json_option, results_option, set_option, strict_option
from loadgate.cli.outlets import Listening, metrics_options
from loadgate.cli.output import discard, printed
from loadgate.cli.report import Outputs
from loadgate.cli.start import Door, Service, refuse_a_stranger, wait_for
from loadgate.cli.subjects import read_floors, read_run
from loadgate.errors import LoadgateError, UsageError
from loadgate.exit_codes import ExitCode
from loadgate.judge.likeness import unusable
from loadgate.plan.plan import Plan
from loadgate.plan.problems import PlanError
from loadgate.plan.units import format_duration
from loadgate.report.comparison import print_comparison
from loadgate.store.folder import results_root

DEFAULT: Final = Path("scenarios") / "gate.toml"
WAIT: Final = 60.0
"""Seconds that a service which was started here gets to answer, unless --wait says otherwise."""


@click.command()
@click.argument("scenario", type=click.Path(path_type=Path), required=False)
@host_option
@click.option("--workers", type=click.IntRange(1, 64), help="Worker processes; the scenario says by default.")
@click.option(
    "--sla", type=click.Path(path_type=Path), help="SLA table to judge by, in place of the scenario's."
)
@click.option(
    "--start",
    metavar="COMMAND",
    help="Start the service with this command (no shell), and end it afterwards with all that it started.",
)
@click.option(
    "--wait",
    "within",
    type=DURATION,
    help="How long the target may take to answer [default: 60s with --start, else it must answer at once].",
)
@click.option(
    "--baseline",
    metavar="NAME",
    help="Compare the run with this baseline, main or main@2, and let the worse decide.",
)
@click.option(
    "--no-rerun",
    is_flag=True,
    help="Do not run once more by itself when the run looks worse than the baseline, to confirm it.",
)
@floor_options
@statistic_option
@baselines_option
@click.option("--junit", type=click.Path(path_type=Path), help="Write the verdict as JUnit XML.")
@click.option("--markdown", type=click.Path(path_type=Path), help="Write it as Markdown, for a pull request.")
@click.option(
    "--github/--no-github",
    default=None,
    help="Annotations, job summary and step outputs of GitHub Actions [default: when it runs there].",
)
@metrics_options
@set_option
@results_option
@strict_option
@json_option
@click.pass_context
def gate(
    ctx: click.Context,
    scenario: Path | None,
    host: str | None,
    workers: int | None,
    sla: Path | None,
    start: str | None,
    within: float | None,
    baseline: str | None,
    no_rerun: bool,
    floor: str,
    floor_latency: str,
    floor_errors: str,
    statistics: tuple[str, ...],
    baselines: str | None,
    junit: Path | None,
    markdown: Path | None,
    github: bool | None,
    metrics_port: int | None,
    metrics_bind: str,
    overrides: tuple[str, ...],
    results: str | None,
    strict: bool,
    as_json: bool,
) -> int:
    """Start the service, wait for it, run SCENARIO, judge, report, and stop the service: one exit code.

    SCENARIO is scenarios/gate.toml of this folder or the nearest above by default.

    The exit code is the verdict: 0 PASS or WARN (10 for WARN with --strict), 20 FAIL, 30 INVALID,
    31 INCONCLUSIVE, 40 the service did not come up, 130 interrupted. A report that cannot be written
    turns 0 into 2 and changes nothing else.

    With --baseline it is the worse of the verdict and of the comparison, whose FAIL is a regression that a
    second run has confirmed; a baseline that is missing or unlike the plan is exit 2 before any load.
    """
    floors = (floor, floor_latency, floor_errors)
    against = _against(ctx, baseline, baselines, floors, statistics, rerun=not no_rerun)
    request = Request(
        scenario=scenario if scenario is not None else DEFAULT,
        host=host,
        workers=workers,
        sla=sla,
        overrides=overrides,
        results=results,
        strict=strict,
        as_json=as_json,
        plain=True,
        listening=Listening(metrics_port=metrics_port, metrics_bind=metrics_bind),
    )
    outputs = Outputs(
        scenario=request.scenario.stem,
        junit=junit,
        markdown=markdown,
        github=os.environ.get("GITHUB_ACTIONS") == "true" if github is None else github,
        # Standard output holds JSON and nothing else when it was asked for; GitHub reads both streams.
        annotate=_to_stderr if as_json else _to_stdout,
    )
    return Gate(request, outputs, start, within, find=scenario is None, against=against).run()


def _against(
    ctx: click.Context,
    baseline: str | None,
    baselines: str | None,
    floors: tuple[str, str, str],
    statistics: tuple[str, ...],
    *,
    rerun: bool,
) -> Against | None:
    """Return what the run is compared with, None without a baseline.

    Raises UsageError for floors that are none, and for an option that does nothing without a baseline.
    """
    if baseline is None:
        _refuse_what_goes_with_a_baseline(ctx)
        return None
    return Against(baseline, baselines, read_floors(*floors), statistics or None, rerun=rerun)


_WITH_A_BASELINE: Final = (
    "no_rerun",
    "floor",
    "floor_latency",
    "floor_errors",
    "statistics",
    "baselines",
)


def _refuse_what_goes_with_a_baseline(ctx: click.Context) -> None:
    """Let no option be given that would do nothing: UsageError names the first."""
    for option in ctx.command.params:
        given = ctx.get_parameter_source(str(option.name)) is ParameterSource.COMMANDLINE
        if option.name in _WITH_A_BASELINE and given:
            raise UsageError(
                f"{option.opts[0]} goes with --baseline", hint="name the baseline, for example main"
            )


def find_scenario(folder: Path) -> Path:
    """Find scenarios/gate.toml in a folder or the nearest above; UsageError when there is none."""
    for parent in (folder, *folder.parents):
        if (parent / DEFAULT).is_file():
            return parent / DEFAULT
    raise UsageError(
        f"there is no {DEFAULT} here or above", hint="name a scenario, or make one with `loadgate init DIR`"
    )


def _to_stdout(content: bytes) -> None:
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(content)
        sys.stdout.flush()
    except OSError as error:
        discard(sys.stdout.fileno())
        click.echo(f"the annotations cannot be printed: {error.strerror or error}", err=True)


def _to_stderr(content: bytes) -> None:
    click.echo(content, err=True, nl=False)


@dataclass
class Gate:
    """Carry out one gate: outputs first, so that they are red until a verdict says otherwise."""

    request: Request
    outputs: Outputs
    start: str | None
    within: float | None
    find: bool
    """Whether the scenario is still to be found, from the working folder upwards."""
    against: Against | None = None

    def run(self) -> int:
        """Do it all; return the exit code. Errors before the verdict are reported, then raised."""
        self.outputs.begin()
        with self._told(), Interrupts().caught() as interrupts:
            if self.find:
                self.request = replace(self.request, scenario=find_scenario(Path.cwd()))
            room = ControlRoom(self.request)
            door = Door(room.plan.scenario, os.environ)
            regression = self._regression(room.plan)
            if regression is not None and room.plan.scenario.verdict.stop_when_certain:
                room = self._to_the_planned_end()
            compared: Compared | None = None
            with self._service(door, interrupts) as service:
                judged = self._judged(room, service, interrupts)
                if regression is not None:
                    compared = regression.compare(judged)
                again = self._wants_a_rerun(judged, compared)
                code = 0 if again else self._report(judged, compared)
            if service is not None:
                service.keep_log(judged.folder.logs)
            if again and regression is not None:
                code = self._report(judged, *self._confirmed(regression, judged, door, interrupts.count))
        return code

    def _judged(self, room: ControlRoom, service: Service | None, interrupts: Interrupts) -> Judged:
        """Carry out the run and judge it; tell if the service ended meanwhile."""
        judged = room.judged()
        # The verdict is there: from here on a signal only hurries the service's end.
        interrupts.count_only()
        if service is not None and service.ended():
            how = service.ended()
            click.echo(f"the service ended before its run did ({how}); {service.tail()}", err=True)
        return judged

    def _regression(self, plan: Plan) -> Regression | None:
        """Read the baseline and refuse what cannot be compared, before anything is started."""
        if self.against is None:
            return None
        root = results_root(self.request.results, self.request.scenario)
        return self.against.prepare(plan, root, strict=self.request.strict)

    def _to_the_planned_end(self) -> ControlRoom:
        """Let the run go on to its planned end, since a shorter one cannot be compared."""
        click.echo(
            "stop_when_certain is off here: the run is to be compared, so it is as long as planned", err=True
        )
        overrides = (*self.request.overrides, "verdict.stop_when_certain=false")
        self.request = replace(self.request, overrides=overrides)
        return ControlRoom(self.request)

    def _wants_a_rerun(self, judged: Judged, compared: Compared | None) -> bool:
        """Tell whether a second run can change the outcome, and is allowed: a run that fails has failed."""
        if compared is None or self.against is None or not self.against.rerun:
            return False
        return compared.awaiting and judged.exit_code != ExitCode.FAIL

    def _confirmed(
        self, regression: Regression, first: Judged, door: Door, signals: int
    ) -> tuple[Compared, Judged | None]:
        """Make the confirming rerun, of a service that was started anew, and compare again.

        What differs between two starts of the service is a part of the noise. `signals` is how many came
        since the verdict: with one, nothing more is started.
        """
        again: Judged | None = None
        cut, interrupted = "", bool(signals)
        try:
            if not interrupted:
                click.echo("it looks worse than the baseline: the run is made again, to confirm it", err=True)
                again = self._run_again(door)
                interrupted = again.exit_code == ExitCode.INTERRUPTED
                why = unusable(read_run(again.folder))
                cut = f"the confirming rerun cannot be used: {why}" if why else ""
        except KeyboardInterrupt:
            interrupted = True
        except LoadgateError as error:
            cut = f"the confirming rerun could not be made: {error.message}"
        if interrupted:
            cut = "interrupted before the confirming rerun was made"
        usable = again if not cut else None
        return regression.compare(first, usable, cut=cut, interrupted=interrupted), again

    def _run_again(self, door: Door) -> Judged:
        with Interrupts().caught() as interrupts, self._service(door, interrupts) as service:
            room = ControlRoom(replace(self.request, as_json=False))
            # Standard output holds the JSON of the first run's verdict and nothing else.
            silent = redirect_stdout(io.StringIO()) if self.request.as_json else nullcontext()
            with silent:
                judged = self._judged(room, service, interrupts)
        if service is not None:
            service.keep_log(judged.folder.logs)
        return judged

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Write into every output why there is no verdict, where there is none."""
        try:
            yield
        except PlanError as error:
            lines = [problem.line() for problem in error.problems if problem.is_error]
            self.outputs.failed(lines or [error.message], "", error.exit_code)
            raise
        except LoadgateError as error:
            self.outputs.failed([error.message], error.hint, error.exit_code)
            raise
        except KeyboardInterrupt:
            self.outputs.failed(
                ["the gate was interrupted before it had a verdict"], "", ExitCode.INTERRUPTED
            )
            raise
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
            self.outputs.failed(["a fault in Loadgate itself"], said, ExitCode.INTERNAL)
            raise

    @contextmanager
    def _service(self, door: Door, interrupts: Interrupts) -> Iterator[Service | None]:
        """Have the target answer: start it where that was asked for, wait, and stop it whatever happens."""
        if self.start is None:
            if self.within is not None:
                self._wait(door, self.within, None)
            yield None
            return
        refuse_a_stranger(door)
        service: Service | None = None
        try:
            with interrupts.held():
                service = Service(self.start)
            click.echo(f"service: {service.name} (pid {service.pid}), output in {service.log}", err=True)
            self._wait(door, WAIT if self.within is None else self.within, service)
            yield service
        except KeyboardInterrupt:
            # Nobody was told to look into it. After a failure the log stays: the message names it.
            if service is not None:
                service.keep_log(None)
            raise
        finally:
            try:
                interrupts.count_only()
            finally:
                if service is not None:
                    self._stop(service, interrupts)

    def _stop(self, service: Service, interrupts: Interrupts) -> None:
        before = interrupts.count
        left = service.stop(lambda: interrupts.count > before)
        if left:
            click.echo(f"of the service, these processes could not be ended: {left}", err=True)

    def _wait(self, door: Door, within: float, service: Service | None) -> None:
        click.echo(f"waiting up to {format_duration(within)} for {door.url}", err=True)
        took = wait_for(door, within, service)
        click.echo(f"it answered after {format_duration(round(took, 1))}", err=True)

    def _report(self, judged: Judged, compared: Compared | None, again: Judged | None = None) -> int:
        """Write the outputs, and say in one line what came of it all."""
        content = judged.content
        if compared is not None:
            if not self.request.as_json:
                with printed(compared.path or judged.folder.path):
                    click.echo()
                    print_comparison(compared.content, compared.path)
            content = joined(content, compared.content, again.content if again is not None else None)
        page = judged.folder.report if judged.folder.report.is_file() else None
        code = self.outputs.finish(content, judged.plan, self._command(), page)
        parts = [f"gate: {content['verdict']}, exit code {code}", f"run {judged.folder.path}"]
        files = {
            "report": page,
            "comparison": compared.path if compared is not None else None,
            "junit": self.outputs.junit,
            "markdown": self.outputs.markdown,
        }
        parts += [f"{name} {path}" for name, path in files.items() if path is not None]
        click.echo("; ".join(parts), err=True)
        return code

    def _command(self) -> str:
        """Return the command that makes such a run again, once the service runs; --start may hold secrets."""
        request = self.request
        words = ["loadgate", "gate", str(request.scenario)]
        for option, value in (
            ("--host", request.host),
            ("--workers", request.workers),
            ("--sla", request.sla),
            ("--baseline", self.against.name if self.against is not None else None),
        ):
            if value is not None:
                words += [option, str(value)]
        for override in request.overrides:
            words += ["--set", override]
        return shlex.join([*words, "--strict"] if request.strict else words)
