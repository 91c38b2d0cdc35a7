"""The messages of :mod:`mograder.sandbox.protocol` that only nodes use: leases, builds, status."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mograder.sandbox.message import Message


class HoldLease(Message):
    """Allow sessions and runs for ``seconds`` from now on, measured on the boot-time clock.

    When the time is over the supervisor kills all of them, and refuses starts until the next
    lease. A supervisor that was never given a lease needs none.
    """

    op: Literal["hold lease"] = "hold lease"
    seconds: float = Field(ge=0, le=3600)


class GrantLease(Message):
    """Answer the :class:`NodeStatus` with this ``number``; from a hub to a node's agent only.

    The node may run sessions for ``seconds``, counted from the moment when it sent that status.
    ``hubs`` are the addresses of all hubs, each of which the node connects to. ``draining`` is
    whether an administrator wants the node to be drained.
    """

    op: Literal["grant lease"] = "grant lease"
    number: int
    seconds: float = Field(ge=0, le=3600)
    hubs: tuple[str, ...] = ()
    draining: bool = False


class PrepareEnvironment(Message):
    """Build an environment on a node, if it lacks it; from a hub to a node's agent only.

    ``key`` is its name, ``lock`` the text of its lock and ``digest`` the SHA-256 of that in hex,
    ``python`` the version of its interpreter. The lines of the build are sent as :class:`Output`.
    With ``warm`` a zygote is prepared as well.
    """

    op: Literal["prepare environment"] = "prepare environment"
    key: str = Field(pattern=r"^[A-Za-z0-9_-]{8,64}$")
    lock: str = Field(max_length=500_000)
    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    python: str = Field(max_length=40)
    warm: bool = False


class RenewCertificate(Message):
    """Ask a node's agent for a new certificate signing request, which is in :attr:`Done.text`.

    With ``certificate`` (PEM) the agent stores that instead.
    """

    op: Literal["renew certificate"] = "renew certificate"
    certificate: str = Field(default="", max_length=20_000)


class NodeStatus(Message):
    """The state of a node, which its agent sends to every hub every two seconds.

    ``number`` counts up; the hub answers by :class:`GrantLease`. Memory is in bytes: ``memory`` is
    what sessions and runs may use together, ``used`` what they and the node's helpers use now.
    ``starts`` is how many sessions may start at the same time, ``starting`` how many do.
    ``environments`` are the keys of those that are built, ``zygotes`` of those that start warm.
    ``sessions`` are the ids of all live sessions. ``drain_seconds`` is the time until a draining
    node ends the sessions that are left, or None if it waits for them.
    """

    kind: Literal["status"] = "status"
    number: int
    memory: int
    used: int
    processors: int
    load: float = 0.0
    starts: int
    starting: int = 0
    environments: tuple[str, ...] = ()
    zygotes: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    runs: int = 0
    draining: bool = False
    drain_seconds: float | None = None
