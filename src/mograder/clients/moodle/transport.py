"""The port of ``clients/course_server.py`` for Moodle: a student's operations.

Moodle reports success for a submission whose files it dropped, and saves drafts that are never
graded. So every submission is read back, and what Moodle would refuse is refused before anything is
sent, with a reason: its own is "the due date has passed" for four different things.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from mograder.clients.course_server import (
    Acknowledgement,
    Document,
    RemoteAssignment,
    RemoteFile,
    WorkState,
    WorkStatus,
    WouldReplaceOnTime,
)
from mograder.clients.file_upload import Upload
from mograder.clients.moodle.client import MoodleClient
from mograder.clients.moodle.records import (
    Assignment,
    Status,
    Submission,
    SubmissionState,
)
from mograder.clients.moodle.texts import as_text
from mograder.core.clock import Clock, SystemClock, is_after
from mograder.core.errors import Conflict, InvalidInput, NotFound, TooLarge
from mograder.core.portable_names import server_name
from mograder.core.tasks import Progress

_MAX_FEEDBACK = 64 << 20
_MAX_COMPARED = 64 << 20

_STATES = {
    SubmissionState.NEW: WorkState.NEW,
    SubmissionState.REOPENED: WorkState.NEW,
    SubmissionState.DRAFT: WorkState.DRAFT,
    SubmissionState.SUBMITTED: WorkState.SUBMITTED,
}


class MoodleTransport:
    """One student's connection to a Moodle course; closes the client that it is given.

    ``user`` is the signed-in user, if known already; otherwise the site is asked.
    """

    def __init__(
        self, client: MoodleClient, course_id: int, *, user: str = "", clock: Clock | None = None
    ) -> None:
        self._client = client
        self._user = user
        self._course_id = course_id
        self._clock = clock or SystemClock()
        self._settings: Mapping[str, Assignment] = {}

    @property
    def user(self) -> str:
        if not self._user:
            site = self._client.site()
            self._user = site.username or site.full_name
        return self._user

    def close(self) -> None:
        self._client.close()

    def list_assignments(self) -> tuple[RemoteAssignment, ...]:
        found = self._client.assignments(self._course_id)
        self._settings = {str(assignment.id): assignment for assignment in found}
        return tuple(
            RemoteAssignment(
                key=str(each.id),
                name=each.name,
                files=each.attachments,
                number=each.id,
                opens=each.opens,
                due=each.due,
                cutoff=each.cutoff,
            )
            for each in found
        )

    def download(self, file: RemoteFile, to: Path, progress: Progress) -> None:
        self._client.download(file, to, progress)

    def work_status(self, assignment: RemoteAssignment) -> WorkStatus:
        # A mark that the marking workflow has not released is hidden from the student, though
        # Moodle calls it graded.
        settings = self._of(assignment)
        status = self._client.submission_status(settings.id)
        work, feedback = status.work, status.feedback
        state = _STATES[work.state] if work else WorkState.NEW
        handed_in = work.modified if work and state is WorkState.SUBMITTED else None
        graded = status.graded and feedback is not None
        earlier = None if graded else status.earlier
        if earlier is not None:
            feedback = earlier.feedback
        reason = why_not(settings, status, self._clock.now())
        return WorkStatus(
            state=state,
            graded=graded or earlier is not None,
            graded_attempt=earlier.attempt + 1 if earlier else 0,
            grade=(feedback.shown or None) if (graded or earlier) and feedback else None,
            feedback=as_text(feedback.comment) if feedback else "",
            feedback_available=bool(feedback and feedback.files),
            submitted_at=handed_in,
            late=_is_late(settings, status, handed_in),
            can_submit=not reason,
            why_not=reason,
            extended_to=status.extended_to,
        )

    def submit(
        self, assignment: RemoteAssignment, file: Path, progress: Progress, *, late: bool = False
    ) -> Acknowledgement:
        """Submit a file; only ``late`` replaces one on time. Check that Moodle holds it."""
        return self._hand_in(assignment, file, progress, late=late, final=True)

    def save_draft(
        self, assignment: RemoteAssignment, file: Path, progress: Progress, *, late: bool = False
    ) -> Acknowledgement:
        """Save a file without submitting it, if there are drafts; raises as :meth:`submit`."""
        return self._hand_in(assignment, file, progress, late=late, final=False)

    def feedback(self, assignment: RemoteAssignment) -> tuple[Document, ...]:
        """Return the released feedback files."""
        status = self._client.submission_status(self._of(assignment).id)
        feedback = status.feedback
        if status.earlier is not None and not status.graded:
            feedback = status.earlier.feedback
        files = feedback.files if feedback else ()
        return tuple(Document(f.name, self._client.read(f, _MAX_FEEDBACK)) for f in files)

    def _of(self, assignment: RemoteAssignment) -> Assignment:
        """Return the settings of an assignment; its key may be from an earlier list."""
        if assignment.key not in self._settings:
            self.list_assignments()
        if assignment.key not in self._settings:
            raise NotFound(
                f"{assignment.name} is not in this course (any more), or hidden from you.",
                hint="List the assignments again.",
            )
        return self._settings[assignment.key]

    def _hand_in(
        self,
        assignment: RemoteAssignment,
        file: Path,
        progress: Progress,
        *,
        late: bool,
        final: bool,
    ) -> Acknowledgement:
        settings = self._of(assignment)
        demand_acceptable(settings, file)
        status = self._client.submission_status(settings.id)
        if self._is_handed_in(status.work, file):
            return replace(self._handed(settings, status, server_name(file.name)), repeated=True)
        self._demand_allowed(settings, status, late=late)
        tell_what_goes(settings, status.work, file, progress)
        draft = self._client.upload([Upload(server_name(file.name), file)], progress)
        if settings.statement and (final or not settings.drafts):
            progress(f"By handing in you confirm: {settings.statement}")
        text = self._client.held_text(settings.id) if settings.accepts.online_text else None
        self._client.save_submission(settings.id, draft.item, text)
        status = self._client.submission_status(settings.id)
        kept = demand_kept(settings, status, draft.names[0], file.stat().st_size)
        if final and settings.drafts:  # without drafts, saving has submitted it
            self._client.submit_for_grading(settings.id)
            status = self._client.submission_status(settings.id)
            if status.work is None or status.work.state is not SubmissionState.SUBMITTED:
                raise Conflict(
                    f"Moodle holds your work on {settings.name} as a draft only; it is not handed "
                    "in.",
                    hint="Open the assignment in Moodle and press Submit assignment. In a team, "
                    "all members may have to do so.",
                )
        return self._handed(settings, status, kept.name)

    def _handed(self, settings: Assignment, status: Status, name: str) -> Acknowledgement:
        at = status.work.modified if status.work else None
        return Acknowledgement(name, submitted_at=at, late=_is_late(settings, status, at))

    def _is_handed_in(self, work: Submission | None, file: Path) -> bool:
        """Return whether exactly this file's bytes are submitted already.

        Saving them again would give them a later time.
        """
        if work is None or work.state is not SubmissionState.SUBMITTED or len(work.files) != 1:
            return False
        held, size = work.files[0], file.stat().st_size
        if (held.name, held.size) != (server_name(file.name), size) or size > _MAX_COMPARED:
            return False
        return self._client.read(held, _MAX_COMPARED) == file.read_bytes()

    def _demand_allowed(self, settings: Assignment, status: Status, *, late: bool) -> None:
        now = self._clock.now()
        reason = why_not(settings, status, now)
        if reason:
            raise Conflict(
                f"{settings.name} cannot be handed in now: {reason}",
                hint="Ask your teacher if you think that this is wrong.",
            )
        work, due = status.work, _due(settings, status)
        on_time = (
            work is not None
            and work.state is SubmissionState.SUBMITTED
            and not _is_late(settings, status, work.modified)
        )
        if on_time and due is not None and is_after(now, due) and not late:
            raise WouldReplaceOnTime(
                f"The time for {settings.name} is over, and what you handed in was on time. "
                "Handing in again would replace it by late work.",
                hint="Agree to that if you mean it; otherwise there is nothing to do.",
            )


def why_not(settings: Assignment, status: Status, now: datetime) -> str:
    """Return the reason why Moodle would refuse now, or ""; Moodle says only "cannot edit"."""
    if not settings.accepts.files:
        if settings.accepts.online_text:
            return "It takes text only, typed into Moodle; open it with your browser."
        return "It takes no files in Moodle."
    if not status.takes_part:
        return "Your account does not take part in it as a student."
    if not status.enabled:
        return "Submissions are switched off."
    if status.locked:
        return "Your teacher has locked it."
    if status.can_edit:  # the clock here may be wrong, Moodle's decides
        return ""
    if settings.opens and now < settings.opens:
        return f"It opens on {settings.opens:%d %B %Y at %H:%M} UTC."
    work = status.work
    if work and work.state is SubmissionState.SUBMITTED and settings.drafts:
        return "It is handed in already; only your teacher can turn it back into a draft."
    closed = max(filter(None, (settings.cutoff, status.extended_to)), default=None)
    if closed and now > closed:
        return f"It closed on {closed:%d %B %Y at %H:%M} UTC."
    return "Moodle does not let you change it."


def _due(settings: Assignment, status: Status) -> datetime | None:
    return max(filter(None, (settings.due, status.extended_to)), default=None)


def _is_late(settings: Assignment, status: Status, at: datetime | None) -> bool:
    due = _due(settings, status)
    return at is not None and due is not None and at > due


def demand_acceptable(settings: Assignment, file: Path) -> None:
    """Raise for a file that the assignment does not accept; Moodle would drop it silently."""
    try:
        size = file.stat().st_size
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read: {error.strerror}.") from error
    limit, types = settings.accepts.max_bytes, settings.accepts.file_types
    if limit and size > limit:
        has, takes = _amount(size), _amount(limit)
        if has == takes:
            has, takes = f"{size} bytes", f"{limit} bytes"
        raise TooLarge(
            f"{file.name} has {has}; {settings.name} takes {takes} at most.",
            hint="Make it smaller, for example by clearing outputs.",
        )
    # Moodle also has groups of types ("document"), whose members we do not know.
    known = all(kind.startswith(".") for kind in types)
    if types and known and file.suffix.lower() not in types:
        raise InvalidInput(
            f"{settings.name} takes {', '.join(types)} only, and {file.name} is none.",
            hint="Hand in the notebook itself.",
        )


def _amount(size: int) -> str:
    """Return a size in the largest unit that it reaches, as Moodle counts: 1 KB is 1024 bytes."""
    for unit, bytes_of_one in (("GB", 1 << 30), ("MB", 1 << 20), ("KB", 1 << 10)):
        if size >= bytes_of_one:
            return f"{size / bytes_of_one:.2f}".rstrip("0").rstrip(".") + f" {unit}"
    return f"{size} bytes"


def tell_what_goes(
    settings: Assignment, work: Submission | None, file: Path, progress: Progress
) -> None:
    """Report the files that saving removes: Moodle replaces the whole set of files."""
    if settings.team:
        progress("This is handed in for your whole team.")
    name = server_name(file.name)
    others = [held.name for held in (work.files if work else ()) if held.name != name]
    if others:
        progress(f"This replaces what was handed in: {', '.join(others)}")


def demand_kept(settings: Assignment, status: Status, name: str, size: int) -> RemoteFile:
    """Return the one file that Moodle kept, under its name there; raises Conflict without it."""
    files = status.work.files if status.work else ()
    for held in files:
        if held.name == name and held.size == size and len(files) == 1:
            return held
    kept = ", ".join(held.name for held in files) or "nothing"
    raise Conflict(
        f"Moodle did not keep {name}: what it holds for {settings.name} is {kept}.",
        hint="It may be too large or of a type that the assignment does not take. Open the "
        "assignment in Moodle and look before you try again.",
    )
