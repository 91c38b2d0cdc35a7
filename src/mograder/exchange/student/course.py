"""One student's course: their own folder, and a server that may be unreachable.

The server's last answers are stored, so that the course can be shown offline. A submitted notebook
is stored first and sent then: whatever happens in between, it stays queued here with its reason
until it is sent again, and nothing is shown as submitted unless a server has acknowledged it
(decision 31). All calls block.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain, count
from typing import TypeVar

from pydantic import BaseModel, ConfigDict

from mograder.clients.course_server import (
    Acknowledgement,
    Document,
    NeedsDecision,
    RemoteAssignment,
    RemoteFile,
    Transport,
    WorkState,
    WorkStatus,
    WouldReplaceOnTime,
)
from mograder.core.clock import Clock, is_after
from mograder.core.errors import (
    Busy,
    Conflict,
    InvalidInput,
    MograderError,
    NotAuthenticated,
    NotFound,
    RemoteFailed,
    TimedOut,
)
from mograder.core.log import get_logger
from mograder.core.names import ItemName
from mograder.core.portable_names import fold
from mograder.core.tasks import Progress
from mograder.exchange.assignment_lookup import folder_0316, folder_of
from mograder.exchange.student.drafts import ABOUT_ONE, save_before_submission, take
from mograder.exchange.student.fetch import FetchedFile, fetch
from mograder.exchange.student.submit import check_notebook, keep, open_receipt, read_notebook
from mograder.store.copies.student_folder import Notebook, SentNotebook, StudentFolder, Waiting

T = TypeVar("T")

_log = get_logger(__name__)
_NOT_NOW = (RemoteFailed, Busy, TimedOut)
"""Failures that may pass with time: the submission stays queued."""
_SIGNED_OUT = "The server did not accept your sign-in."


class KnownItem(BaseModel):
    """An assignment as the server described it, and its local folder."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    folder: str
    assignment: RemoteAssignment
    standing: WorkStatus | None = None
    """Named so in the stored file."""
    fetched: tuple[RemoteFile, ...] = ()
    """The server's files at the time of the last fetch."""

    @property
    def updated(self) -> bool:
        """Whether the server's files have changed since they were fetched.

        A file that was fetched by a version which did not store its time may have any.
        """
        there = self.assignment.files
        if any(each.modified is None for each in self.fetched):
            there = tuple(replace(each, modified=None) for each in there)
        return bool(self.fetched) and self.fetched != there


class Known(BaseModel):
    """The server's answers of the last sync, and the user who made it."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    server: str
    user: str
    synced: datetime
    items: tuple[KnownItem, ...] = ()
    gone: tuple[KnownItem, ...] = ()
    """Assignments with files here that the server listed earlier: one may be hidden for a while."""
    course_id: int = 0
    """The number of a Moodle course; 0 for other servers, and in files of earlier versions."""

    def item(self, folder: str) -> KnownItem:
        """Return the assignment in a folder. Raises: NotFound."""
        for each in self.items:
            if each.folder == folder:
                return each
        raise NotFound("There is no assignment of this name.", hint="Ask the server for the list.")


@dataclass(frozen=True, slots=True)
class Submitted:
    """The outcome of a submission: acknowledged, or queued here because of ``why``.

    One that was acknowledged is queued if that cannot be recorded here.
    ``away`` is whether ``why`` is a failure of the connection or the server, and no refusal.
    """

    folder: str
    handed: Acknowledgement | None
    why: str = ""
    away: bool = False


class StudentCourse:
    """A student's operations on a course; ``dirs`` has the folders that the course configures."""

    def __init__(
        self, folder: StudentFolder, clock: Clock, dirs: Mapping[str, str] | None = None
    ) -> None:
        self.folder = folder
        self._clock = clock
        self._dirs = dict(dirs or {})

    def known(self) -> Known | None:
        """Return the server's answers of the last sync; None before the first one."""
        return self.folder.known(Known)

    def sync(
        self, transport: Transport, server: str, progress: Progress, course_id: int = 0
    ) -> Known:
        """Ask the server for everything and store it; feedback is fetched too.

        An assignment that is not listed any more stays as long as a submission to it is queued. If
        it is listed again, it has the folder and the fetched files that it had.

        Raises:
            MograderError: The server cannot be asked; the stored answers stay.
        """
        progress("Asking for the assignments")
        known = self.known()
        earlier = (*known.gone, *known.items) if known else ()
        before = {each.assignment.key: each for each in earlier}
        items: list[KnownItem] = []
        listed = transport.list_assignments()
        for assignment in listed:
            progress(f"Asking about {assignment.name}")
            there = before.get(assignment.key)
            taken = {each.folder for each in (*items, *before.values())}
            folder = there.folder if there else self._folder_of(assignment, taken, listed)
            items.append(self._look(transport, assignment, folder, there))
        keys = {each.assignment.key for each in items}
        gone = [each for key, each in before.items() if key not in keys]
        items += (each for each in gone if self.folder.waiting(each.folder))
        here = (each for each in gone if self.folder.directory(each.folder).is_dir())
        known = Known(
            server=server,
            user=transport.user,
            synced=self._clock.now(),
            items=tuple(items),
            gone=tuple(each for each in here if each not in items),
            course_id=course_id,
        )
        self.folder.put_known(known)
        return known

    def fetch(
        self, transport: Transport, folder: str, progress: Progress
    ) -> tuple[FetchedFile, ...]:
        """Fetch an assignment's files into its folder; an edited one is kept beside the new one.

        They are those that the server has now: the author may have replaced them since the sync.

        Raises:
            MograderError: The fetch failed; nothing has changed then.
        """
        item = self._item(folder)
        place, now = self.folder.directory(folder), self._clock.now()
        assignment = self._as_it_is_now(transport, item)
        fetched = fetch(transport, assignment, place, progress, now, own_folder=True)
        self._put(item.model_copy(update={"assignment": assignment, "fetched": assignment.files}))
        return fetched

    def take(self, transport: Transport, folder: str, progress: Progress) -> FetchedFile:
        """Put the server's draft into the place of the notebook; an edited one is kept beside it.

        A queued submission, whose text is older, is set aside.

        Raises:
            MograderError: It cannot be fetched or written; nothing has changed then.
        """
        if self.folder.notebook(folder) is None:
            self.fetch(transport, folder, progress)
        item, notebook, now = self._item(folder), self._notebook(folder), self._clock.now()
        taken = take(transport, item.assignment, notebook.path, now)
        self.folder.set_aside(folder, now)
        with suppress(MograderError):
            self.refresh(transport, folder)
        return taken

    def submit(
        self,
        transport: Transport | None,
        folder: str,
        progress: Progress,
        *,
        late: bool = False,
        agreed: str = "",
    ) -> Submitted:
        """Submit the notebook as last saved, or queue it if the server is unreachable.

        Without a ``transport`` it is queued.

        Raises:
            WouldReplaceOnTime: It is late and would replace a submission on time; ``late`` agrees
                to that.
            NewerElsewhere: It would replace newer work, unless ``agreed`` is the key of that.
            NotAuthenticated: The login is not valid; the notebook is queued.
            MograderError: The server refused; the notebook is as it was, and so is the queue.
        """
        item, notebook = self._item(folder), self._notebook(folder)
        check_notebook(notebook.path)
        before = self.folder.waiting(folder)
        waiting = self.folder.keep(notebook, late=late, now=self._clock.now())
        if transport is None:
            return self._stays(folder, waiting, "Nobody is signed in.")
        try:
            return self._send(transport, item, notebook, waiting, progress, agreed)
        except NotAuthenticated:
            self._stays(folder, waiting, _SIGNED_OUT)
            raise
        except _NOT_NOW as error:
            return self._stays(folder, waiting, str(error), away=True)
        except MograderError as error:
            if before is not None and not waiting.aside:  # the same text waited already
                self._stays(folder, waiting, error.message)
            else:  # the notebook itself is in its place; what waited before it waits again
                self.folder.take_back(folder, waiting, before)
            raise

    def send(
        self,
        transport: Transport,
        folder: str,
        progress: Progress,
        *,
        late: bool = False,
        agreed: str = "",
    ) -> Submitted:
        """Send an assignment's queued submission; if refused, it stays queued with the reason.

        Raises:
            NeedsDecision: As :meth:`submit`.
            NotAuthenticated: The login is not valid.
            NotFound: Nothing is queued.
        """
        item, waiting = self._item(folder), self.folder.waiting(folder)
        if waiting is None:
            raise NotFound("Nothing waits to be sent.")
        place = self.folder.directory(folder) / waiting.file
        notebook = Notebook(folder, place, waiting.file_mtime)
        if late:
            waiting = waiting.model_copy(update={"late": True})
        try:
            return self._send(transport, item, notebook, waiting, progress, agreed)
        except (NeedsDecision, NotAuthenticated) as error:
            out = isinstance(error, NotAuthenticated)
            self._stays(folder, waiting, _SIGNED_OUT if out else error.message)
            raise
        except MograderError as error:
            away = isinstance(error, _NOT_NOW)
            return self._stays(folder, waiting, str(error), away=away)

    def send_all(self, transport: Transport, progress: Progress) -> tuple[Submitted, ...]:
        """Send all queued submissions; those that need a decision of the student stay queued.

        Raises: NotAuthenticated if the login is not valid; all stay queued then.
        """
        known, done = self.known(), []
        for folder in [each.folder for each in known.items] if known else ():
            if self.folder.waiting(folder):
                try:
                    done.append(self.send(transport, folder, progress))
                except NeedsDecision as error:
                    done.append(Submitted(folder, None, error.message))
        return tuple(done)

    def give_up(self, folder: str) -> None:
        self.folder.set_aside(folder, self._clock.now())

    def refresh(self, transport: Transport, folder: str) -> None:
        item = self._item(folder)
        standing = _unless_refused(lambda: transport.work_status(item.assignment))
        self._put(item.model_copy(update={"standing": standing or item.standing}))

    def _put(self, item: KnownItem) -> None:
        known = self.known()
        if known is not None:
            items = tuple(item if each.folder == item.folder else each for each in known.items)
            self.folder.put_known(known.model_copy(update={"items": items}))

    def _look(
        self,
        transport: Transport,
        assignment: RemoteAssignment,
        folder: str,
        before: KnownItem | None,
    ) -> KnownItem:
        standing = _unless_refused(lambda: transport.work_status(assignment))
        standing = standing or (before.standing if before else None)
        if standing is not None and standing.feedback_available:
            found: tuple[Document, ...] = (
                _unless_refused(lambda: transport.feedback(assignment)) or ()
            )
            try:
                if found:
                    self.folder.put_feedback(folder, tuple((e.name, e.content) for e in found))
            except Conflict as error:  # one is open in another program: the next sync replaces it
                _log.warning("the feedback on %s was not replaced: %s", folder, error)
        fetched = before.fetched if before else ()
        return KnownItem(folder=folder, assignment=assignment, standing=standing, fetched=fetched)

    def _send(
        self,
        transport: Transport,
        item: KnownItem,
        notebook: Notebook,
        waiting: Waiting,
        progress: Progress,
        agreed: str,
    ) -> Submitted:
        folder, assignment = item.folder, item.assignment
        file = self.folder.waiting_file(folder, waiting)
        with self._refreshed_if_refused(transport, folder):
            if not waiting.late:
                assignment = self._as_it_is_now(transport, item)
            text, now = read_notebook(file), self._clock.now()
            # After a kill in StudentFolder.keep the record has the digest of an earlier text.
            waiting = waiting.model_copy(update={"digest": hashlib.sha256(text).hexdigest()})
            saved = save_before_submission(
                transport, item.assignment, notebook.path, text, now, agreed=agreed
            )
            if saved.why_not:
                _log.warning("%s is submitted, but not saved as draft: %s", folder, saved.why_not)
            if not waiting.late:
                self._look_before(transport, assignment, self.folder.sent(notebook))
            handed = transport.submit(assignment, file, progress, late=waiting.late)
        done = Submitted(folder, handed)
        try:
            self._record(item, notebook, waiting, handed)
        except (OSError, MograderError) as error:
            # No refusal: after one, the older work that waited before would be sent next.
            why = f"The server has taken it, but that cannot be recorded here: {error}"
            done = Submitted(folder, None, why)
            with suppress(OSError, MograderError):  # it waits all the same
                self._stays(folder, waiting, why)
        with suppress(OSError, MograderError):  # it is submitted; the next sync fetches the rest
            self.refresh(transport, folder)
        return done

    def _record(
        self, item: KnownItem, notebook: Notebook, waiting: Waiting, handed: Acknowledgement
    ) -> None:
        """Record an acknowledged submission, which waits no more. Raises: OSError, MograderError"""
        known, place, kept = self.known(), self.folder.directory(item.folder), None
        # `mograder https receipt` finds it there; an invalid one is ignored.
        with suppress(InvalidInput):
            kept = keep(handed.receipt, item.assignment, known.server if known else "", place)
        sent = SentNotebook(
            file_mtime=waiting.file_mtime,
            notebook=self.folder.name_of(notebook),
            digest=waiting.digest,
            filename=handed.filename,
            submitted_at=handed.submitted_at or self._clock.now(),
            late=handed.late,
            repeated=handed.repeated,
            receipt=kept.path.relative_to(self.folder.root).as_posix() if kept else "",
        )
        self.folder.acknowledged(notebook, sent, self._clock.now())

    @contextmanager
    def _refreshed_if_refused(self, transport: Transport, folder: str) -> Iterator[None]:
        """Ask for an assignment's state again if a submission is refused.

        The draft may be saved by then, and what the student is asked about may be new here.
        """
        try:
            yield
        except (*_NOT_NOW, NotAuthenticated):
            raise
        except MograderError:
            with suppress(MograderError):
                self.refresh(transport, folder)
            raise

    def receipt(self, sent: SentNotebook) -> str:
        """Return the receipt of a submission as the server gave it; empty if there is none."""
        with suppress(MograderError):
            if sent.receipt:
                return open_receipt(self.folder.root / sent.receipt).receipt.text
        return ""

    def _as_it_is_now(self, transport: Transport, item: KnownItem) -> RemoteAssignment:
        """Ask for the assignment again: its dates or files may be others since the last sync."""
        listed = transport.list_assignments()
        found = next((each for each in listed if each.key == item.assignment.key), item.assignment)
        if found != item.assignment:
            self._put(item.model_copy(update={"assignment": found}))
        return found

    def _look_before(
        self, transport: Transport, assignment: RemoteAssignment, sent: SentNotebook | None
    ) -> None:
        """Raise if a late submission would replace one on time: 0.3.16 does not check that.

        Our server does, by its own clock; it tells of a draft or a digest, as the others do not.
        """
        now = self._clock.now()
        if assignment.due is None or not is_after(now, assignment.due):
            return
        found = _unless_refused(lambda: transport.work_status(assignment))
        if found is None or found.state is not WorkState.SUBMITTED or found.late:
            return
        if found.draft is not None or found.sha256:
            return
        due = found.due(assignment)
        if due is None or not is_after(now, due):
            return
        at = found.submitted_at or (sent.submitted_at if sent else None)
        if at is None or not is_after(at, due):
            raise WouldReplaceOnTime(
                "What you handed in on time would be replaced by a late submission.",
                hint="Decide which of them is to count.",
            )

    def _stays(self, folder: str, waiting: Waiting, why: str, *, away: bool = False) -> Submitted:
        self.folder.put_waiting(folder, waiting.model_copy(update={"why": why}))
        return Submitted(folder, None, why, away)

    def _item(self, folder: str) -> KnownItem:
        known = self.known()
        if known is None:
            raise NotFound("No assignments are known yet.", hint="Sign in, and ask the server.")
        return known.item(folder)

    def _notebook(self, folder: str) -> Notebook:
        notebook = self.folder.notebook(folder)
        if notebook is None:
            raise NotFound("There is no notebook yet.", hint="Fetch the assignment first.")
        return notebook

    def _folder_of(
        self, assignment: RemoteAssignment, taken: set[str], listed: Sequence[RemoteAssignment]
    ) -> str:
        """Return a folder for an assignment that no other one has (``taken``), whatever its name.

        One in which 0.3.16 put the work on it goes on to be used (compatibility-0.3.16.md 5).
        Its notebook may be that of an assignment which is hidden now: it has to be named like one
        of the assignment's files, where those are told. Folders that differ in case only would
        be one on Windows and macOS, so they count as one. Each keeps its own, in whatever order
        the server lists them later.
        """
        chosen = self._dirs.get(assignment.key) or self._dirs.get(assignment.name)
        named = replace(assignment, name=chosen) if chosen else assignment
        plain = folder_of(named)
        numbered = (folder_of(replace(named, name=f"{plain} ({number})")) for number in count(2))
        spelled = set(map(fold, taken))
        old = folder_0316(assignment.name)
        alone = [folder_0316(each.name) for each in listed].count(old) == 1
        if alone and fold(old) not in spelled and self._notebook_in(plain) is None:
            names = {each.name for each in assignment.files if each.name.endswith(".py")}
            notebook = self._notebook_in(old)
            if notebook is not None and (not names or notebook.path.name in names):
                return old
        return next(name for name in chain([plain], numbered) if fold(name) not in spelled)

    def _notebook_in(self, folder: str) -> Notebook | None:
        return self.folder.notebook(folder) if ItemName.valid(folder) else None


def _unless_refused(ask: Callable[[], T]) -> T | None:
    """Return the server's answer, or None if it refuses for this assignment only."""
    try:
        return ask()
    except ABOUT_ONE:
        return None
