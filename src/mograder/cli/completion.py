"""``mograder completion``: the lines by which a shell completes our commands."""

from __future__ import annotations

import click
from click.shell_completion import BashComplete, FishComplete, ZshComplete

_SHELLS = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}


@click.command("completion")
@click.argument("shell", type=click.Choice(list(_SHELLS)))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Let the shell complete commands and options.

    It prints lines for SHELL, which the shell reads when it starts:

    bash, in ~/.bashrc: eval "$(mograder completion bash)"

    zsh, in ~/.zshrc: eval "$(mograder completion zsh)"

    fish: mograder completion fish > ~/.config/fish/completions/mograder.fish
    """
    root = ctx.find_root()
    name = root.info_name or "mograder"
    lines = _SHELLS[shell](root.command, {}, name, f"_{name.upper()}_COMPLETE")
    click.echo(lines.source())
