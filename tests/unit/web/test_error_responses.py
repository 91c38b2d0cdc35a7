"""The HTTP table of the error families (decision 12)."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from mograder.core import errors
from mograder.core.errors import MograderError, NotFound
from mograder.web.error_responses import HTTP_STATUS, TITLES, Wants, status_of, wanted

FAMILIES = [
    thing
    for thing in vars(errors).values()
    if isinstance(thing, type) and issubclass(thing, MograderError)
]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_a_status_and_a_heading(family: type[MograderError]) -> None:
    assert HTTP_STATUS[family] in TITLES


def test_a_new_family_answers_like_its_parent() -> None:
    class Unheard(NotFound):
        pass

    assert status_of(Unheard("x")) == 404


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", Wants.JSON),
        ("*/*", Wants.JSON),
        ("application/json", Wants.JSON),
        ("text/html,application/xhtml+xml,*/*;q=0.8", Wants.PAGE),
        ("application/x-ndjson", Wants.PROGRESS),
    ],
)
def test_what_a_client_wants_is_read_from_accept(accept: str, expected: Wants) -> None:
    headers = [(b"accept", accept.encode())]
    assert wanted(Request({"type": "http", "headers": headers})) is expected
