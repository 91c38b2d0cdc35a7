"""The login cookie, with the user, the role, the time and the id of a login (B131).

``payload.mac``: the payload is URL-safe base64, the MAC is made with a key derived from the hub's
secret, so that a token is never valid as a cookie or the reverse. The role in it is the role of the
credential (a token); ``[hub] instructors`` is checked again on every request, so that a user who is
removed from the list loses these rights at once.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from mograder.auth.roles import Role
from mograder.auth.signing import derived_key, read_signed, signed
from mograder.core.errors import InvalidInput
from mograder.core.names import Username

COOKIE = "mograder_session"
"""The cookie's name over plain HTTP; :func:`cookie_name` adds the browser's prefixes."""

LIFETIME = 86_400
"""Seconds that a login lasts (compatibility-0.3.16.md 2.1)."""

_SKEW = 60
"""Seconds by which another machine's clock may be ahead of ours."""

_MAX_VALUE = 1024
_LOGIN_ID = re.compile(r"[A-Za-z0-9_-]{16,64}")
_PURPOSE = "login-cookie\0v1"
_FIELDS = 5


@dataclass(frozen=True, slots=True)
class Login:
    """One login; signing out revokes ``login_id``, ``issued`` is Unix time in seconds."""

    username: str
    role: Role
    login_id: str
    issued: int
    epoch: int


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
    """Return the cookie's value for a login.

    Raises: InvalidInput for a username or login id that is not valid.
    """
    name = Username.of_account(login.username)
    if not _LOGIN_ID.fullmatch(login.login_id):
        raise InvalidInput("A login id has 16 to 64 letters, digits, dashes and underscores.")
    fields = [name, login.role, str(login.issued), login.login_id, str(login.epoch)]
    return signed(derived_key(secret, _PURPOSE), "\0".join(fields).encode())


def read_cookie(secret: str, value: str, now: datetime) -> Login | None:
    """Return the cookie's login, or None if it is forged, damaged, too old or from the future.

    The caller has to check whether the login was revoked.
    """
    found = read_signed(derived_key(secret, _PURPOSE), value, _MAX_VALUE)
    fields = found.decode().split("\0") if found else []
    if len(fields) != _FIELDS:
        return None
    login = Login(fields[0], Role(fields[1]), fields[3], int(fields[2]), int(fields[4]))
    age = now.timestamp() - login.issued
    return login if -_SKEW <= age < LIFETIME else None


def set_cookie_header(name: str, value: str, *, path: str, secure: bool, max_age: int) -> str:
    """Return a ``Set-Cookie`` value that scripts cannot read and other sites cannot send."""
    attributes = f"Path={path}; HttpOnly; SameSite=Lax; Max-Age={max_age}"
    return f"{name}={value}; {attributes}" + ("; Secure" if secure else "")


def clear_cookie_header(name: str, *, path: str, secure: bool) -> str:
    """Return the ``Set-Cookie`` value that makes a browser delete the cookie."""
    return set_cookie_header(name, "", path=path, secure=secure, max_age=0)
