"""Redirects after a form, and the message that the next page shows.

A form that is posted without scripts is answered by a redirect to a page that shows what happened:
``?done=<word>&item=<name>``. The page has the texts; for an unknown word it shows none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from urllib.parse import quote, urlencode

from fastapi import Request

from mograder.auth.identity import Identity
from mograder.core.names import INSTRUCTOR

NextPage = Callable[[object], str]

_COURSE_PAGES: Mapping[str, str] = MappingProxyType(
    {"items": "/course/items", "sessions": "/course/sessions", "people": "/course/people"}
)
_LONGEST = 200


def told(path: str, done: str, item: str = "") -> str:
    """Return a path below the prefix whose page shows what was done."""
    query = {"done": done} | ({"item": item} if item else {})
    return f"{path}?{urlencode(query)}"


def back_from(request: Request, caller: Identity, user: str, done: str, item: str) -> NextPage:
    """Return the page to go back to after a form about a copy or session.

    The form may name the page in its query (``back``); else it is the first page for the caller's
    own copy or session, and the person's page for another person's.
    """
    named = _COURSE_PAGES.get(request.query_params.get("back", ""))
    if named is None:
        foreign = user not in (caller.username, INSTRUCTOR)
        named = f"/course/students/{quote(user, safe='')}" if foreign else "/"
    where = told(named, done, item)
    return lambda _: where


def outcome(request: Request) -> tuple[str, str]:
    """Return what the form before this page did, and to which item, from untrusted parameters.

    The first only selects one of the page's own texts, and the second is shown as plain text.
    """
    query = request.query_params
    return query.get("done", "")[:_LONGEST], query.get("item", "")[:_LONGEST]
