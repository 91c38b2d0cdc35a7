"""A node's identity: its key and certificate, the authority, and the addresses of its hubs."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from mograder.auth.node_certificates import (
    KeyAndCertificate,
    facts,
    is_signed_by,
    key_fingerprint,
    new_request,
)
from mograder.core.errors import InvalidInput, NotFound
from mograder.core.files.atomic_file import write_file

_LARGEST = 1 << 20

NOT_ACCEPTED = "it does not accept this node"
JOIN_AGAIN = (
    "If the node was removed, make a token with mograder hub node-token, and run mograder node "
    "join --again here; else the hub's log says why."
)


class NodeIdentity(BaseModel):
    """What a machine gets by joining; kept in one file that only its owner can read.

    ``key``, ``certificate`` and ``authority`` are PEM; ``hubs`` are addresses as ``host:port``.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    key: str
    certificate: str
    authority: str
    hubs: tuple[str, ...]

    @classmethod
    def load(cls, path: Path) -> Self:
        """Return the identity that :meth:`save` wrote.

        Raises: :class:`NotFound` without a file, :class:`InvalidInput` for one that is damaged.
        """
        try:
            with path.open("rb") as file:
                return cls.model_validate_json(file.read(_LARGEST)).checked()
        except FileNotFoundError:
            raise NotFound(
                f"This machine has not joined a hub: there is no file {path}.",
                hint="Make a token with mograder hub node-token, and run mograder node join here.",
            ) from None
        except (OSError, ValidationError):
            raise InvalidInput(
                f"The node's identity {path} cannot be read.",
                hint="Is it another user's? If it is damaged, remove it and join again.",
            ) from None

    def save(self, path: Path) -> None:
        """Write it in one step, so that key and certificate always fit. Raises: ``OSError``."""
        write_file(path, self.model_dump_json().encode() + b"\n", 0o600)

    @property
    def name(self) -> str:
        """The name that the hub gave this node."""
        return facts(self.certificate.encode()).name

    @property
    def ends(self) -> datetime:
        """The end of the certificate, in UTC."""
        return facts(self.certificate.encode()).ends

    @property
    def pair(self) -> KeyAndCertificate:
        """The key and its certificate, for TLS."""
        return KeyAndCertificate(self.key.encode(), self.certificate.encode())

    def request(self) -> str:
        """Return a request (PEM) for a new certificate for the same key."""
        return new_request(self.key.encode()).decode()

    def renewed(self, certificate: str) -> Self:
        """Return the identity with another certificate (PEM) for the same key.

        Raises: :class:`InvalidInput` if that is for another key, or of another authority.
        """
        return self.model_copy(update={"certificate": certificate}).checked()

    def checked(self) -> Self:
        """Return it if key and certificate fit, and the authority signed it.

        Raises: :class:`InvalidInput`.
        """
        certificate = self.certificate.encode()
        if facts(certificate).fingerprint != key_fingerprint(self.key.encode()):
            raise InvalidInput("The node's certificate is not for its key.")
        if not is_signed_by(certificate, self.authority.encode()):
            raise InvalidInput("The node's certificate is not of its hub's authority.")
        return self
