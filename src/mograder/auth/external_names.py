"""The user name of a person whom another system has proved: the rules, without any lookup.

A person of another system is its issuer and a subject, whatever the name or the mail address that
comes along. The first sign-in links them to a user name, for good; later ones never change it.
Addresses of mail decide nothing: providers send them unverified.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from mograder.auth.credentials import Role
from mograder.core.errors import InvalidInput
from mograder.core.names import Username


class Refusal(StrEnum):
    """The reason why a proven person gets no login; the template has the words."""

    NO_NAME = "no name"
    NOT_READ = "not read"
    BAD_NAME = "bad name"
    OTHER_DOMAIN = "other domain"
    OTHER_SUBJECT = "other subject"
    KNOWN_HERE = "known here"
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


def check_new_name(person: ProvenPerson, *, linked: bool, used: bool) -> Refusal | None:
    """Return why a person may not be linked to a name, None if the link may be made.

    ``linked``: the name is another subject's of the same issuer. ``used``: this hub knows it by
    anything else, such as a workspace, a token, a role in the settings, or another issuer.
    """
    if linked:
        return Refusal.OTHER_SUBJECT
    if used and not person.same_names:
        return Refusal.KNOWN_HERE
    return None


def display_line(value: object, longest: int) -> str:
    """Return a claim for display: printable, cut to a length, "" for what is no text."""
    text = value if isinstance(value, str) else ""
    shown = "".join(each if each.isprintable() else " " for each in text[: 4 * longest])
    clean = shown.strip()
    return clean if len(clean) <= longest else clean[: longest - 1] + "…"
