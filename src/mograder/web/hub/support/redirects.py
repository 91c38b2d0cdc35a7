"""Where a form leads when it is done, and what the page there says about it.

A form that was posted without scripts is answered by a redirect to a page which tells in words
what happened: ``?done=<word>&item=<name>``. Pages have the words; an unknown one says nothing.
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
    """A path below the prefix whose page says what was done."""
    query = {"done": done} | ({"item": item} if item else {})
    return f"{path}?{urlencode(query)}"


def back_from(request: Request, caller: Identity, user: str, done: str, item: str) -> NextPage:
    """Lead back to where a form about somebody's copy or session stood.

    One's own lead to the first page, another person's to that person's, and a page that the
    form names in its query (``back``) to that one.
    """
    named = _COURSE_PAGES.get(request.query_params.get("back", ""))
    if named is None:
        foreign = user not in (caller.username, INSTRUCTOR)
        named = f"/course/students/{quote(user, safe='')}" if foreign else "/"
    where = told(named, done, item)
    return lambda _: where


def outcome(request: Request) -> tuple[str, str]:
    """What the form before this page did, and to which item; texts that a stranger may have sent.

    They choose among the page's own words, and a name in them is shown as text.
    """
    query = request.query_params
    return query.get("done", "")[:_LONGEST], query.get("item", "")[:_LONGEST]
