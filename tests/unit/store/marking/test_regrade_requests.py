"""store.marking.regrade_requests: threads of messages, and the state that follows from them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from mograder.core.errors import Conflict, NotFound
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.mark_release import MarkReleases, NewRelease
from mograder.store.marking.regrade_requests import (
    Message,
    MessageKind,
    RegradeRequest,
    RegradeRequests,
    RequestState,
)
from tests.support.gradebooks import AT
from tests.support.threads import at_once

_DECISIONS = (MessageKind.CHANGED, MessageKind.KEPT)


@pytest.fixture
def requests(book: Gradebook) -> RegradeRequests:
    return RegradeRequests(book)


def asked(
    requests: RegradeRequests, question: str = "Q1", student: str = "alice"
) -> RegradeRequest:
    message = Message(MessageKind.ASKED, student, AT, "Why?", assignee="mia")
    return requests.find(requests.ask("A1", student, question, message))


def say(requests: RegradeRequests, number: int, kind: MessageKind, **more: object) -> None:
    message = Message(kind, "mia", AT + timedelta(hours=1), "so", **more)  # type: ignore[arg-type]
    requests.add(number, message, seen=requests.find(number).last)


def test_a_request_begins_with_the_students_words(requests: RegradeRequests) -> None:
    request = asked(requests)
    (first,) = request.messages
    assert (request.assignment, request.student, request.question) == ("A1", "alice", "Q1")
    assert (first.text, first.by, first.at, request.assignee) == ("Why?", "alice", AT, "mia")
    assert (request.state, request.waits, request.decision) == (RequestState.OPEN, True, None)


@pytest.mark.parametrize(
    ("kinds", "state"),
    [
        (["answered"], RequestState.ANSWERED),
        (["answered", "asked"], RequestState.OPEN),
        (["assigned"], RequestState.OPEN),
        (["changed"], RequestState.DECIDED),
        (["kept", "assigned"], RequestState.DECIDED),
        (["kept", "reopened"], RequestState.OPEN),
        (["withdrawn"], RequestState.WITHDRAWN),
    ],
)
def test_the_state_follows_from_the_messages(
    requests: RegradeRequests, kinds: list[str], state: RequestState
) -> None:
    number = asked(requests).number
    for kind in kinds:
        say(requests, number, MessageKind(kind))
    assert requests.find(number).state is state


def test_there_is_one_request_for_a_student_and_a_question(requests: RegradeRequests) -> None:
    first = asked(requests)
    with pytest.raises(Conflict, match="asked about Q1 already"):
        asked(requests)
    asked(requests, "Q2")
    asked(requests, student="bob")
    say(requests, first.number, MessageKind.WITHDRAWN)
    again = asked(requests)
    assert (again.number, again.state) == (first.number, RequestState.OPEN)
    assert len(again.messages) == 3
    assert [each.student for each in requests.of("A1", question="Q1")] == ["alice", "bob"]
    assert [each.question for each in requests.of("A1", "alice")] == ["Q1", "Q2"]
    assert requests.of("A2") == ()


def test_a_conflict_names_neither_the_student_nor_the_marker(requests: RegradeRequests) -> None:
    """Names may be hidden from the other one."""
    seen = asked(requests).last
    requests.add(1, Message(MessageKind.ASKED, "alice", AT, "Please."), seen=seen)
    with pytest.raises(Conflict, match="newer message") as refused:
        requests.add(1, Message(MessageKind.ANSWERED, "max", AT, "Yes."), seen=seen)
    assert "alice" not in f"{refused.value.message} {refused.value.hint}"


def test_two_messages_at_once_do_not_pass_each_other(book: Gradebook) -> None:
    requests = RegradeRequests(book)
    request = asked(requests)

    def decide(number: int) -> None:
        message = Message(_DECISIONS[number], "mia", AT, "so")
        RegradeRequests(book).add(request.number, message, seen=request.last)

    found = at_once(len(_DECISIONS), decide)
    assert {type(each) for each in found} == {Conflict, type(None)}
    assert len(requests.find(request.number).messages) == 2


def test_a_decision_and_its_release_are_recorded_together_or_not_at_all(book: Gradebook) -> None:
    requests, releases = RegradeRequests(book), MarkReleases(book)
    request = asked(requests)
    message = Message(MessageKind.CHANGED, "mia", AT, "so", before=1, after=2)
    new = NewRelease("alice", AT, "{}")
    with pytest.raises(Conflict):
        requests.add(request.number, message, seen=request.last - 1, release=new)
    assert not releases.rows("A1")
    requests.add(request.number, message, seen=request.last, release=new)
    (row,) = releases.rows("A1")["alice"]
    assert (row.by, row.visible_from) == ("mia", AT)


def test_a_request_that_does_not_exist_is_not_found(requests: RegradeRequests) -> None:
    with pytest.raises(NotFound):
        requests.find(7)
    with pytest.raises(NotFound):
        requests.add(7, Message(MessageKind.ASKED, "alice", AT, "x"), seen=0)
