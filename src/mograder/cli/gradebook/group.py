"""``mograder gradebook``: the marks of a course, for those who give and send them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

import click

from mograder.cli.shared.lazy import Lazy, LazyGroup


class _Gradebook(LazyGroup):
    table: ClassVar[Mapping[str, Lazy]] = MappingProxyType(
        {
            "show": Lazy(
                "mograder.cli.gradebook.show:show", "List the marks of an assignment by question."
            ),
            "explain": Lazy(
                "mograder.cli.gradebook.explain:explain", "Tell how a student's mark came about."
            ),
            "mark": Lazy(
                "mograder.cli.gradebook.mark:mark", "Give marks to a student, by question."
            ),
            "confirm": Lazy(
                "mograder.cli.gradebook.mark:confirm", "Confirm the marks of unprotected checks."
            ),
            "import": Lazy(
                "mograder.cli.gradebook.import_marks:import_marks",
                "Take marks by question from a CSV file.",
            ),
            "statistics": Lazy(
                "mograder.cli.gradebook.statistics:statistics",
                "Tell how the questions of an assignment did.",
            ),
            "export": Lazy("mograder.cli.gradebook.export:export", "Write marks into a file."),
            "release": Lazy(
                "mograder.cli.gradebook.release:release",
                "Let students see their marks and feedback.",
            ),
            "withdraw": Lazy(
                "mograder.cli.gradebook.release:withdraw", "Take released marks back."
            ),
            "check": Lazy(
                "mograder.cli.gradebook.check:check", "Find damage, and marks that need a look."
            ),
        }
    )


@click.group(cls=_Gradebook)
def gradebook() -> None:
    """Look after the marks of a course.

    They are in gradebook.db, which mograder 0.3.16 can use too. A person's mark counts before the
    one by grading, and no mark is ever overwritten: explain shows all of them.
    """
