"""A notebook that is to be submitted (B150), and the feedback on it (B151)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mograder.clients.course_server import RemoteAssignment, Transport, WorkStatus
from mograder.core.errors import InvalidInput
from mograder.exchange.unpacking import safe_path
from mograder.store.filesystem.files import atomic_write


def check_notebook(file: Path) -> Path:
    """Return the file if it can be submitted.

    Raises:
        InvalidInput: It does not exist, is not a ``.py`` file, or is empty.
    """
    if file.suffix.lower() != ".py":
        raise InvalidInput(f"{file} is no .py file.", hint="Hand in the notebook itself.")
    if not file.is_file():
        raise InvalidInput(f"There is no file {file}.")
    if file.stat().st_size == 0:
        raise InvalidInput(f"{file} is empty.", hint="Save it in the editor first.")
    return file


def read_notebook(file: Path) -> bytes:
    """Return a notebook's bytes. Raises: InvalidInput if it cannot be read."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read: {error.strerror}.") from error


@dataclass(frozen=True, slots=True)
class Returned:
    """One person's status, and the pages of feedback on it."""

    status: WorkStatus
    pages: tuple[Path, ...] = ()


def read_feedback(
    transport: Transport, assignment: RemoteAssignment, out: Path | None = None
) -> Returned:
    """Return the status of one's own work; with ``out`` the pages of feedback are written there.

    Raises:
        MograderError: The server refuses or fails, or nothing can be written.
    """
    status = transport.work_status(assignment)
    if out is None or not status.feedback_available:
        return Returned(status)
    pages = []
    for document in transport.feedback(assignment):
        path = out / safe_path(document.name).rpartition("/")[2]
        try:
            out.mkdir(parents=True, exist_ok=True)
            atomic_write(path, document.content)
        except OSError as error:
            raise InvalidInput(f"{path} cannot be written: {error.strerror}.") from error
        pages.append(path)
    return Returned(status, tuple(pages))
