"""Requests to addresses that another system named: only to its own servers, and bounded.

A key set, a token or a list of members is fetched from an address that comes with a token or a
document. Such an address must not make this machine ask its own network, or send a credential to a
stranger: the scheme is https, the origin is one of those that the settings give, redirects and
proxies are not followed, and the address that a name resolves to is checked and then used.
"""

from __future__ import annotations

import ipaddress
import json
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, TypeAlias

import httpx

from mograder.clients.certificate import remedy
from mograder.clients.http import bounded_body, trusted_authorities
from mograder.core.errors import InvalidInput, RemoteFailed
from mograder.core.sections.settings_model import LtiPlatform
from mograder.core.web_origin import origin_of

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve: TypeAlias = Callable[[str, int], Iterable[str]]

_MOST_ADDRESSES = 8
_SECONDS = 5.0
"""The time to connect, between bytes, and for the body of an answer as a whole."""
_ANSWER_SECONDS = 2 * _SECONDS
"""The time until the body of an answer begins."""

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
"""Its addresses end with the IPv4 address to which they lead; machines with IPv6 only use them."""
_EMBEDDING = tuple(
    map(ipaddress.IPv6Network, ("64:ff9b:1::/48", "2002::/16", "::/96", "::ffff:0:0:0/96"))
)
"""IPv6 networks whose addresses lead to an IPv4 address that they hold."""


class PrivateAddress(RemoteFailed):
    """A name leads into a private network, and the settings do not allow that."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer; the names of ``headers`` are in lower case. It has no reason phrase on purpose."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def good(self) -> bool:
        return 200 <= self.status < 300

    def json(self) -> object:
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            raise RemoteFailed("The other server's answer is no JSON.") from None


class GuardedHttp:
    """Sends requests to one system; ``name`` names it in messages, such as "the provider".

    ``origins`` are the origins that requests may go to. With ``private_network`` its servers may
    have private addresses, and plain http is possible on this machine. Thread-safe; each request
    has a connection of its own, since they are rare.
    """

    def __init__(
        self,
        origins: Collection[str],
        *,
        private_network: bool,
        name: str,
        transport: httpx.BaseTransport | None = None,
        resolve: Resolve | None = None,
    ) -> None:
        self._origins = frozenset(origin_of(each) for each in origins)
        self._private = private_network
        self._name = name
        self._transport = transport
        self._resolve = resolve or _resolved

    def look_up(self, url: str) -> None:
        """Check that requests may go to an address, without sending one; blocks."""
        self._targets(url)

    def send(
        self,
        method: str,
        url: str,
        *,
        headers: Iterable[tuple[str, str]] = (),
        form: Mapping[str, str] | None = None,
        body: bytes = b"",
        bearer: str = "",
        longest: int = 65_536,
    ) -> Answer:
        """Return the answer to a request, whatever its status; its body has ``longest`` bytes.

        No message of an error holds a body, query or reason phrase.
        """
        targets, parsed = self._targets(url)
        sent = {"Accept-Encoding": "identity", "Host": parsed.netloc.decode(), **dict(headers)}
        if bearer:
            sent["Authorization"] = f"Bearer {bearer}"
        with httpx.Client(
            # So that a second address is tried when the first one swallows what is sent to it.
            timeout=httpx.Timeout(_SECONDS, connect=_SECONDS * 0.48),
            follow_redirects=False,
            trust_env=False,
            verify=trusted_authorities(),
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            transport=self._transport,
        ) as client:
            requests = (
                client.build_request(
                    method,
                    parsed.copy_with(host=str(target)),
                    headers=httpx.Headers(sent, "utf-8"),
                    data=form,
                    content=body or None,
                    extensions={"sni_hostname": parsed.host},
                )
                for target in targets
            )
            return self._answered(client, requests, longest)

    def _answered(
        self, client: httpx.Client, requests: Iterable[httpx.Request], longest: int
    ) -> Answer:
        end = time.monotonic() + _SECONDS
        trouble = ""
        for request in requests:
            try:
                with _ended_in_time(request):
                    response = client.send(request, stream=True)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                trouble = remedy(error, "")
                if trouble or time.monotonic() > end:
                    break
                continue
            except httpx.TimeoutException:
                raise self._failed(f"gave no answer for {_SECONDS:g} seconds") from None
            except httpx.HTTPError:
                # The exception's text may hold the server's status line: not even as a cause.
                raise self._failed("gave no answer that can be understood") from None
            return self._read(response, longest)
        raise self._failed("cannot be reached", trouble) from None

    def _read(self, response: httpx.Response, longest: int) -> Answer:
        try:
            if response.headers.get("content-encoding", "identity") != "identity":
                raise self._failed("compresses its answer, which was not asked for")
            body = bounded_body(response, longest, _SECONDS)
        except httpx.HTTPError:
            raise self._failed("gave no whole answer") from None
        finally:
            response.close()
        return Answer(response.status_code, dict(response.headers), body)

    def _targets(self, url: str) -> tuple[tuple[Address, ...], httpx.URL]:
        """Return the addresses to connect to, each checked, and the parsed URL."""
        try:
            origin = origin_of(url)
            parsed = httpx.URL(url)
        except (InvalidInput, httpx.InvalidURL):
            raise self._failed("names an address that cannot be used") from None
        if origin not in self._origins:
            raise self._failed("names an address of another server", "It is not asked.")
        try:
            port = parsed.port or (443 if parsed.scheme == "https" else 80)
            found = [ipaddress.ip_address(each) for each in self._resolve(parsed.host, port)]
        except (OSError, ValueError):
            raise self._failed("cannot be reached: its name is not known") from None
        for address in found:
            if parsed.scheme == "http" and not (self._private and address.is_loopback):
                raise self._failed("has an address without https", "Set an https address.")
            if not _may_ask(address, private=self._private):
                failed = self._failed(
                    "has an address in a private network",
                    "If that is intended, set private_network = true in its settings.",
                )
                raise PrivateAddress(failed.message, hint=failed.hint)
        return tuple(dict.fromkeys(found))[:_MOST_ADDRESSES], parsed

    def _failed(self, what: str, hint: str = "") -> RemoteFailed:
        return RemoteFailed(f"{self._name[0].upper()}{self._name[1:]} {what}.", hint=hint)


@contextmanager
def _ended_in_time(request: httpx.Request) -> Iterator[None]:
    """End the request's connection if the block takes too long; connecting takes less.

    The timeouts of httpx are between bytes, and the headers may come one byte at a time.
    """
    connection: list[socket.socket] = []

    def trace(event: str, info: Mapping[str, Any]) -> None:
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            connection[:] = [info["return_value"].get_extra_info("socket")]

    def end() -> None:
        for each in connection:
            with suppress(OSError):
                # Not that of SSLSocket, which takes its TLS away from the thread that reads.
                socket.socket.shutdown(each, socket.SHUT_RDWR)

    request.extensions["trace"] = trace
    timer = threading.Timer(_ANSWER_SECONDS, end)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _resolved(host: str, port: int) -> Iterable[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]).partition("%")[0] for *_, address in found]


def platform_http(platform: LtiPlatform, url: str = "") -> GuardedHttp:
    """Return what asks a learning platform at the origin of an address, else of its issuer."""
    return GuardedHttp(
        {origin_of(url or platform.issuer)},
        private_network=platform.private_network,
        name=f"the learning platform {platform.issuer}",
    )


def _may_ask(address: Address, *, private: bool) -> bool:
    """Return whether a request may go to an address; never to link-local ones, or to a group."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return _may_ask(address.ipv4_mapped, private=private)
        if address in _NAT64:
            return _may_ask(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF), private=False)
        embedding = not address.is_loopback and any(address in each for each in _EMBEDDING)
        if address.is_site_local or embedding:
            return False
    if address.is_link_local or address.is_multicast or address.is_unspecified:
        return False
    return private or address.is_global
