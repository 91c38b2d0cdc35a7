"""One-time sign-in links: a random code, of which the database keeps the hash only."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import timedelta

LINK_LIFE = timedelta(minutes=15)
"""How long an unused link works."""


@dataclass(frozen=True, slots=True)
class LinkCode:
    """A fresh code for a person, and what is stored of it."""

    text: str
    hash: str


def make_code() -> LinkCode:
    """Return a new code of 256 random bits."""
    text = secrets.token_urlsafe(32)
    return LinkCode(text, hash_code(text))


def hash_code(text: str) -> str:
    """Return what the database stores of a code; no salt, since a code is random already."""
    return hashlib.sha256(text.encode()).hexdigest()
