"""The times of submission, and the receipts, of the files in a directory of submissions.

The time of a file on the disk is none: it may be that of a copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mograder.core.clock import from_unix_or_none
from mograder.core.names import ItemName
from mograder.core.settings import LoadedSettings
from mograder.store.submissions.history import RECEIPTS, Submission
from mograder.store.submissions.submissions import Submissions
from mograder.store.submissions.submitted_files import (
    SubmittedFile,
    read_numbers,
    reads_as_a_submission,
    submitted_files,
)


def submissions_in(
    directory: Path,
    name: ItemName,
    loaded: LoadedSettings,
    *,
    named: Sequence[Path] | None = None,
) -> list[SubmittedFile]:
    """Return the submissions in a directory, with what is known of their times and receipts.

    ``named`` chooses some of its files instead of those that count. Raises: InvalidInput if the
    directory cannot be read.
    """
    fetched = read_numbers(directory)
    known = _received(directory, name, loaded)
    recorded = {filename for _, filename in known} | {f"{user}.py" for user in fetched}

    def timed(file: SubmittedFile) -> SubmittedFile:
        own = None if file.problem else known.get((file.student, file.path.name))
        if own is not None:
            return replace(file, received=own.received, receipt=own.sequence)
        received = file.received or from_unix_or_none(fetched.get(file.student))
        return replace(file, received=received)

    return list(map(timed, submitted_files(directory, recorded, named=named)))


def _received(
    directory: Path, name: ItemName, loaded: LoadedSettings
) -> dict[tuple[str, str], Submission]:
    """Return the submissions with a receipt of this course's assignment server, by their names."""
    records = loaded.state_dir / RECEIPTS
    own = loaded.path(loaded.settings.dirs.submitted)
    if directory.parent.resolve() != own.resolve() or not (records / f"{name}.jsonl").is_file():
        return {}
    people = Submissions(own, records=records).people(name)
    counting = (person.counting for person in people.values())
    return {
        (each.user, each.filename): each
        for each in counting
        if each is not None and reads_as_a_submission(each.filename.removesuffix(".py"))
    }
