"""Command groups that import a command only when it runs.

``mograder --help`` must not load a web framework (performance.md), so a group has only its
commands' one-line descriptions and import paths.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

import click


@dataclass(frozen=True, slots=True)
class Lazy:
    """A command that is not imported yet: ``target`` is ``module:attribute``."""

    target: str
    summary: str
    hidden: bool = False

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
        """Import and return one command."""
        lazy = self.table.get(cmd_name)
        return lazy.load() if lazy else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands from the table, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, self.table[name].summary) for name in self.list_commands(ctx)]
            )
