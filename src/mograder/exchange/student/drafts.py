"""A student's work elsewhere: in a browser, or in a folder on another computer of theirs.

The server keeps one draft of each assignment. A folder remembers which version of it it has seen,
the one that it took or saved itself, and which submission counted then. A submission is saved as
the draft first, over that version; so newer text from elsewhere is never replaced unless the
student agrees (decision 50).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from mograder.clients.course_server import (
    DraftChanged,
    KeepsDrafts,
    NeedsDecision,
    RemoteAssignment,
    RemoteDraft,
    Transport,
    WorkStatus,
)
from mograder.core.errors import (
    Conflict,
    Forbidden,
    InvalidInput,
    MograderError,
    NotAuthenticated,
    NotFound,
)
from mograder.core.files.disk import write_file
from mograder.core.files.windows_files import digests
from mograder.exchange.assignment_lookup import folder_of
from mograder.exchange.student.fetch import OURS, FetchedFile, keep_beside, put_in_place
from mograder.exchange.student.submit import kept_receipts
from mograder.store.copies.student_folder import is_notebook

_FOLDER = "seen"
ABOUT_ONE = (NotFound, Forbidden, InvalidInput, Conflict)
"""Refusals of one assignment's status, after which the rest goes on; 0.3.16's servers have none."""

_MOMENT = "%a %d %b %Y, %H:%M"


class _Seen(BaseModel):
    """The state of the server that a folder has seen last.

    ``draft`` is the tag of the draft, ``submission`` the SHA-256 of the submission that counts.
    """

    model_config = ConfigDict(extra="ignore")

    draft: str = ""
    submission: str = ""


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Newer work that a folder has not seen: a draft, a submission that counts, or both.

    Without a ``draft`` there is no text to take: the submission is of a program that saves none.
    """

    draft: RemoteDraft | None
    submitted_at: datetime | None = None

    @property
    def at(self) -> datetime | None:
        """The time of the draft, else of the submission, by the server's clock."""
        return self.draft.saved if self.draft else self.submitted_at

    @property
    def key(self) -> str:
        """Identifies what a student was asked about: anything newer is asked about again."""
        submitted = self.submitted_at.isoformat() if self.submitted_at else ""
        return f"{self.draft.tag if self.draft else ''}/{submitted}"


class NewerElsewhere(NeedsDecision):
    """A submission would replace newer work, and needs the student's consent."""

    def __init__(self, elsewhere: Elsewhere, *, hint: str = "") -> None:
        at = f" on {elsewhere.at.astimezone():{_MOMENT}}" if elsewhere.at else ""
        done = "saved" if elsewhere.draft else "submitted"
        super().__init__(
            f"A version of yours that this folder has not seen was {done} elsewhere{at}.",
            hint=hint or "Decide which of them is to count.",
        )
        self.elsewhere = elsewhere


@dataclass(frozen=True, slots=True)
class SavedDraft:
    """The outcome of saving a draft before a submission.

    ``kept`` is the file with the text that it is to replace, if the student had not seen that.
    ``why_not`` says why it was not saved, "" if it was or the server keeps no drafts.
    """

    kept: Path | None = None
    why_not: str = ""


def unseen(
    status: WorkStatus, assignment: RemoteAssignment, directory: Path, text: bytes | None
) -> Elsewhere | None:
    """Return what of the server's record is news for a folder, whose notebook has this text.

    None on servers without drafts, whose records do not tell.
    """
    draft = status.draft
    if draft is None:
        return None
    mine = frozenset() if text is None else digests(text)
    seen = _seen(assignment, directory)
    saved_elsewhere = draft.tag not in ("", seen.draft) and draft.sha256 not in mine
    submitted_elsewhere = (
        status.sha256 not in ("", seen.submission, *mine)
        and (saved_elsewhere or status.sha256 != draft.sha256)
        and status.sha256 not in {each.receipt.sha256.lower() for each in kept_receipts(directory)}
    )
    if not saved_elsewhere and not submitted_elsewhere:
        return None
    return Elsewhere(
        draft if saved_elsewhere else None, status.submitted_at if submitted_elsewhere else None
    )


def save_before_submission(
    transport: Transport,
    assignment: RemoteAssignment,
    notebook: Path,
    text: bytes,
    now: datetime,
    *,
    agreed: str = "",
) -> SavedDraft:
    """Save the text that is about to be submitted as the draft; other text is kept beside it.

    ``agreed`` is the :attr:`Elsewhere.key` of what the student wants to be replaced; they are not
    asked about it again. A draft that cannot be saved for another reason does not stop a
    submission: it may be due.

    Raises:
        NewerElsewhere: There is newer work than this folder has seen.
        MograderError: The server cannot be asked.
    """
    try:
        status = transport.work_status(assignment)
    except ABOUT_ONE:
        return SavedDraft()
    if status.draft is None or not isinstance(transport, KeepsDrafts):
        return SavedDraft()
    found = unseen(status, assignment, notebook.parent, text)
    if found is not None and found.key != agreed:
        raise NewerElsewhere(found)
    over = status.draft.tag
    try:
        kept = None
        if found is not None and found.draft is not None:
            _, other = transport.draft(assignment)
            kept = keep_beside(assignment, notebook, other, now)
        plain = text.replace(b"\r\n", b"\n")  # as browsers save it
        saved = transport.save_draft(assignment, plain, over)
    except DraftChanged as error:
        status = transport.work_status(assignment)  # it was saved in the last moment
        found = unseen(status, assignment, notebook.parent, text)
        raise NewerElsewhere(found or Elsewhere(status.draft)) from error
    except NotAuthenticated:
        raise
    except MograderError as error:
        if found is not None and (kept is not None or found.draft is None):
            _remember(assignment, notebook.parent, over, status)
        return SavedDraft(kept, str(error))
    _remember(assignment, notebook.parent, saved.tag, status)
    return SavedDraft(kept)


def take(
    transport: Transport, assignment: RemoteAssignment, notebook: Path, now: datetime
) -> FetchedFile:
    """Put the draft into the place of the notebook; an edited one is kept beside it.

    Raises:
        NotFound: The server keeps no draft of this person's.
        MograderError: It cannot be fetched or written; nothing has changed.
    """
    if not isinstance(transport, KeepsDrafts):
        raise NotFound("This server keeps no drafts.")
    status = transport.work_status(assignment)
    draft, text = transport.draft(assignment)
    placed = put_in_place(assignment, notebook, text, now)
    _remember(assignment, notebook.parent, draft.tag, status)
    return placed


def notebook_of(assignment: RemoteAssignment, files: Sequence[FetchedFile]) -> FetchedFile:
    """Return the fetched file that a draft is a version of; raises NotFound.

    It is the one named like the assignment, else the first notebook by name.
    """
    found = [each for each in files if each.name.endswith(".py") and "/" not in each.name]
    own = folder_of(assignment)
    found.sort(key=lambda each: (each.path.stem != own, not is_notebook(each.path), each.name))
    if not found:
        raise NotFound(f"{assignment.name} has no notebook.")
    return found[0]


def _seen(assignment: RemoteAssignment, directory: Path) -> _Seen:
    with suppress(OSError, ValidationError):
        return _Seen.model_validate_json(_path(assignment, directory).read_bytes())
    return _Seen()


def _remember(assignment: RemoteAssignment, directory: Path, tag: str, status: WorkStatus) -> None:
    """Record what a folder has seen. Without the record, it is asked about again."""
    path, seen = _path(assignment, directory), _Seen(draft=tag, submission=status.sha256)
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, seen.model_dump_json().encode())


def _path(assignment: RemoteAssignment, directory: Path) -> Path:
    return directory / OURS / _FOLDER / f"{folder_of(assignment)}.json"
