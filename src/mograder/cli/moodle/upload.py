"""``mograder moodle upload``: attach an assignment's files to it on Moodle (B112).

Moodle's web services cannot attach files to an existing assignment: `core_course_edit_module` only
shows, hides, copies and deletes. So this builds the files, opens the page for attaching them by
hand, waits, and then checks that Moodle hands out what was built.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import click

from mograder.cli.moodle.site import Site, item_name, site_options
from mograder.cli.shared.options import EXISTING_FILE
from mograder.cli.shared.result import Result, json_option, wants_json
from mograder.clients.file_upload import Upload
from mograder.clients.moodle.records import Assignment
from mograder.core.errors import NotFound
from mograder.core.settings import LoadedSettings
from mograder.publishing.local_release import (
    Differences,
    compare,
    find_release,
    local_digests,
    read_release,
    remote_digests,
)
from mograder.store.course.course import zip_bytes
from mograder.store.filesystem.files import atomic_write
from mograder.web.open_browser import open_page


@dataclass(frozen=True, slots=True)
class _Attachments:
    """The files to attach by hand, and the SHA-256 of what Moodle should hand out then."""

    item: str
    digests: Mapping[str, str]
    attach: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class _Checked:
    """The assignment as read from Moodle once."""

    assignment: Assignment
    page: str
    differences: Differences


@click.command("upload")
@click.argument("assignment")
@click.argument("files", nargs=-1, type=EXISTING_FILE)
@site_options
@click.option("--dry-run", is_flag=True, help="Tell what is to be attached, and open nothing.")
@click.option(
    "--open/--no-open",
    "opens",
    default=True,
    show_default=True,
    help="Open Moodle's page in the browser.",
)
@json_option
def upload(
    *,
    assignment: str,
    files: tuple[Path, ...],
    site: Site,
    dry_run: bool,
    opens: bool,
) -> Result:
    """Attach an assignment's files on Moodle.

    ASSIGNMENT is a released item, a part of its name, or the assignment's name on Moodle. FILES are
    attached instead of the release's. Moodle lets only a person attach files, so this opens the
    page for it, says which files to choose, waits, and checks that Moodle then hands out exactly
    these.
    """
    attachments = _attachments(assignment, files, site.loaded, write=not dry_run)
    with site.client() as client:

        def look() -> _Checked:
            chosen = site.assignment(client, assignment if files else attachments.item)
            page = f"{client.url}/course/modedit.php?update={chosen.cmid}"
            held = remote_digests(chosen.attachments, client.read, attachments.item)
            return _Checked(chosen, page, compare(attachments.digests, held))

        found = look()
        if not (found.differences.none or dry_run or wants_json()):
            found = _attach(attachments, found, look, opens=opens)
    lines: list[str] = []
    if found.differences.none:
        lines = [f"Moodle hands out exactly these files for {found.assignment.name}."]
    elif dry_run:
        lines = [*_explanation(attachments, found), "Dry run — nothing was opened."]
    failed = not (found.differences.none or dry_run)
    return Result(_as_json(attachments, found), lines, int(failed))


def _attachments(
    assignment: str, files: tuple[Path, ...], loaded: LoadedSettings, *, write: bool
) -> _Attachments:
    """Return the files for Moodle: those named, else the notebook, or all as one zip."""
    if files:
        given = tuple(Upload(path.name, path) for path in files)
        return _Attachments(assignment, local_digests(given, assignment), files)
    dirs = loaded.settings.dirs
    base = loaded.path(dirs.release)
    try:
        found = find_release(assignment, base, loaded.path(dirs.source))
    except NotFound:
        named = item_name(assignment, loaded)  # by the assignment's name on Moodle
        if not (base / named).is_dir():
            raise
        found = find_release(named, base)
    release = read_release(found)
    if release.left_out:
        click.echo(f"Left out: {', '.join(map(str, release.left_out))}", err=True)
    digests = local_digests(release.files, release.name)
    if len(release.files) == 1:
        return _Attachments(release.name, digests, (release.files[0].path,))
    archive = release.directory / f"{release.name}.zip"
    data = zip_bytes({file.name: file.path.read_bytes() for file in release.files})
    if write and not (archive.is_file() and archive.read_bytes() == data):
        atomic_write(archive, data)
    return _Attachments(release.name, digests, (archive,))


def _attach(
    attachments: _Attachments, found: _Checked, look: Callable[[], _Checked], *, opens: bool
) -> _Checked:
    """Print the page and what to do there; check again whenever the user confirms."""
    click.echo("\n".join(_explanation(attachments, found)))
    if opens:
        open_page(found.page)
    while not found.differences.none and sys.stdin.isatty():
        answer: str = click.prompt(
            "Press Enter when the page is saved, or q to stop",
            default="",
            show_default=False,
            type=str,
        )
        if answer.strip().lower() == "q":
            break
        found = look()
        for line in found.differences.lines():
            click.echo(line)
    return found


def _explanation(attachments: _Attachments, found: _Checked) -> Iterator[str]:
    yield f"{found.assignment.name} on Moodle does not hand out what is here:"
    yield from found.differences.lines()
    yield "Only a person can attach files to an assignment on Moodle:"
    yield f"  1. Open {found.page}"
    yield "  2. Under “Additional files”, remove what is there and add:"
    for path in attachments.attach:
        yield f"       {path}"
    yield "  3. Save the page."
    yield "Then run this command again, which checks it."


def _as_json(attachments: _Attachments, found: _Checked) -> dict[str, object]:
    return {
        "assignment": found.assignment.name,
        "id": found.assignment.id,
        "page": found.page,
        "attach": [str(path) for path in attachments.attach],
        "files": sorted(attachments.digests),
        "verified": found.differences.none,
        "missing": found.differences.missing,
        "differing": found.differences.differing,
        "extra": found.differences.extra,
    }
