"""Tokens: ``username:hex(HMAC-SHA256(secret, message))``.

B105, compatibility-0.3.16.md 1, security.md.

A student's message is the username, as in 0.3.16, so that its tokens are valid here and ours there.
A named instructor's message contains the role, and a revoked user's the epoch; both begin with a
NUL byte, which no username may contain, so that no message of one kind can be a message of another.
A metrics token is of a third kind and has no role: it is valid only for the route of the metrics.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass

from mograder.auth.roles import CREDENTIAL_ROLES, Role
from mograder.core.errors import InvalidInput
from mograder.core.names import INSTRUCTOR, Username

_MAX_TOKEN = 300
"""Characters: the longest username (200 bytes), a colon and 64 hexadecimal digits fit."""


@dataclass(frozen=True, slots=True)
class Claims:
    """The user and the role that a valid token proves."""

    username: str
    role: Role


def make_token(secret: str, username: str, role: Role = Role.STUDENT, epoch: int = 0) -> str:
    """Return the user's token; ``epoch`` counts the revocations of the user's tokens.

    ``__instructor__`` with the instructor role gives 0.3.16's shared instructor token.

    Raises: InvalidInput for a name that is not valid, a role that no token has, or an empty secret.
    """
    if role not in CREDENTIAL_ROLES:
        raise InvalidInput(f"There is no token for the role {role}.")
    if username == INSTRUCTOR and role is Role.INSTRUCTOR:
        name = INSTRUCTOR
    else:
        name = Username.claimed(username)
    return f"{name}:{_mac(secret, _message(name, role, epoch))}"


def verify_token(secret: str, token: str, epoch_of: Callable[[str], int]) -> Claims | None:
    """Return the claims of a token that is valid at the user's present epoch, or None.

    Both roles are always computed and compared in constant time, so that timing reveals neither
    which users exist nor how much of a guess is right.
    """
    parsed = _parsed(token)
    if parsed is None:
        return None
    username, given = parsed
    epoch = epoch_of(username)
    as_instructor = hmac.compare_digest(
        _mac(secret, _message(username, Role.INSTRUCTOR, epoch)).encode(), given
    )
    as_student = hmac.compare_digest(
        _mac(secret, _message(username, Role.STUDENT, epoch)).encode(), given
    )
    if as_instructor:
        return Claims(username, Role.INSTRUCTOR)
    # The reserved name is never a student; its two messages are equal at epoch 0.
    if as_student and username != INSTRUCTOR:
        return Claims(username, Role.STUDENT)
    return None


def make_metrics_token(secret: str, name: str, epoch: int = 0) -> str:
    """Return a token that reads the metrics and does nothing else.

    ``name`` is a username for the program that reads them; revoking the tokens of this name ends
    the token.

    Raises: InvalidInput for a name that is not valid, or an empty secret.
    """
    username = Username.claimed(name)
    return f"{username}:{_mac(secret, _metrics_message(username, epoch))}"


def verify_metrics_token(secret: str, token: str, epoch_of: Callable[[str], int]) -> bool:
    """Return whether this is a valid metrics token at its name's present epoch."""
    parsed = _parsed(token)
    if parsed is None:
        return False
    username, given = parsed
    wanted = _mac(secret, _metrics_message(username, epoch_of(username)))
    return hmac.compare_digest(wanted.encode(), given)


def _parsed(token: str) -> tuple[Username, bytes] | None:
    """Return the name and the MAC of a token, or None if it is malformed."""
    name, separator, mac = token.partition(":")
    if not separator or len(token) > _MAX_TOKEN:
        return None
    try:
        account = Username(name) if name == INSTRUCTOR else Username.claimed(name)
        return account, mac.encode("utf-8", "replace")
    except InvalidInput:
        return None


def _metrics_message(username: str, epoch: int) -> bytes:
    return _tagged(epoch, username, "mograder-metrics")


def _message(username: str, role: Role, epoch: int) -> bytes:
    legacy = role is Role.STUDENT or username == INSTRUCTOR
    if legacy and epoch == 0:
        return username.encode()
    return _tagged(epoch, username, "mograder-token", role)


def _tagged(epoch: int, username: str, *tags: str) -> bytes:
    if epoch < 0:
        raise ValueError("an epoch is never negative")
    return "\0".join(["", *tags, str(epoch), username]).encode()


def _mac(secret: str, message: bytes) -> str:
    if not secret:
        raise InvalidInput("The secret is empty.", hint="Anyone could make tokens with it.")
    return hmac.digest(secret.encode("utf-8", "surrogateescape"), message, "sha256").hex()
