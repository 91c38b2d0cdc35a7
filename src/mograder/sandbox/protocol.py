"""The protocol of hub, supervisor and node: JSON lines over a socket, validated on both sides.

The hub sends a :class:`Call`; the supervisor answers each with :class:`Output` lines while it
works and exactly one :class:`Done` or :class:`Failed`. It sends :class:`Ended` to every connected
hub at each session's end, and news to those that subscribed. A hub and a supervisor of different
releases are compatible as long as ``PROTOCOL`` is the same. A number or a list beyond its bounds is
a fault of the other side, whose connection is closed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from pydantic import dataclasses as strict

PROTOCOL = 1
LINE_LIMIT = 1 << 20
"""Maximum size of a message in bytes, in both directions."""
LONGEST_SECONDS = 3600.0
"""The longest time for one run of a notebook, and for all checks of a submission."""

COMMANDS_SLOT = 50_000
"""The first uid slot of commands' sandboxes. Those of students are counted from 1: as root, a
command must not run a submission under the uid of a student's session on the same machine."""

LONGEST_REPORT = 2048
"""The longest report of a check in bytes."""
MOST_REPORTS = 200
"""The most reports in one message: with each character escaped it is below the limit of a line."""
LONGEST_LOCK = 700_000
"""The most characters of a lock: some 250 packages, so that it fits into a message."""
MOST = 10_000
"""The most entries of a list in a message: more sessions than a machine has."""
LONGEST_TAIL = 16_384
"""The most bytes of a session's output that its end is reported with."""


class Message(BaseModel):
    """A message: values have their own types, numbers are no texts.

    Unknown fields are ignored, since the other side may be of a later release.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


Name = Annotated[str, Field(max_length=200)]
"""An id of a session, or the key of an environment."""
Count = Annotated[int, Field(ge=0, le=1 << 22)]
"""A number of processes, processors, starts or runs."""
Bytes = Annotated[int, Field(ge=0, le=1 << 50)]
"""A size of memory or of files."""
Amount = Annotated[float, Field(ge=0, le=1e9)]
"""A time in seconds, or a load."""


class Mode(StrEnum):
    """How marimo serves a notebook: ``edit`` for assignments, ``run`` for lectures."""

    EDIT = "edit"
    RUN = "run"


LimitReason = Literal["memory", "processes", "workspace", "output", "disk", "shortage"]
"""The limits whose excess ends a session; the last two are the machine's, not its own."""

SHORTAGES: Mapping[str, str] = {
    "disk": "the disk is nearly full",
    "shortage": "the machine is short of memory",
}
"""The reasons for which a run ends that are not its notebook's doing, in words."""

MachineReason = Literal["lost", "machine", "moved"]
"""Why a session ended by no fault of its own: with its supervisor, at the end of its node's lease,
or because its node is drained."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The address of a session's server: a Unix socket of the machine on which it runs.

    ``node`` is the name of that machine, "" for the hub's own.
    """

    socket: Path
    node: str = ""


class Limits(Message):
    """The limits of one session, or one run of a notebook; megabytes are 2**20 bytes.

    0 means no limit, but of the sandbox's own temporary files, ``tmp_mb``.
    """

    processes: int
    open_files: int
    file_size_mb: int
    tmp_mb: int
    memory_mb: int = 0
    memory_soft_mb: int = 0
    cpu_weight: int = 100
    workspace_mb: int = 0


class NotebookRequest(Message):
    """A notebook to open in a sandbox: its ``directory``, its file name in it, its environment.

    ``uid_slot`` is a number from which a supervisor with sub-uids derives the sandbox's uid.
    """

    session_id: str = Field(pattern=r"^[A-Za-z0-9_-]{8,64}$")
    directory: Path
    notebook: str
    environment: Path
    uid_slot: int = Field(ge=1)
    limits: Limits


class StartSession(NotebookRequest):
    """Start marimo on one notebook.

    ``directory`` is the student's workspace (edit, writable) or the release (run, read-only);
    ``base_url`` is the path of its page, percent-encoded;
    ``uid_slot`` is a number that a student keeps for the whole course. ``allow`` are the features
    (:data:`~mograder.core.sections.settings_values.FEATURES`) that the page may offer.
    ``asset_url`` is the URL below which the page loads marimo's static files, "" for the
    supervisor's own. ``awaited`` is whether a person waits for it: only such a start is preferred
    to what runs. ``code`` is whether a page in run mode may show the notebook's code.
    """

    op: Literal["start"] = "start"
    mode: Mode
    base_url: str
    allow: tuple[str, ...] = ()
    asset_url: str = Field(default="", pattern=r"^(?:(?:https?://|\.\./|/)\S*)?$", max_length=500)
    awaited: bool = True
    code: bool = True


class StopSession(Message):
    op: Literal["stop"] = "stop"
    session_id: str


class ListSessions(Message):
    op: Literal["list"] = "list"


class RunCommand(Message):
    """Run one build command in ``directory`` (bound writable, the working directory).

    ``readable`` are bound read-only; ``timeout`` is in seconds.
    """

    op: Literal["run"] = "run"
    argv: tuple[str, ...]
    directory: Path
    readable: tuple[Path, ...] = ()
    variables: dict[str, str] = Field(default_factory=dict)
    timeout: float


class Warm(Message):
    """Prepare warm starts of an environment's sessions; the answer says whether they will be."""

    op: Literal["warm"] = "warm"
    environment: Path


class Execute(NotebookRequest):
    """Run one notebook, cell by cell, in a sandbox that ends with it.

    ``directory`` is a private copy, writable inside. The lines of the report are sent as
    :class:`Output`, and its end as :attr:`Done.executed`. With ``outputs`` the report contains the
    cells' outputs.
    """

    op: Literal["execute"] = "execute"
    seconds: float = Field(gt=0, le=LONGEST_SECONDS)
    outputs: bool = False


MOST_SKIPPED = 1000
"""Cells that a worker may be told to leave out."""


class AnswerWorker(NotebookRequest):
    """The worker of a submission: it runs the notebook without its checks, then answers.

    ``directory`` is a private copy, writable inside. ``interface`` are the names that the judge may
    ask for, ``skip`` the cells to leave out, by index or by the SHA-256 of their code.
    """

    interface: tuple[str, ...] = Field(max_length=1000)
    skip: tuple[int | str, ...] = Field(max_length=MOST_SKIPPED)
    outputs: bool = False


_Seconds = Annotated[float, Field(gt=0, le=LONGEST_SECONDS)]
_CALLS, _CHECKS = 30, 5
"""The parts of the time for all checks that one request and one check have at least."""


@strict.dataclass(frozen=True, slots=True, config=ConfigDict(extra="ignore", strict=True))
class Deadlines:
    """Time limits of a judge in seconds: of one request to the worker, one check, all checks.

    ``notebook`` limits the worker's run of the cells, before the first check.
    """

    call: _Seconds = 10.0
    check: _Seconds = 60.0
    submission: _Seconds = 300.0
    notebook: _Seconds = 300.0


def timed(deadlines: Deadlines, seconds: float) -> Deadlines:
    """Return the deadlines with ``seconds`` for the notebook, and as many for all its checks.

    It is at least a second and at most what a supervisor accepts. Long times raise those of one
    check and of one request, too; no part has more than the whole.
    """
    seconds = min(max(seconds, 1.0), LONGEST_SECONDS)
    return replace(
        deadlines,
        call=min(max(deadlines.call, seconds / _CALLS), seconds),
        check=min(max(deadlines.check, seconds / _CHECKS), seconds),
        submission=seconds,
        notebook=seconds,
    )


class AnswerJudge(NotebookRequest):
    """The judge of a submission: it runs the author's checks on the worker's answers.

    ``directory`` has the plan (``notebook`` is its file name), the contract unless one is recorded
    (``records``), and the files beside the source; it is read-only inside. ``seed`` determines the
    random numbers, ``texts`` are those of the submission's answers by their names. With
    ``rehearses`` it tries the checks of the author's own notebook as well.
    """

    seconds: Deadlines
    seed: str = Field(max_length=200)
    texts: dict[str, str] = Field(default_factory=dict)
    records: bool = False
    rehearses: bool = False


class JudgeSubmission(Message):
    """Judge a submission in two sandboxes, which both end with the judge, or after ``seconds``.

    The lines of the judge's report are sent as :class:`Output` that begins with
    :data:`JUDGE_LINE`, those of the worker's with :data:`WORKER_LINE`; the end is
    :attr:`Done.judged`. With a supervisor that is root, the two must have different uid slots.
    """

    op: Literal["judge"] = "judge"
    worker: AnswerWorker
    judge: AnswerJudge
    seconds: float = Field(gt=0, le=7 * LONGEST_SECONDS)


JUDGE_LINE, WORKER_LINE = "judge ", "worker "


class CancelCall(Message):
    """End a notebook's run or a judging that an earlier call on this connection has begun.

    The answer comes when their processes have ended; ``stopped`` says whether they still ran.
    """

    op: Literal["cancel"] = "cancel"
    call_id: int


class Answered(Message):
    """Report that a session's server has answered, which ends the CPU boost of its start."""

    op: Literal["answered"] = "answered"
    session_id: str


class Subscribe(Message):
    """Request :data:`News` on this connection from now on."""

    op: Literal["subscribe"] = "subscribe"


class Hello(Message):
    """Request the supervisor's release, protocol and configuration.

    ``epoch`` is that of the hub at work, 0 for a program that is no hub. Once a higher one was
    seen, a hub with a lower one is refused all calls, and its connection is closed.
    """

    op: Literal["hello"] = "hello"
    epoch: int = Field(default=0, ge=0)


class Shutdown(Message):
    """End every session, then the supervisor."""

    op: Literal["shutdown"] = "shutdown"


class GrantLease(Message):
    """Answer the :class:`NodeStatus` with this ``number``; from a hub to a node only.

    The node may run sessions for ``seconds``, counted from the moment when it sent that status.
    ``draining`` is whether an administrator wants the node to be drained. ``uid`` is the hub's
    user, ``epoch`` that of the hub, as in :class:`Hello`.
    """

    op: Literal["grant lease"] = "grant lease"
    number: int
    seconds: float = Field(ge=0, le=3600)
    draining: bool = False
    uid: int | None = None
    epoch: int = Field(default=0, ge=0)


class PrepareEnvironment(Message):
    """Build an environment on a node, if it lacks it; from a hub to a node only.

    ``key`` is its name, ``lock`` the text of its lock, ``project`` the project's text, ``python``
    the version of its interpreter, ``assets`` the set of static files that the hub offers.
    ``wheel`` is the file name of our wheel and ``content`` its bytes in base64. The lines of the
    build are sent as :class:`Output`. With ``warm`` a zygote is prepared as well.
    """

    op: Literal["prepare environment"] = "prepare environment"
    key: str = Field(pattern=r"^[A-Za-z0-9_-]{8,64}$")
    lock: str = Field(max_length=LONGEST_LOCK)
    project: str = Field(max_length=50_000)
    python: str = Field(max_length=40)
    assets: str = Field(default="", max_length=100)
    wheel: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]{0,200}\.whl$")
    content: str = Field(max_length=120_000)
    warm: bool = False


Operation = Annotated[
    StartSession
    | StopSession
    | ListSessions
    | RunCommand
    | Warm
    | Execute
    | JudgeSubmission
    | CancelCall
    | Answered
    | Subscribe
    | GrantLease
    | PrepareEnvironment
    | Hello
    | Shutdown,
    Field(discriminator="op"),
]


class Call(Message):
    """One request; its answers have the same ``id``."""

    kind: Literal["call"] = "call"
    id: int
    operation: Operation


class Output(Message):
    """A line that a running command printed."""

    kind: Literal["output"] = "output"
    id: int
    line: str


class SessionInfo(Message):
    """A live session and the path of its listening socket."""

    session_id: Name
    socket: Path
    node: str = ""
    """The machine, "" for the hub's own; set by the hub, never taken from a message."""

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(self.socket, self.node)


class Executed(Message):
    """The end of a notebook's run; its report was sent line by line.

    ``reason`` is the limit for which it was ended, as in :class:`Ended`; ``overflow`` is whether
    it was ended because its report was too long.
    """

    status: int
    log_tail: str
    seconds: Amount
    reason: str = ""
    timed_out: bool = False
    overflow: bool = False


class Judged(Message):
    """The ends of a submission's judge and of its worker, which is ended with the judge.

    ``timed_out`` of the worker says that it was still running then. ``protected`` is whether both
    ran in sandboxes.
    """

    judge: Executed
    worker: Executed
    protected: bool = False


class Done(Message):
    """The answer to a call: only the fields of its operation are set."""

    kind: Literal["done"] = "done"
    id: int
    protocol: int = PROTOCOL
    version: str = ""
    sandbox: str = ""
    owned: bool = False
    course: str = ""
    stopped: bool = False
    status: int = 0
    sessions: tuple[SessionInfo, ...] = Field(default=(), max_length=MOST)
    warm: bool = False
    executed: Executed | None = None
    judged: Judged | None = None
    starts: dict[str, int] = Field(default_factory=dict, max_length=MOST)
    """Numbers of warm starts, and of cold ones that should have been warm, by reason."""


class Failed(Message):
    """The operation failed; ``family`` names the class in ``core.errors``."""

    kind: Literal["failed"] = "failed"
    id: int
    family: str
    message: str
    hint: str = ""


class Ended(Message):
    """A session's last process has ended; ``log_tail`` is the end of its output.

    ``reason`` is the :data:`LimitReason` or :data:`MachineReason` for which the supervisor ended
    it, "" for every other end. It may be any string, since a newer supervisor may have reasons that
    this hub does not know.
    ``asked`` is whether a hub has asked for the end. ``node`` is the machine that reports it, ""
    for the hub's own; the hub sets it, whatever the message says.
    """

    kind: Literal["ended"] = "ended"
    session_id: Name
    status: int
    log_tail: str
    reason: str = ""
    asked: bool = False
    node: str = ""


class Arrived(Message):
    """A session's first process is in its sandbox; ``fallback`` is why it was not a warm start."""

    kind: Literal["arrived"] = "arrived"
    session_id: Name
    warm: bool
    fallback: str = ""


class SessionUse(Message):
    """The current use of a session.

    ``memory`` and ``workspace`` are in bytes (shared memory counts by share), ``cpu`` is processor
    seconds since its start, ``processes`` a count.
    """

    session_id: Name
    memory: Bytes
    cpu: Amount
    processes: Count
    workspace: Bytes = 0


class Measured(Message):
    """The sessions whose use has changed, sent about once a second.

    ``overhead`` is the memory of the supervisor and the zygotes in bytes, ``runs`` that of all runs
    of notebooks, whose use is among ``sessions`` as well.
    """

    kind: Literal["measured"] = "measured"
    sessions: tuple[SessionUse, ...] = Field(default=(), max_length=MOST)
    overhead: Bytes = 0
    runs: Bytes = 0
    used: int | None = None
    """What all nodes use that take sessions, in place of ``overhead``; set by the hub only."""


class SessionChecks(Message):
    """Reports of one session's checks, oldest first: lines that its student's code has written.

    They are JSON if they come from ``mograder.runtime``, and may be anything else.
    """

    session_id: Name
    reports: tuple[Annotated[str, Field(max_length=LONGEST_REPORT)], ...] = Field(
        max_length=MOST_REPORTS
    )


class Checked(Message):
    """The sessions whose checks have run, sent at most five times a second.

    A message has at most :data:`MOST_REPORTS` reports in all. ``node`` is as in :class:`Ended`.
    """

    kind: Literal["checked"] = "checked"
    sessions: tuple[SessionChecks, ...] = Field(default=(), max_length=MOST_REPORTS)
    node: str = ""


class NodeStatus(Message):
    """The state of a node, which it sends to its hub every 1.5 seconds.

    ``number`` counts up; the hub answers by :class:`GrantLease`. Memory is in bytes: ``memory`` is
    what sessions and runs may use together, ``used`` what they and the node's helpers use now.
    ``starts`` is how many sessions may start at the same time, ``starting`` how many do.
    ``environments`` are the keys of those that are built, ``zygotes`` of those that start warm.
    ``sessions`` are the ids of all live sessions. ``drain_seconds`` is the time until a draining
    node begins to end the sessions that are left, or None if it waits for them.
    """

    kind: Literal["status"] = "status"
    number: int
    memory: Bytes
    used: Bytes
    processors: Count
    load: Amount = 0.0
    starts: Count
    starting: Count = 0
    environments: tuple[Name, ...] = Field(default=(), max_length=MOST)
    zygotes: tuple[Name, ...] = Field(default=(), max_length=MOST)
    sessions: tuple[Name, ...] = Field(default=(), max_length=MOST)
    runs: Count = 0
    draining: bool = False
    drain_seconds: Amount | None = None


News = Arrived | Measured | Checked | NodeStatus
SupervisorMessage = Output | Done | Failed | Ended | Arrived | Measured | Checked | NodeStatus
Answer = Annotated[SupervisorMessage, Field(discriminator="kind")]

CALL: TypeAdapter[Call] = TypeAdapter(Call)
ANSWER: TypeAdapter[SupervisorMessage] = TypeAdapter(Answer)


def encode(message: BaseModel) -> bytes:
    """Return the message as one line of JSON."""
    return message.model_dump_json().encode() + b"\n"


class CallId(Message):
    """The id of a call whose operation is not valid, for the answer with an error."""

    id: int
