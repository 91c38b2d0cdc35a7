"""Output shared by the commands for assignment servers and for Moodle."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from mograder.clients.course_server import RemoteAssignment, WorkStatus
from mograder.core.portable_names import server_name
from mograder.exchange.student.feedback import Returned
from mograder.exchange.student.fetch import FetchedFile

_MOMENT = "%a %d %b %Y, %H:%M"


def when(moment: datetime | None) -> str:
    """Return a time in the reader's own zone, for people."""
    return "No deadline" if moment is None else f"{moment.astimezone():{_MOMENT}}"


def iso(moment: datetime | None) -> str | None:
    """Return a time in ISO format, for programs."""
    return None if moment is None else moment.isoformat()


def plain(text: str) -> str:
    """Remove control characters from a server's text, so that they do not reach the terminal."""
    return "".join(each if each.isprintable() else " " for each in text)


def called_there(file: FetchedFile) -> str:
    """Return a note for a file whose name on the server is another one, else ""."""
    name = server_name(file.name)
    return "" if name == file.name else f"  (on the server: {plain(name)})"


def closed(status: WorkStatus) -> list[str]:
    """Return a line with the reason if nothing can be submitted now, else none."""
    return [] if status.can_submit or not status.why_not else [plain(status.why_not)]


def status_json(
    assignment: RemoteAssignment, returned: Returned, *, saved_as: str
) -> dict[str, object]:
    """Return the state of the work for programs; ``saved_as`` is the key of the saved files."""
    status = returned.status
    return {
        "assignment": assignment.name,
        "status": status.state,
        "graded": status.graded,
        "grade": status.grade,
        "feedback": status.feedback,
        "feedback_available": status.feedback_available,
        "submitted_at": iso(status.submitted_at),
        "late": status.late,
        "can_submit": status.can_submit,
        "why_not": status.why_not,
        "graded_attempt": status.graded_attempt or None,
        saved_as: [str(path) for path in returned.pages],
    }


def assignment_json(assignment: RemoteAssignment) -> dict[str, object]:
    """Return an assignment of a list, as ``fetch --list --json`` prints it for either server."""
    return {
        "id": assignment.key if assignment.number is None else assignment.number,
        "name": assignment.name,
        "due": iso(assignment.due),
        "cutoff": iso(assignment.cutoff),
        "files": [file.name for file in assignment.files],
    }


def fetched_json(
    assignment: RemoteAssignment, out: Path, files: Sequence[FetchedFile]
) -> dict[str, object]:
    """Return the files fetched into ``out``, as ``fetch --json`` prints them for either server."""
    listed = [
        {
            "name": file.name,
            "path": str(file.path),
            "change": file.change,
            "kept": None if file.kept is None else str(file.kept),
        }
        for file in files
    ]
    return {"assignment": assignment.name, "directory": str(out), "files": listed}
