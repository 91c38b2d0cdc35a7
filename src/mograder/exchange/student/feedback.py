"""Feedback for the person signed in (B151)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mograder.clients.course_server import RemoteAssignment, Transport, WorkStatus
from mograder.core.errors import InvalidInput
from mograder.exchange.unpacking import safe_path
from mograder.store.filesystem.files import atomic_write


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
