"""The authority that signs the certificates of hubs and nodes, as the hub's database keeps it."""

from __future__ import annotations

from datetime import datetime

from mograder.auth.node_certificates import Authority
from mograder.core.errors import InvalidInput
from mograder.store.hub.nodes import Nodes


def open_authority(nodes: Nodes, secret: str, now: datetime) -> Authority:
    """Return the course's authority, which is made at the first call.

    ``secret`` is the hub's, which encrypts its key. Raises: InvalidInput if it is another one than
    that with which the authority was made.
    """
    stored = nodes.authority()
    if stored is None:
        made = Authority.new(now)
        stored = nodes.keep_authority(made.certificate.decode(), made.sealed_key(secret))
    certificate, key = stored
    try:
        return Authority.unsealed(certificate.encode(), key, secret)
    except InvalidInput as error:
        raise InvalidInput(
            "The key of the nodes' authority cannot be read with this hub's secret.",
            hint="If the secret was changed, make a new authority with mograder hub node-token "
            "--new-authority, restart the hub, and let all nodes join again.",
        ) from error
