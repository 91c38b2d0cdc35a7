"""The hub's renewal of a node's certificate, over its control connection."""

from __future__ import annotations

from datetime import datetime

from mograder.auth.node_certificates import (
    RENEWAL_LIFE,
    Authority,
    facts,
    request_fingerprint,
)
from mograder.core.errors import Forbidden
from mograder.sandbox.node_messages import RenewCertificate
from mograder.sandbox.nodes.node_link import NodeLink


async def renew_if_due(link: NodeLink, authority: Authority, now: datetime) -> datetime | None:
    """Renew the certificate of a connected node that is valid for less than 20 days.

    The key stays, so the node's fingerprint does, and nothing has to be changed before the node
    connects again. Several hubs may do this at the same time.

    Returns: the end of the new certificate, for the list of nodes; None if it was not due.
    Raises: :class:`Forbidden` if the node asks for a certificate of another key, and as
        :meth:`~mograder.sandbox.client.connection.Connection.call`.
    """
    if link.certificate_until - now > RENEWAL_LIFE:
        return None
    request = (await link.connection.call(RenewCertificate())).text.encode()
    if request_fingerprint(request) != link.fingerprint:
        raise Forbidden(f"The node {link.name} asks for a certificate of another key.")
    certificate = authority.node_certificate(request, link.name, now)
    await link.connection.call(RenewCertificate(certificate=certificate.decode()))
    link.certificate_until = facts(certificate).ends
    return link.certificate_until
