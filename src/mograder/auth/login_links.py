"""One-time sign-in links: a random code, of which the database stores only the hash."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import timedelta

LINK_LIFE = timedelta(minutes=15)
"""The lifetime of an unused link."""


@dataclass(frozen=True, slots=True)
class LinkCode:
    """A new code for a person, and the hash that is stored."""

    text: str
    hash: str


def make_code() -> LinkCode:
    """Return a new code of 256 random bits."""
    text = secrets.token_urlsafe(32)
    return LinkCode(text, hash_code(text))


def hash_code(text: str) -> str:
    """Return the hash of a code for the database; without a salt, since codes are random."""
    return hashlib.sha256(text.encode()).hexdigest()
