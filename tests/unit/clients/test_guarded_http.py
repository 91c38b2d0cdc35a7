"""clients.guarded_http: which addresses are asked, what is sent, and what is taken back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import httpx
import pytest

from mograder.clients import guarded_http
from mograder.clients.guarded_http import GuardedHttp
from mograder.core.errors import RemoteFailed
from tests.support.http_server import Quiet, answering

SECRET = "canary-1234567890"
PUBLIC = "93.184.216.34"


def http(
    handler: Callable[[httpx.Request], httpx.Response],
    *addresses: str,
    origins: tuple[str, ...] = ("https://moodle.test",),
    private_network: bool = False,
) -> GuardedHttp:
    return GuardedHttp(
        origins,
        private_network=private_network,
        name="the platform",
        transport=httpx.MockTransport(handler),
        resolve=lambda host, port: addresses or (PUBLIC,),
    )


def good(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, json={"asked": str(request.url)})


def never(request: httpx.Request) -> httpx.Response:
    raise AssertionError(f"asked {request.url.host}")


def test_the_checked_address_is_asked_under_the_servers_name() -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return good(request)

    answer = http(handler).send("GET", "https://moodle.test/mod/jwks?x=1", bearer=SECRET)
    (request,) = seen
    assert (answer.status, answer.json()) == (200, {"asked": f"https://{PUBLIC}/mod/jwks?x=1"})
    assert request.headers["host"] == "moodle.test"
    assert request.headers["authorization"] == f"Bearer {SECRET}"
    assert request.extensions["sni_hostname"] == "moodle.test"


def test_a_form_and_a_body_are_sent() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        return httpx.Response(201, content=request.content, headers={"X-Kind": request.method})

    answer = http(handler).send("POST", "https://moodle.test/", form={"a": "b c"})
    assert (answer.body, answer.headers["x-kind"], answer.good) == (b"a=b+c", "POST", True)
    assert http(handler).send("PUT", "https://moodle.test/", body=b"{}").body == b"{}"


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.test/x",
        "https://moodle.test:8443/",
        "https://moodle.test@evil.test/",
        "https://moodle.test\\@evil.test/",
        "http://moodle.test/",
        "file:///etc/passwd",
        "//moodle.test/",
        "",
    ],
)
def test_addresses_of_others_are_not_asked(url: str) -> None:
    with pytest.raises(RemoteFailed, match="The platform names an address"):
        http(never).send("GET", url, bearer=SECRET)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "0.0.0.0",
        "224.0.0.1",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "fc00::1",
        "fe80::1",
        "64:ff9b::a00:1",
        "2002:a00:1::",
        "::169.254.169.254",
        "::ffff:0:127.0.0.1",
        "ff02::1",
    ],
)
def test_private_addresses_are_not_asked(address: str) -> None:
    with pytest.raises(RemoteFailed, match="private network"):
        http(never, PUBLIC, address).send("GET", "https://moodle.test/")


@pytest.mark.parametrize("address", ["169.254.169.254", "fe80::1", "224.0.0.1", "64:ff9b::a00:1"])
def test_some_addresses_are_never_asked(address: str) -> None:
    with pytest.raises(RemoteFailed, match="private network"):
        http(never, address, private_network=True).send("GET", "https://moodle.test/")


def test_a_public_server_may_be_asked_by_way_of_a_nat64() -> None:
    """A machine that has IPv6 only reaches a server with IPv4 so (RFC 6052)."""
    assert http(good, "64:ff9b::808:808").send("GET", "https://moodle.test/x").good


@pytest.mark.parametrize("address", ["10.1.2.3", "::1"])
def test_a_private_network_may_be_allowed(address: str) -> None:
    allowed = http(good, address, private_network=True)
    assert allowed.send("GET", "https://moodle.test/x").good


def test_plain_http_is_for_this_machine_only() -> None:
    origins = ("http://moodle.test:8000",)
    local = http(good, "127.0.0.1", origins=origins, private_network=True)
    assert local.send("GET", "http://moodle.test:8000/x").good
    for private in (False, True):
        with pytest.raises(RemoteFailed, match="without https"):
            http(never, "10.1.2.3", origins=origins, private_network=private).send(
                "GET", "http://moodle.test:8000/x"
            )
    with pytest.raises(RemoteFailed, match="without https"):
        http(never, "127.0.0.1", origins=origins).send("GET", "http://moodle.test:8000/x")


def test_redirects_are_answers() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        assert request.url.host == PUBLIC
        return httpx.Response(302, headers={"location": "http://10.0.0.1/"})

    assert http(handler).send("GET", "https://moodle.test/").status == 302


def test_the_next_address_is_tried_where_one_cannot_be_reached() -> None:
    asked: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.host)
        if len(asked) == 1:
            raise httpx.ConnectError("refused")
        return good(request)

    assert http(handler, "2606:2800:220:1::1", PUBLIC).send("GET", "https://moodle.test/").good
    assert asked == ["2606:2800:220:1::1", PUBLIC]


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (httpx.ConnectError(SECRET), "cannot be reached"),
        (httpx.ReadTimeout(SECRET), "no answer for 5 seconds"),
        (httpx.RemoteProtocolError(f"illegal status line: {SECRET}"), "no answer"),
    ],
)
def test_failures_hold_no_text_of_the_server(failure: Exception, words: str) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        raise failure

    with pytest.raises(RemoteFailed, match=words) as raised:
        http(handler).send("POST", f"https://moodle.test/?{SECRET}", bearer=SECRET)
    assert SECRET not in str(raised.value)
    assert raised.value.__suppress_context__


class Dripping(Quiet):
    def do_GET(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Name: ")
        with suppress(OSError):
            for _ in range(60):
                self.wfile.write(b"a")
                time.sleep(0.05)


def test_headers_that_come_one_byte_at_a_time_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """They held a thread for days, and eight of them all threads of platforms."""
    monkeypatch.setattr(guarded_http, "_ANSWER_SECONDS", 0.3)
    with answering(Dripping) as url:
        asking = GuardedHttp([url], private_network=True, name="the platform")
        begun = time.monotonic()
        with pytest.raises(RemoteFailed, match="gave no answer"):
            asking.send("GET", f"{url}/keys")
    assert time.monotonic() - begun < 2


def test_a_body_is_bounded() -> None:
    def chunks() -> Iterator[bytes]:
        while True:
            yield b"x" * 1000

    def handler(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=chunks())

    with pytest.raises(RemoteFailed, match="more than 65 KB"):
        http(handler).send("GET", "https://moodle.test/")


def test_a_compressed_body_is_refused() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        assert request.headers["accept-encoding"] == "identity"
        return httpx.Response(200, stream=httpx.ByteStream(b""), headers={"content-encoding": "br"})

    with pytest.raises(RemoteFailed, match="compresses"):
        http(handler).send("GET", "https://moodle.test/")


@pytest.mark.parametrize("body", ["", "<html>", "[" * 100_000])
def test_an_answer_that_is_no_json(body: str) -> None:
    answer = http(lambda _: httpx.Response(200, text=body)).send(
        "GET", "https://moodle.test/", longest=10**6
    )
    with pytest.raises(RemoteFailed, match="no JSON"):
        answer.json()


def test_a_name_that_does_not_resolve() -> None:
    def unknown(host: str, port: int) -> list[str]:
        raise OSError(-2, "Name or service not known")

    asking = GuardedHttp(
        ["https://moodle.test"], private_network=False, name="the platform", resolve=unknown
    )
    with pytest.raises(RemoteFailed, match="name is not known"):
        asking.send("GET", "https://moodle.test/")
