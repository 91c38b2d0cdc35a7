"""Enrollment: a code for a whole class, with which each member registers one name (B140, B141).

The code is independent of the secret and proves no identity. Error messages are those of 0.3.16,
whose clients show them.
"""

from __future__ import annotations

import hashlib
import hmac
import re

from mograder.core.errors import Forbidden, InvalidInput
from mograder.core.names import Username

_ALPHABET = re.compile(r"[a-zA-Z0-9._-]+")
_RETRY_KEY_LENGTHS = range(16, 201)


def parse_username(text: str) -> Username:
    """Return the name if it is valid on an assignment server (compatibility-0.3.16.md 4).

    Only 0.3.16's alphabet is allowed, which is narrower than elsewhere, so that its servers and
    clients can take over the course again.

    Raises: :class:`InvalidInput`, with 0.3.16's message if it has one.
    """
    if not _ALPHABET.fullmatch(text):
        raise InvalidInput("Invalid username: must be alphanumeric, underscore, hyphen, or dot")
    if ".." in text:
        raise InvalidInput("Invalid username: must not contain '..'")
    if text.startswith("__"):
        raise InvalidInput("Reserved username")
    try:
        return Username.parse(text)
    except InvalidInput as error:
        reason = error.message.partition(": ")[2].rstrip(".")
        raise InvalidInput(f"Invalid username: {reason}") from error


def check_code(expected: str, given: str) -> None:
    """Check an enrollment code in constant time.

    Raises: :class:`Forbidden` if it is wrong, or if no code is expected.
    """
    if not expected or not hmac.compare_digest(_bytes(expected), _bytes(given)):
        raise Forbidden("Invalid enrollment code")


def retry_mark(key: str) -> str:
    """Return the hash that is stored of a client's ``retry_key``, to recognise the key again.

    Raises: :class:`InvalidInput` for a key that is too short or too long.
    """
    if len(key) not in _RETRY_KEY_LENGTHS:
        raise InvalidInput("A 'retry_key' has 16 to 200 characters")
    return hashlib.sha256(b"mograder-retry\0" + _bytes(key)).hexdigest()


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
