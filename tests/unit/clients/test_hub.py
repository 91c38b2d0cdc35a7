"""The client of a hub, against a real HTTP server with the test's answers.

See compatibility-0.3.16.md 2.
"""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import httpx
import pytest

from mograder.auth.credentials import Claims, Role, make_token, verify_token
from mograder.auth.identity import bearer_token
from mograder.clients.file_upload import Upload
from mograder.clients.hub import HubClient, Published
from mograder.clients.server_url import parse_hub_url
from mograder.core.errors import (
    Busy,
    Conflict,
    Forbidden,
    InvalidInput,
    MograderError,
    NotFound,
    RemoteFailed,
    TimedOut,
    TooLarge,
)
from mograder.core.web_origin import is_loopback
from tests.support.fake_hub import NDJSON, FakeHub, Reply, hub

__all__ = ["hub"]

PUBLISH = "/publish/A1"
DONE = {"event": "done", "status": "ok", "files": ["A1.py"], "type": "assignment"}


@pytest.fixture
def files(tmp_path: Path) -> list[Upload]:
    notebook = tmp_path / "A1.py"
    notebook.write_bytes(b"import marimo\r\n\xc3\xa9")
    picture = tmp_path / "x.png"
    picture.write_bytes(bytes(range(256)) * 1000)
    return [Upload("A1.py", notebook), Upload("public/x.png", picture)]


def publish(hub: FakeHub, files: list[Upload], prefix: str = "") -> tuple[Published, list[str]]:
    told: list[str] = []
    with HubClient(f"{hub.url}{prefix}", "teacher:abc") as client:
        return client.publish("A1", "assignment", files, told.append), told


def test_a_large_upload_tells_how_far_it_is(hub: FakeHub, tmp_path: Path) -> None:
    with (tmp_path / "data.bin").open("wb") as file:
        file.truncate(8 << 20)
    hub.streams(PUBLISH, DONE)
    _, told = publish(hub, [Upload("data.bin", tmp_path / "data.bin")])
    assert told == [f"Sent {part} % of 8 MB" for part in (25, 50, 75, 100)]


def test_a_name_travels_in_the_path_whatever_it_holds(hub: FakeHub, files: list[Upload]) -> None:
    hub.streams("/publish/A1%20R%C3%A9vision%20%26%20more", DONE)
    with HubClient(hub.url, "t:1") as client:
        client.publish("A1 Révision & more", "demo", files, lambda _: None)


@pytest.mark.parametrize(
    ("status", "detail", "family", "words"),
    [
        (400, "A1.py:3: invalid syntax.", InvalidInput, "A1.py:3: invalid syntax."),
        (403, "Instructor access required", Forbidden, "token is a student's"),
        (409, "Being replaced", Conflict, "Being replaced"),
        (413, "An upload may have at most 100 MB.", TooLarge, "at most 100 MB"),
        (404, "Not Found", NotFound, "no hub at"),
        (405, "Method Not Allowed", NotFound, "it is too old"),
        (500, "Broken (reference 1a2b)", RemoteFailed, "reference 1a2b"),
        (502, "x No solution found:\n  because a", RemoteFailed, "found:\n  because a"),
        (503, "No memory", Busy, "No memory"),
        (504, "Took too long", TimedOut, "Took too long"),
        (408, "The body came too slowly", TimedOut, "too slowly"),
        (418, "", InvalidInput, "answered 418"),
        (599, "", RemoteFailed, "answered 599"),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_a_refusal_is_told_in_the_hubs_own_words(
    hub: FakeHub,
    files: list[Upload],
    status: int,
    detail: str,
    family: type[MograderError],
    words: str,
    streamed: bool,
) -> None:
    if streamed:
        hub.streams(PUBLISH, {"event": "error", "status": status, "detail": detail})
    else:
        hub.answers(PUBLISH, detail=detail)
        hub.replies[PUBLISH] = Reply(status, hub.replies[PUBLISH].body)
    with pytest.raises(family) as refused:
        publish(hub, files)
    assert type(refused.value) is family
    assert words in refused.value.message


@pytest.mark.parametrize(
    ("reply", "family", "words"),
    [
        (Reply(403, b"403 Forbidden", "text/plain"), Forbidden, "does not accept this token"),
        (Reply(401, b"<html>Sign in</html>", "text/html"), Forbidden, "does not accept"),
        (Reply(502, b"<html>nginx</html>", "text/html"), RemoteFailed, "502 Bad Gateway"),
        (Reply(413, b"<html>nginx</html>", "text/html"), TooLarge, "413"),
        (Reply(200, b"<html>Welcome</html>", "text/html"), RemoteFailed, "not a mograder hub"),
        (Reply(200, b"[]"), RemoteFailed, "not a mograder hub"),
        (Reply(400, b"{"), InvalidInput, "answered 400"),
        (Reply(200, b"", NDJSON), RemoteFailed, "closed the connection"),
        (Reply(200, b'{"event":"progress"}\n', NDJSON), RemoteFailed, "closed the connection"),
        (Reply(200, b"hello\n", NDJSON), RemoteFailed, "not a mograder hub"),
        (Reply(200, b"x" * 1_200_000, NDJSON), RemoteFailed, "never ends"),
        (Reply(200, b"x" * 1_200_000), RemoteFailed, "sends more than"),
        (Reply(302, b"", headers={"location": "/sso"}), RemoteFailed, "redirects to /sso"),
    ],
)
def test_whatever_stands_in_front_of_a_hub_is_named_and_not_quoted(
    hub: FakeHub, files: list[Upload], reply: Reply, family: type[MograderError], words: str
) -> None:
    hub.replies[PUBLISH] = reply
    with pytest.raises(family, match=words) as refused:
        publish(hub, files)
    assert "<html>" not in str(refused.value)


def test_a_hub_that_is_not_there_is_a_sentence_with_a_remedy(files: list[Upload]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with (
        HubClient(f"http://127.0.0.1:{port}", "t:1") as client,
        pytest.raises(RemoteFailed, match="cannot be reached") as failed,
    ):
        client.publish("A1", "assignment", files, lambda _: None)
    assert "is running" in failed.value.hint


def test_a_hub_that_hangs_up_is_a_sentence(files: list[Upload]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_hang_up_once, args=(server,))
        thread.start()
        client = HubClient(f"http://127.0.0.1:{server.getsockname()[1]}", "t:1")
        with client, pytest.raises(RemoteFailed, match="broke"):
            client.publish("A1", "assignment", files, lambda _: None)
        thread.join()


def _hang_up_once(server: socket.socket) -> None:
    connection, _ = server.accept()
    connection.recv(100)
    connection.close()


def test_a_file_that_vanished_stops_everything_before_anything_is_sent(
    hub: FakeHub, files: list[Upload]
) -> None:
    hub.streams(PUBLISH, DONE)
    with pytest.raises(InvalidInput, match=r"gone\.csv cannot be read"):
        publish(hub, [*files, Upload("gone.csv", files[0].path.with_name("gone.csv"))])
    assert hub.received == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://hub.example.org", "https://hub.example.org"),
        (" https://host.example/live/hub/ ", "https://host.example/live/hub"),
        ("http://localhost:8080/", "http://localhost:8080"),
        ("http://127.3.2.1:80", "http://127.3.2.1"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_a_hubs_address_may_have_a_prefix_and_a_slash(text: str, expected: str) -> None:
    assert parse_hub_url(text) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not the URL"),
        ("hub.example.org", "not the URL"),
        ("ftp://hub.example.org", "not the URL"),
        ("https://", "not the URL"),
        ("https://h:notaport", "is not a URL"),
        ("https://user:pw@hub.example.org", "no user"),
        ("https://hub.example.org/?a=1", "no user, query"),
        ("http://hub.example.org", "not encrypted"),
        ("http://127.0.0.1.example.org", "not encrypted"),
        ("http://10.0.0.1:8080", "not encrypted"),
    ],
)
def test_an_address_that_is_none_or_would_leak_the_token_is_refused(text: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        HubClient(text, "t:1")


def test_plain_http_to_another_machine_is_a_wish_of_its_own() -> None:
    assert parse_hub_url("http://10.0.0.1:8080", insecure=True) == "http://10.0.0.1:8080"


@pytest.mark.parametrize("token", ["a:b\nX-Evil: 1", "a b", "ä\u00a0:1", "\udce4:1", ""])
def test_a_token_that_no_header_can_carry_is_refused(token: str) -> None:
    with pytest.raises(InvalidInput, match="characters that no token has"):
        HubClient("https://hub.example.org", token)


def test_the_token_of_a_name_with_any_letters_reaches_the_hub_whole() -> None:
    token, came = make_token("secret", "zoë.łukasz"), []

    def answer(request: httpx.Request) -> httpx.Response:
        came.append(bearer_token([(name.lower(), value) for name, value in request.headers.raw]))
        return httpx.Response(200, json={})

    with HubClient(
        "https://hub.example.org", token, transport=httpx.MockTransport(answer)
    ) as client:
        client.ask("GET", "/assignments")
    assert came == [token]
    assert verify_token("secret", token, lambda _: 0) == Claims("zoë.łukasz", Role.STUDENT)


@pytest.mark.parametrize(
    ("host", "expected"),
    [("localhost", True), ("a.localhost", True), ("::1", True), ("localhost.example", False)],
)
def test_this_machine_is_known_by_name_and_number(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_an_answer_that_never_ends_is_given_up(
    hub: FakeHub, files: list[Upload], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that sends a byte now and then must not hold a command for ever."""
    hub.replies[PUBLISH] = Reply(status=500, body=b"x" * 200_000)
    monkeypatch.setattr("mograder.clients.hub._ANSWER_SECONDS", -1.0)
    with pytest.raises(RemoteFailed, match="does not end"):
        publish(hub, files)
