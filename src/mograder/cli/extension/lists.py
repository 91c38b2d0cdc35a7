"""``mograder extension list`` and ``export``."""

from __future__ import annotations

from pathlib import Path

import click

from mograder.cli.extension.apply import opened
from mograder.cli.files import print_file, write_private
from mograder.cli.shared.course_settings import course_option
from mograder.cli.shared.formatting import iso, plain
from mograder.cli.shared.result import Result, json_option
from mograder.core.settings import LoadedSettings
from mograder.grading.late.explanation import moment
from mograder.grading.late.late_changes import write_changes
from mograder.store.gradebook.late_facts import Extension
from mograder.store.gradebook.late_work import LateWork


@click.command("list")
@click.argument("assignment", required=False)
@click.option("--history", is_flag=True, help="Also list what was replaced or withdrawn.")
@json_option
@course_option
def show(*, assignment: str | None, history: bool, loaded: LoadedSettings) -> Result:
    """List extensions, exemptions and groups.

    ASSIGNMENT is a name; without it those of all assignments are listed.
    """
    with opened(loaded, writes=False) as extensions:
        facts = extensions.facts()
        names = None if assignment is None else (extensions.named(assignment), "")
        found = LateWork(extensions.book).history() if history else facts.extensions.values()
        rows = [each for each in found if names is None or each.assignment in names]
    if not history:
        rows.sort(key=lambda each: each.entry)
    groups = facts.groups()
    told = {
        "extensions": [_as_json(each) for each in rows],
        "groups": {name: list(students) for name, students in groups.items()},
    }
    lines = [_line(each) for each in rows]
    lines += [f"Group {name}: {', '.join(students)}" for name, students in groups.items()]
    lines += [] if rows else ["There are no extensions."]
    return Result(told, map(plain, lines))


@click.command("export")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file to write.  [default: standard output]",
)
@course_option
def export(*, output: Path | None, loaded: LoadedSettings) -> None:
    """Write all extensions into a CSV file.

    Exemptions and groups are in it too, as `import` reads them.
    """
    with opened(loaded, writes=False) as extensions:
        text = write_changes(extensions.facts())
    if output is None:
        print_file(text)
    else:
        write_private(output, text)


def _line(each: Extension) -> str:
    whose = each.student or f"group {each.group}"
    until = "" if each.until is None else f"until {moment(each.until)}"
    what = "withdrawn" if each.removed else until or "exempt from deductions"
    why = f": {each.reason}" if each.reason else ""
    return f"{each.assignment or 'all'}, {whose}: {what}{why} (by {each.by}, {each.at[:16]})"


def _as_json(each: Extension) -> dict[str, object]:
    return {
        "assignment": each.assignment,
        "student": each.student,
        "group": each.group,
        "until": iso(each.until),
        "exempt": each.exempt,
        "removed": each.removed,
        "reason": each.reason,
        "by": each.by,
        "at": each.at,
    }
