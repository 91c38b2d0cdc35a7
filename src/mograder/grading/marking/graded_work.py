"""The files of a graded submission that a marker looks at: its text, and the notebook as it ran.

Both are those of the grading (``autograded/<assignment>/``), so that people mark the work that
was graded. Their content is a student's; only a page that this program wrote is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path

from mograder.core.errors import InvalidInput, MograderError, NotFound, TooLarge
from mograder.core.names import FileName, nfc
from mograder.grading.pages.notebook_page import AS_IT_RAN, cells_of_page
from mograder.grading.pages.page_templates import render_page
from mograder.grading.submissions.submitted_text import decode_submission, read_submission
from mograder.store.filesystem.files import entry_named
from mograder.store.submissions.submitted_files import SubmittedFile, submitted_files

_OUR_HEAD, _HEAD_BYTES = b'<meta http-equiv="Content-Security-Policy"', 300
"""The beginning of the pages that grading writes (``grading.pages.notebook_page``)."""

_MOST_BYTES = 64_000_000
_NAMELESS = "The submission"
"""The name of a submission in messages to people from whom the student's name may be hidden."""


class WorkFiles:
    """The graded and the submitted files of an assignment, for one pass over its students.

    The directory of submissions is read once, when it is first needed: a reading for each student
    took half a minute for 500. ``autograded`` and ``submitted`` are the assignment's directories.

    The texts' methods raise :class:`NotFound` when a student has neither file, and
    :class:`InvalidInput` for a file that cannot be read, or is no text; the message does not tell
    the file's name, which is the student's.
    """

    def __init__(self, autograded: Path, submitted: Path) -> None:
        self._autograded = autograded
        self._submitted = submitted

    def students(self) -> tuple[str, ...]:
        graded = self._autograded.glob("*.py") if self._autograded.is_dir() else ()
        found = {path.stem for path in graded if not path.name.startswith(".")}
        return tuple(sorted(found | self._sent.keys()))

    def graded_first(self, student: str) -> str:
        """Return the text of a student's graded submission, else of the submitted file."""
        return self._text(student, self._graded, self._handed_in)

    def handed_in_first(self, student: str) -> str:
        """Return the text of the submitted file, else of the copy, which has graders' cells."""
        return self._text(student, self._handed_in, self._graded)

    def has_handed_in(self, student: str) -> bool:
        """Return whether there is the file that a student submitted, or else only a graded copy."""
        file = self._sent.get(nfc(student))
        return file is not None and file.path.is_file()

    @cached_property
    def _sent(self) -> Mapping[str, SubmittedFile]:
        sent = submitted_files(self._submitted) if self._submitted.is_dir() else ()
        return {each.student: each for each in sent}

    def _graded(self, student: str) -> bytes | None:
        path = entry_named(self._autograded, _file_name(student, ".py"))
        return path.read_bytes() if path.is_file() else None

    def _handed_in(self, student: str) -> bytes | None:
        """The errors do not name the file, whose name is the student's: marking may be nameless."""
        file = self._sent.get(nfc(student))
        if file is None or not file.path.is_file():
            return None
        try:
            if not file.problem:
                return read_submission(file.path)
        except TooLarge as error:  # first, since it is an InvalidInput
            raise TooLarge("The submission is larger than a notebook may be.") from error
        except InvalidInput:
            pass
        raise InvalidInput("The submission is no regular file that can be read.")

    @staticmethod
    def _text(student: str, *places: Callable[[str], bytes | None]) -> str:
        for read in places:
            data = read(student)
            if data is not None:
                return decode_submission(data, _NAMELESS)
        raise NotFound("There is no file of this submission.", hint="Grade it again.")


def graded_page(autograded: Path, student: str) -> bytes:
    """Return the page of the notebook as it ran; it names the student's file.

    Raises: NotFound if there is none, or an earlier mograder made it, whose pages are programs.
    """
    try:
        with entry_named(autograded, _file_name(student, ".html")).open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise NotFound("There is no such result.") from error
    if _OUR_HEAD not in data[:_HEAD_BYTES] or len(data) > _MOST_BYTES:
        raise NotFound("This result was made by an earlier mograder.", hint="Grade it again.")
    return data


def nameless_page(autograded: Path, student: str) -> bytes:
    """Return the page of :func:`graded_page` without the file's name. Raises: as that."""
    cells = cells_of_page(graded_page(autograded, student).decode("utf-8", "replace"))
    if not cells:
        raise NotFound("This result cannot be shown.", hint="Grade it again.")
    page = render_page(
        "notebook.html.j2",
        filename="Notebook",
        heading=AS_IT_RAN,
        quiet=False,
        markup=cells,
        notebook=None,
    )
    return page.encode("utf-8", "replace")


def has_page(autograded: Path, student: str) -> bool:
    try:
        with entry_named(autograded, _file_name(student, ".html")).open("rb") as file:
            return _OUR_HEAD in file.read(_HEAD_BYTES)
    except (MograderError, OSError):
        return False


def _file_name(student: str, suffix: str) -> str:
    name = FileName.valid(f"{student}{suffix}")
    if name is None or name.startswith("."):
        raise NotFound("There is no such result.")
    return name
