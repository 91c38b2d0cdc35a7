"""Credentials for tests. Tokens are made here from the wire format, not by our own code."""

from __future__ import annotations

import hashlib
import hmac

SECRET = "0123456789abcdef" * 4
"""The hub secret of tests."""


def token(name: str, secret: str = SECRET) -> str:
    """Return a student's token in the wire format: ``name:hex(HMAC-SHA256)``.

    See compatibility-0.3.16.md 1.
    """
    return f"{name}:{hmac.new(secret.encode(), name.encode(), hashlib.sha256).hexdigest()}"


def instructor_token(secret: str = SECRET) -> str:
    """The instructor token of 0.3.16, which still verifies."""
    return token("__instructor__", secret)


def bearer(text: str) -> dict[str, str]:
    """The header of an API client that holds a token."""
    return {"Authorization": f"Bearer {text}"}


def student(name: str, secret: str = SECRET) -> dict[str, str]:
    """Headers of a student's API client."""
    return bearer(token(name, secret))


def instructor(secret: str = SECRET) -> dict[str, str]:
    """Headers of an instructor's API client."""
    return bearer(instructor_token(secret))


def from_proxy(name: str) -> dict[str, str]:
    """Headers as a trusted proxy in front of the hub sends them after signing a person in."""
    return {"X-Remote-User": name}


class Members:
    """The members of a course on a learning platform, who count on the hub if ``counts``."""

    def __init__(self, *users: str, counts: bool = True) -> None:
        self.users, self.counts = users, counts

    def decides(self) -> bool:
        return self.counts

    def has(self, username: str) -> bool:
        return username in self.users

    def students(self) -> frozenset[str]:
        return frozenset(self.users)

    def version(self) -> object:
        return self.users
