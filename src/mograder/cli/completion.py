"""``mograder completion``: the lines by which a shell completes our commands."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Let the shell complete commands and options.

    It prints lines for SHELL, which the shell reads when it starts:

    bash, in ~/.bashrc: eval "$(mograder completion bash)"

    zsh, in ~/.zshrc: eval "$(mograder completion zsh)"

    fish: mograder completion fish > ~/.config/fish/completions/mograder.fish
    """
    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"There is no completion for {shell}.")
    name = ctx.find_root().info_name or "mograder"
    click.echo(found(ctx.find_root().command, {}, name, f"_{name.upper()}_COMPLETE").source())
