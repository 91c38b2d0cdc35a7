"""``mograder extension add``, ``remove``, ``import``, ``group`` and ``policy``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from mograder.cli.extension.apply import dry_run_option, opened
from mograder.cli.files import read_bytes
from mograder.cli.shared.course_settings import course_option
from mograder.core.clock import parse_given_time
from mograder.core.item_dates import given_zone
from mograder.core.settings import LoadedSettings
from mograder.grading.late.late_changes import (
    RULE_KEYS,
    extension,
    membership,
    policy_change,
    read_changes,
    removal,
)

_GROUP = click.option("--group", help="The group, instead of students.")


@click.command("add")
@click.argument("assignment")
@click.argument("students", nargs=-1)
@_GROUP
@click.option(
    "--until",
    metavar="TIME",
    help="The new due date: as 2026-11-22T18:00+01:00 (without an offset: in the course's "
    "timezone, else UTC), or seconds since 1970.",
)
@click.option("--exempt", is_flag=True, help="No deduction, however late the work is.")
@click.option("--reason", default="", help="The reason, for instructors only.")
@dry_run_option
@course_option
def add(
    *,
    assignment: str,
    students: tuple[str, ...],
    group: str | None,
    until: str | None,
    exempt: bool,
    reason: str,
    dry_run: bool,
    loaded: LoadedSettings,
) -> None:
    """Give a later due date, or an exemption.

    Of several extensions of a student the latest counts, and none makes a due date earlier. A new
    one for the same student or group replaces the one before. ASSIGNMENT is a name, or `all` for an
    exemption from all.
    """
    whose = _whose(students, group)
    with opened(loaded, writes=not dry_run) as extensions:
        name = extensions.named(assignment)
        time = None if until is None else parse_given_time(until, given_zone(loaded.settings))
        changes = [
            extension(name, student, of, until=time, exempt=exempt, reason=reason)
            for student, of in whose
        ]
        extensions.note_early(name, time)
        extensions.apply(changes, dry_run=dry_run)


@click.command("remove")
@click.argument("assignment")
@click.argument("students", nargs=-1)
@_GROUP
@dry_run_option
@course_option
def remove(
    *,
    assignment: str,
    students: tuple[str, ...],
    group: str | None,
    dry_run: bool,
    loaded: LoadedSettings,
) -> None:
    """Withdraw extensions and exemptions."""
    whose = _whose(students, group)
    with opened(loaded, writes=not dry_run) as extensions:
        name = extensions.named(assignment)
        changes = [removal(extensions.facts(), name, student, of) for student, of in whose]
        extensions.apply(changes, dry_run=dry_run)


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--assignment", default="", help="The assignment of rows that name none.")
@dry_run_option
@course_option
def import_csv(*, file: Path, assignment: str, dry_run: bool, loaded: LoadedSettings) -> None:
    """Take extensions from a CSV file.

    The columns are assignment, student, group, until, exempt and reason, as `export` writes them.
    A row with a student and a group, and without a time, puts the student into the group. All rows
    are checked first; extensions that the file does not name stay.
    """
    with opened(loaded, writes=not dry_run) as extensions:
        zone, data = given_zone(loaded.settings), read_bytes(file)
        changes = read_changes(data, str(file), extensions.assignments, assignment, zone)
        extensions.apply(changes, dry_run=dry_run)


@click.command("group")
@click.argument("name")
@click.argument("students", nargs=-1, required=True)
@click.option("--remove", is_flag=True, help="Take the students out of the group.")
@dry_run_option
@course_option
def group_command(
    *,
    name: str,
    students: tuple[str, ...],
    remove: bool,
    dry_run: bool,
    loaded: LoadedSettings,
) -> None:
    """Add students to a group, or remove them.

    STUDENTS enter it, or leave it with --remove. Its extensions count for those in it now.
    """
    with opened(loaded, writes=not dry_run) as extensions:
        changes = [membership(name, student, removed=remove) for student in students]
        extensions.apply(changes, dry_run=dry_run)


@click.command("policy")
@click.argument("assignment", required=False)
@click.argument("entries", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--default", "is_default", is_flag=True, help="Return to the settings.")
@dry_run_option
@course_option
def policy(
    *,
    assignment: str | None,
    entries: tuple[str, ...],
    is_default: bool,
    dry_run: bool,
    loaded: LoadedSettings,
) -> None:
    """Show or store the rule for late work.

    ASSIGNMENT is a name, or `all` for the course. Without KEY=VALUE the rule in force is shown, and
    where each key comes from. A stored key counts before the one in mograder.toml, a key of an
    assignment before one of the course; `none` as its value withdraws it. The keys are those of
    [penalties].
    """
    writes = not dry_run and (is_default or bool(entries))
    with opened(loaded, writes=writes) as extensions:
        name = extensions.named(assignment or "all")
        facts = extensions.facts()
        if is_default:
            extensions.apply([facts.with_rule(name, None)], dry_run=dry_run)
        elif entries:
            news = policy_change(facts, name, dict(map(_entry, entries)))
            extensions.apply([news], dry_run=dry_run)
        else:
            extensions.show_rule(name)


def _entry(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise click.UsageError(f"{text!r} is not KEY=VALUE; the keys: {', '.join(RULE_KEYS)}.")
    return key.strip(), value


def _whose(students: Sequence[str], group: str | None) -> list[tuple[str, str]]:
    """Return pairs of a student and a group, one of which is empty."""
    if bool(students) == (group is not None):
        raise click.UsageError("Name students, or --group.")
    return [("", group)] if group is not None else [(each, "") for each in students]
