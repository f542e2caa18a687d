"""The exit codes of every `loadgate` command. They never change their meaning."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Name each exit code; `docs/exit-codes.md` is tested against this list."""

    PASS = 0
    """PASS, and WARN unless `--strict`; any other command that did its work."""
    USAGE = 2
    """Wrong usage, a plan with errors, unwritable results, unlike baselines."""
    WARN = 10
    """WARN with `--strict`."""
    FAIL = 20
    """FAIL; a failed smoke check; a confirmed regression; HOLD."""
    INVALID = 30
    """INVALID: there is no evidence to judge by, or the run is void."""
    INCONCLUSIVE = 31
    """INCONCLUSIVE; a comparison that awaits its confirming rerun."""
    UNREACHABLE = 40
    """The target, or a worker's master, could not be reached before the load began."""
    INTERNAL = 70
    """A fault in Loadgate itself."""
    INTERRUPTED = 130
    """SIGINT or SIGTERM, whatever the verdict; what was measured is kept and judged."""
