"""Run the shell blocks of a Markdown page as a reader would, in a machine of their own.

A section's commands are typed into one shell, in order, in a scratch folder. That shell lives in network and
process namespaces of its own, so the addresses and ports that the page names are its own too, nothing is
substituted, and whatever was started ends with it. Plans are shortened in the scratch folder.

The info string of a fence says how its commands are meant: `console` (each must end, with status 0 or with
that of a comment `# exit code 20` behind it), `console background` (they go on), `console background 2`
(they go on, on two hosts).
"""

from __future__ import annotations

import functools
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from markdown_it import MarkdownIt

ADDRESSES = ("10.0.0.1", "10.0.0.9")
"""Addresses that the pages name beside loopback."""
_ENTER = ("unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc")
_FILE = re.compile(r"^`([\w./-]+)`:$")
_CODE = re.compile(r"#.*\bexit code (\d+)")
_BUSY = ("the generator was saturated", "this machine was too busy")
_READY = '"ready":true'
PATIENCE = 30.0
"""Seconds of a section after which nothing is done again."""
_SHORTER = (
    (r'(?m)^(ramp\s*=\s*)"[^"]+"', r'\1"300ms"'),
    (r'(?m)^(hold\s*=\s*)"[^"]+"', r'\1"4s"'),
    (r'(?m)^(hold\s*=\s*)"[^"]+"(.*\nphase\s*=\s*"warmup")', r'\1"700ms"\2'),
    (r'(?m)^(rate\s*=\s*)"1100/s"', r'\1"110/s"'),
    (r'(?m)^(target\s*=\s*)">= 1000/s"', r'\1">= 90/s"'),
    (r'(?m)^(alert\s*=\s*)"< 500/s"', r'\1"< 50/s"'),
)
"""What makes a plan short, and small enough for several at a time."""
_OFTEN = (r'(?m)^(every\s*=\s*)"[^"]+"', r'\1"500ms"')
"""Probes that are read often enough for a short plan; not for SLA tables."""


@dataclass(frozen=True)
class Command:
    """One command of a page: where it stands, and what is expected of it."""

    text: str
    line: int
    expected: int = 0
    background: int = 0
    """On how many hosts it goes on; 0 for a command that ends."""


@dataclass(frozen=True)
class NamedFile:
    """A file that the page tells its reader to write."""

    name: str
    text: str


@dataclass
class Section:
    """A part of a page below one heading: files and commands in the order in which they stand."""

    title: str
    steps: list[Command | NamedFile] = field(default_factory=list)

    @property
    def commands(self) -> list[Command]:
        """Give the commands alone."""
        return [step for step in self.steps if isinstance(step, Command)]


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    command: Command
    code: int
    output: str

    @property
    def as_told(self) -> bool:
        """Tell whether the page says so."""
        return self.code == self.command.expected

    @property
    def busy(self) -> bool:
        """Tell whether it is the machine's doing that it is not: too busy to make a load, or to tell."""
        return not self.as_told and (self.code == 31 or any(words in self.output for words in _BUSY))

    def __str__(self) -> str:
        wanted = f"exit code {self.code}, and the page says {self.command.expected}"
        return f"line {self.command.line}: $ {self.command.text}\n{wanted}\n{self.output}"


def sections(page: Path, *, whole: bool = False) -> list[Section]:
    """Read the files and commands of a page, by its headings of level 2; `whole` makes one section of it."""
    found = [Section(page.name)]
    paragraph = ""
    tokens = MarkdownIt("commonmark").parse(page.read_text(encoding="utf-8"))
    for index, token in enumerate(tokens):
        if token.type == "heading_open" and token.tag == "h2" and not whole:
            found.append(Section(tokens[index + 1].content))
        elif token.type == "inline":
            paragraph = token.content
        elif token.type == "fence":
            found[-1].steps += _steps(token.info.split(), token.content, token.map[0] + 2, paragraph)
            paragraph = ""
    return [section for section in found if section.commands]


def _steps(info: list[str], text: str, line: int, paragraph: str) -> list[Command | NamedFile]:
    """Read one fence."""
    if info[:1] != ["console"]:
        named = _FILE.match(paragraph)
        return [NamedFile(named[1], text)] if named else []
    background = int(info[2]) if info[2:] else 1 if info[1:] == ["background"] else 0
    commands = []
    for number, entry in enumerate(text.splitlines(), line):
        if entry.startswith("$ "):
            code = _CODE.search(entry)
            commands.append(Command(entry[2:], number, int(code[1]) if code else 0, background))
    return list(commands)


def shorten(folder: Path) -> None:
    """Make every plan below a folder short; again is fine."""
    for path in folder.rglob("*.toml"):
        before = after = path.read_text(encoding="utf-8")
        is_scenario = "[traffic]" in before
        for pattern, by in (*_SHORTER, _OFTEN) if is_scenario else _SHORTER:
            after = re.sub(pattern, by, after)
        if after != before:
            path.write_text(after, encoding="utf-8")


class Shell:
    """A shell in namespaces of its own; a context manager that ends all that was started in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "work"
        self.folder.mkdir(parents=True)
        self._said = folder / "said"
        self._said.mkdir()
        self._stand_ins = folder / "bin"
        self._stand_ins.mkdir()
        self._count = 0
        self._going_on: list[tuple[Command, str, Path]] = []
        self._stand_in("npm", 'test "$1" = start && exec loadgate staging serve --no-leak-stack')
        self._stand_in("editor", 'exec test -f "$1"')

    def __enter__(self) -> Self:
        path = [str(self._stand_ins), str(Path(sys.executable).parent), os.environ["PATH"]]
        left_out = ("LOADGATE_", "GITHUB_", "LOCUST_")
        clean = {key: value for key, value in os.environ.items() if not key.startswith(left_out)}
        self._bash = subprocess.Popen(
            [*_ENTER, "bash", "--noprofile", "--norc"],
            cwd=self.folder,
            env=clean | {"PATH": ":".join(path), "EDITOR": "editor", "NO_COLOR": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        addresses = " && ".join(f"ip address add {address}/32 dev lo" for address in ADDRESSES)
        made = self.run(Command(f"ip link set lo up && {addresses}", 0))
        assert made.as_told, made
        return self

    def __exit__(self, *_: object) -> None:
        os.killpg(self._bash.pid, signal.SIGKILL)
        self._bash.communicate()

    def run(self, command: Command, within: float = 60.0) -> Outcome:
        """Run a command to its end and tell how that was; -1 where it does not end in `within` seconds."""
        shorten(self.folder)
        log = self._log()
        answer = self._type(f"{{ {command.text}\n}} >{log} 2>&1 </dev/null; echo $?", within)
        return Outcome(command, int(answer or -1), log.read_text(encoding="utf-8"))

    def start(self, command: Command, within: float = 10.0) -> Outcome:
        """Start a command that goes on, and wait until it says something."""
        shorten(self.folder)
        log = self._log()
        pid = self._type(f"{{ {command.text}\n}} >{log} 2>&1 </dev/null & echo $!", within)
        self._going_on.append((command, pid, log))
        until = time.monotonic() + within
        while not log.read_text(encoding="utf-8") and time.monotonic() < until:
            select.select([], [], [], 0.05)
        code = 0 if self._goes_on(pid) else -1
        return Outcome(command, code, log.read_text(encoding="utf-8"))

    def again(self, command: Command) -> Outcome:
        """Run a command once more, with what went on beside it and has ended since, such as its workers."""
        until = time.monotonic() + 5
        for entry in list(self._going_on):
            other, pid, log = entry
            if _READY in log.read_text(encoding="utf-8"):
                continue  # a service
            while (going := self._goes_on(pid)) and time.monotonic() < until:
                select.select([], [], [], 0.05)
            if not going:
                self._going_on.remove(entry)
                self.start(other)
        return self.run(command)

    def write(self, file: NamedFile) -> None:
        """Write a file into the folder where the shell is."""
        where = Path(self._type("pwd", 5.0)) / file.name
        where.parent.mkdir(parents=True, exist_ok=True)
        where.write_text(file.text, encoding="utf-8")

    def follow(self, section: Section) -> list[Outcome]:
        """Do what a section says, up to the first command that did not end as the section tells.

        What the machine was too busy for is done again, at most twice and not after `PATIENCE`; then the
        section goes on all the same.
        """
        outcomes: list[Outcome] = []
        until = time.monotonic() + PATIENCE
        for step in section.steps:
            if isinstance(step, NamedFile):
                self.write(step)
                continue
            outcomes += [self.start(step) for _ in range(step.background)]
            if not step.background:
                outcomes.append(self._run_quietly(step, until))
            if not (outcomes[-1].as_told or outcomes[-1].busy):
                break
        return outcomes

    def _run_quietly(self, command: Command, until: float) -> Outcome:
        outcome = self.run(command)
        for _ in range(2):
            if outcome.busy and time.monotonic() < until:
                outcome = self.again(command)
        return outcome

    def _goes_on(self, pid: str) -> bool:
        """Tell whether what was started has not ended; the shell buries its dead before it answers."""
        return self._type(f"kill -0 {pid} 2>/dev/null; echo $?", 5.0) == "0"

    def _log(self) -> Path:
        self._count += 1
        log = self._said / f"{self._count}.txt"
        log.touch()
        return log

    def _stand_in(self, name: str, line: str) -> None:
        path = self._stand_ins / name
        path.write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
        path.chmod(0o755)

    def _type(self, line: str, within: float) -> str:
        """Type a line into the shell, and read the one that it answers; nothing where it does not in time."""
        assert self._bash.stdin is not None
        assert self._bash.stdout is not None
        self._bash.stdin.write(line.encode() + b"\n")
        self._bash.stdin.flush()
        ready, _, _ = select.select([self._bash.stdout], [], [], within)
        return self._bash.stdout.readline().decode().strip() if ready else ""


@functools.cache
def refusal() -> str:
    """Say why this machine does not let us have such a shell; nothing where it does."""
    for tool in ("unshare", "ip", "bash"):
        if shutil.which(tool) is None:
            return f"there is no `{tool}`"
    try:
        done = subprocess.run(
            [*_ENTER, "ip", "link", "set", "lo", "up"], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return done.stderr.strip() or "unshare failed" if done.returncode else ""
