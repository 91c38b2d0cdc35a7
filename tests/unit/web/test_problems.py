"""The HTTP table of the error families (decision 12)."""

from __future__ import annotations

import json

import pytest

from mograder.core import errors
from mograder.core.errors import Busy, InvalidInput, MograderError, NotAuthenticated, NotFound
from mograder.web.problems import (
    HTTP_STATUS,
    HUB_STATUS,
    TITLES,
    Wants,
    problem_json,
    status_of,
    wants,
)

FAMILIES = [
    thing
    for thing in vars(errors).values()
    if isinstance(thing, type) and issubclass(thing, MograderError)
]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_a_status_and_a_heading(family: type[MograderError]) -> None:
    assert HTTP_STATUS[family] in TITLES
    assert HUB_STATUS[family] in TITLES


def test_a_new_family_answers_like_its_parent() -> None:
    class Unheard(NotFound):
        pass

    assert status_of(Unheard("x")) == 404


def test_the_hub_answers_403_to_nobody() -> None:
    assert status_of(NotAuthenticated("x")) == 401
    assert status_of(NotAuthenticated("x"), HUB_STATUS) == 403


def test_the_json_carries_the_hint() -> None:
    response = problem_json(InvalidInput("It is wrong.", hint="Mend it."))
    assert json.loads(bytes(response.body)) == {"detail": "It is wrong. Mend it."}


def test_busy_says_when_to_come_back() -> None:
    assert problem_json(Busy("Full.", retry_after=7)).headers["retry-after"] == "7"


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", Wants.JSON),
        ("*/*", Wants.JSON),
        ("application/json", Wants.JSON),
        ("text/html,application/xhtml+xml,*/*;q=0.8", Wants.PAGE),
        ("application/x-ndjson", Wants.PROGRESS),
    ],
)
def test_what_a_client_wants_is_read_from_accept(accept: str, wanted: Wants) -> None:
    assert wants(accept) is wanted
