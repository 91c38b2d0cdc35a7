"""The first lines of the connections between nodes and hubs: JSON, one line of at most 4 KiB.

The node connects (TCP, TLS 1.3, the certificates of :mod:`mograder.auth.node_certificates`), and
its first line says what the connection is for:

``control``
    From then on the JSON lines of :mod:`mograder.sandbox.protocol`: the hub calls, the node
    answers and sends news. A hub that accepts the node calls at once; it closes the connection of
    one that it does not.
``session``
    The connection waits until the hub needs one. Then the hub sends :class:`OpenSession` as one
    line; all that follows, both ways, is between the hub and that session's server. The node
    closes the connection if it has no such session.
``authority``
    The hub answers with the certificate of the authority (PEM) and closes. No certificate needed.
``join``
    The hub answers with :class:`JoinAnswer` as one line and closes. No certificate needed.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from mograder.sandbox.message import Message
from mograder.sandbox.protocol import PROTOCOL

FIRST_LINE_LIMIT = 4096
"""The largest size of a first line in bytes."""

ANSWER_LIMIT = 32 * 1024
"""The largest size in bytes of the answer to a node that joins."""

NODE_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$"


class ControlHello(Message):
    """The first line of a node's control connection."""

    kind: Literal["control"] = "control"
    version: str = Field(default="", max_length=100)
    protocol: int = PROTOCOL


class SessionHello(Message):
    """The first line of a connection that waits for a session."""

    kind: Literal["session"] = "session"


class AuthorityRequest(Message):
    """The first line of a machine that wants the certificate of the authority."""

    kind: Literal["authority"] = "authority"


class JoinRequest(Message):
    """The first line of a machine that becomes a node.

    ``secret`` is that of its join token, ``request`` a certificate signing request (PEM).
    """

    kind: Literal["join"] = "join"
    secret: str = Field(max_length=200)
    name: str = Field(pattern=NODE_NAME)
    request: str = Field(max_length=3000)


class JoinAnswer(Message):
    """The node's certificate (PEM) and the addresses of all hubs, or else a problem."""

    certificate: str = Field(default="", max_length=10_000)
    hubs: tuple[str, ...] = Field(default=(), max_length=64)
    problem: str = ""
    hint: str = ""


class OpenSession(Message):
    """The line by which a hub takes a waiting connection."""

    session_id: str = Field(pattern=r"^[A-Za-z0-9_-]{8,64}$")


FirstLine = ControlHello | SessionHello | AuthorityRequest | JoinRequest
FIRST_LINE: TypeAdapter[FirstLine] = TypeAdapter(Annotated[FirstLine, Field(discriminator="kind")])
