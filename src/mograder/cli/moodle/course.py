"""Taking over a course from Moodle: its assignments, and its students.

``mograder moodle sync`` writes the assignments into ``mograder.toml``; ``sync-users`` admits the
students to the hub (B28 to B34).
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from pathlib import Path

import click

from mograder.cli.files import read_bytes
from mograder.cli.moodle.site import Site, items_of, site_options
from mograder.cli.shared.console import plain
from mograder.cli.shared.options import EXISTING_FILE, insecure_option, together
from mograder.cli.shared.remote import Address
from mograder.cli.shared.result import Result, json_option, tell
from mograder.clients import hub_course
from mograder.clients.moodle.client import MoodleClient
from mograder.clients.moodle.records import Assignment
from mograder.core.clock import SystemClock
from mograder.core.errors import Forbidden, MograderError, NotFound
from mograder.core.name_lookup import counted, listed
from mograder.core.settings import FILE_NAME, LoadedSettings, load_settings, read_environ
from mograder.exchange.moodle.course_file import CourseOnMoodle, Merged, merge, replace_course_file
from mograder.exchange.moodle.identities import NamedBy, Naming, Participants, parse_mapping
from mograder.exchange.moodle.participants import (
    configured_on_moodle,
    list_first_participants,
    remember,
    remembered_people,
)
from mograder.grading.course_late import export_if_set
from mograder.store.course.allowlist import Allowlist
from mograder.store.gradebook.gradebook import Gradebook, existing_gradebook

HEADING = "# Allowed users — synced from Moodle"
"""First line of a list that is written here (compatibility-0.3.16.md 9)."""


def naming_options(command: Callable[..., object]) -> Callable[..., object]:
    """Add ``--map`` and ``--username-from``, for sites that do not show usernames to teachers."""

    @wraps(command)
    def with_naming(
        *args: object, map_file: Path | None, username_from: str | None, **others: object
    ) -> object:
        rows = parse_mapping(read_bytes(map_file), str(map_file)) if map_file else ()
        by = NamedBy(username_from) if username_from else None
        return command(*args, naming=Naming(rows, by), **others)

    return together(
        click.option(
            "--map",
            "map_file",
            type=EXISTING_FILE,
            help="CSV that says who is who: username, and email, idnumber or user_id.",
        ),
        click.option(
            "--username-from",
            type=click.Choice([each.value for each in NamedBy]),
            help="What usernames are made of where Moodle shows none.",
        ),
    )(with_naming)


@click.command("sync")
@site_options
@click.option(
    "-i",
    "--include",
    multiple=True,
    metavar="NAME,NAME…",
    help="Only assignments whose name holds this, or matches it with * and ?, or else as a regular "
    "expression.",
)
@click.option(
    "--edit-links", is_flag=True, help="Add a link to an online editor, for clients of 0.3.16."
)
@click.option(
    "--hidden",
    "with_hidden",
    is_flag=True,
    help="Add assignments too that are hidden from students on Moodle.",
)
@click.option("--dry-run", is_flag=True, help="Tell what would change, and change nothing.")
@json_option
def sync(
    *,
    site: Site,
    include: tuple[str, ...],
    edit_links: bool,
    with_hidden: bool,
    dry_run: bool,
) -> Result:
    """Write the course's assignments into mograder.toml.

    Names, numbers, dates and files of the assignments go into [[assignments]], the course into
    [moodle]. Comments, order and everything else in the file stay as they are. Assignments that are
    hidden from students are not added: the file is often handed to students.
    """
    loaded = site.loaded
    with site.client() as client:
        number = site.course(client)
        there = client.assignments(number)
        wanted = _included(there, include)
        hidden = frozenset() if with_hidden else _hidden(client, number)
        course = CourseOnMoodle(client.url, number, wanted, not include, edit_links, hidden)
    file = loaded.course_dir / FILE_NAME
    text = file.read_text("utf-8-sig") if file.is_file() else ""
    merged = merge(text, course, items_of(loaded))
    changed = merged.text != text
    if changed and not dry_run:
        replace_course_file(file, merged.text)
        _export(loaded)
    count = len(wanted) - len(merged.hidden)
    lines = _lines(merged, count, changed=changed, dry_run=dry_run)
    return Result(_as_json(course, merged), lines)


def _export(loaded: LoadedSettings) -> None:
    try:
        book = existing_gradebook(loaded.gradebook_path)
        if book is not None:
            with book:
                export_if_set(load_settings(loaded.course_dir), book, SystemClock().now())
    except MograderError as error:
        click.echo(f"WARNING: deductions were not exported: {plain(error.message)}", err=True)


def _hidden(client: MoodleClient, course: int) -> frozenset[int]:
    try:
        modules = client.contents(course)
    except Forbidden as error:
        raise Forbidden(
            "Moodle does not say which assignments are hidden from students.",
            hint="--hidden adds all of them. Otherwise ask the Moodle administrator to add "
            "core_course_get_contents to the service.",
        ) from error
    return frozenset(
        each.instance for each in modules if each.kind == "assign" and not each.visible
    )


def _included(there: Sequence[Assignment], include: Sequence[str]) -> tuple[Assignment, ...]:
    if not there:
        raise NotFound(
            "The course on Moodle has no assignments that you may see; nothing was changed.",
            hint="Is it the right course? --course-id names another.",
        )
    patterns = [each.strip() for text in include for each in text.split(",") if each.strip()]
    if not patterns:
        return tuple(there)
    matches = {
        pattern: [
            each
            for each in there
            if pattern.casefold() in (name := each.name.casefold())
            or fnmatch.fnmatchcase(name, pattern.casefold())
        ]
        for pattern in patterns
    }
    found = tuple(each for each in there if any(each in some for some in matches.values()))
    missing = [pattern for pattern, some in matches.items() if not some]
    if found and missing:
        text = f"Warning: no assignment on Moodle matches {', '.join(missing)}."
        click.echo(plain(text), err=True)
    # A regular expression, as ``--include`` of 0.3.16 is one.
    found = found or tuple(each for each in there if any(_searched(e, each.name) for e in include))
    if not found:
        raise NotFound(
            f"No assignment on Moodle matches {', '.join(include)}.",
            hint=f"There are: {listed([each.name for each in there])}.",
        )
    return found


def _searched(expression: str, name: str) -> bool:
    try:
        return re.search(expression, name) is not None
    except re.error:
        return False


def _lines(merged: Merged, count: int, *, changed: bool, dry_run: bool) -> Iterator[str]:
    for word, names in (
        ("new", merged.added),
        ("updated", merged.updated),
        ("unchanged", merged.unchanged),
        ("no longer on Moodle", merged.removed),
        ("hidden from students, not added", merged.hidden),
    ):
        for name in names:
            yield plain(f"  {word}: {name}")
    if dry_run:
        yield "Dry run — nothing was changed."
    elif changed:
        yield f"Synced {counted(count, 'assignment')} to {FILE_NAME}."
    else:
        yield f"{FILE_NAME} is up to date ({counted(count, 'assignment')})."


def _as_json(course: CourseOnMoodle, merged: Merged) -> dict[str, object]:
    return {
        "url": course.url,
        "course_id": course.course_id,
        "assignments": [
            {
                "name": each.name,
                "id": each.id,
                "cmid": each.cmid,
                "duedate": int(each.due.timestamp()) if each.due else 0,
                "cutoffdate": int(each.cutoff.timestamp()) if each.cutoff else 0,
                "allowsubmissionsfromdate": int(each.opens.timestamp()) if each.opens else 0,
                "files": [file.name for file in each.attachments],
            }
            for each in course.assignments
        ],
        "new": merged.added,
        "updated": merged.updated,
        "removed": merged.removed,
        "hidden": merged.hidden,
    }


@click.command("sync-users")
@site_options
@click.option("--hub-url", help="Hub base URL.  [env var: MOGRADER_HUB_URL]")
@click.option(
    "--hub-token", help="Instructor token of the hub.  [env var: MOGRADER_HUB_INSTRUCTOR_TOKEN]"
)
@naming_options
@click.option("--dry-run", is_flag=True, help="Show the users only.")
@insecure_option
@json_option
def sync_users(  # one argument per option
    *,
    site: Site,
    hub_url: str | None,
    hub_token: str | None,
    naming: Naming,
    dry_run: bool,
    insecure: bool,
) -> Result:
    """Let the course's students use the hub.

    The participants of the first assignment in mograder.toml that is not marked anonymously, and on
    Moodle not restricted to some students unless all are, replace the hub's access list; without a
    hub's URL they are written to allowed_users.txt in the course. Their full names go into the
    gradebook. People who are not on it lose access at once; instructors always have it.
    """
    loaded = site.loaded
    on_moodle = configured_on_moodle(loaded.settings.assignments)
    address = Address(hub_url, hub_token, None, 8080, insecure)
    to_hub = bool(hub_url or read_environ().hub_url)
    if to_hub and not dry_run and not address.complete:
        raise click.ClickException("--hub-token required (or set MOGRADER_HUB_INSTRUCTOR_TOKEN)")
    with site.client() as client:
        known = remembered_people(loaded.gradebook_path, client.url)
        participants = list_first_participants(client, on_moodle, known, naming, site.course)
        url = client.url
    tell(f"Found {len(participants.people)} enrolled users on Moodle.")
    if participants.only_of:
        text = f"Note: {participants.only_of} is restricted on Moodle, so other students of the "
        tell(plain(f"{text}course are not listed and cannot enter."), err=True)
    note_renamed(participants)
    users = participants.users(naming.by)
    if dry_run:
        for user, name in users.items():
            tell(plain(f"  {user}  ({name})"))
    else:
        _write(loaded, url, participants, naming, address if to_hub else None)
    listed = [{"username": user, "full_name": name} for user, name in users.items()]
    told = {"users": listed, "synced": not dry_run, "to": "hub" if to_hub else "file"}
    return Result(told)


def note_renamed(participants: Participants) -> None:
    """Tell the names of people that differ from those on Moodle, and how to change them."""
    for each in participants.renamed:
        name = participants.usernames[each.user_id]
        text = f"Note: {each.shown} is {each.username} on Moodle, and stays {name} here. To change"
        text += f" that, give --map FILE (columns username, user_id) with {each.user_id} once."
        tell(plain(text), err=True)


def _write(
    loaded: LoadedSettings,
    url: str,
    participants: Participants,
    naming: Naming,
    address: Address | None,
) -> None:
    users = participants.users(naming.by)
    if not users:
        raise NotFound(
            "Moodle names nobody in this assignment, so the access list was left as it is.",
            hint="An empty list would lock every student out. See whether students are enrolled.",
        )
    with Gradebook(loaded.gradebook_path) as gradebook:
        remember(gradebook, url, participants, naming)
    if address is None:
        written = Allowlist(loaded.course_dir / "allowed_users.txt").replace(users, HEADING)
        tell(f"Wrote {len(written)} users to allowed_users.txt.")
        return
    with address.client() as client:
        tell(f"Synced {hub_course.sync_users(client, list(users))} users to hub.")
