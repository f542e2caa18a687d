"""The errors that Loadgate raises on purpose.

    LoadgateError
    ├── PlanError            a scenario, SLA table or another plan file is not usable (exit 2)
    ├── UsageError           the command line asks for what cannot be done (exit 2)
    ├── TargetUnreachable    the service under test did not answer before the load (exit 40)
    ├── MeasureError         a histogram, window or delta that cannot be read or merged (exit 70)
    ├── StoreError           a run folder or run database that cannot be read or written (exit 2)
    └── GeneratorError       the processes that make the load could not be run (exit 70)

Each error says what failed first, on one line, and how to mend it as a separate hint.
Only the `cli` room turns an error into a process exit.
"""

from __future__ import annotations

from loadgate.exit_codes import ExitCode


class LoadgateError(Exception):
    """Say what failed in `message` and, where there is a remedy, what to do in `hint`."""

    exit_code: ExitCode = ExitCode.INTERNAL

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(LoadgateError):
    """The command line asks for what cannot be done."""

    exit_code = ExitCode.USAGE


class TargetUnreachable(LoadgateError):
    """The service under test, or a worker's master, could not be reached before the load."""

    exit_code = ExitCode.UNREACHABLE


class MeasureError(LoadgateError):
    """A histogram, window or delta cannot be read or merged."""


class StoreError(LoadgateError):
    """A run folder or a run database cannot be read or written."""

    exit_code = ExitCode.USAGE


class GeneratorError(LoadgateError):
    """The processes that make the load could not be started or did not do their work."""
