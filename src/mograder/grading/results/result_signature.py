"""The signature of a grading result: whether a result is as this course's graders made it.

It is made with a key of its own, derived from the course's secret as that of receipts is. The form
that is signed is that of :mod:`mograder.auth.signing`.
"""

from __future__ import annotations

from mograder.auth.signing import derived_key, is_signature_of, signature_of
from mograder.core.settings import LoadedSettings
from mograder.grading.results.grading_result import GradingResult
from mograder.store.assignment_server.secret import SECRET_FILE, ensure_secret, read_secret

_PURPOSE = "grading"
_SECRET = "grading-secret"  # noqa: S105 - a file's name


def grading_key(loaded: LoadedSettings) -> bytes:
    """Return the key of a course's signatures.

    It is derived from the secret of the course's assignment server, or without one from a secret in
    the state directory, which is made (mode 0600) if missing. Once that exists it is used even if a
    server comes later, so that old signatures remain valid.

    Raises:
        InvalidInput: The secret cannot be read or written, or is empty.
        Busy: The disk is full.
    """
    own, server = loaded.state_dir / _SECRET, loaded.course_dir / SECRET_FILE
    if server.exists() and not own.exists():
        return derived_key(read_secret(server), _PURPOSE)
    own.parent.mkdir(parents=True, exist_ok=True)
    return derived_key(ensure_secret(own), _PURPOSE)


def sign_result(key: bytes, result: GradingResult) -> str:
    """Return the signature of a result in hex."""
    return signature_of(key, result.model_dump(mode="json"))


def is_signed(key: bytes, result: GradingResult, signature: str) -> bool:
    """Return whether a result was signed with this key; constant-time."""
    return is_signature_of(key, result.model_dump(mode="json"), signature)
