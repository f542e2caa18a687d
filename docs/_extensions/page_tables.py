"""Tables that the code knows in full: the options in commands.md, the codes in exit-codes.md.

They are written into the pages themselves, so that these read the same on a code host: `make reference`
does it, and a test fails where it was forgotten. Everything around the tables is written by hand and stays.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from loadgate import exit_codes
from loadgate.cli.main import cli
from loadgate.exit_codes import ExitCode

DOCS = Path(__file__).parents[1]

_OPTIONS = "| option | default | meaning |\n|---|---|---|\n"
_CODES = "| code | name | meaning |\n|---|---|---|\n"
_ROWS = r"(?:\|.*\n)*"


def commands(group: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    """Give each command with the words that call it, in the order of `--help`."""
    yield path, group
    if isinstance(group, click.Group):
        context = click.Context(group)
        for name in group.list_commands(context):
            found = group.get_command(context, name)
            assert found is not None  # the group has just named it
            yield from commands(found, f"{path} {name}")


def with_options(page: str) -> str:
    """Return commands.md with the table of each command's section made anew."""
    pieces = re.split(r"(?m)^(## .+\n)", page)
    known = dict(commands(cli, "loadgate"))
    for index in range(1, len(pieces), 2):
        command = known.get(pieces[index][3:-1])
        if command is not None:
            pieces[index + 1] = _with_table(pieces[index + 1], _OPTIONS, "".join(_option_rows(command)))
    return "".join(pieces)


def with_codes(page: str) -> str:
    """Return exit-codes.md with its table made anew."""
    return _with_table(page, _CODES, "".join(_code_rows()))


PAGES: dict[str, Callable[[str], str]] = {"commands.md": with_options, "exit-codes.md": with_codes}
"""Each page that holds such tables, and what makes them anew."""


def _with_table(text: str, head: str, rows: str) -> str:
    """Replace the table under `head`: added at the end where there is none, dropped where it has no rows."""
    table = re.compile(re.escape(head) + _ROWS)
    if table.search(text):
        return table.sub(lambda _: head + rows if rows else "", text, count=1)
    return f"{text.rstrip()}\n\n{head}{rows}\n" if rows else text


def _option_rows(command: click.Command) -> Iterator[str]:
    """Give a row for each option of a command: its words, its default, its help."""
    for option in command.params:
        if isinstance(option, click.Option):
            words = " / ".join([*option.opts, *option.secondary_opts])
            meaning = (option.help or "").replace("|", "\\|")
            yield f"| `{words}` | {_default(option)} | {meaning} |\n"


def _default(option: click.Option) -> str:
    """Say an option's default in a word."""
    if option.required:
        return "required"
    if option.is_flag and not option.secondary_opts:
        return "off"
    if option.multiple:
        return "none; can be repeated"
    if option.secondary_opts:
        told = re.search(r"\[default: (.+)\]", option.help or "")
        switch = option.opts[0] if option.default else option.secondary_opts[0]
        return told[1] if told else f"`{switch}`"
    if not option.show_default:
        return "none"
    return f"`{option.default:g}`" if isinstance(option.default, float) else f"`{option.default}`"


def _code_rows() -> Iterator[str]:
    """Give a row for each exit code, with the text that stands below it in the code."""
    (body,) = (
        node.body
        for node in ast.parse(inspect.getsource(exit_codes)).body
        if isinstance(node, ast.ClassDef) and node.name == ExitCode.__name__
    )
    for code in ExitCode:
        place = next(
            index
            for index, node in enumerate(body)
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == code.name
        )
        told = body[place + 1]
        assert isinstance(told, ast.Expr), code.name
        yield f"| {code.value} | {code.name} | {ast.literal_eval(told.value)} |\n"


def main() -> int:
    """Write the pages whose tables are not those of the code, and name them."""
    for name, made in PAGES.items():
        before = (DOCS / name).read_text(encoding="utf-8")
        after = made(before)
        if after != before:
            (DOCS / name).write_text(after, encoding="utf-8")
            print(f"docs/{name}: written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
