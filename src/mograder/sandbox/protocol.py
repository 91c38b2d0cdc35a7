"""The words between hub and supervisor: JSON lines over a Unix socket, checked on both sides.

The hub sends a :class:`Call`; the supervisor answers each with :class:`Output` lines while it
works and exactly one :class:`Done` or :class:`Failed`, tells every connected hub of each
session's end by :class:`Ended`, and those that subscribed of more. A hub and a supervisor of
different releases speak together as long as ``PROTOCOL`` is the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

PROTOCOL = 1
LINE_LIMIT = 1 << 20
"""Longest message in bytes, either way."""


class Mode(StrEnum):
    """How marimo serves a notebook: ``edit`` for assignments, ``run`` for lectures."""

    EDIT = "edit"
    RUN = "run"


LimitReason = Literal["memory", "processes", "workspace", "disk", "output"]
"""The limits for which a session is ended; ``disk`` is the host's reserve."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The address of a session's server: a Unix socket on the hub's machine."""

    socket: Path


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Limits(_Message):
    """What one session, or one run of a notebook, may use; megabytes are 2**20 bytes.

    The fields with a default are not sent by hubs of the first release; 0 is no limit.
    """

    processes: int
    open_files: int
    file_size_mb: int
    tmp_mb: int
    memory_mb: int = 0
    memory_soft_mb: int = 0
    cpu_weight: int = 100
    workspace_mb: int = 0


class StartSession(_Message):
    """Start marimo on one notebook.

    ``directory`` is the student's workspace (edit, writable) or the release (run, read-only);
    ``notebook`` is a file name in it. ``uid_slot`` is the student's number, the same as long as
    the course lives, from which a supervisor with sub-uids derives the session's uid. ``allow``
    are the features (:data:`~mograder.core.features.FEATURES`) that the page may offer.
    """

    op: Literal["start"] = "start"
    session_id: str = Field(pattern=r"^[A-Za-z0-9_-]{8,64}$")
    mode: Mode
    directory: Path
    notebook: str
    environment: Path
    base_url: str
    uid_slot: int = Field(ge=1)
    limits: Limits
    allow: tuple[str, ...] = ()


class StopSession(_Message):
    """End a session with everything in it."""

    op: Literal["stop"] = "stop"
    session_id: str


class ListSessions(_Message):
    """Ask which sessions live."""

    op: Literal["list"] = "list"


class RunCommand(_Message):
    """Run one build command in ``directory`` (bound writable, the working directory)."""

    op: Literal["run"] = "run"
    argv: tuple[str, ...]
    directory: Path
    readable: tuple[Path, ...] = ()
    variables: dict[str, str] = {}
    timeout: float


class Warm(_Message):
    """Have sessions of an environment start warm; answered when they would, or will not."""

    op: Literal["warm"] = "warm"
    environment: Path


class Execute(_Message):
    """Run one notebook, cell by cell, in a sandbox of its own that ends with it.

    ``directory`` is a private copy, writable inside. The lines of the report come as
    :class:`Output`, and how it ended as :attr:`Done.executed`. With ``outputs`` it also reports
    what its cells show.
    """

    op: Literal["execute"] = "execute"
    session_id: str = Field(pattern=r"^[A-Za-z0-9_-]{8,64}$")
    directory: Path
    notebook: str
    environment: Path
    uid_slot: int = Field(ge=1)
    limits: Limits
    seconds: float = Field(gt=0, le=3600)
    outputs: bool = False


class HangUp(_Message):
    """Cut every connection to a session's server; the session goes on."""

    op: Literal["hang up"] = "hang up"
    session_id: str


class Answered(_Message):
    """Say that a session's server has answered, which ends the boost of its start."""

    op: Literal["answered"] = "answered"
    session_id: str


class Subscribe(_Message):
    """Ask to be told :class:`Arrived` and :class:`Measured` on this connection from now on."""

    op: Literal["subscribe"] = "subscribe"


class Hello(_Message):
    """Ask who is there."""

    op: Literal["hello"] = "hello"


class InUse(_Message):
    """Ask for the environments of live sessions and of what is kept to start them warm."""

    op: Literal["in use"] = "in use"


class Shutdown(_Message):
    """End every session, then the supervisor."""

    op: Literal["shutdown"] = "shutdown"


Operation = Annotated[
    StartSession
    | StopSession
    | ListSessions
    | RunCommand
    | Warm
    | Execute
    | HangUp
    | Answered
    | Subscribe
    | Hello
    | InUse
    | Shutdown,
    Field(discriminator="op"),
]


class Call(_Message):
    """One request; ``id`` ties the answers to it."""

    kind: Literal["call"] = "call"
    id: int
    operation: Operation


class Output(_Message):
    """A line that a running command printed."""

    kind: Literal["output"] = "output"
    id: int
    line: str


class SessionInfo(_Message):
    """A live session and the path of its listening socket."""

    session_id: str
    socket: Path

    @property
    def endpoint(self) -> Endpoint:
        """Where the session's server listens."""
        return Endpoint(self.socket)


class Executed(_Message):
    """How the run of a notebook ended; its report came line by line.

    ``reason`` is the limit for which it was ended, as in :class:`Ended`; ``overflow`` says that
    it reported more than anybody wants to read, and was ended.
    """

    status: int
    log_tail: str
    seconds: float
    reason: str = ""
    timed_out: bool = False
    overflow: bool = False


class Done(_Message):
    """The answer: only the fields of the operation asked for are set."""

    kind: Literal["done"] = "done"
    id: int
    protocol: int = PROTOCOL
    version: str = ""
    sandbox: str = ""
    owned: bool = False
    course: str = ""
    stopped: bool = False
    status: int = 0
    sessions: tuple[SessionInfo, ...] = ()
    warm: bool = False
    operations: tuple[str, ...] = ()
    """In the answer to ``hello``: what this supervisor knows beyond the first release's."""
    environments: tuple[Path, ...] = ()
    executed: Executed | None = None
    starts: dict[str, int] = {}
    """How many sessions started warm, how many cold that should have been warm, and why."""


class Failed(_Message):
    """The operation failed; ``family`` names the class in ``core.errors``."""

    kind: Literal["failed"] = "failed"
    id: int
    family: str
    message: str
    hint: str = ""


class Ended(_Message):
    """A session's last process is gone; ``log_tail`` is its last output, bounded.

    ``reason`` is the :data:`LimitReason` for which the supervisor ended it, "" for every other end.
    It is any string, since a newer supervisor may know limits that this hub does not.
    """

    kind: Literal["ended"] = "ended"
    session_id: str
    status: int
    log_tail: str
    reason: str = ""


class Arrived(_Message):
    """A session's first process is in its sandbox; ``fallback`` is why it is not a warm one."""

    kind: Literal["arrived"] = "arrived"
    session_id: str
    warm: bool
    fallback: str = ""


class SessionUse(_Message):
    """What a session uses now.

    ``memory`` and ``workspace`` are bytes (of shared memory its share), ``cpu`` is processor
    seconds since its start, ``processes`` a count.
    """

    session_id: str
    memory: int
    cpu: float
    processes: int
    workspace: int = 0


class Measured(_Message):
    """The sessions whose use has changed, told about once a second.

    ``overhead`` is the memory of the supervisor's own and the zygotes'.
    """

    kind: Literal["measured"] = "measured"
    sessions: tuple[SessionUse, ...] = ()
    overhead: int = 0


News = Arrived | Measured
Answer = Annotated[Output | Done | Failed | Ended | Arrived | Measured, Field(discriminator="kind")]

CALL: TypeAdapter[Call] = TypeAdapter(Call)
ANSWER: TypeAdapter[Output | Done | Failed | Ended | Arrived | Measured] = TypeAdapter(Answer)


def encode(message: BaseModel) -> bytes:
    """Return the message as one line."""
    return message.model_dump_json().encode() + b"\n"


class CallId(_Message):
    """The id of a call whose operation is unreadable: enough to answer it with an error."""

    id: int


class UnknownAnswer(_Message):
    """A message of a kind that this release does not know, or news that it cannot read."""

    kind: str


# Nothing waits for the news (Arrived, Measured), and a new connection would bring the same again.
_WAITED_FOR = frozenset(each.model_fields["kind"].default for each in (Output, Done, Failed, Ended))


def decode_answer(
    line: bytes,
) -> Output | Done | Failed | Ended | Arrived | Measured | UnknownAnswer:
    """Read a supervisor's message.

    Raises: :class:`pydantic.ValidationError` for one that is not of the form that its kind has,
    unless it is news.
    """
    try:
        return ANSWER.validate_json(line)
    except ValidationError:
        unknown = UnknownAnswer.model_validate_json(line)
        if unknown.kind in _WAITED_FOR:
            raise
        return unknown
