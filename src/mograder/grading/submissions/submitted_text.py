"""A submission's text, as far as grading looks at it before anything runs.

The text is a stranger's as a whole. Its header is not used, since the environment, the limits and
the marks are the source's. Cells with marks that 0.3.16 or this program writes for graders are
reported and never read.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mograder.core.errors import InvalidInput, TooLarge
from mograder.core.files import open_flags
from mograder.core.files.disk import closing_fd
from mograder.notebook import MAX_NOTEBOOK
from mograder.notebook.cells import parse_cells
from mograder.notebook.grading.grading_plan import answer_texts, code_digest
from mograder.notebook.integrity import describe_tampering
from mograder.notebook.parsing import decode_notebook
from mograder.notebook.points import GRADERS_CELLS
from mograder.notebook.source.release import SUBMIT
from mograder.sandbox.protocol import MOST_SKIPPED

_READ = os.O_RDONLY | open_flags.NOFOLLOW | open_flags.NONBLOCK | open_flags.CLOEXEC
_READ |= open_flags.NOCTTY | open_flags.BINARY
_NOT_A_FILE = "A submission has to be a regular file."


def read_submission(path: Path) -> bytes:
    """Raises:
    InvalidInput: It is no regular file, such as a link or a directory, or cannot be read.
    TooLarge: It is larger than a notebook may be.
    """
    try:
        descriptor = os.open(path, _READ)
    except OSError as error:
        if path.is_symlink():
            raise InvalidInput(f"{path.name} is a link. {_NOT_A_FILE}") from error
        raise InvalidInput(f"{path.name} cannot be read: {error.strerror}.") from error
    with closing_fd(descriptor):
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise InvalidInput(f"{path.name} is no file. {_NOT_A_FILE}")
        try:
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                data = file.read(MAX_NOTEBOOK + 1)
        except OSError as error:
            raise InvalidInput(f"{path.name} cannot be read: {error.strerror}.") from error
    if len(data) > MAX_NOTEBOOK:
        raise TooLarge(f"{path.name} is larger than {MAX_NOTEBOOK // 1_000_000} MB.")
    return data


@dataclass(frozen=True, slots=True)
class SubmittedText:
    """A submission that is a notebook.

    ``skip`` are the indexes and digests of cells that the worker leaves out. ``lines`` has the
    file's first line of each cell's code. ``tampered`` is what was changed of the release, in words
    for graders. ``texts`` are those of answers, by name, if a check reads them.
    """

    skip: tuple[int | str, ...]
    lines: tuple[int, ...]
    tampered: tuple[str, ...]
    texts: Mapping[str, str] = field(default_factory=dict)


def decode_submission(data: bytes, filename: str) -> str:
    """Raise InvalidInput if it is too large, empty, or not UTF-8."""
    if not data.strip():
        raise InvalidInput(f"{filename} is empty.")
    return decode_notebook(data, filename)


def read_text(
    text: str, filename: str, release: str | None, checks: frozenset[str], names: frozenset[str]
) -> SubmittedText:
    """Return what is known of a submission from its text.

    ``checks`` are the digests of the author's check cells, and ``names`` those of answers whose
    text a check reads.

    Raises:
        InvalidInput: It is not a notebook; the message names the line. Or it has very many cells
            to leave out.
    """
    notebook = parse_cells(text, filename)
    digests = [code_digest(each.code) for each in notebook.cells]
    marks = {SUBMIT, *GRADERS_CELLS}
    skip = [
        cell.index
        for cell, digest in zip(notebook.cells, digests, strict=True)
        if digest in checks or not marks.isdisjoint(map(str.strip, cell.code.split("\n")))
    ]
    # As many as the author has checks, and some, are no doing of the student's.
    if len(skip) > max(MOST_SKIPPED - len(checks), 2 * len(checks)):
        raise InvalidInput(f"{filename} has {len(skip)} cells of checks or for graders: too many.")
    present = {line.strip() for line in notebook.lines}
    added = [f"cell: added: {mark}" for mark in GRADERS_CELLS if mark in present]
    changed: tuple[str, ...] = ()
    if release is not None:
        changed = describe_tampering(notebook, parse_cells(release, "<release>"))
    # The worker runs students' code, so it is not told the digests of the source's hidden tests.
    told = sorted(checks.intersection(digests))
    return SubmittedText(
        skip=(*skip, *told),
        lines=tuple(each.code_first for each in notebook.cells),
        tampered=(*changed, *added),
        texts=answer_texts(notebook, names),
    )
