"""Joining: a machine with a token gets a certificate; the machine's side and the hub's."""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
from collections.abc import Awaitable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from pydantic import ValidationError

from mograder.auth.node_certificates import (
    HUB_NAME,
    Authority,
    facts,
    new_key,
    new_request,
    only_first,
)
from mograder.auth.node_tokens import NodeToken, secret_hash, split_address
from mograder.core.errors import Conflict, Forbidden, InvalidInput, RemoteFailed
from mograder.sandbox.message import Message
from mograder.sandbox.nodes.node_identity import NodeIdentity
from mograder.sandbox.nodes.tls_contexts import node_context, unverified_context
from mograder.sandbox.nodes.wire_messages import (
    ANSWER_LIMIT,
    AuthorityRequest,
    JoinAnswer,
    JoinRequest,
)
from mograder.sandbox.protocol import encode

_log = logging.getLogger(__name__)

_SECONDS = 30.0
_ATTEMPTS = 8
_PAUSE = 1.0
"""Seconds between two attempts, on average."""


async def join(token: NodeToken, name: str) -> NodeIdentity:
    """Join by a token under a name; try the hubs one after the other until one answers.

    Raises: :class:`InvalidInput` for a name that is not possible, :class:`Forbidden` with the hub's
        reason, :class:`RemoteFailed` if no hub can be reached, or those that answer are not the
        token's.
    """
    key = new_key()
    request = new_request(key).decode()
    try:
        line = JoinRequest(secret=token.secret, name=name, request=request)
    except ValidationError:
        raise InvalidInput(
            f"A node cannot be named {name[:80]!r}.",
            hint="Use up to 63 letters, digits and . _ -, beginning with a letter or a digit.",
        ) from None
    failures = []
    for hub in token.hubs:
        try:
            return await _join_at(hub, token, line, key)
        except RemoteFailed as error:
            failures.append(error.message)
    raise RemoteFailed(" ".join(failures), hint="Is this the address that nodes can reach?")


async def _join_at(hub: str, token: NodeToken, request: JoinRequest, key: bytes) -> NodeIdentity:
    authority = await _fetch_authority(hub, token.authority)
    said = await _ask(hub, node_context(authority), request)
    try:
        answer = JoinAnswer.model_validate_json(said)
    except ValidationError:
        raise RemoteFailed(f"The answer of the hub at {hub} cannot be read.") from None
    if answer.problem:
        raise Forbidden(answer.problem, hint=answer.hint)
    identity = NodeIdentity(
        key=key.decode(),
        certificate=answer.certificate,
        authority=authority.decode("ascii"),
        hubs=answer.hubs or token.hubs,
    )
    for each in identity.hubs:
        split_address(each)
    return identity.checked()


async def _fetch_authority(hub: str, fingerprint: str) -> bytes:
    """Return the certificate with this fingerprint, alone: others beside it would be trusted too.

    Raises: :class:`RemoteFailed`.
    """
    said = await _ask(hub, unverified_context(), AuthorityRequest())
    try:
        authority = only_first(said)
        if facts(authority).fingerprint == fingerprint:
            return authority
    except InvalidInput as error:
        _log.debug("the answer of %s is no certificate: %s", hub, error)
    raise RemoteFailed(f"The server at {hub} is not the hub of this token.")


async def _ask(hub: str, context: ssl.SSLContext, request: Message) -> bytes:
    """Send one line and return all that the hub answers. Raises: :class:`RemoteFailed`."""
    host, port = split_address(hub)
    try:
        async with asyncio.timeout(_SECONDS):
            reader, writer = await _connected(host, port, context)
            try:
                writer.write(encode(request))
                return await _read_all(reader)
            finally:
                writer.close()
    except TimeoutError:
        raise RemoteFailed(f"The hub at {hub} does not answer.") from None
    except OSError as error:
        raise RemoteFailed(f"The hub at {hub} cannot be reached: {error}.") from None


async def _connected(
    host: str, port: int, context: ssl.SSLContext
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to a hub; try again if it closes the connection before the handshake is over.

    It does so when many connections begin at once, as of a whole cluster behind one address.

    Raises: ``OSError``.
    """
    attempts = 0
    while True:
        try:
            return await asyncio.open_connection(
                host, port, ssl=context, server_hostname=HUB_NAME, limit=ANSWER_LIMIT
            )
        except (ConnectionResetError, ConnectionAbortedError, ssl.SSLEOFError):
            attempts += 1
            if attempts == _ATTEMPTS:
                raise
        await asyncio.sleep(_PAUSE * random.uniform(0.5, 1.5))  # noqa: S311 - no secret


async def _read_all(reader: asyncio.StreamReader) -> bytes:
    received = b""
    while chunk := await reader.read(ANSWER_LIMIT):
        received += chunk
        if len(received) > ANSWER_LIMIT:
            raise ConnectionAbortedError("its answer is too long")
    return received


class NodeList(Protocol):
    """The hub's list of nodes and tokens, in its database."""

    def use_token(self, token_hash: str) -> Awaitable[bool]:
        """Count one use of a token; return False if it is unknown, expired or used up."""
        ...

    def return_token(self, token_hash: str) -> Awaitable[None]:
        """Take back one use of a token, since the machine could not join."""
        ...

    def add(self, name: str, fingerprint: str, certificate_until: datetime) -> Awaitable[None]:
        """Add a node, or give its name another key.

        Raises: :class:`~mograder.core.errors.Conflict` while a node of this name is at work.
        """
        ...

    def hubs(self) -> Awaitable[tuple[str, ...]]:
        """Return the addresses of all hubs, as ``host:port``."""
        ...


@dataclass(frozen=True, slots=True)
class Admission:
    """The hub's side of joining, and the renewal of certificates."""

    authority: Authority
    nodes: NodeList

    async def join(self, request: JoinRequest, now: datetime) -> JoinAnswer:
        """Let a machine join; the use of the token does not count if its name is taken.

        Raises: :class:`Forbidden` for a token that is not valid, :class:`InvalidInput` for a
            request that cannot be signed, and the errors of :meth:`NodeList.add`.
        """
        signing = request.request.encode()
        certificate = self.authority.node_certificate(signing, request.name, now)
        token = secret_hash(request.secret)
        if not await self.nodes.use_token(token):
            raise Forbidden(
                "The join token is unknown, has expired, or was used already.",
                hint="Make a new one with mograder hub node-token.",
            )
        found = facts(certificate)
        try:
            await self.nodes.add(request.name, found.fingerprint, found.ends)
        except Conflict:  # an engine starts a node again while the lease of the last one goes on
            await self.nodes.return_token(token)
            raise
        hubs = await self.nodes.hubs()
        return JoinAnswer(certificate=certificate.decode(), hubs=hubs)
