"""`docs/commands.md` lists every command and option, and none more."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from loadgate.cli.main import cli

PAGE = (Path(__file__).parents[2] / "docs" / "commands.md").read_text(encoding="utf-8")


def tree(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    """Give each command with the words that call it."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from tree(found, f"{path} {name}")


TREE = dict(tree(cli, "loadgate"))


def section(path: str) -> str:
    """Return the text below a command's heading, up to the next one."""
    return PAGE.split(f"\n## {path}\n", 1)[1].split("\n## ", 1)[0]


def options(command: click.Command) -> list[click.Option]:
    """List a command's own options."""
    return [parameter for parameter in command.params if isinstance(parameter, click.Option)]


def rows(path: str) -> list[list[str]]:
    """Return the cells of a command's table: option, default, meaning."""
    lines = [line for line in section(path).splitlines() if line.startswith("| `--")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_every_command_has_its_section() -> None:
    """In the order of `--help`, and none that does not exist."""
    assert re.findall(r"^## (.+)$", PAGE, re.MULTILINE) == list(TREE)


@pytest.mark.parametrize("path", TREE)
def test_every_option_has_its_row(path: str) -> None:
    """With the words that `--help` has for it, in the same order (`--help` itself has none)."""
    flags = [" / ".join([*option.opts, *option.secondary_opts]) for option in options(TREE[path])]
    told = [row[2].replace("\\|", "|") for row in rows(path)]
    assert [row[0].strip("`") for row in rows(path)] == flags
    assert told == [option.help for option in options(TREE[path])]


@pytest.mark.parametrize("path", TREE)
def test_every_default_is_the_real_one(path: str) -> None:
    """A required option says so; one whose help shows its default has that in its row."""
    for option, row in zip(options(TREE[path]), rows(path), strict=True):
        assert (row[1] == "required") == option.required
        if option.show_default and not option.secondary_opts:
            default = option.default
            assert row[1] == f"`{default:g}`" if isinstance(default, float) else f"`{default}`", row


@pytest.mark.parametrize("path", TREE)
def test_every_argument_is_in_the_usage_line(path: str) -> None:
    """The first line of code of a section calls the command with everything it takes."""
    usage = re.search(r"```\n(.+)\n```", section(path))
    assert usage is not None
    assert usage[1].startswith(path)
    for argument in TREE[path].params:
        if isinstance(argument, click.Argument):
            kind = argument.type
            word = "|".join(kind.choices) if isinstance(kind, click.Choice) else argument.metavar
            assert (word or str(argument.name).upper()) in usage[1]
