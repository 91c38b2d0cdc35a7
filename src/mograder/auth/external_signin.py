"""A sign-in by another system: the cookie while it is under way, and the person whom it proves.

Such a sign-in leaves this hub and comes back. The cookie ties the answer to the browser that began:
nobody can sign another person in with an answer of their own. Each sign-in has a cookie of its own,
so that two tabs do not disturb each other.

A person of another system is its issuer and a subject, whatever the name or the mail address that
comes along. The first sign-in links them to a user name, for good; later ones never change it.
Addresses of mail decide nothing: providers send them unverified. The rules here look nothing up.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal

from mograder.auth import credentials
from mograder.auth.credentials import Role
from mograder.auth.signing import derived_key, read_signed_record, signed_record
from mograder.core.errors import InvalidInput
from mograder.core.names import Username

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


class Refusal(StrEnum):
    """The reason why a proven person gets no login; the template has the words."""

    NO_NAME = "no name"
    NOT_READ = "not read"
    BAD_NAME = "bad name"
    OTHER_DOMAIN = "other domain"
    OTHER_SUBJECT = "other subject"
    KNOWN_HERE = "known here"
    UNDECIDED = "undecided"
    FRONT_DISAGREES = "front disagrees"


@dataclass(frozen=True, slots=True)
class ProvenPerson:
    """A person whom another system has proved.

    ``name`` is the user name it tells, "" for none, or why that name cannot be used.
    ``same_names``: a name of that system is the same person's name on this hub. ``lifetime`` is
    how long the login lasts, in seconds; ``session`` is the system's id of its own login, or "".
    """

    method: Literal["oidc", "lti"]
    issuer: str
    subject: str
    name: str | Refusal
    same_names: bool
    lifetime: int
    display_name: str = ""
    role: Role = Role.STUDENT
    session: str = ""


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
    made = set_cookie_header(name, "", flow=flow, path=path, secure=secure)
    return made.replace(f"Max-Age={LIFETIME}", "Max-Age=0")


def cookies_of(headers: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return the cookies of sign-ins in a request, by name; one that is there twice is left out."""
    found = [(name, value) for name, value in credentials.cookies_in(headers) if _NAME in name]
    times = Counter(name for name, _ in found)
    return {name: value for name, value in found if times[name] == 1}


def is_state(text: str) -> bool:
    """Return whether a text has the form of a state that :func:`new_state` makes."""
    return _STATE.fullmatch(text) is not None


def parsed_name(person: ProvenPerson) -> Username | Refusal:
    """Return the user name that a person's system tells, by the one grammar of user names.

    Nothing is changed, neither blanks nor case nor Unicode's form: names that only look alike are
    other people's.
    """
    if isinstance(person.name, Refusal):
        return person.name
    if not person.name:
        return Refusal.NO_NAME
    try:
        return Username.claimed(person.name)
    except InvalidInput:
        return Refusal.BAD_NAME


def display_line(value: object, longest: int) -> str:
    """Return a claim for display: printable, cut to a length, "" for what is no text."""
    text = value if isinstance(value, str) else ""
    shown = "".join(each if each.isprintable() else " " for each in text[: 4 * longest])
    clean = shown.strip()
    return clean if len(clean) <= longest else clean[: longest - 1] + "…"
