"""``mograder moodle fetch-submissions``: fetch students' submissions, one notebook each."""

from __future__ import annotations

import shlex
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path, PurePosixPath

import click

from mograder.cli.moodle.course import naming_options, note_renamed
from mograder.cli.moodle.sheets import works_of_zip
from mograder.cli.moodle.site import Site, item_name, site_options
from mograder.cli.shared.console import plain
from mograder.cli.shared.options import DIRECTORY, EXISTING_FILE
from mograder.cli.shared.output import reporting
from mograder.cli.shared.result import Result, aligned, json_option, tell
from mograder.clients.moodle.client import MoodleClient
from mograder.clients.moodle.records import Assignment
from mograder.core.clock import SystemClock
from mograder.core.errors import Forbidden
from mograder.core.name_lookup import listed
from mograder.core.settings import LoadedSettings
from mograder.exchange.collecting import CollectOutcome
from mograder.exchange.moodle.collect import collect, plan_collection
from mograder.exchange.moodle.identities import Naming, Participants
from mograder.exchange.moodle.participants import (
    list_participants,
    remember,
    remembered_people,
)
from mograder.exchange.moodle.submitted_work import Target, Work
from mograder.grading.course_late import CourseLate
from mograder.store.gradebook.gradebook import Gradebook, existing_gradebook
from mograder.store.gradebook.grading_records import utc_iso
from mograder.store.gradebook.late_work import LateFacts, LateWork


@click.command("fetch-submissions")
@click.argument("assignment")
@site_options
@click.option(
    "-o", "--output-dir", type=DIRECTORY, help="Where they go.  [default: submitted/ASSIGNMENT]"
)
@click.option("--force", is_flag=True, help="Fetch again what is here already.")
@click.option(
    "--zip",
    "archive",
    type=EXISTING_FILE,
    help="Take them from Moodle's “Download all submissions” instead of asking Moodle.",
)
@click.option(
    "--worksheet",
    type=EXISTING_FILE,
    help="Grading worksheet that says who is who in the zip.  [default: import/ASSIGNMENT.csv]",
)
@naming_options
@click.option("--dry-run", is_flag=True, help="Tell what would be fetched, and fetch nothing.")
@json_option
def fetch_submissions(
    *,
    assignment: str,
    site: Site,
    output_dir: Path | None,
    force: bool,
    archive: Path | None,
    worksheet: Path | None,
    naming: Naming,
    dry_run: bool,
) -> Result:
    """Fetch what students handed in.

    ASSIGNMENT is its name, a part of it that is unique, or its number. Each student's notebook
    becomes USERNAME.py; if there is none, the only notebook in a zip is taken. Other files that
    were handed in go to USERNAME.files/. A notebook that is here and has changed is kept in
    .replaced/. Late work is marked. Run it again after an interruption: it goes on with what is
    missing.
    """
    loaded = site.loaded
    if archive is None and worksheet is not None:
        raise click.UsageError("--worksheet says who is who in a zip: give --zip, too.")
    if archive is not None:
        if naming != Naming():
            raise click.UsageError(
                "The worksheet says who is who in a zip: give no --map and no --username-from."
            )
        name = item_name(assignment, loaded)
        target = _target_of_zip(loaded, name, output_dir)
        names = assignment, name
        works = works_of_zip(archive, worksheet, loaded, target, *names, dry_run=dry_run)
        return _collected(works, target.directory, dry_run=dry_run)
    book = loaded.gradebook_path
    with site.client() as client:
        chosen = site.assignment(client, assignment)
        known = remembered_people(book, client.url)
        participants = list_participants(client, chosen, known, naming)
        name = item_name(assignment, loaded, chosen)
        directory = output_dir or loaded.path(loaded.settings.dirs.submitted) / name
        target = Target(directory, _notebooks(chosen, name), force)
        later = _extensions(client, chosen, participants)
        works = plan_collection(chosen, client.submissions(chosen.id), participants, target, later)
        if not dry_run:
            with reporting() as report:
                works = collect(client, works, target, report, SystemClock().now())
            _remember(loaded, client.url, participants, naming)
    _note_names(participants)
    _note_extensions(loaded, name, participants, later or {})
    return _collected(works, directory, dry_run=dry_run)


def _target_of_zip(loaded: LoadedSettings, name: str, output_dir: Path | None) -> Target:
    directory = output_dir or loaded.path(loaded.settings.dirs.submitted) / name
    configured = (each for each in loaded.settings.assignments if each.dir and each.item == name)
    handed_out = [file.name for each in configured for file in each.files]
    return Target(directory, (f"{name}.py", *(each for each in handed_out if ".py" in each)))


def _collected(works: Sequence[Work], directory: Path, *, dry_run: bool) -> Result:
    failed = any(work.fate is CollectOutcome.FAILED for work in works)
    lines = _lines(works, directory, dry_run=dry_run)
    return Result([_as_json(work) for work in works], lines, int(failed))


def _notebooks(chosen: Assignment, name: str) -> tuple[str, ...]:
    handed_out = (PurePosixPath(file.name).name for file in chosen.attachments)
    return (f"{name}.py", *(each for each in handed_out if each.endswith(".py")))


def _extensions(
    client: MoodleClient, chosen: Assignment, participants: Participants
) -> Mapping[int, datetime] | None:
    """Return extended deadlines by user id, None if this account may not see them."""
    if chosen.due is None or not any(person.extended for person in participants.people):
        return {}
    try:
        return client.extensions(chosen.id)
    except Forbidden:
        return None


def _remember(loaded: LoadedSettings, url: str, participants: Participants, naming: Naming) -> None:
    """Record the names for the graders; under anonymous marking there is nothing to record."""
    if any(user for user in participants.usernames) and not any(
        p.participant for p in participants.people
    ):
        with Gradebook(loaded.gradebook_path) as gradebook:
            remember(gradebook, url, participants, naming)


def _note_extensions(
    loaded: LoadedSettings,
    item: str,
    participants: Participants,
    later: Mapping[int, datetime],
) -> None:
    """Say how to give extensions of Moodle here too, where marks are deducted without them."""
    if not later:
        return
    facts, book = LateFacts(), existing_gradebook(loaded.gradebook_path)
    if book is not None:
        with book:
            facts = LateWork(book).facts()
    terms = CourseLate(loaded).terms(item, facts)
    given: defaultdict[datetime, list[str]] = defaultdict(list)
    for person in participants.people:
        until, name = later.get(person.user_id), participants.local_name(person)
        due = terms.due.of(name)
        if until and due and due < until and name not in terms.due.exempt:
            given[until].append(name)
    if not given or not terms.rule.enabled or any(each.participant for each in participants.people):
        return
    tell("Note: deductions do not follow extensions on Moodle. Give them here, too:", err=True)
    for until, names in sorted(given.items()):
        words = ["mograder", "extension", "add", item, *names, "--until", utc_iso(until)]
        tell(f"  {shlex.join(words)}", err=True)


def _lines(works: Sequence[Work], directory: Path, *, dry_run: bool) -> Iterator[str]:
    rows = []
    for work in works:
        rows.append((work.name, f"{work.fate.value:<9}  {_remarks(work)}"))
        for name, path in work.renamed() if work.fate is not CollectOutcome.SKIPPED else ():
            rows.append(("", f"{plain(name)} is kept as {plain(path)}"))
    yield from aligned(rows, indent="  ")
    counted = Counter(work.fate for work in works)
    told = ", ".join(f"{counted[fate]} {fate.value}" for fate in CollectOutcome if counted[fate])
    late = sum(work.late is not None for work in works)
    fetched = [work for work in works if work.fate is CollectOutcome.FETCHED]
    without = sum(not work.has_notebook for work in fetched)
    parts = (f"{late} late" if late else "", f"{without} without a notebook" if without else "")
    also = ", ".join(filter(None, parts))
    yield f"{told}{f' ({also})' if also else ''}: {directory}"
    if dry_run:
        yield "Dry run — nothing was fetched."


def _remarks(work: Work) -> str:
    when = f"{work.modified.astimezone():%Y-%m-%d %H:%M}" if work.modified else ""
    late = f"late by {_duration(work.late)}" if work.late else ""
    team = f"team {work.team}".rstrip() if work.team or work.mates else ""
    mates = f"{team}, with {', '.join(work.mates)}" if work.mates else team
    before = f"was {work.before}" if work.before else ""
    return plain("; ".join(filter(None, (work.why or when, late, mates, before))))


def _duration(late: timedelta) -> str:
    minutes = max(1, int(late.total_seconds()) // 60)
    days, hours, minutes = minutes // 1440, minutes // 60 % 24, minutes % 60
    parts = [(days, "d"), (hours, "h"), (minutes, "min")]
    return " ".join([f"{number} {unit}" for number, unit in parts if number][:2])


def _note_names(participants: Participants) -> None:
    """Say once why files are not named by usernames, and how to change that."""
    note_renamed(participants)
    if participants.groups:
        tell(
            f"Note: Moodle shows you only the students of {listed(participants.groups)}.", err=True
        )
    if any(person.participant for person in participants.people):
        tell("Marking is anonymous: files are called by participant.", err=True)
    elif participants.unnamed:
        tell(
            f"Note: Moodle does not show you the usernames of {len(participants.unnamed)} "
            "students, so their files are called by email address. To have usernames, give "
            "--map FILE once (columns username, email), or ask for the capability "
            "moodle/user:viewalldetails.",
            err=True,
        )


def _as_json(work: Work) -> dict[str, object]:
    return {
        "student": work.name,
        "full_name": work.full_name,
        "result": work.fate.value,
        "why": work.why,
        "submitted_at": work.modified,
        "late": work.late is not None,
        "late_by_seconds": int(work.late.total_seconds()) if work.late else 0,
        "team": work.team,
        "team_mates": work.mates,
        "files": [{"name": file.name, "path": path} for file, path in work.places()],
        "previous_name": work.before,
    }
