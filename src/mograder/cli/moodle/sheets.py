"""What is downloaded from Moodle by hand: the grading worksheet, and the zip of submissions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from mograder.cli.files import read_bytes
from mograder.clients.moodle.grading_files import (
    Worksheet,
    parse_worksheet,
    read_submissions,
)
from mograder.clients.server_url import parse_moodle_url
from mograder.core.clock import SystemClock
from mograder.core.errors import NotFound
from mograder.core.settings import LoadedSettings
from mograder.exchange.moodle.identities import Participants, people_of
from mograder.exchange.moodle.submitted_work import Target, Work, plan_zip, unpack_zip
from mograder.store.course.course import shown
from mograder.store.gradebook.gradebook import Identity, existing_gradebook

_MOST_BYTES = 2_000_000_000


def find_worksheet(loaded: LoadedSettings, *names: str) -> Path:
    """Return the downloaded worksheet: import/NAME.csv, else [moodle] csv; raises NotFound."""
    folder = loaded.path(loaded.settings.dirs.import_)
    places = [folder / f"{name}.csv" for name in dict.fromkeys(names)]
    if loaded.settings.moodle.csv:
        places.append(loaded.path(loaded.settings.moodle.csv))
    for place in places:
        if place.is_file():
            return place
    raise NotFound(
        f"There is no grading worksheet {' or '.join(map(shown, places))}.",
        hint="Download it from the assignment's page in Moodle (Submissions, Actions, Download "
        "grading worksheet) and put it there, or name it by --worksheet.",
    )


def people_in(loaded: LoadedSettings, sheet: Worksheet, match_column: str) -> Participants:
    remembered: Sequence[Identity] = ()
    names: Mapping[str, str] = {}
    if (gradebook := existing_gradebook(loaded.gradebook_path)) is not None:
        with gradebook:
            names, url = gradebook.students(), loaded.settings.moodle.url
            remembered = gradebook.identities(parse_moodle_url(url)) if url else ()
    name_column = loaded.settings.moodle.name_column
    return people_of(sheet, remembered, names, match_column=match_column, name_column=name_column)


def works_of_zip(
    archive: Path,
    worksheet: Path | None,
    loaded: LoadedSettings,
    target: Target,
    *names: str,
    dry_run: bool = False,
) -> tuple[Work, ...]:
    """Put the files of a zip of submissions into place; return the outcome for each person.

    The worksheet is the one given, else ``import/NAME.csv``, if it exists.
    """
    files = read_submissions(read_bytes(archive, _MOST_BYTES))
    people = Participants((), {})
    with suppress(NotFound):
        worksheet = worksheet or find_worksheet(loaded, *names)
    if worksheet is not None:
        sheet = parse_worksheet(read_bytes(worksheet))
        people = people_in(loaded, sheet, loaded.settings.moodle.match_column)
    works = plan_zip(files, people, target)
    if not works:
        raise NotFound("The zip holds no submissions.", hint="Is it the zip of this assignment?")
    return works if dry_run else unpack_zip(files, works, target, SystemClock().now())
