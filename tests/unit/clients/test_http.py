"""Code shared by all HTTP clients: retries, and state kept between requests."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from mograder.clients.file_upload import Upload, opened
from mograder.clients.http import (
    RetryPolicy,
    make_client,
    redirect_target,
    retry_after,
    send,
    trusted_authorities,
)
from mograder.core.clock import SystemClock
from mograder.core.errors import InvalidInput

Answer = httpx.Response | Exception


class Server:
    """Returns the given answers in order, and repeats the last one."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.asked = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


Ask = Callable[[Server], httpx.Response]


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def ask(pauses: list[float]) -> Iterator[Ask]:
    clients: list[httpx.Client] = []

    def asking(server: Server) -> httpx.Response:
        client = httpx.Client(transport=httpx.MockTransport(server))
        clients.append(client)
        retry = RetryPolicy(sleep=pauses.append)
        return send(client, client.build_request("GET", "http://x/"), retry, print)

    yield asking
    for client in clients:
        client.close()


def busy(**headers: str) -> httpx.Response:
    return httpx.Response(503, headers={name.replace("_", "-"): v for name, v in headers.items()})


@pytest.mark.parametrize(
    "failure",
    [
        httpx.ConnectError("refused"),
        httpx.ConnectTimeout("slow"),
        httpx.ReadError("reset"),
        httpx.RemoteProtocolError("Server disconnected"),
        httpx.Response(503),
    ],
)
def test_what_may_pass_is_tried_again(failure: Answer, ask: Ask, pauses: list[float]) -> None:
    server = Server(failure, failure, httpx.Response(200))
    assert ask(server).status_code == 200
    assert server.asked == 3
    assert len(pauses) == 2


def test_the_pauses_grow_and_differ_from_client_to_client(ask: Ask, pauses: list[float]) -> None:
    for _ in range(8):
        with pytest.raises(httpx.ConnectError):
            ask(Server(httpx.ConnectError("refused")))
    by_turn = [pauses[turn::4] for turn in range(4)]
    for pause, longest in zip(by_turn, (0.5, 1.0, 2.0, 4.0), strict=True):
        assert longest / 2 <= min(pause) < max(pause) <= longest


def test_a_busy_server_is_left_alone_for_as_long_as_it_says(ask: Ask, pauses: list[float]) -> None:
    assert ask(Server(busy(retry_after="7"), httpx.Response(200))).status_code == 200
    assert len(pauses) == 1
    assert 7 <= pauses[0] <= 9


def test_nobody_waits_an_hour_for_a_server(ask: Ask, pauses: list[float]) -> None:
    assert ask(Server(busy(retry_after="3600"))).status_code == 503
    assert pauses == []


def test_a_server_that_stays_busy_is_said_to_be_busy(ask: Ask) -> None:
    server = Server(busy())
    assert ask(server).status_code == 503
    assert server.asked == 5


@pytest.mark.parametrize("status", [200, 400, 401, 404, 409, 429, 500])
def test_every_other_answer_is_final(status: int, ask: Ask) -> None:
    server = Server(httpx.Response(status))
    assert ask(server).status_code == status
    assert server.asked == 1


def test_a_wrong_certificate_is_not_tried_again(ask: Ask) -> None:
    failure = httpx.ConnectError("certificate verify failed")
    failure.__cause__ = ssl.SSLCertVerificationError("self-signed")
    server = Server(failure)
    with pytest.raises(httpx.ConnectError):
        ask(server)
    assert server.asked == 1


class Broken(httpx.BaseTransport):
    """Breaks the first connection in the middle of the request, and keeps what the next sends."""

    def __init__(self) -> None:
        self.received = b""
        self.asked = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        assert isinstance(request.stream, httpx.SyncByteStream)
        parts = iter(request.stream)
        self.asked += 1
        if self.asked == 1:
            next(part for part in parts if part.startswith(b"xxx"))
            raise httpx.WriteError("reset")
        self.received = b"".join(parts)
        assert len(self.received) == int(request.headers["content-length"])
        return httpx.Response(200)


def test_a_file_is_sent_from_the_beginning_again(tmp_path: Path) -> None:
    content = b"x" * 200_000
    (tmp_path / "data.bin").write_bytes(content)
    server = Broken()
    with (
        opened([Upload("data.bin", tmp_path / "data.bin")]) as parts,
        httpx.Client(transport=server) as client,
    ):
        request = client.build_request("POST", "http://x/", files=[("file", parts[0])])
        assert send(client, request, RetryPolicy(sleep=lambda _: None)).status_code == 200
    assert server.asked == 2
    assert content in server.received


def test_retry_after_may_be_a_date() -> None:
    later = SystemClock().now().timestamp() + 100
    text = httpx.Response(503, headers={"retry-after": _http_date(later)})
    assert 95 < retry_after(text) <= 100
    assert retry_after(busy(retry_after="soon")) == 0
    assert retry_after(busy(retry_after=_http_date(0))) == 0


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ALL_PROXY", "socks5://127.0.0.1:1080"),
        ("ALL_PROXY", "socks://127.0.0.1:1080/"),
        ("HTTPS_PROXY", "http://proxy:port"),
        ("SSL_CERT_FILE", "/nonexistent/root.crt"),
        ("SSL_CERT_FILE", __file__),
    ],
)
def test_a_setting_of_the_computer_that_cannot_be_used_is_said(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    trusted_authorities.cache_clear()
    with pytest.raises(InvalidInput, match="certificate setting of this computer") as caught:
        make_client("https://x.test", read=1.0)
    assert variable in str(caught.value.hint)


def test_no_cookie_of_an_answer_is_sent_and_no_redirect_followed() -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(302, headers={"set-cookie": "session=1", "location": "/login"})

    transport = httpx.MockTransport(answer)
    with make_client("https://x.test", read=1.0, token="a:1", transport=transport) as client:
        client.get("https://x.test/a")
        client.get("https://x.test/b")
    assert [request.url.path for request in asked] == ["/a", "/b"]
    assert [request.headers["authorization"] for request in asked] == ["Bearer a:1"] * 2
    assert "cookie" not in asked[1].headers


@pytest.mark.parametrize(
    ("status", "location", "target"),
    [
        (302, "https://sso.test/in?state=secret", "https://sso.test/in"),
        (307, "", "another address"),
        (200, "https://sso.test", ""),
    ],
)
def test_a_redirect_is_named_without_its_query(status: int, location: str, target: str) -> None:
    assert redirect_target(httpx.Response(status, headers={"location": location})) == target


def _http_date(moment: float) -> str:
    from email.utils import formatdate

    return formatdate(moment, usegmt=True)
