"""Command groups that import a command only when it runs.

``mograder --help`` must not load a web framework (performance.md), so a group has only the import
paths of its commands, and reads the first line of each docstring without an import.

The table says what a command `Needs`: those of students, authors and clients of a hub run on every
system from the light install, those of marks and of Moodle courses with the packages of the extra
``server``, those of the server side and of grading on Linux only (decision 51). The last ones are
refused here, before an import of theirs could fail; `failures` tells what to install.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from mograder.core.errors import Unsupported
from mograder.core.operating_system import SYSTEM, SYSTEM_NAME

_SOURCES = Path(__file__).parents[3]

_SERVER_PACKAGE = "sqlalchemy"
"""One of the extra ``server``, which no light install has."""


class Needs(Enum):
    """The things that the light install lacks and a command needs."""

    NOTHING = "nothing"
    SERVER_PACKAGES = "the packages of the extra server, on any system"
    LINUX = "these packages, and Linux"


@dataclass(frozen=True, slots=True)
class Lazy:
    """A command that is not imported yet: ``target`` is ``module:attribute``.

    ``section`` is its heading in ``--help``; the commands of one follow each other.
    """

    target: str
    needs: Needs = Needs.NOTHING
    hidden: bool = False
    section: str = "Commands"

    @property
    def summary(self) -> str:
        """The first line of the command's docstring, read from the file of its module."""
        module, _, attribute = self.target.partition(":")
        path = _SOURCES.joinpath(*module.split(".")).with_suffix(".py")
        text = path.read_text(encoding="utf-8")
        found = re.search(
            rf'^def {attribute}\(.*?"""(.+?)(?:"""|$)', text, re.MULTILINE | re.DOTALL
        )
        return found[1] if found else ""

    def load(self) -> click.Command:
        command: click.Command = _imported(self.target)
        return command


class LazyGroup(click.Group):
    """A click group whose subcommands are a table of `Lazy` commands, ``table=``."""

    def __init__(self, *args: Any, table: Mapping[str, Lazy], **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name, lazy in self.table.items() if not lazy.hidden]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        lazy = self.table.get(cmd_name)
        if lazy is not None and lazy.needs is Needs.LINUX:
            _demand_linux(f"{ctx.command_path} {cmd_name}")
        return lazy.load() if lazy else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the first argument's command; the error for an unknown one names a similar one."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            close = difflib.get_close_matches(args[0], self.list_commands(ctx), n=1)
            if not close:
                raise
            raise click.UsageError(f"{error.message} Did you mean '{close[0]}'?", ctx) from None

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        names = [name for name in self.list_commands(ctx) if name.startswith(incomplete)]
        found = [CompletionItem(name, help=self.table[name].summary) for name in names]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands that run here with their summaries, and the names of the others."""
        here: dict[str, list[tuple[str, str]]] = {}
        elsewhere: dict[str, list[str]] = {}
        for name in self.list_commands(ctx):
            lazy = self.table[name]
            lacks = ""
            if lazy.needs is Needs.LINUX and SYSTEM != "linux":
                lacks = "On Linux only"
            elif lazy.needs is not Needs.NOTHING and not has_server_packages():
                lacks = "With the extra [server] installed"
            if lacks:
                elsewhere.setdefault(lacks, []).append(name)
            else:
                here.setdefault(lazy.section, []).append((name, lazy.summary))
        for section, rows in here.items():
            with formatter.section(section):
                formatter.write_dl(rows)
        for lacks, names in elsewhere.items():
            with formatter.section(lacks):
                formatter.write_text(", ".join(names))


def server_part(target: str, use: str = "") -> Any:
    """Import ``module:attribute``, which only Linux has; raises :class:`Unsupported` elsewhere.

    ``use`` follows the command in the message: the way to run it that needs Linux.
    """
    _demand_linux(f"{click.get_current_context().command_path}{use}")
    return _imported(target)


def _imported(target: str) -> Any:
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


def has_server_packages() -> bool:
    """Return whether the packages of the extra ``server`` are installed."""
    return importlib.util.find_spec(_SERVER_PACKAGE) is not None


def _demand_linux(command: str) -> None:
    if SYSTEM == "linux":
        return
    raise Unsupported(
        f"{command} runs on Linux only, and this is {SYSTEM_NAME}.",
        hint="Use a Linux computer, or on Windows WSL (Windows Subsystem for Linux). The commands "
        "in `mograder --help` run here, too.",
    )
