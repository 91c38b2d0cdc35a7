"""A course in memory, as a transport shows it; held to the same suite as the real ones."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from mograder.clients.assignment_server.protocol import RemoteSubmission
from mograder.clients.course_server import (
    Acknowledgement,
    Document,
    RemoteAssignment,
    RemoteFile,
    WorkState,
    WorkStatus,
)
from mograder.core.errors import InvalidInput, MograderError, NotFound
from mograder.core.tasks import Progress

START = datetime(2026, 3, 10, 20, 8, tzinfo=UTC)


@dataclass
class FakeCourse:
    """Files by assignment; what is handed in counts the seconds."""

    files: dict[str, dict[str, bytes]]
    user: str = "alice"
    handed_in: dict[tuple[str, str], bytes] = field(default_factory=dict)
    times: dict[tuple[str, str], datetime] = field(default_factory=dict)
    grades: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    pages: dict[str, bytes] = field(default_factory=dict)
    tells_times: bool = True
    downloads: list[str] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)
    failure: type[MograderError] = NotFound
    """The failure of downloads of what is broken."""

    def list_assignments(self) -> tuple[RemoteAssignment, ...]:
        return tuple(
            RemoteAssignment(name, name, _files(name, files), number)
            for number, (name, files) in enumerate(self.files.items(), 1)
        )

    def assignment(self, name: str) -> RemoteAssignment:
        return next(each for each in self.list_assignments() if each.name == name)

    def download(self, file: RemoteFile, to: Path, progress: Progress) -> None:
        progress(f"Fetching {file.name}")
        self.downloads.append(file.name)
        if file.name in self.broken:
            raise self.failure(f"Not found: {file.name}.")
        assignment, _, name = file.address.partition("/")
        user = name.removesuffix(".py")
        data = self.files.get(assignment, {}).get(name)
        data = self.handed_in.get((assignment, user)) if data is None else data
        if data is None:
            raise NotFound(f"Not found: {file.name}.")
        to.write_bytes(data)

    def work_status(self, assignment: RemoteAssignment) -> WorkStatus:
        when = self.times.get((assignment.name, self.user))
        grade = self.grades.get((assignment.name, self.user))
        return WorkStatus(
            WorkState.NEW if when is None else WorkState.SUBMITTED,
            graded=grade is not None,
            grade=grade[0] if grade else None,
            feedback=grade[1] if grade else "",
            feedback_available=self.user in self.pages,
            submitted_at=when,
        )

    def submit(
        self, assignment: RemoteAssignment, file: Path, progress: Progress, *, late: bool = False
    ) -> Acknowledgement:
        if not file.is_file():
            raise InvalidInput(f"{file} cannot be read.")
        return self.take(assignment.name, self.user, file.read_bytes())

    def take(self, assignment: str, user: str, data: bytes) -> Acknowledgement:
        key = (assignment, user)
        repeated = self.handed_in.get(key) == data
        if not repeated:
            self.handed_in[key] = data
            self.times[key] = START + timedelta(seconds=len(self.times) + 60 * len(data))
        return Acknowledgement(f"{user}.py", self.times[key], repeated=repeated)

    def feedback(self, assignment: RemoteAssignment) -> tuple[Document, ...]:
        page = self.pages.get(self.user)
        return () if page is None else (Document(f"{self.user}.html", page),)

    def submissions(self, assignment: RemoteAssignment) -> tuple[RemoteSubmission, ...]:
        return tuple(
            RemoteSubmission(
                user,
                RemoteFile(f"{user}.py", f"{name}/{user}.py"),
                self.times[name, user] if self.tells_times else None,
            )
            for name, user in self.handed_in
            if name == assignment.name
        )

    def close(self) -> None:
        """Nothing is open."""


def _files(assignment: str, files: dict[str, bytes]) -> tuple[RemoteFile, ...]:
    return tuple(
        RemoteFile(name, f"{assignment}/{name}", len(data), hashlib.sha256(data).hexdigest())
        for name, data in files.items()
    )
