"""A look at a hub's listener for nodes, with a node's certificate; it disturbs no connection."""

from __future__ import annotations

import asyncio
import ssl

from mograder.auth.node_certificates import HUB_NAME, facts
from mograder.auth.node_tokens import split_address
from mograder.core.errors import Forbidden, MograderError, RemoteFailed
from mograder.sandbox.nodes.node_identity import JOIN_AGAIN, NOT_ACCEPTED, NodeIdentity
from mograder.sandbox.nodes.tls_contexts import node_context
from mograder.sandbox.nodes.wire_messages import ANSWER_LIMIT, AuthorityRequest
from mograder.sandbox.protocol import encode

_SECONDS = 10.0


async def probe_hub(identity: NodeIdentity, hub: str) -> None:
    """Connect to a hub as this node, and compare its authority with the node's.

    Raises: :class:`RemoteFailed` with the reason if the hub cannot be reached or is another
        course's, :class:`Forbidden` with a remedy if it does not accept this node (any more).
    """
    host, port = split_address(hub)
    authority = identity.authority.encode()
    try:
        context = node_context(authority, identity.pair)
        async with asyncio.timeout(_SECONDS):
            reader, writer = await asyncio.open_connection(
                host, port, ssl=context, server_hostname=HUB_NAME
            )
            try:
                writer.write(encode(AuthorityRequest()))
                said = await _answer(reader)
            finally:
                writer.close()
    except TimeoutError:
        raise RemoteFailed("it does not answer") from None
    except ssl.SSLCertVerificationError:
        raise RemoteFailed("its certificate is not of this node's hub") from None
    except OSError as error:
        raise RemoteFailed(f"{error.strerror or error}") from None
    if not said:
        raise Forbidden(NOT_ACCEPTED, hint=JOIN_AGAIN)
    try:
        same = facts(said).fingerprint == facts(authority).fingerprint
    except MograderError:
        same = False
    if not same:
        raise RemoteFailed("its answer is not that of a hub")


async def _answer(reader: asyncio.StreamReader) -> bytes:
    """Return a hub's answer, empty if it has closed the connection."""
    try:
        return await reader.read(ANSWER_LIMIT)
    except ConnectionResetError:
        return b""
