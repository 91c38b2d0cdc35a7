"""The tokens of nodes: a node's name and a random secret, of which the hub stores the hash.

A token is one line, ``NAME:SECRET``. A file may have those of several machines, for engines that
give all of them the same file; each takes the line that begins with its name.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass, field

from mograder.core.errors import InvalidInput
from mograder.core.settings import MAX_NODE_TOKENS

_SECRET_BYTES = 32
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_SECRET = re.compile(r"[A-Za-z0-9_-]{16,100}")


@dataclass(frozen=True, slots=True)
class NodeToken:
    name: str
    secret: str = field(repr=False)

    @classmethod
    def new(cls, name: str) -> NodeToken:
        """Return a token with a new secret of 256 bits. Raises: InvalidInput for a bad name."""
        if not _NAME.fullmatch(name):
            raise InvalidInput(
                f"A node cannot be named {name[:80]!r}.",
                hint="Use up to 63 letters, digits and . _ -, beginning with a letter or a digit.",
            )
        return cls(name, secrets.token_urlsafe(_SECRET_BYTES))

    @classmethod
    def find(cls, text: str, name: str) -> NodeToken:
        """Return the only token in a text, or that of this name; raises InvalidInput."""
        lines = text.split() if len(text) <= MAX_NODE_TOKENS else []
        found = [cls._parse(line) for line in lines or [""]]
        for each in found:
            if len(found) == 1 or each.name == name:
                return each
        raise InvalidInput(
            f"None of the {len(found)} node tokens is for {name[:80]!r}.",
            hint="Make one with mograder hub node-token, or name another one with --name.",
        )

    @classmethod
    def _parse(cls, line: str) -> NodeToken:
        name, _, secret = line.partition(":")
        if not _NAME.fullmatch(name) or not _SECRET.fullmatch(secret):
            raise InvalidInput(
                "This is not the token of a node, NAME:SECRET.",
                hint="Make one with mograder hub node-token, and copy all of it.",
            )
        return cls(name, secret)

    @property
    def text(self) -> str:
        return f"{self.name}:{self.secret}"

    @property
    def secret_hash(self) -> str:
        return secret_hash(self.secret)


def secret_hash(secret: str) -> str:
    """Return the hash of a token's secret, which is random and needs no slow hash."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()
