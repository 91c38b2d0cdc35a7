"""The JSON of the hub's API, with the shapes of compatibility-0.3.16.md 2.3.

These models are used at the HTTP interface only, not inside the hub. A client's input with unknown
fields is refused; the models of responses are declared so that OpenAPI can describe them.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    RootModel,
    SerializerFunctionWrapHandler,
    model_serializer,
)

from mograder.sandbox.protocol import Mode
from mograder.store.grading_jobs import JobState
from mograder.store.releases import ItemKind
from mograder.store.workspaces import FileStatus
from mograder.web.hub.support.help_models import HelpAsked, NotebookMessage
from mograder.web.hub.support.update_models import NotebookUpdate


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Problem(_Body):
    """Every failure: one sentence with the reason, and a hint."""

    detail: str


class Health(_Body):
    """The hub answers."""

    status: Literal["ok"] = "ok"


class Ready(_Body):
    """Students can work."""

    status: Literal["ready"] = "ready"


class ServerStatus(_Body):
    """The status of a marimo server in run mode; the hub has no session of its own."""

    status: Literal["ok"] = "ok"
    mode: Literal["run"] = "run"
    sessions: Literal[0] = 0


class Done(_Body):
    """The request was successful."""

    status: Literal["ok"] = "ok"


Renamed = Annotated[str | None, Field(exclude_if=lambda name: name is None)]
"""The path of a renamed notebook in its folder. Left out for one that is not renamed, since 0.3.16
does not have the field.
"""


class AssignmentEntry(_Body):
    """An assignment in a person's list."""

    name: str
    type: Literal[ItemKind.ASSIGNMENT] = ItemKind.ASSIGNMENT
    file_status: FileStatus
    has_release: bool
    session_active: bool
    updated: bool
    visible: bool
    visible_from: str | None = None
    renamed: Renamed = None


class LectureEntry(_Body):
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


class SessionEntry(_Body):
    """A running session; ``url`` has no leading slash, ``port`` is always 0."""

    username: str
    assignment: str
    port: int = 0
    url: str
    type: ItemKind
    mode: Mode
    last_seen: float


class CopyStatus(_Body):
    """The state of a copy; an unknown item is reported like one that was not started."""

    file_status: FileStatus
    session_active: bool
    has_release: bool
    renamed: Renamed = None


class Uploaded(_Body):
    """The notebook replaced the copy; ``path`` is where the hub stores it."""

    status: Literal["ok"] = "ok"
    path: str


class Reset(_Body):
    """The copy is the release again; ``archive`` is the file with the previous copy."""

    status: Literal["ok"] = "ok"
    file_status: FileStatus
    archive: str | None


class Taken(_Body):
    """The release was copied; ``archive`` is the file with the previous copy."""

    status: Literal["ok"] = "ok"
    path: str
    archive: str | None


class Submitted(_Body):
    """It was submitted; the other fields name checks and marks that differ from the release."""

    status: Literal["ok"] = "ok"
    submitted_path: str
    tampered_checks: list[str]
    tampered_marks: bool


class ArchiveEntry(_Body):
    """An earlier version; ``kept`` and ``modified`` are Unix times, as ``last_seen`` is."""

    name: str
    size: int
    kept: float
    modified: float


class Restored(_Body):
    """An earlier version is the copy again; ``archive`` is the file with the previous copy."""

    status: Literal["ok"] = "ok"
    file_status: FileStatus
    archive: str | None


class Synced(_Body):
    """The list was replaced; it has ``count`` names."""

    status: Literal["ok"] = "ok"
    count: int


class VisibilityEntry(_Body):
    """Whether students see an item: never while ``hidden``, else from a time on."""

    hidden: bool = False
    visible_from: str | None = None

    @model_serializer(mode="wrap")
    def _as_0316_writes_it(self, serialize: SerializerFunctionWrapHandler) -> dict[str, object]:
        """Leave out fields that are not set, as in 0.3.16's file."""
        return {name: value for name, value in serialize(self).items() if value}


class Rules(RootModel[dict[str, VisibilityEntry]]):
    """The rules that are set, by item."""


class Revoked(_Body):
    """All earlier tokens and logins are void; ``epoch`` counts the revocations."""

    status: Literal["ok"] = "ok"
    epoch: int


class AuditEntry(_Body):
    """One line of the audit log; ``at`` is Unix time, ``where`` the client's address."""

    number: int
    at: float
    who: str
    action: str
    what: str
    where: str
    outcome: str


class Started(_Body):
    """A session runs and answers below ``url`` (no leading slash, percent-encoded names)."""

    status: Literal["ok"] = "ok"
    url: str
    port: int = 0
    renamed: Renamed = None
    """The notebook's former path, if this start renamed it back to the item's name."""


class Stopped(_Body):
    """The session has ended; ``terminated`` is whether there was one."""

    status: Literal["ok"] = "ok"
    terminated: bool


class SessionMachine(_Body):
    """Whether the machine of a session will be shut down, and in how many seconds, if known."""

    leaving: bool
    seconds: int | None = None


class NotebookState(_Body):
    """The state of an open page's session and notebook; the times are Unix times.

    ``state`` is "replaced" if another session of the same notebook runs now. ``title`` and ``text``
    say why a session has ended. ``saved`` and ``submitted`` are null before the first save or
    submission.
    """

    state: Literal["running", "replaced", "ended"]
    title: str = ""
    text: str = ""
    saved: float | None = None
    submitted: float | None = None
    machine: Annotated[SessionMachine | None, Field(exclude_if=lambda machine: machine is None)] = (
        None
    )
    """The node that runs the session; left out for a session on the hub's own machine."""
    help: Annotated[HelpAsked | None, Field(exclude_if=lambda asked: asked is None)] = None
    """The owner's request for help; left out without one."""
    messages: Annotated[list[NotebookMessage], Field(exclude_if=lambda messages: not messages)] = []
    """Messages that are shown now; left out if there are none."""

    update: Annotated[NotebookUpdate | None, Field(exclude_if=lambda update: update is None)] = None
    """The author's update of the notebook; left out where there is nothing to say of one."""


class Warmed(_Body):
    """The environments that are ready, by item, and the errors of the others."""

    status: Literal["ok"] = "ok"
    warmed: list[str]
    failed: dict[str, str] = {}


class ItemWarmth(_Body):
    """The items that were made ready now, the errors of others, and the times that are set."""

    status: Literal["ok"] = "ok"
    warmed: list[str] = []
    failed: dict[str, str] = {}
    planned: dict[str, list[str]] = {}


class Held(_Body):
    """The files published under a name, with their SHA-256; ``type`` is null for an unused name.

    ``most_mb`` (of 2**20 bytes) and ``most_files`` are the limits of a release.
    """

    status: Literal["ok"] = "ok"
    files: dict[str, str]
    type: ItemKind | None
    most_mb: int
    most_files: int


class Published(_Body):
    """A release was replaced; ``files`` are its files, sorted.

    ``copies`` is how many students have a copy of the item, as counted lately.
    """

    status: Literal["ok"] = "ok"
    files: list[str]
    type: ItemKind
    copies: int = 0


class HeldSource(_Body):
    """The files that an instructor sent as an item's source, with their SHA-256, never their text.

    ``own``: the hub has a source in its course directory and takes no other. ``most_mb`` and
    ``most_files`` are the limits, as of a release.
    """

    status: Literal["ok"] = "ok"
    files: dict[str, str]
    own: bool
    most_mb: int
    most_files: int


class SourceKept(_Body):
    """A source was replaced; ``files`` are its files, sorted."""

    status: Literal["ok"] = "ok"
    files: list[str]


class GradedStudent(_Body):
    """The result of one student: ``mark`` of ``max_mark``, null while there is none.

    ``state`` is how the marks came about. ``problem`` says why there is no mark, or what a teacher
    should look at; empty if nothing.
    """

    student: str
    state: str
    mark: float | None
    max_mark: float
    problem: str


class GradingJob(_Body):
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


class Grading(_Body):
    """The grading of an item: its last job, null before the first, and the students' results.

    ``source`` is where the hub has the item's source from: its own course directory, or an
    instructor. Results without a source are unprotected.
    """

    status: Literal["ok"] = "ok"
    job: GradingJob | None
    source: Literal["own", "sent", "none"]
    students: list[GradedStudent]


class GradingCancelled(_Body):
    """The job has ended; ``cancelled`` is whether there was one. Its results stay."""

    status: Literal["ok"] = "ok"
    cancelled: bool


class NodeEntry(_Body):
    """A node: ``memory`` is what its sessions may use, ``used`` what they use, in bytes.

    ``load`` is its load average. ``seen`` is when it was last connected, null for never; ``ends``
    is when a draining node ends the sessions that are left, null if that is not known. Both are
    Unix times. ``warm`` of its ``environments`` start sessions warm.
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
    seen: float | None
    ends: float | None


class NodeChanged(_Body):
    """The node is drained, or no longer, or removed: the hub that it is connected to acts on it."""

    status: Literal["ok"] = "ok"
    name: str


class RehearsalPlan(_Body):
    """What is known before a rehearsal: memory in bytes, ``seconds`` about how long it takes.

    ``memory_each`` is what a session will probably use; ``fits`` of the students there is memory
    for. ``running``: one runs at this hub at the moment.
    """

    item: str
    students: int
    memory_each: int
    memory_total: int
    memory_used: int
    fits: int
    seconds: float
    running: bool


class Durations(_Body):
    """Seconds from the request to open the notebook, over all students of a rehearsal."""

    median: float
    p95: float
    worst: float


class Rehearsed(_Body):
    """The result of a rehearsal of an item; memory is in bytes, times are in seconds.

    Of ``students`` so many ``finished`` all cells (``warm`` of them started warm), ``failed``
    (``failures``: how many for each reason), would ``wait`` in line because no memory was left, or
    ``gave_way`` to students. ``memory_each`` is the median of a session's largest use,
    ``memory_together`` the largest sum. ``holds`` is how many such sessions the memory for all is
    enough for if nothing else runs, ``holds_now`` beside what runs. ``errors`` is how many cells
    ended with an error, in the median notebook.
    """

    status: Literal["ok"] = "ok"
    item: str
    students: int
    finished: int
    warm: int
    failed: int
    failures: dict[str, int]
    wait: int
    gave_way: int
    started: Durations | None
    first_output: Durations | None
    all_cells: Durations | None
    memory_each: int
    memory_largest: int
    memory_together: int
    memory_total: int
    holds: int
    holds_now: int
    errors: int
    seconds: float


class RehearsalCancelled(_Body):
    """The rehearsal has ended and is removed; ``cancelled`` is whether there was one."""

    status: Literal["ok"] = "ok"
    cancelled: bool
