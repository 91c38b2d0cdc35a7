"""Bodies of the API about help with a notebook, and messages to its page."""

from __future__ import annotations

from typing import Literal

from mograder.web.hub.support.body_model import Body

HelpWord = Literal["waiting", "taken", "together"]


class HelpAsked(Body):
    """A student's open request for help: waiting, taken by ``helper``, or in the notebook together.

    ``label`` is the check that it is about, "" for none.
    """

    state: HelpWord
    label: str
    helper: str


class HelpState(Body):
    """The request for help with a copy, null without one, and the checks it may be about.

    ``most`` is the number of characters that a student may write with it.
    """

    asked: HelpAsked | None
    labels: list[str]
    most: int


class NotebookMessage(Body):
    """A message of an instructor to all open notebooks of an item; ``seconds`` are left."""

    number: int
    text: str
    sender: str
    seconds: int
