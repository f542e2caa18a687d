"""What is wrong with a plan: one `Problem` per fault, all of them in one `PlanError`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Literal

from loadgate.errors import LoadgateError
from loadgate.exit_codes import ExitCode

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault of a plan file: where it is, what it is, and how to mend it.

    `file` is the path as the user knows it (or "--set", "--host", "--sla"); `key` is the TOML key, such as
    `traffic.stages[1].rate` (indices count from 0), and is empty where the whole file is meant.
    """

    file: str
    key: str
    message: str
    hint: str = ""
    severity: Severity = "error"

    @property
    def is_error(self) -> bool:
        """Tell an error, which stops the run, from a warning, which does not."""
        return self.severity == "error"

    def line(self) -> str:
        """Write the problem on one line: `file: key: message (hint)`."""
        where = f"{self.file}: {self.key}" if self.key else self.file
        mark = "" if self.is_error else "warning: "
        hint = f" ({self.hint})" if self.hint else ""
        return f"{where}: {mark}{self.message}{hint}"

    def as_dict(self) -> dict[str, str]:
        """Return the problem as plain values for JSON."""
        return asdict(self)


class PlanError(LoadgateError):
    """A plan is not usable; `problems` holds every fault that was found, warnings included."""

    exit_code = ExitCode.USAGE

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        errors = [problem for problem in self.problems if problem.is_error]
        first = errors[0] if errors else None
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        message = "the plan is not usable"
        if first is not None:
            where = f"{first.file}: {first.key}" if first.key else first.file
            message = f"{where}: {first.message}{more}"
        super().__init__(message, hint=first.hint if first is not None else "")
