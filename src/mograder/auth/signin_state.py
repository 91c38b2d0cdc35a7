"""The cookie of a sign-in under way, with what its answer must fit.

A sign-in by another system leaves this hub and comes back. The cookie ties the answer to the
browser that began: nobody can sign another person in with an answer of their own. Each sign-in has
a cookie of its own, so that two tabs do not disturb each other.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from mograder.auth import credentials
from mograder.auth.signing import derived_key, read_signed_record, signed_record

Flow = Literal["oidc", "lti"]

LIFETIME = 600
"""Seconds that a sign-in may take."""

MOST = 8
"""Sign-ins under way in one browser; more cookies could make its requests too long for servers."""

_NAME = "mograder_signin_"
_PURPOSE = "signin-state"
_LONGEST = 3800
_SKEW = 60
_STATE = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class SignInState:
    """One sign-in under way; ``issued`` is Unix time in seconds, ``target`` is where it leads.

    ``login_id`` is the browser's login of before, which the new one replaces; "" for none.
    """

    flow: Flow
    state: str
    nonce: str
    verifier: str
    target: str
    issuer: str
    client_id: str
    issued: int
    login_id: str = ""


def new_state(
    flow: Flow, *, issuer: str, client_id: str, target: str, now: datetime, login_id: str = ""
) -> SignInState:
    """Return a new sign-in with random values of letters, digits, dashes and underscores."""
    state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
    issued = int(now.timestamp())
    return SignInState(flow, state, nonce, verifier, target, issuer, client_id, issued, login_id)


def cookie_name(state: str, *, secure: bool, prefix: str) -> str:
    """Return the name of a sign-in's cookie, prefixed like that of a login."""
    bare = _NAME + hashlib.sha256(state.encode("utf-8", "replace")).hexdigest()[:16]
    return credentials.cookie_name(secure=secure, prefix=prefix, bare=bare)


def make(secret: str, state: SignInState) -> str:
    """Return the cookie's value."""
    return signed_record(derived_key(secret, _PURPOSE), state)


def read(secret: str, value: str, *, flow: Flow, state: str, now: datetime) -> SignInState | None:
    """Return the sign-in of a cookie, None unless it is ours, of this flow and state, and fresh."""
    begun = read_signed_record(derived_key(secret, _PURPOSE), value, SignInState, _LONGEST)
    if begun is None:
        return None
    age = now.timestamp() - begun.issued
    same = hmac.compare_digest(begun.state.encode(), state.encode("utf-8", "replace"))
    return begun if same and begun.flow == flow and -_SKEW <= age < LIFETIME else None


def set_cookie_header(name: str, value: str, *, flow: Flow, path: str, secure: bool) -> str:
    """Return a ``Set-Cookie`` value; the platform's answer of LTI is a post of another site.

    A browser sends a ``Lax`` cookie with OpenID Connect's redirect, but with such a post only
    ``SameSite=None``, and in a frame only a cookie of its own for each site around it. Browsers
    take that only over HTTPS, and from this machine itself, where trials need no certificate.
    """
    if flow == "lti":
        attributes = "SameSite=None; Secure; Partitioned"
    else:
        attributes = "SameSite=Lax" + ("; Secure" if secure else "")
    return f"{name}={value}; Path={path}; HttpOnly; Max-Age={LIFETIME}; {attributes}"


def clear_cookie_header(name: str, *, flow: Flow, path: str, secure: bool) -> str:
    """Return the ``Set-Cookie`` value that makes a browser delete the cookie."""
    made = set_cookie_header(name, "", flow=flow, path=path, secure=secure)
    return made.replace(f"Max-Age={LIFETIME}", "Max-Age=0")


def cookies_of(headers: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return the cookies of sign-ins in a request, by name; one that is there twice is left out."""
    found = [(name, value) for name, value in credentials.cookies_in(headers) if _NAME in name]
    names = [name for name, _ in found]
    return {name: value for name, value in found if names.count(name) == 1}


def is_state(text: str) -> bool:
    """Return whether a text has the form of a state that :func:`new_state` makes."""
    return _STATE.fullmatch(text) is not None
