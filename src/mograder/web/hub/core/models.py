"""The JSON of the hub's API, with the shapes of compatibility-0.3.16.md 2.3.

These models are used at the HTTP interface only, not inside the hub. A client's input with unknown
fields is refused; the models of responses are declared so that OpenAPI can describe them.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    RootModel,
    SerializerFunctionWrapHandler,
    model_serializer,
)

from mograder.auth.receipts import Receipt
from mograder.sandbox.protocol import Mode
from mograder.sessions.copy_updates import Standing
from mograder.store.copies.workspaces import FileStatus
from mograder.store.hub.grading_jobs import JobState
from mograder.store.releases.releases import ItemKind


class Body(BaseModel):
    """A JSON body of the hub's API, or a part of one."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Done(Body):
    """The request was successful."""

    status: Literal["ok"] = "ok"


def _unix(at: object) -> object:
    return at.timestamp() if isinstance(at, datetime) else at


UnixTime = Annotated[float, BeforeValidator(_unix)]
"""A time of a record, which the API tells in Unix seconds."""


class Problem(Body):
    """Every failure: one sentence with the reason, and a hint."""

    detail: str


class Health(Body):
    """The hub answers."""

    status: Literal["ok"] = "ok"


class Ready(Body):
    """Students can work."""

    status: Literal["ready"] = "ready"


class ServerStatus(Done):
    """The status of a marimo server in run mode; the hub has no session of its own."""

    mode: Literal["run"] = "run"
    sessions: Literal[0] = 0


class AssignmentEntry(Body):
    """An assignment in a person's list."""

    name: str
    type: Literal[ItemKind.ASSIGNMENT] = ItemKind.ASSIGNMENT
    file_status: FileStatus
    has_release: bool
    session_active: bool
    updated: bool
    visible: bool
    visible_from: str | None = None


class LectureEntry(Body):
    """A lecture in a person's list; its copy has no status."""

    name: str
    type: Literal[ItemKind.LECTURE] = ItemKind.LECTURE
    file_status: Literal["n/a"] = "n/a"
    has_copy: bool
    updated: bool
    has_release: bool = True
    session_active: bool
    visible: bool
    visible_from: str | None = None


Entry = Annotated[AssignmentEntry | LectureEntry, Field(discriminator="type")]
"""One line of ``GET /assignments``."""


class SessionEntry(Body):
    """A running session; ``url`` has no leading slash, ``port`` is always 0."""

    username: str
    assignment: str
    port: int = 0
    url: str
    type: ItemKind
    mode: Mode
    last_seen: float


class CopyStatus(Body):
    """The state of a copy; an unknown item is reported like one that was not started."""

    file_status: FileStatus
    session_active: bool
    has_release: bool


class Uploaded(Done):
    """The notebook replaced the copy; ``path`` is where the hub stores it."""

    path: str


class Reset(Done):
    """The copy is the release again; ``archive`` is the file with the previous copy."""

    file_status: FileStatus
    archive: str | None


class Taken(Done):
    """The release was copied; ``archive`` is the file with the previous copy."""

    path: str
    archive: str | None


class Submitted(Done):
    """It was submitted; the other fields name checks and marks that differ from the release."""

    submitted_path: str
    tampered_checks: list[str]
    tampered_marks: bool
    late: bool = False
    receipt: Receipt
    """The signed receipt; `mograder receipt verify` asks the hub whether it is genuine."""


class MissingWork(Body):
    """What a student is told before handing in: sentences, none where nothing is missing.

    ``closed`` says that submissions have ended, and is "" until then.
    """

    words: list[str]
    closed: str = ""


class ArchiveEntry(Body):
    """An earlier version; ``kept`` and ``modified`` are Unix times, as ``last_seen`` is."""

    name: str
    size: int
    kept: UnixTime
    modified: UnixTime


class Restored(Done):
    """An earlier version is the copy again; ``archive`` is the file with the previous copy."""

    file_status: FileStatus
    archive: str | None


class Synced(Done):
    """The list was replaced; it has ``count`` names."""

    count: int


class VisibilityEntry(Body):
    """Whether students see an item: never while ``hidden``, else from a time on."""

    hidden: bool = False
    visible_from: str | None = None

    @model_serializer(mode="wrap")
    def _as_0316_writes_it(self, serialize: SerializerFunctionWrapHandler) -> dict[str, object]:
        """Leave out fields that are not set, as in 0.3.16's file."""
        return {name: value for name, value in serialize(self).items() if value}


class Rules(RootModel[dict[str, VisibilityEntry]]):
    """The rules that are set, by item."""


class DatesEntry(Body):
    """The dates of an item; null for each that it does not have, and where they come from."""

    opens: AwareDatetime | None = None
    due: AwareDatetime | None = None
    closes: AwareDatetime | None = None
    due_from: str = ""
    closes_from: str = ""
    opens_from: str = ""


class DatesSet(DatesEntry):
    """The dates of an item after a change; ``marks`` is how many marks changed with them."""

    status: Literal["ok"] = "ok"
    marks: int = 0


class Revoked(Done):
    """All earlier tokens and logins are void; ``epoch`` counts the revocations.

    ``known``: the hub had a record of the name; if not, it may be misspelt.
    """

    epoch: int
    known: bool


class AuditEntry(Body):
    """One line of the audit log; ``at`` is Unix time, ``where`` the client's address."""

    number: int
    at: UnixTime
    who: str
    action: str
    what: str
    where: str = Field(validation_alias="origin")
    outcome: str


class Started(Done):
    """A session runs and answers below ``url`` (no leading slash, percent-encoded names)."""

    url: str
    port: int = 0
    note: Annotated[str | None, Field(exclude_if=lambda note: note is None)] = None
    """A sentence that the student should read before the notebook opens."""


class Stopped(Done):
    """The session has ended; ``terminated`` is whether there was one."""

    terminated: bool


class SessionMachine(Body):
    """Whether the machine of a session will be shut down, and in how many seconds, if known.

    ``elsewhere`` is whether another machine takes the notebook then.
    """

    leaving: bool
    seconds: int | None = None
    elsewhere: bool = False


HelpWord = Literal["waiting", "taken", "together"]


class HelpAsked(Body):
    """A student's open request for help: waiting, taken by ``helper``, or in the notebook together.

    ``label`` is the check that it is about, "" for none.
    """

    state: HelpWord
    label: str
    helper: str


class HelpState(Body):
    """The request for help with a copy, null without one, and the checks it may be about.

    ``most`` is the number of characters that a student may write with it.
    """

    asked: HelpAsked | None
    labels: list[str]
    most: int


class NotebookMessage(Body):
    """A message of an instructor to all open notebooks of an item; ``seconds`` are left."""

    number: int
    text: str
    sender: str
    seconds: int


class NotebookUpdate(Body):
    """An update as the bar above a notebook shows it; ``number`` tells offers apart."""

    state: Standing
    number: int
    conflicts: int = 0
    changes: int = 0


class NotebookState(Body):
    """The state of an open page's session and notebook; the times are Unix times.

    ``state`` is "replaced" if another session of the same notebook runs now. ``title`` and ``text``
    say why a session has ended. ``saved`` and ``submitted`` are null before the first save or
    submission, ``due`` and ``closes`` where the item has no such date for this person.
    """

    state: Literal["running", "replaced", "ended"]
    title: str = ""
    text: str = ""
    saved: float | None = None
    submitted: float | None = None
    late: str = ""
    """How late the submission is, or one would be now, in words, with what it costs."""
    edited: bool = False
    """Whether the notebook is another one than its submission."""
    hand_in: bool = False
    """Whether handing in is what comes next."""
    due: float | None = None
    closes: float | None = None
    machine: Annotated[SessionMachine | None, Field(exclude_if=lambda machine: machine is None)] = (
        None
    )
    """The node that runs the session; left out for a session on the hub's own machine."""
    help: Annotated[HelpAsked | None, Field(exclude_if=lambda asked: asked is None)] = None
    """The owner's request for help; left out without one."""
    messages: list[NotebookMessage] = Field(
        default_factory=list, exclude_if=lambda messages: not messages
    )
    """Messages that are shown now; left out if there are none."""

    update: Annotated[NotebookUpdate | None, Field(exclude_if=lambda update: update is None)] = None
    """The author's update of the notebook; left out where there is nothing to say of one."""


class Warmed(Done):
    """The environments that are ready, by item, and the errors of the others."""

    warmed: list[str]
    failed: dict[str, str] = Field(default_factory=dict)


class ItemWarmth(Done):
    """The items that were made ready now, the errors of others, and the times that are set."""

    warmed: list[str] = Field(default_factory=list)
    failed: dict[str, str] = Field(default_factory=dict)
    planned: dict[str, list[str]] = Field(default_factory=dict)


class Held(Done):
    """The files published under a name, with their SHA-256; ``type`` is null for an unused name.

    ``most_mb`` (of 2**20 bytes) and ``most_files`` are the limits of a release.
    """

    files: dict[str, str]
    type: ItemKind | None
    most_mb: int
    most_files: int


class Published(Done):
    """A release was replaced; ``files`` are its files, sorted.

    ``copies`` is how many students have a copy of the item, as counted lately; it is left out if
    there is none.
    """

    files: list[str]
    type: ItemKind
    copies: int = Field(default=0, exclude_if=lambda copies: not copies)


class HeldSource(Done):
    """The files that an instructor sent as an item's source, with their SHA-256, never their text.

    ``own``: the hub has a source in its course directory and takes no other. ``most_mb`` and
    ``most_files`` are the limits, as of a release.
    """

    files: dict[str, str]
    own: bool
    most_mb: int
    most_files: int


class SourceKept(Done):
    """A source was replaced; ``files`` are its files, sorted."""

    files: list[str]


class GradedStudent(Body):
    """The result of one student: ``mark`` of ``max_mark``, null while there is none.

    ``state`` is how the marks came about. ``problem`` says why there is no mark, or what a teacher
    should look at; empty if nothing.
    """

    student: str
    state: str
    mark: float | None
    max_mark: float
    problem: str


class GradingJob(Body):
    """The last grading job of an item; the times are Unix times.

    ``completed`` of ``total`` submissions are graded, of which ``attention`` have no result.
    ``warnings`` are sentences about the assignment. ``error`` says why the job failed.
    """

    item: str
    state: JobState
    who: str
    students: list[str]
    force: bool
    failed: bool
    total: int
    completed: int
    attention: int
    warnings: list[str]
    error: str
    asked: float
    started: float | None
    ended: float | None


class Grading(Done):
    """The grading of an item: its last job, null before the first, and the students' results.

    ``source`` is where the hub has the item's source from: its own course directory, or an
    instructor. Results without a source are unprotected.
    """

    job: GradingJob | None
    source: Literal["own", "sent", "none"]
    students: list[GradedStudent]


class GradingCancelled(Done):
    """The job has ended; ``cancelled`` is whether there was one. Its results stay."""

    cancelled: bool


class NodeEntry(Body):
    """A node: ``memory`` is what its sessions may use, ``used`` what they use, in bytes.

    ``load`` is its load average. ``seen`` is when it was last connected, null for never; ``ends``
    is when a draining node begins to end the sessions that are left, null if it waits for them.
    Both are Unix times. ``warm`` of its ``environments`` start sessions warm.
    """

    name: str
    state: Literal["ready", "draining", "away", "new", "removed"]
    version: str
    memory: int
    used: int
    processors: int
    load: float
    sessions: int
    runs: int
    environments: int
    warm: int
    seen: UnixTime | None
    ends: UnixTime | None


class NodeChanged(Done):
    """The node is drained, or no longer, or removed: the hub that it is connected to acts on it."""

    name: str
