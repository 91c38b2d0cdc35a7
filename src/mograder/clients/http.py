"""Code shared by all HTTP clients of this package: connections, failures, bodies, retries.

No client follows redirects: a token must not reach another server, and a redirected POST loses its
body.
"""

from __future__ import annotations

import random
import re
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from types import MappingProxyType

import httpx

from mograder.clients.certificate import remedy, tls_trouble
from mograder.core.clock import SystemClock
from mograder.core.errors import (
    Busy,
    Conflict,
    Forbidden,
    InvalidInput,
    MograderError,
    NotAuthenticated,
    NotFound,
    RemoteFailed,
    TimedOut,
    TooLarge,
)
from mograder.core.tasks import Progress
from mograder.core.web_origin import is_loopback

_CONNECT_SECONDS = 10.0
_LONGEST_TEXT = 500
_ERROR_NUMBER = re.compile(r"^\[(Errno|WinError) -?\d+\] ")
_LONGEST_ADDRESS = 200
_RETRY_AFTER = "retry-after"
_FAMILIES: Mapping[int, type[MograderError]] = MappingProxyType(
    {
        401: NotAuthenticated,
        403: Forbidden,
        **dict.fromkeys((404, 405, 410, 501), NotFound),
        **dict.fromkeys((409, 412), Conflict),
        **dict.fromkeys((413, 507), TooLarge),
        **dict.fromkeys((429, 503), Busy),
        **dict.fromkeys((408, 504), TimedOut),
    }
)
"""HTTP status → the class of our error; any other 4xx is of what was sent."""


def make_client(
    url: str,
    *,
    read: float,
    write: float | None = None,
    token: str = "",
    transport: httpx.BaseTransport | None = None,
) -> httpx.Client:
    """Return a client for the server at ``url``, which sends ``token`` with every request.

    The paths of its requests are below ``url``, unless they are whole addresses.
    ``read`` and ``write`` are timeouts in seconds between bytes; ``write`` is ``read`` by default.

    Raises: InvalidInput if the computer's settings name a proxy or a file that cannot be used.
    """
    base = httpx.URL(url)
    with _settings_of_the_computer():
        return httpx.Client(
            base_url=base,
            # A name in a token may have any letters, which a hub reads as UTF-8.
            headers=httpx.Headers({"Authorization": f"Bearer {token}"} if token else {}, "utf-8"),
            timeout=httpx.Timeout(read, connect=min(read, _CONNECT_SECONDS), write=write or read),
            follow_redirects=False,
            # No cookies: a session cookie beside a token would mix up accounts.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            # A proxy from the environment must not receive a token for this machine.
            trust_env=not is_loopback(base.host),
            verify=trusted_authorities(),
            transport=transport,
        )


@cache
def trusted_authorities() -> ssl.SSLContext:
    """Return the TLS of all clients, of SSL_CERT_FILE or httpx; reading it takes some 20 ms.

    Raises: InvalidInput if SSL_CERT_FILE names a file that cannot be used.
    """
    with _settings_of_the_computer():
        return httpx.create_ssl_context()


@contextmanager
def _settings_of_the_computer() -> Iterator[None]:
    """Translate what httpx raises for a proxy or a certificate file that it cannot use."""
    try:
        yield
    except (ImportError, ValueError, OSError, httpx.InvalidURL) as error:
        raise InvalidInput(
            f"A proxy or certificate setting of this computer cannot be used: {one_line(error)}.",
            hint="Look at HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and SSL_CERT_FILE; "
            "SSL_CERT_FILE needs the whole path of a file in PEM form.",
        ) from error


def check_token(token: str, hint: str) -> str:
    """Return the token if a header can carry it; ``hint`` is the remedy in the error."""
    if not token or not token.isprintable() or " " in token:
        raise InvalidInput("The token is empty or holds characters that no token has.", hint=hint)
    return token


@dataclass(frozen=True, slots=True)
class Server:
    """A server as error messages name it: "The hub at https://… cannot be reached".

    ``unreachable``, ``silent`` and ``broken`` are the hints for a failed connection, for a timeout,
    and for a connection that ends early. ``timeout`` is the exception class for a timeout.
    """

    name: str
    url: str
    unreachable: str = "Check the address and your network."
    silent: str = "Try again in a moment."
    broken: str = "Try again."
    timeout: type[MograderError] = RemoteFailed

    @contextmanager
    def errors(self, asked: str = "", note: str = "") -> Iterator[None]:
        """Translate exceptions of httpx; the messages never have the request's headers or body.

        ``asked`` names the request; ``note`` is added to the hint if the request may have reached
        the server.
        """
        name = self.name[0].upper() + self.name[1:]
        about = f" ({asked})" if asked else ""
        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise RemoteFailed(
                f"{name} at {self.url} cannot be reached: {one_line(error) or 'no answer'}.",
                hint=remedy(error, self.unreachable),
            ) from error
        except httpx.TimeoutException as error:
            raise self.timeout(
                f"{name} at {self.url} did not answer in time{about}.",
                hint=f"{self.silent} {note}".strip(),
            ) from error
        except httpx.HTTPError as error:
            raise RemoteFailed(
                f"The connection to {self.name} at {self.url} broke{about}: "
                f"{one_line(error) or 'closed'}.",
                hint=f"{self.broken} {note}".strip(),
            ) from error

    def refuse_redirect(self, response: httpx.Response) -> None:
        target = redirect_target(response)
        if target:
            raise RemoteFailed(
                f"{self.url} redirects to {target}.",
                hint=f"Give {self.name}'s own address, not that of a sign-in page in front of it.",
            )


def family_of(status: int) -> type[MograderError]:
    """Return the class of our error for a server's refusal with an HTTP status."""
    return _FAMILIES.get(status, InvalidInput if 400 <= status < 500 else RemoteFailed)


def redirect_target(response: httpx.Response) -> str:
    """Return where a redirect leads, without the query, which may hold a secret; else ""."""
    if not 300 <= response.status_code < 400:
        return ""
    location = str(response.headers.get("location", "")).partition("?")[0]
    return location[:_LONGEST_ADDRESS] or "another address"


def bounded_body(
    response: httpx.Response, limit: int, seconds: float, *, cut: bool = False
) -> bytes:
    """Return the body of an answer, at most ``limit`` bytes that arrive within ``seconds``.

    With ``cut``, the first ``limit`` bytes of a longer body are returned.
    """
    body = bytearray()
    end = time.monotonic() + seconds
    for chunk in response.iter_bytes():
        body += chunk
        if len(body) > limit and cut:
            return bytes(body[:limit])
        if len(body) > limit:
            size = f"{limit // 10**6} MB" if limit >= 10**6 else f"{limit // 10**3} KB"
            raise RemoteFailed(f"The server sends more than {size}.", hint="Check the address.")
        if time.monotonic() > end:
            raise RemoteFailed("The server's answer does not end.", hint="Try again later.")
    return bytes(body)


def one_line(text: object) -> str:
    """Return another program's text as one line without control characters or final period.

    The number before a system's error, as in "[Errno 111] Connection refused", is left out.
    """
    printable = "".join(each if each.isprintable() else " " for each in str(text))
    words = _ERROR_NUMBER.sub("", " ".join(printable.split()))
    return words[:_LONGEST_TEXT].rstrip(". ")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Which requests are sent again, how often, and after how long; all times in seconds.

    ``failures`` and ``statuses`` are retried; a certificate that is not accepted, or an answer
    without TLS, never is. Pauses grow by ``factor`` up to ``longest``, and each is shorter by a
    random part of up to ``spread``, so that clients which were refused together do not retry
    together. If a server asks for a pause above ``longest`` (Retry-After), there is no retry.
    """

    tries: int = 5
    first_pause: float = 0.5
    factor: float = 2.0
    longest: float = 30.0
    spread: float = 0.5
    failures: tuple[type[httpx.TransportError], ...] = (
        httpx.NetworkError,
        httpx.RemoteProtocolError,
        httpx.ConnectTimeout,
    )
    statuses: frozenset[int] = frozenset({503})
    sleep: Callable[[float], None] = time.sleep

    def pause(self, failures: int, asked_for: float = 0.0) -> None:
        """Wait after ``failures`` failures, for at least ``asked_for`` seconds (Retry-After)."""
        backoff = min(self.first_pause * self.factor ** (failures - 1), self.longest)
        share = random.uniform(1 - self.spread, 1.0)  # noqa: S311  # no secret
        self.sleep(max(backoff * share, asked_for * (1.5 - share / 2)))


def send(
    client: httpx.Client,
    request: httpx.Request,
    retry: RetryPolicy,
    progress: Progress = lambda _: None,
) -> httpx.Response:
    """Send a request until it is answered, and return the answer, its body unread.

    Files in it are read from the beginning for each try. An answer whose status is retried is
    returned after the last try.
    """
    for failures in range(1, retry.tries + 1):
        last = failures == retry.tries
        try:
            response = client.send(request, stream=True)
        except httpx.TransportError as error:
            if last or not isinstance(error, retry.failures) or tls_trouble(error) is not None:
                raise
            progress("The server cannot be reached; trying again…")
            retry.pause(failures)
            continue
        asked_for = retry_after(response)
        if last or response.status_code not in retry.statuses or asked_for > retry.longest:
            return response
        response.close()
        progress("The server is busy; trying again…")
        retry.pause(failures, asked_for)
    raise ValueError("a retry policy must allow one try at least")


def retry_after(response: httpx.Response) -> float:
    """Return the seconds to wait that a server asks for (Retry-After), 0 if it does not."""
    text = str(response.headers.get(_RETRY_AFTER, "")).strip()
    if text.isdecimal():
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (aware - SystemClock().now()).total_seconds())
