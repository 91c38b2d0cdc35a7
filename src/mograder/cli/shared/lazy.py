"""Command groups that import a command only when it runs.

``mograder --help`` must not load a web framework (performance.md), so a group has only its
commands' one-line descriptions and import paths.

The commands of students and authors run on every system, those of the server side on Linux only
(decision 51): elsewhere they are refused here, before an import of theirs could fail.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

import click

from mograder.core.errors import Unsupported
from mograder.core.system import SYSTEM, SYSTEM_NAME


@dataclass(frozen=True, slots=True)
class Lazy:
    """A command that is not imported yet: ``target`` is ``module:attribute``.

    ``server_side`` commands run on Linux only.
    """

    target: str
    summary: str
    hidden: bool = False
    server_side: bool = False

    def load(self) -> click.Command:
        """Import the command."""
        module, _, attribute = self.target.partition(":")
        command = getattr(importlib.import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{self.target} is not a command")
        return command


class LazyGroup(click.Group):
    """A click group whose subcommands are a table of `Lazy` commands; subclasses fill it."""

    table: ClassVar[Mapping[str, Lazy]] = MappingProxyType({})

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands' names in the table's order, which is the order of use."""
        return [name for name, lazy in self.table.items() if not lazy.hidden]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command.

        Raises: :class:`Unsupported` for a server-side command on another system than Linux.
        """
        lazy = self.table.get(cmd_name)
        if lazy is not None and lazy.server_side:
            _demand_linux(f"{ctx.command_path} {cmd_name}")
        return lazy.load() if lazy else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands that run here from the table, without importing any."""
        names = self.list_commands(ctx)
        absent = [name for name in names if self.table[name].server_side and SYSTEM != "linux"]
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, self.table[name].summary) for name in names if name not in absent]
            )
        if absent:
            with formatter.section("On Linux only"):
                formatter.write_text(", ".join(absent))


def _demand_linux(command: str) -> None:
    if SYSTEM == "linux":
        return
    raise Unsupported(
        f"{command} runs on Linux only, and this is {SYSTEM_NAME}.",
        hint="Use a Linux computer, or on Windows WSL (Windows Subsystem for Linux). The commands "
        "in `mograder --help` run here, too.",
    )
