"""The signature of a grading result, which shows that nobody has changed it since."""

from __future__ import annotations

from mograder.core.settings import LoadedSettings
from mograder.grading.grading_result import GradingResult


def grading_key(loaded: LoadedSettings) -> bytes:
    """Return the key of a course's signatures, derived from its secret, which is made if missing.

    Raises:
        InvalidInput: The secret cannot be read or written.
    """
    raise NotImplementedError


def sign_result(key: bytes, result: GradingResult) -> str:
    """Return the signature of a result in hex."""
    raise NotImplementedError


def is_signed(key: bytes, result: GradingResult, signature: str) -> bool:
    """Return whether a result was signed with this key; constant-time."""
    raise NotImplementedError
