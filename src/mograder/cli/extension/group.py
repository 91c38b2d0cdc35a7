"""The commands of ``mograder extension``."""

from __future__ import annotations

import click

from mograder.cli.shared.lazy import Lazy, LazyGroup

_CHANGES = "mograder.cli.extension.changes"
_LISTS = "mograder.cli.extension.lists"


@click.group(
    cls=LazyGroup,
    table={
        "add": Lazy(f"{_CHANGES}:add"),
        "remove": Lazy(f"{_CHANGES}:remove"),
        "list": Lazy(f"{_LISTS}:show"),
        "import": Lazy(f"{_CHANGES}:import_csv"),
        "export": Lazy(f"{_LISTS}:export"),
        "group": Lazy(f"{_CHANGES}:group_command"),
        "policy": Lazy(f"{_CHANGES}:policy"),
    },
)
def extension() -> None:
    """Give extensions and exemptions, and set the rule for late work.

    Marks follow at once, without grading again: deductions are computed from the stored times of
    submission whenever marks are shown. `--dry-run` lists the marks that would change. Nothing is
    overwritten: the gradebook keeps each change with its author and time.
    """
