"""Join tokens: one text with which a machine becomes a node of a course.

A token has the addresses of the hubs, the fingerprint of the authority that signed the hubs'
certificates, and a random secret. The node sends the secret to no server without a certificate of
that authority. The hub stores only the secret's hash, with its end and how often it may be used.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from typing import Any

from mograder.core.errors import InvalidInput

_PREFIX = "mograder-node-"
_SECRET_BYTES = 24
_LONGEST = 4096
_MOST_ADDRESSES = 16
_ADDRESS = re.compile(r"(?:[A-Za-z0-9_.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]):[0-9]{1,5}")
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
_SECRET = re.compile(r"[A-Za-z0-9_-]{16,100}")


@dataclass(frozen=True, slots=True)
class NodeToken:
    """The contents of a join token; ``hubs`` are addresses as ``host:port``."""

    hubs: tuple[str, ...]
    authority: str
    secret: str

    @classmethod
    def new(cls, hubs: tuple[str, ...], authority: str) -> NodeToken:
        """Return a token with a new secret; ``authority`` is a fingerprint.

        Raises: InvalidInput for an address that is not ``host:port``, and for none.
        """
        return cls(_addresses(list(hubs)), authority, secrets.token_urlsafe(_SECRET_BYTES))

    @classmethod
    def parse(cls, text: str) -> NodeToken:
        """Return the token that :attr:`text` wrote. Raises: InvalidInput for any other text."""
        given = "".join(text.split())
        if len(given) > _LONGEST or not given.startswith(_PREFIX) or not given.isascii():
            raise _invalid()
        members = _members(given.removeprefix(_PREFIX))
        authority, secret = members.get("authority"), members.get("secret")
        if not isinstance(authority, str) or not _FINGERPRINT.fullmatch(authority):
            raise _invalid()
        if not isinstance(secret, str) or not _SECRET.fullmatch(secret):
            raise _invalid()
        return cls(_addresses(members.get("hubs")), authority, secret)

    @property
    def text(self) -> str:
        """The token as it is shown once and given to ``mograder node join``."""
        members = {"hubs": self.hubs, "authority": self.authority, "secret": self.secret}
        content = json.dumps(members, separators=(",", ":")).encode()
        return _PREFIX + urlsafe_b64encode(content).decode().rstrip("=")

    @property
    def secret_hash(self) -> str:
        """The hash of the secret."""
        return secret_hash(self.secret)


def secret_hash(secret: str) -> str:
    """Return the hash of a token's secret, which is random and needs no slow hash."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def split_address(address: str) -> tuple[str, int]:
    """Return host and port of an address ``host:port``; a host in brackets is an IPv6 address.

    Raises: InvalidInput for any other text.
    """
    if not _ADDRESS.fullmatch(address):
        raise InvalidInput(
            f"This is not the address of a hub: {address[:100]!r}.",
            hint="Write it as host:port, for example hub.example.edu:8442.",
        )
    host, _, port = address.rpartition(":")
    if not 0 < int(port) < 65536:
        raise InvalidInput(f"The port of the address {address[:100]!r} is not between 1 and 65535.")
    return host.strip("[]"), int(port)


def _addresses(listed: object) -> tuple[str, ...]:
    if not isinstance(listed, list) or not 0 < len(listed) <= _MOST_ADDRESSES:
        raise InvalidInput(f"A join token has between 1 and {_MOST_ADDRESSES} addresses of hubs.")
    for each in listed:
        if not isinstance(each, str):
            raise _invalid()
        split_address(each)
    return tuple(listed)


def _members(encoded: str) -> dict[str, Any]:
    try:
        found = json.loads(urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
    except (ValueError, RecursionError):
        raise _invalid() from None
    if not isinstance(found, dict):
        raise _invalid()
    return found


def _invalid() -> InvalidInput:
    return InvalidInput(
        "This is not a join token.",
        hint="Make one with mograder hub node-token, and copy all of it.",
    )
