"""`loadgate completion`: print the shell's tab-completion script."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from loadgate.errors import UsageError


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the tab-completion script for a shell.

    \b
    bash:  eval "$(loadgate completion bash)"        in ~/.bashrc
    zsh:   eval "$(loadgate completion zsh)"         in ~/.zshrc
    fish:  loadgate completion fish > ~/.config/fish/completions/loadgate.fish
    """
    from loadgate.cli.main import cli

    maker = get_completion_class(shell)
    if maker is None:
        raise UsageError(f"there is no completion for {shell}")
    click.echo(maker(cli, {}, "loadgate", "_LOADGATE_COMPLETE").source())
