"""The credentials by which people sign in: tokens, one-time links, and the cookie of a login.

Each proves a user name and a role (security.md).

A token is ``username:hex(HMAC-SHA256(secret, message))`` (B105, compatibility-0.3.16.md 1). A
student's message is the username, as in 0.3.16, so that its tokens are valid here and ours there.
A named instructor's message contains the role, and a revoked user's the epoch; both begin with a
NUL byte, which no username may contain, so that no message of one kind can be a message of another.
A metrics token is of a third kind and has no role: it is valid only for the route of the metrics.

A sign-in link has a random code, of which the database stores only the hash.

The cookie (B131) is ``payload.mac``: the payload is URL-safe base64, with the user, the role, the
time and the id of the login. The MAC is made with a key derived from the hub's secret, so that a
token is never valid as a cookie or the reverse. The role in it is the role of the credential (a
token); ``[hub] instructors`` is checked again on every request, so that a user who is removed from
the list loses these rights at once.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from mograder.auth.signing import derived_key, read_signed, signed
from mograder.core.errors import InvalidInput
from mograder.core.names import INSTRUCTOR, Username

MAKE_ONE = "Make one: openssl rand -hex 32"
"""The remedy for a secret of the hub that is missing, or can be guessed."""

_SECRET_LENGTH = 32

_DIFFERENT = 10
"""Different characters that a random secret of that length has at least."""

_MAX_TOKEN = 300
"""Characters: the longest username (200 bytes), a colon and 64 hexadecimal digits fit."""

LINK_LIFE = timedelta(minutes=15)
"""The lifetime of an unused link."""

COOKIE = "mograder_session"
"""The cookie's name over plain HTTP; :func:`cookie_name` adds the browser's prefixes."""

LIFETIME = 86_400
"""Seconds that a login lasts (compatibility-0.3.16.md 2.1)."""

_SKEW = 60
"""Seconds by which another machine's clock may be ahead of ours."""

_MAX_COOKIE = 1024
_LOGIN_ID = re.compile(r"[A-Za-z0-9_-]{16,64}")
_METRICS = "mograder-metrics"
_LOGIN_PURPOSE = "login-cookie\0v1"
_LOGIN_FIELDS = 5


class Role(StrEnum):
    """A student has access to own files only, an instructor to the whole course, never the host.

    A marker has a student's rights, and may mark the assignments that are open for marking.
    """

    STUDENT = "student"
    MARKER = "marker"
    INSTRUCTOR = "instructor"


CREDENTIAL_ROLES = (Role.STUDENT, Role.INSTRUCTOR)
"""The roles that a token or a sign-in link can prove; markers are named in the settings, or by a
learning platform for one login."""


@dataclass(frozen=True, slots=True)
class Claims:
    username: str
    role: Role


@dataclass(frozen=True, slots=True)
class LinkCode:
    text: str
    hash: str


@dataclass(frozen=True, slots=True)
class Login:
    """One login; signing out revokes ``login_id``, ``issued`` is Unix time in seconds."""

    username: str
    role: Role
    login_id: str
    issued: int
    epoch: int


def demand_no_placeholder(secret: str) -> None:
    """Raise InvalidInput for a hub's secret such as ``<your-secret-here>``, copied from a guide."""
    if _is_placeholder(secret):
        raise InvalidInput(
            "MOGRADER_HUB_SECRET is a placeholder, which everybody knows.", hint=MAKE_ONE
        )


def can_be_guessed(secret: str) -> bool:
    """Return whether a hub's secret is too weak to sign with."""
    weak = len(secret) < _SECRET_LENGTH or len(set(secret)) < _DIFFERENT
    return weak or _is_placeholder(secret)


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
    as_instructor, as_student = (
        hmac.compare_digest(_mac(secret, _message(username, role, epoch)).encode(), given)
        for role in (Role.INSTRUCTOR, Role.STUDENT)
    )
    if as_instructor:
        return Claims(username, Role.INSTRUCTOR)
    # The reserved name is never a student; its two messages are equal at epoch 0.
    if as_student and username != INSTRUCTOR:
        return Claims(username, Role.STUDENT)
    return None


def make_metrics_token(secret: str, name: str, epoch: int = 0) -> str:
    """Return a token that only reads the metrics; revoking the tokens of ``name`` ends it."""
    username = Username.claimed(name)
    return f"{username}:{_mac(secret, _tagged(epoch, username, _METRICS))}"


def verify_metrics_token(secret: str, token: str, epoch_of: Callable[[str], int]) -> bool:
    parsed = _parsed(token)
    if parsed is None:
        return False
    username, given = parsed
    wanted = _mac(secret, _tagged(epoch_of(username), username, _METRICS))
    return hmac.compare_digest(wanted.encode(), given)


def make_code() -> LinkCode:
    text = secrets.token_urlsafe(32)
    return LinkCode(text, hash_code(text))


def hash_code(text: str) -> str:
    """Return the hash of a code for the database; without a salt, since codes are random."""
    return hashlib.sha256(text.encode()).hexdigest()


def new_login_id() -> str:
    """Return an id that cannot be guessed, since capabilities and sign-out depend on it."""
    return secrets.token_urlsafe(18)


def cookie_name(*, secure: bool, prefix: str, bare: str = COOKIE) -> str:
    """Return a cookie's name, with a prefix over HTTPS, so that no sibling host can set it.

    ``__Host-`` requires the path ``/``; under a path prefix ``__Secure-`` is used.
    """
    if not secure:
        return bare
    return f"__Secure-{bare}" if prefix else f"__Host-{bare}"


def cookies_in(headers: Iterable[tuple[bytes, bytes]]) -> Iterator[tuple[str, str]]:
    """Yield the name and the value of each cookie of a request; a name may be there twice."""
    for header, content in headers:
        for each in content.decode("latin-1").split(";") if header == b"cookie" else ():
            name, _, value = each.partition("=")
            # Only these: a sibling host may set a cookie whose name has another space before it.
            yield name.strip(" \t"), value.strip(" \t")


def make_cookie(secret: str, login: Login) -> str:
    """Raise InvalidInput for a username or login id that is not valid."""
    name = Username.of_account(login.username)
    if not _LOGIN_ID.fullmatch(login.login_id):
        raise InvalidInput("A login id has 16 to 64 letters, digits, dashes and underscores.")
    fields = [name, login.role, str(login.issued), login.login_id, str(login.epoch)]
    return signed(derived_key(secret, _LOGIN_PURPOSE), "\0".join(fields).encode())


def read_cookie(secret: str, value: str, now: datetime) -> Login | None:
    """Return the cookie's login, which may be revoked; None if forged, damaged or not of now."""
    found = read_signed(derived_key(secret, _LOGIN_PURPOSE), value, _MAX_COOKIE)
    fields = found.decode().split("\0") if found else []
    if len(fields) != _LOGIN_FIELDS:
        return None
    login = Login(fields[0], Role(fields[1]), fields[3], int(fields[2]), int(fields[4]))
    age = now.timestamp() - login.issued
    return login if -_SKEW <= age < LIFETIME else None


def set_cookie_header(name: str, value: str, *, path: str, secure: bool, max_age: int) -> str:
    """Return a ``Set-Cookie`` value that scripts cannot read and other sites cannot send."""
    attributes = f"Path={path}; HttpOnly; SameSite=Lax; Max-Age={max_age}"
    return f"{name}={value}; {attributes}" + ("; Secure" if secure else "")


def clear_cookie_header(name: str, *, path: str, secure: bool) -> str:
    return set_cookie_header(name, "", path=path, secure=secure, max_age=0)


def _parsed(token: str) -> tuple[Username, bytes] | None:
    name, separator, mac = token.partition(":")
    if not separator or len(token) > _MAX_TOKEN:
        return None
    try:
        account = Username(name) if name == INSTRUCTOR else Username.claimed(name)
        return account, mac.encode("utf-8", "replace")
    except InvalidInput:
        return None


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


def _is_placeholder(secret: str) -> bool:
    return secret.startswith("<") and secret.endswith(">")
