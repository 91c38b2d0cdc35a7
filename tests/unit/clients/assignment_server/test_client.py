"""An assignment server as one person sees it: shapes, refusals, and what is never sent."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mograder.clients.assignment_server.client import GradeRow, HttpsTransport, register
from mograder.clients.course_server import RemoteAssignment, WorkState, WouldReplaceOnTime
from mograder.clients.http import RetryPolicy
from mograder.core.errors import (
    Busy,
    Conflict,
    Forbidden,
    InvalidInput,
    MograderError,
    NotAuthenticated,
    NotFound,
    RemoteFailed,
    TooLarge,
)

URL, TOKEN = "https://server.example.org/course", "alice:" + "a" * 64
HW1 = RemoteAssignment("hw1", "hw1")
ONCE = RetryPolicy(tries=1)


class Server:
    """Answers all requests with one answer, or by a function, and remembers them."""

    def __init__(self, answer: Callable[[httpx.Request], httpx.Response] | httpx.Response) -> None:
        self.answer = answer
        self.heard: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.heard.append(request)
        return self.answer if isinstance(self.answer, httpx.Response) else self.answer(request)

    def transport(self, token: str = TOKEN, url: str = URL) -> HttpsTransport:
        return HttpsTransport(url, token, retry=ONCE, transport=httpx.MockTransport(self))


Asking = tuple[Server, HttpsTransport]


@pytest.fixture(scope="module")
def asking() -> Iterator[Asking]:
    """One connection for many answers."""
    server = says({})
    with server.transport() as transport:
        yield server, transport


def says(answer: object, status: int = 200, **headers: str) -> Server:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Server(httpx.Response(status, json=answer, headers=named))


def test_the_token_and_the_person_travel_with_every_question() -> None:
    server = says({"status": "new"})
    transport = server.transport()
    assert transport.user == "alice"
    assert transport.work_status(HW1).state is WorkState.NEW
    (asked,) = server.heard
    assert asked.headers["authorization"] == f"Bearer {TOKEN}"
    assert str(asked.url) == f"{URL}/assignments/hw1/status?user=alice&detail=1"


def test_the_shapes_of_0_3_16_are_enough() -> None:
    """compatibility-0.3.16.md 4: no sizes, no times, no receipts."""
    listing = [
        {
            "name": "hw1",
            "id": 1,
            "files": [{"filename": "a.py", "url": "/assignments/hw1/files/a.py"}],
        },
        {"name": "hw2", "duedate": 1767225600, "id": None},
        {"name": "hw3", "id": "x", "duedate": 0, "files": [], "weight": 3},
    ]
    one, two, three = says(listing).transport().list_assignments()
    assert (one.number, one.due, one.files[0].size, one.files[0].digest) == (1, None, None, None)
    assert one.files[0].address == "/assignments/hw1/files/a.py"
    assert (two.number, two.due) == (None, datetime(2026, 1, 1, tzinfo=UTC))
    assert (three.number, three.due, three.files) == (None, None, ())
    old = {"status": "submitted", "graded": True, "grade": 8.5, "feedback": None}
    standing = says(old).transport().work_status(HW1)
    assert (standing.graded, standing.grade, standing.feedback) == (True, "8.5", "")


@pytest.mark.parametrize(
    ("name", "given", "address"),
    [
        ("public/a b.png", "/assignments/hw1/files/public/a b.png", "public/a%20b.png"),
        ("data 1.csv", "/assignments/hw1/files/data%201.csv", "data%201.csv"),
        ("50%.csv", "/assignments/hw1/files/50%.csv", "50%25.csv"),
        ("ü.csv", "", "%C3%BC.csv"),
        ("a,b+c (2).csv", "", "a,b+c%20(2).csv"),
    ],
)
def test_a_files_address_is_encoded_once(name: str, given: str, address: str) -> None:
    listing = [{"name": "hw1", "files": [{"filename": name, "url": given}]}]
    (found,) = says(listing).transport().list_assignments()
    assert found.files[0].address == f"/assignments/hw1/files/{address}"


def test_the_shapes_of_our_server_tell_more(tmp_path: Path) -> None:
    receipt = {"received": "2026-03-10T20:08:00.123Z", "late": True, "signature": "s"}
    server = says({"status": "ok", "filename": "alice.py", "late": True, "receipt": receipt})
    handed = server.transport().submit(HW1, _file(tmp_path), late=True)
    assert handed.late
    assert handed.submitted_at == datetime(2026, 3, 10, 20, 8, 0, 123000, tzinfo=UTC)
    assert json.loads(handed.receipt) == receipt
    assert server.heard[0].url.params["late"] == "replace"
    assert b'filename="work.py"' in server.heard[0].content
    assert b"# my work" in server.heard[0].content


def test_a_submission_has_the_name_that_the_server_knows(tmp_path: Path) -> None:
    server = says({"status": "ok", "filename": "alice.py"})
    server.transport().submit(HW1, _file(tmp_path).rename(tmp_path / "au%78.py"))
    assert b'filename="aux.py"' in server.heard[0].content


@pytest.mark.parametrize(
    ("status", "family"),
    [
        (400, InvalidInput),
        (401, NotAuthenticated),
        (403, Forbidden),
        (404, NotFound),
        (409, Conflict),
        (413, TooLarge),
        (429, Busy),
        (500, RemoteFailed),
        (503, Busy),
    ],
)
def test_a_refusal_keeps_the_servers_words(status: int, family: type[MograderError]) -> None:
    server = says({"error": "These\r\n are\x1b[31m its words"}, status)
    with pytest.raises(family) as failure:
        server.transport().list_assignments()
    assert type(failure.value) is family
    assert failure.value.message == "These are [31m its words."


def test_with_the_instructors_token_nobody_has_work() -> None:
    """The refusal is in the words of 0.3.16, which say neither why nor what helps."""
    with pytest.raises(InvalidInput, match="Reserved username") as refused:
        says({"error": "Reserved username"}, 400).transport("__instructor__:00").work_status(HW1)
    assert "instructor's token" in (refused.value.hint or "")


def test_a_server_that_asks_to_wait_is_quoted() -> None:
    with pytest.raises(Busy) as failure:
        says({"error": "Too many attempts"}, 429, retry_after="40").transport().list_assignments()
    assert failure.value.retry_after == 40
    assert failure.value.hint == "Try again in 40 seconds."


def test_late_over_on_time_is_a_conflict_of_its_own_with_the_receipt(tmp_path: Path) -> None:
    said = {"error": "It is late", "reason": "late-would-replace", "receipt": {"sequence": 2}}
    with pytest.raises(WouldReplaceOnTime) as failure:
        says(said, 409).transport().submit(HW1, _file(tmp_path))
    assert json.loads(failure.value.receipt) == {"sequence": 2}
    closed = {"error": "The cut-off is over", "reason": "closed"}
    with pytest.raises(Conflict, match="cut-off is over"):
        says(closed, 403).transport().submit(HW1, _file(tmp_path))


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'{"status": 3}', b"\xff", b'{"graded": "x"}', b"[" * 100_000]
)
def test_what_is_no_assignment_server_is_told_so(body: bytes) -> None:
    with pytest.raises(RemoteFailed, match="not a mograder assignment server"):
        Server(httpx.Response(200, content=body)).transport().work_status(HW1)


def test_an_answer_without_end_is_cut_off() -> None:
    with pytest.raises(RemoteFailed, match="more than 16 MB"):
        Server(httpx.Response(200, content=b" " * 17_000_000)).transport().work_status(HW1)
    refusal = Server(httpx.Response(500, content=b" " * 17_000_000)).transport()
    with pytest.raises(RemoteFailed, match="answered 500"):
        refusal.work_status(HW1)


def test_a_redirect_is_told_and_never_followed() -> None:
    server = says({}, 302, location="https://evil.example.org/login")
    with pytest.raises(RemoteFailed, match="redirects to https://evil"):
        server.transport().list_assignments()
    assert [request.url.host for request in server.heard] == ["server.example.org"]


@pytest.mark.parametrize(
    "place", ["https://evil.org/x", "//evil.org/x", "/a/../../x", "/a/%2e%2e/x", "x", "@evil.org"]
)
def test_a_file_on_another_server_is_refused_and_the_others_are_not(
    place: str, tmp_path: Path
) -> None:
    files = [{"filename": "a.py", "url": place}, {"filename": "b.py"}]
    server = says([{"name": "hw1", "files": files}])
    elsewhere, other = server.transport().list_assignments()[0].files
    with pytest.raises(RemoteFailed, match=r"lies elsewhere: 'a\.py'"):
        server.transport().download(elsewhere, tmp_path / "a.py")
    assert other.address == "/assignments/hw1/files/b.py"
    assert len(server.heard) == 1


def test_with_leave_it_goes_in_the_clear_and_without_a_token_there_is_nothing_to_read() -> None:
    HttpsTransport("http://server.example.org", TOKEN, insecure=True).close()
    HttpsTransport("http://server.example.org", "").close()


@pytest.mark.parametrize("token", ["alice:a\nHost: evil", "alice: x", "alice:\udcff", "a\0"])
def test_a_token_that_would_break_a_header_is_refused(token: str) -> None:
    with pytest.raises(InvalidInput, match="characters"):
        HttpsTransport(URL, token)


def test_without_a_token_nobody_can_hand_in(tmp_path: Path) -> None:
    server = says({"status": "ok"})
    with pytest.raises(NotAuthenticated, match="Nobody is signed in") as refused:
        server.transport("").submit(HW1, _file(tmp_path))
    assert server.heard == []
    assert "--token NAME:x" in (refused.value.hint or "")
    assert server.transport("zoe:x").submit(HW1, _file(tmp_path)).filename == ""
    assert server.heard[0].url.params["user"] == "zoe"


def test_b141_a_registration_can_be_asked_for_twice() -> None:
    """The key of its own lets a client ask again whose answer was lost."""
    keys: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        body: dict[str, Any] = json.loads(request.content)
        keys.append(body["retry_key"])
        assert (body["user"], body["enrollment_code"]) == ("alice", "code")
        if len(keys) == 1:
            raise httpx.ReadError("reset")
        return httpx.Response(200, json={"token": TOKEN, "user": "alice"})

    given = register(
        URL,
        "alice",
        "code",
        retry_key="k" * 32,
        retry=RetryPolicy(sleep=lambda _: None),
        transport=httpx.MockTransport(answer),
    )
    assert (given.user, given.token) == ("alice", TOKEN)
    assert keys == ["k" * 32] * 2
    assert TOKEN not in repr(given)


def test_b154_grades_are_sent_as_0_3_16_sends_them() -> None:
    server = says({"status": "ok", "count": 3})
    rows = [GradeRow({"username": "alice", "grade": "8.5", "team": "A"})]
    assert server.transport().upload_grades(HW1, rows) == 3
    assert json.loads(server.heard[0].content) == {
        "grades": [{"username": "alice", "grade": "8.5", "team": "A"}]
    }


def test_names_are_encoded_step_by_step() -> None:
    server = says({"status": "new"})
    server.transport().work_status(RemoteAssignment("week 1/ü?", "week 1/ü?"))
    assert server.heard[0].url.raw_path.startswith(
        b"/course/assignments/week%201%2F%C3%BC%3F/status?"
    )


def _file(directory: Path) -> Path:
    file = directory / "work.py"
    file.write_bytes(b"# my work\n")
    return file


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=6,
)
MOMENTS = st.datetimes().map(datetime.isoformat) | st.floats() | st.integers()
ENTRIES = st.lists(
    st.fixed_dictionaries(
        {"name": st.text(max_size=8)},
        optional={
            "id": JSON,
            "duedate": MOMENTS,
            "due": MOMENTS | JSON,
            "files": st.lists(
                st.fixed_dictionaries(
                    {"filename": st.text(max_size=8)}, optional={"url": JSON, "size": JSON}
                ),
                max_size=2,
            ),
        },
    ),
    max_size=3,
)
STATUSES = st.fixed_dictionaries(
    {"status": st.sampled_from(["new", "submitted", "x"])},
    optional={"grade": JSON, "receipt": JSON, "late": JSON, "feedback": JSON, "graded": JSON},
)


@given(answer=JSON | ENTRIES | STATUSES, status=st.sampled_from([200, 400, 401, 409, 500]))
def test_whatever_a_server_answers_is_understood_or_told_in_words(
    answer: object, status: int, asking: Asking
) -> None:
    server, transport = asking
    body = json.dumps(answer, ensure_ascii=True).encode("utf-8", "replace")
    server.answer = httpx.Response(status, content=body)
    for ask in (
        lambda: [a.due and a.due.astimezone() for a in transport.list_assignments()],
        lambda: transport.work_status(HW1),
        lambda: transport.submissions(HW1),
        lambda: transport.upload_grades(HW1, []),
        lambda: transport.verify_receipt("{}"),
        transport.who_am_i,
    ):
        with suppress(MograderError):
            ask()
