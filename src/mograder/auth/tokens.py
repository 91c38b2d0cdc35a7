"""Tokens: ``username:hex(HMAC-SHA256(secret, message))`` (B105, compat.md 1, security.md).

For a student the message is the username, as 0.3.16 has it, so its tokens verify here and ours
there. A named instructor's message carries the role, and a revoked user's carries the epoch;
both begin with a NUL byte, which no username may contain, so no message of one kind can ever
be a message of another. A metrics token is of a third kind and no role: only the route that serves
the metrics asks for it, and to everything else it is no token.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass

from mograder.auth.roles import Role
from mograder.core.errors import InvalidInput
from mograder.core.names import INSTRUCTOR, Username

_MAX_TOKEN = 300
"""Characters: the longest username (200 bytes), a colon and 64 hexadecimal digits fit."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What a good token says: who, and in which role."""

    username: str
    role: Role


def make_token(secret: str, username: str, role: Role = Role.STUDENT, epoch: int = 0) -> str:
    """Return the person's token; ``epoch`` is 0 until somebody revokes the person's tokens.

    ``__instructor__`` with the instructor role gives 0.3.16's shared instructor token.

    Raises: InvalidInput for a name that is not in the grammar, or an empty secret.
    """
    if username == INSTRUCTOR and role is Role.INSTRUCTOR:
        name = INSTRUCTOR
    else:
        name = Username.parse(username)
    return f"{name}:{_mac(secret, _message(name, role, epoch))}"


def verify_token(secret: str, token: str, epoch_of: Callable[[str], int]) -> Claims | None:
    """Return what the token proves at the user's present epoch, or None.

    Both roles are always computed and compared in constant time, so that timing tells neither
    who exists nor how much of a guess was right.
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
    # The reserved name never is a student; its two messages agree at epoch 0.
    if as_student and username != INSTRUCTOR:
        return Claims(username, Role.STUDENT)
    return None


def make_metrics_token(secret: str, name: str, epoch: int = 0) -> str:
    """Return a token that reads the metrics and does nothing else.

    ``name`` is a username of the program that reads them; the token ends like a person's, when the
    name's tokens are revoked.

    Raises: InvalidInput for a name that is not in the grammar, or an empty secret.
    """
    username = Username.parse(name)
    return f"{username}:{_mac(secret, _metrics_message(username, epoch))}"


def verify_metrics_token(secret: str, token: str, epoch_of: Callable[[str], int]) -> bool:
    """Tell whether this is a metrics token at its name's present epoch."""
    parsed = _parsed(token)
    if parsed is None:
        return False
    username, given = parsed
    wanted = _mac(secret, _metrics_message(username, epoch_of(username)))
    return hmac.compare_digest(wanted.encode(), given)


def _parsed(token: str) -> tuple[Username, bytes] | None:
    """Return the name and the MAC of a token, None if it has not the form of one."""
    name, separator, mac = token.partition(":")
    if not separator or len(token) > _MAX_TOKEN:
        return None
    try:
        return Username.of_account(name), mac.encode("utf-8", "replace")
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
