"""The messages of :mod:`mograder.sandbox.protocol` that only nodes use: leases, builds, status."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mograder.sandbox.message import MOST, Amount, Bytes, Count, Message, Name

LONGEST_LOCK = 700_000
"""The most characters of a lock: some 250 packages, so that it fits into a message."""


class GrantLease(Message):
    """Answer the :class:`NodeStatus` with this ``number``; from a hub to a node only.

    The node may run sessions for ``seconds``, counted from the moment when it sent that status.
    ``draining`` is whether an administrator wants the node to be drained. ``uid`` is the hub's
    user, ``epoch`` that of the hub, as in :class:`~mograder.sandbox.protocol.Hello`.
    """

    op: Literal["grant lease"] = "grant lease"
    number: int
    seconds: float = Field(ge=0, le=3600)
    draining: bool = False
    uid: int | None = None
    epoch: int = Field(default=0, ge=0)


class PrepareEnvironment(Message):
    """Build an environment on a node, if it lacks it; from a hub to a node only.

    ``key`` is its name, ``lock`` the text of its lock and ``digest`` the SHA-256 of that in hex,
    ``project`` the project's text, ``python`` the version of its interpreter, ``assets`` the set of
    static files that the hub offers. ``wheel`` is the file name of our wheel and ``content`` its
    bytes in base64; without them the node takes its own. The lines of the build are sent as
    :class:`Output`. With ``warm`` a zygote is prepared as well.
    """

    op: Literal["prepare environment"] = "prepare environment"
    key: str = Field(pattern=r"^[A-Za-z0-9_-]{8,64}$")
    lock: str = Field(max_length=LONGEST_LOCK)
    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    project: str = Field(default="", max_length=50_000)
    python: str = Field(max_length=40)
    assets: str = Field(default="", max_length=100)
    wheel: str = Field(default="", pattern=r"^(?:[A-Za-z0-9][A-Za-z0-9_.+-]{0,200}\.whl)?$")
    content: str = Field(default="", max_length=120_000)
    warm: bool = False


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
