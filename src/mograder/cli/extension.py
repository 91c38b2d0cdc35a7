"""``mograder extension``: extensions, exemptions, and the rule for late work."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from pathlib import Path

import click

from mograder.cli.files import print_file, read_bytes, write_private
from mograder.cli.gradebook.book import changed_book, marker_name, viewed_or_empty
from mograder.cli.shared.console import plain
from mograder.cli.shared.course_settings import course_option
from mograder.cli.shared.options import EXISTING_FILE, output_file_option
from mograder.cli.shared.result import Result, json_option
from mograder.core.clock import SystemClock
from mograder.core.csv_table import number_text
from mograder.core.item_dates import END_OF_DAY, course_zone, given_zone, read_moment
from mograder.core.name_lookup import Words, counted, find_name
from mograder.core.settings import LoadedSettings
from mograder.grading.course_late import ComparedGrade, CourseLate
from mograder.grading.late_changes import (
    RULE_KEYS,
    described,
    doubts,
    extension,
    known_assignments,
    membership,
    policy_change,
    preview_late,
    read_changes,
    removal,
    rule_value,
    write_changes,
)
from mograder.grading.late_work import late_sentence, moment
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.late_work import (
    ALL_ASSIGNMENTS,
    Change,
    Extension,
    LateFacts,
    LateWork,
)

dry_run_option = click.option(
    "--dry-run", is_flag=True, help="Tell whose marks would change, and record nothing."
)


@dataclass(frozen=True, slots=True)
class Extensions:
    """The gradebook of a command, the assignments that it may name, and the late work.

    ``facts`` are those in force when it was opened.
    """

    loaded: LoadedSettings
    book: Gradebook
    assignments: tuple[str, ...]
    facts: LateFacts

    @property
    def zone(self) -> tzinfo | None:
        return course_zone(self.loaded.settings)

    def named(self, typed: str) -> str:
        if typed == "all":
            return ALL_ASSIGNMENTS
        return find_name(typed, self.assignments, Words())

    def apply(self, changes: Sequence[Change], *, dry_run: bool) -> None:
        """Print and record changes; raises Conflict if others were recorded since ``facts``."""
        for text in doubts(self.loaded, self.book, changes):
            click.echo(plain(f"WARNING: {text}"), err=True)
        now = SystemClock().now()
        preview = preview_late(self.loaded, self.book, changes, now)
        for due in preview.dues:
            click.echo(plain(f"  {due}"))
        for each in preview.differing:
            click.echo(plain(f"  {_line(each, self.zone)}"))
        click.echo(f"{counted(len(preview.differing), 'mark changes', 'marks change')}.")
        if preview.is_released:
            click.echo("Students see released marks as they were until you release them again.")
        for text in preview.told:
            click.echo(plain(text))
        if dry_run:
            click.echo("Dry run — nothing was recorded.")
            return
        version = self.facts.version
        LateWork(self.book).record(changes, by=marker_name(), at=now, version=version)
        for change in changes:
            click.echo(plain(f"Recorded: {described(change, self.zone)}."))

    def show_rule(self, assignment: str) -> None:
        late = CourseLate(self.loaded)
        for each in late.rule_lines(assignment, self.facts):
            click.echo(plain(f"{each.key} = {rule_value(each.value)}  ({each.origin})"))
        if assignment != ALL_ASSIGNMENTS:
            due = late.terms(assignment, self.facts).due.general
            click.echo(f"Due: {'no due date' if due is None else moment(due, self.zone)}")


@contextlib.contextmanager
def opened(loaded: LoadedSettings, *, writes: bool) -> Iterator[Extensions]:
    """Open the course's gradebook; extensions may be recorded before anything is graded.

    Without ``writes`` no gradebook is made, and one of 0.3.16 is left as it is.
    """
    opening = changed_book(loaded) if writes else viewed_or_empty(loaded.gradebook_path)
    with opening as book:
        yield Extensions(loaded, book, known_assignments(loaded, book), LateWork(book).facts())


def _line(each: ComparedGrade, zone: tzinfo | None) -> str:
    before, after = each.before.grade, each.after
    was, now = (number_text(final) or "no mark" for final in (before.final, after.grade.final))
    told = late_sentence(after.grade, after.deduction, zone)
    told = f"   {told}" if told else ""
    return f"{before.assignment}, {before.student}: {was} -> {now}{told}"


_GROUP = click.option("--group", help="The group, instead of students.")


@click.command("add")
@click.argument("assignment")
@click.argument("students", nargs=-1)
@_GROUP
@click.option(
    "--until",
    metavar="TIME",
    help="The new due date: as 2026-11-22T18:00+01:00 (without an offset: in the course's "
    "timezone, else UTC), 2026-11-22 for the whole day, or seconds since 1970.",
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
    if exempt == (until is not None):
        raise click.UsageError("Give one of --until and --exempt.")
    with opened(loaded, writes=not dry_run) as extensions:
        name = extensions.named(assignment)
        zone = given_zone(loaded.settings)
        time = None if until is None else read_moment(until, zone, END_OF_DAY)
        changes = [
            extension(name, student, of, until=time, exempt=exempt, reason=reason)
            for student, of in whose
        ]
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
        changes = [removal(extensions.facts, name, student, of) for student, of in whose]
        extensions.apply(changes, dry_run=dry_run)


@click.command("import")
@click.argument("file", type=EXISTING_FILE)
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
    if is_default and entries:
        raise click.UsageError("Give KEY=VALUE or --default, not both.")
    writes = not dry_run and (is_default or bool(entries))
    if "=" in (assignment or ""):
        raise click.UsageError("Name the assignment before KEY=VALUE, or `all` for the course.")
    with opened(loaded, writes=writes) as extensions:
        name = extensions.named(assignment or "all")
        if is_default:
            extensions.apply([extensions.facts.with_rule(name, None)], dry_run=dry_run)
        elif entries:
            news = policy_change(extensions.facts, name, dict(map(_entry, entries)))
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
        facts = extensions.facts
        names = None if assignment is None else (extensions.named(assignment), "")
        found = LateWork(extensions.book).history() if history else facts.extensions.values()
        rows = [each for each in found if names is None or each.assignment in names]
    if not history:
        rows.sort(key=lambda each: each.entry)
    groups = facts.groups()
    lines = [_told(each, extensions.zone) for each in rows]
    lines += [f"Group {name}: {', '.join(students)}" for name, students in groups.items()]
    lines += [] if rows else ["There are no extensions."]
    return Result({"extensions": rows, "groups": groups}, map(plain, lines))


@click.command("export")
@output_file_option
@course_option
def export(*, output: Path | None, loaded: LoadedSettings) -> None:
    """Write all extensions into a CSV file.

    Exemptions and groups are in it too, as `import` reads them.
    """
    with opened(loaded, writes=False) as extensions:
        text = write_changes(extensions.facts)
    if output is None:
        print_file(text)
    else:
        write_private(output, text, for_spreadsheet=True)


def _told(each: Extension, zone: tzinfo | None) -> str:
    whose = each.student or f"group {each.group}"
    until = "" if each.until is None else f"until {moment(each.until, zone)}"
    what = "withdrawn" if each.removed else until or "exempt from deductions"
    why = f": {each.reason}" if each.reason else ""
    given = moment(datetime.fromisoformat(each.at), zone)
    return f"{each.assignment or 'all'}, {whose}: {what}{why} (by {each.by}, {given})"
