"""Write ``docs/reference/cli.md`` from the command line itself; ``--check`` only compares.

``mograder --help`` and the page have the same source, and
``tests/contract/test_docs.py`` runs the comparison.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from mograder.cli.main import root
from scripts.generated import write_or_check

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "cli.md"
_OPENING = """\
# Commands

<!-- Written by `make reference`; change the commands, not this page. -->

Exit statuses: 0 done; 1 the answer is no; 2 what was given cannot be used; 3 not found; 4 not
allowed; 5 in conflict; 6 a backup that is not complete; 69 another server failed; 70 a bug;
75 busy, try again; 78 no sandbox, or a command that needs Linux
or further packages.
"""


def render() -> str:
    """Return the page: every command in the order that ``--help`` lists them."""
    return "\n".join([_OPENING, *_sections(_context(root, "mograder", None))])


def _context(command: click.Command, name: str, parent: click.Context | None) -> click.Context:
    # Resilient: a group without a command, or a command without its argument, is fine here.
    return command.make_context(name, [], parent=parent, resilient_parsing=True)


def _sections(context: click.Context) -> Iterator[str]:
    command = context.command
    yield f"## `{context.command_path}`\n\n```text\n{_help(context)}\n```\n"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child is not None and not child.hidden:
                yield from _sections(_context(child, name, context))


def _help(context: click.Context) -> str:
    # The same width wherever it runs.
    context.terminal_width = 90
    context.max_content_width = 90
    text = context.command.get_help(context)
    return "\n".join(line.rstrip() for line in text.splitlines())


if __name__ == "__main__":
    sys.exit(write_or_check({PAGE: render()}))
