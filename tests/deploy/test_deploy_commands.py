"""The commands in the deployment files and in docs/distributed.md are commands that exist."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys

import click
import pytest
from deploy_files import COMPOSE, PODS, ROOT, after

PAGE = (ROOT / "docs" / "distributed.md").read_text(encoding="utf-8")
SOURCE = "\n".join(
    # Texts that are put together from several literals are read as one.
    re.sub(r'"\s*\n\s*f?"', "", path.read_text(encoding="utf-8"))
    for path in sorted((ROOT / "src" / "loadgate").rglob("*.py"))
)
WORDS = {"{me}": "the master", "{them}": "this worker", "{where}": "this worker", "{key}": "traffic.trace"}
"""What the page says for the parts of a message that vary in few ways."""
LINES = [shlex.split(line) for line in re.findall(r"^ *\$ ((?:loadgate|locust) .+)$", PAGE, re.MULTILINE)]
COMMANDS = {
    **{f"compose {name}": service["command"] for name, service in COMPOSE["services"].items()},
    **{name: pod.container["args"] for name, pod in PODS.items() if "args" in pod.container},
    **{f"page {' '.join(words)}": words[1:] for words in LINES if words[0] == "loadgate"},
}
MASTERS = {name: words for name, words in COMMANDS.items() if words[0] == "run"}


def filled(words: list[str]) -> list[str]:
    """Put the defaults in the place of variables: ${NAME:-default}."""
    return [re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", word) for word in words]


def parse(words: list[str]) -> click.Context:
    """Parse a command line as `loadgate` does, without running it; click.UsageError when it is wrong."""
    from loadgate.cli.main import cli

    command: click.Command = cli
    context = click.Context(cli, info_name="loadgate")
    while isinstance(command, click.Group):
        found = command.get_command(context, words[0])
        if found is None:
            raise click.UsageError(f"no such command: {words[0]}")
        command, words = found, words[1:]
        if isinstance(command, click.Group) and (not words or words[0].startswith("-")):
            break
        context = click.Context(command, parent=context, info_name=command.name)
    return command.make_context(str(command.name), list(words))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_of_loadgate_is_understood(name: str) -> None:
    """Each word is a command, an option or a value that `loadgate` takes."""
    try:
        parse(filled(COMMANDS[name]))
    except click.UsageError as error:
        pytest.fail(f"loadgate {' '.join(COMMANDS[name])}: {error.format_message()}")


def test_a_wrong_command_is_found() -> None:
    """The parser is the real one: an option that does not exist is refused."""
    with pytest.raises(click.UsageError):
        parse(["run", "scenarios/load.toml", "--no-such-option"])
    with pytest.raises(click.UsageError):
        parse(["no-such-command"])


@pytest.mark.parametrize("name", MASTERS)
def test_every_run_has_a_plan_without_errors(name: str) -> None:
    """With the host and the changes of its command; rows on a process elsewhere decide nothing."""
    from loadgate.plan.plan import load_plan

    words = filled(MASTERS[name])
    (host,) = after(words, "--host")
    plan = load_plan(ROOT / words[1], overrides=after(words, "--set"), host=host)
    assert plan.scenario.host == host
    if not name.startswith("page "):
        assert set(plan.scenario.verdict.optional) == {"cpu", "memory"}


def test_every_command_of_locust_is_understood() -> None:
    """Each flag is one that Locust lists with Loadgate's plugin loaded."""
    code = (
        "import loadgate.swarm.plugin\n"
        "from locust.argument_parser import get_parser\n"
        "print(get_parser().format_help())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    known = set(re.findall(r"(?<![\w-])(--?[a-zA-Z][\w-]*)", done.stdout))
    used = [word for words in LINES if words[0] == "locust" for word in words[1:] if word.startswith("-")]
    assert len(used) > 10
    assert [flag for flag in used if flag not in known] == []


def test_every_file_that_a_command_names_is_there() -> None:
    """Scenarios, locustfiles and the deployment files themselves."""
    named = set(re.findall(r"(?<![\w/])(?:scenarios|locustfiles|deploy)/[\w./-]+\.(?:toml|py|yaml)", PAGE))
    assert len(named) > 5
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_the_deployment_is_told_as_it_is() -> None:
    """The page gives the commands that the files themselves give in their heads."""
    head = (ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8").split("\nname:", 1)[0]
    commands = re.findall(r"^#   ((?:mkdir|openssl|docker) .+?)(?:    # .*)?$", head, re.MULTILINE)
    assert len(commands) == 6
    assert [command for command in commands if f"$ {command}\n" not in PAGE] == []


@pytest.mark.parametrize(
    "message", re.findall(r"^\| `((?!nc )[^`]+)` \|", PAGE.split("## Troubleshooting")[1], re.MULTILINE)
)
def test_every_message_is_one_of_loadgate(message: str) -> None:
    """Its words, between those that stand for something, are in the code."""
    fragments = [part.strip() for part in re.split(r"\b[A-Z]+\b(?!_)|\b\d+\b", message)]
    # LOADGATE_SECRET and its like are constants in the code.
    fragments = [piece.strip(" ,:;") for part in fragments for piece in re.split(r"LOADGATE_\w+", part)]
    source = SOURCE
    for part, word in WORDS.items():
        source = source.replace(part, word)
    missing = [piece for piece in fragments if len(piece) > 3 and piece not in source]
    assert missing == []
