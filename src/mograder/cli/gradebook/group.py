"""``mograder gradebook``: the marks of a course, for those who give and send them."""

from __future__ import annotations

import click

from mograder.cli.shared.lazy import Lazy, LazyGroup


@click.group(
    cls=LazyGroup,
    table={
        "show": Lazy("mograder.cli.gradebook.show:show"),
        "explain": Lazy("mograder.cli.gradebook.explain:explain"),
        "mark": Lazy("mograder.cli.gradebook.mark:mark"),
        "confirm": Lazy("mograder.cli.gradebook.mark:confirm"),
        "import": Lazy("mograder.cli.gradebook.import_marks:import_marks"),
        "statistics": Lazy("mograder.cli.gradebook.statistics:statistics"),
        "export": Lazy("mograder.cli.gradebook.export:export"),
        "release": Lazy("mograder.cli.gradebook.release:release"),
        "withdraw": Lazy("mograder.cli.gradebook.release:withdraw"),
        "import-0316": Lazy("mograder.cli.gradebook.exchange_0316:import_0316"),
        "export-0316": Lazy("mograder.cli.gradebook.exchange_0316:export_0316"),
        "check": Lazy("mograder.cli.gradebook.check:check"),
    },
)
def gradebook() -> None:
    """Look after the marks of a course.

    They are in gradebook.db. A person's mark counts before the one by grading, and no mark is ever
    overwritten: explain shows all of them.
    """
