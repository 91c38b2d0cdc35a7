"""Signatures of records by HMAC-SHA256, with a key of its own for each purpose.

The keys are derived from one secret, so a signature of one purpose is never valid for another.
"""

from __future__ import annotations

import functools
import hmac
import json
from collections.abc import Mapping
from typing import Any, NoReturn

from mograder.core.errors import InvalidInput

_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


@functools.lru_cache(8)
def derived_key(secret: str, purpose: str) -> bytes:
    """Return the key for a purpose.

    Raises:
        InvalidInput: The secret is empty.
    """
    if not secret:
        raise InvalidInput("The secret is empty.", hint="Anyone could sign with it.")
    name = b"\0mograder-" + purpose.encode()
    return hmac.digest(secret.encode("utf-8", "surrogateescape"), name, "sha256")


def signature_of(key: bytes, record: Mapping[str, object]) -> str:
    """Return the signature of a record of JSON values in hex."""
    return hmac.digest(key, _canonical(record).encode(), "sha256").hex()


def is_signature_of(key: bytes, record: Mapping[str, object], signature: str) -> bool:
    """Return whether a signature was made with this key for this record; constant-time."""
    expected = signature_of(key, record)
    return hmac.compare_digest(expected.encode(), signature.encode("utf-8", "replace"))


def read_record(content: bytes | str) -> dict[str, Any]:
    """Return a record that is signed, or signs itself, from JSON.

    Raises: ValueError for anything but an object, and for a member that is there twice: of two
    values one reader takes the first, another the last.
    """
    try:
        found = json.loads(content, object_pairs_hook=_members, parse_constant=_refuse)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(found, dict):
        raise ValueError("no object")
    return found


def _members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member twice")
    return members


def _refuse(_: str) -> NoReturn:
    raise ValueError("no number")
