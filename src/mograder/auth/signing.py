"""Signatures of records and values by HMAC-SHA256, with a key of its own for each purpose.

The keys are derived from one secret, so a signature of one purpose is never valid for another.
"""

from __future__ import annotations

import functools
import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from mograder.core.errors import InvalidInput

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    R = TypeVar("R", bound=DataclassInstance)

_LONGEST = 16 * 1024
_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


@functools.lru_cache(32)
def derived_key(secret: str, purpose: str) -> bytes:
    """Raise InvalidInput for an empty secret."""
    if not secret:
        raise InvalidInput("The secret is empty.", hint="Anyone could sign with it.")
    name = b"\0mograder-" + purpose.encode()
    return hmac.digest(secret.encode("utf-8", "surrogateescape"), name, "sha256")


def signature_of(key: bytes, record: Mapping[str, object]) -> str:
    return hmac.digest(key, _canonical(record).encode(), "sha256").hex()


def is_signature_of(key: bytes, record: Mapping[str, object], signature: str) -> bool:
    """Return whether a signature was made with this key for this record; constant-time."""
    expected = signature_of(key, record)
    return hmac.compare_digest(expected.encode(), signature.encode("utf-8", "replace"))


def signed(key: bytes, value: bytes) -> str:
    """Return ``value.mac`` as text for a cookie or a form; the value is URL-safe base64."""
    payload = urlsafe_b64encode(value).rstrip(b"=").decode()
    return f"{payload}.{_mac(key, payload)}"


def read_signed(key: bytes, text: str, longest: int = _LONGEST) -> bytes | None:
    """Return the value that :func:`signed` made with this key, None for any other text."""
    payload, _, mac = text.partition(".")
    if len(text) > longest or not text.isascii():
        return None
    if not hmac.compare_digest(_mac(key, payload), mac):
        return None
    return urlsafe_b64decode(payload + "=" * (-len(payload) % 4))


def signed_record(key: bytes, record: DataclassInstance) -> str:
    """Return a signed text with the fields of a record, which are JSON values."""
    return signed(key, json.dumps(asdict(record)).encode())


def read_signed_record(key: bytes, text: str, shape: type[R], longest: int = _LONGEST) -> R | None:
    """Return the record of a text that was signed with this key, None for any other text.

    None, too, for a record of another version of this program, which has other fields.
    """
    value = read_signed(key, text, longest)
    found = json.loads(value) if value else None
    if not isinstance(found, dict) or found.keys() != {each.name for each in fields(shape)}:
        return None
    return shape(**found)


def _mac(key: bytes, payload: str) -> str:
    return hmac.digest(key, payload.encode(), "sha256").hex()


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
