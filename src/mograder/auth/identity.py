"""The identity of a request: cookie (not beside a bearer token), trusted header, token, dev mode.

Pure: takes the headers of one request and returns at once, without SQL and without waiting (B130).

- A cookie that contradicts the trusted header of the same request is stale (a shared computer)
  and is ignored.
- A request with an ``Authorization: Bearer`` header never gets its identity or role from a
  cookie. ``method`` is the credential that was used: the browser checks of ``auth.csrf`` are
  skipped only for ``Method.BEARER``, which no browser adds by itself. A bearer token that is not
  valid gives no identity, in dev mode too, unless a trusted proxy names the user (some proxies
  pass on their own OIDC tokens).
- The header is read from trusted peers only, and never names a reserved user. It and dev mode count
  only under a name that no other site's page can use (``host_known``): a browser on a trusted
  machine is such a peer, too, and would send the page's header (DNS rebinding).
"""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Protocol, TypeAlias

from mograder.auth.credentials import (
    Login,
    Role,
    cookies_in,
    new_login_id,
    read_cookie,
    verify_metrics_token,
    verify_token,
)
from mograder.core.clock import Clock
from mograder.core.errors import InvalidInput
from mograder.core.names import Username

Headers: TypeAlias = Sequence[tuple[bytes, bytes]]
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_DEV_LOGIN = "dev-"
"""The prefix of login ids issued in dev mode; a hub with the same secret refuses them otherwise."""

_MOST_PEERS = 4096
_LOOPBACK = ("127.0.0.0/8", "::1/128")


class Method(StrEnum):
    """The credential that proved an identity."""

    COOKIE = "cookie"
    HEADER = "header"
    BEARER = "bearer"
    DEV = "dev"


@dataclass(frozen=True, slots=True)
class Identity:
    """The user of a request. ``login_id`` is empty for bearer; ``fresh`` is for a new cookie.

    ``proven`` is the role that the credential proves, before the lists of the settings count.
    ``since`` is the Unix time from which the day of its login counts, None for a bearer token.
    ``front``: a trusted proxy names this user in the same request, whatever the credential.
    """

    username: str
    role: Role
    method: Method
    login_id: str
    fresh: Login | None
    proven: Role = field(default=Role.STUDENT, compare=False)
    since: int | None = field(default=None, compare=False)
    front: bool = field(default=False, compare=False)


class Revocations(Protocol):
    """The revoked credentials, held in memory."""

    def epoch(self, username: str) -> int:
        """Return how often the user's credentials were revoked; 0 for unknown users."""
        ...

    def login_revoked(self, login_id: str) -> bool:
        """Return whether this login was signed out."""
        ...


@dataclass(frozen=True, slots=True)
class AuthPolicy:
    """The rules of one hub.

    Peers in the networks ``trusted`` may name a user in the trusted header. ``instructors`` have
    that role with any credential, ``markers`` theirs with that of a student.
    """

    secret: str = field(repr=False)
    trusted_header: str
    trusted: tuple[Network, ...]
    dev: bool
    instructors: frozenset[str]
    markers: frozenset[str] = frozenset()

    @property
    def staff(self) -> frozenset[str]:
        return self.instructors | self.markers

    def trusts(self, client: str | None) -> bool:
        """Return whether the peer at this address may name a user; no peer of an unknown one."""
        return client is not None and is_within(client, self.trusted)

    def role_of(self, username: str, proven: Role) -> Role:
        if username in self.instructors:
            return Role.INSTRUCTOR
        return Role.MARKER if proven is Role.STUDENT and username in self.markers else proven

    def __post_init__(self) -> None:
        if not self.secret:
            raise InvalidInput("The hub's secret is empty.", hint="Set MOGRADER_HUB_SECRET.")


def parse_networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Raise InvalidInput, which names the entry that is not valid."""
    networks = []
    for text in texts:
        try:
            networks.append(ipaddress.ip_network(text))
        except ValueError as error:
            raise InvalidInput(
                f"{text!r} is not an address or a network.",
                hint="Correct [hub] trusted_proxies.",
            ) from error
    return tuple(networks)


def trusted_peers(listed: Sequence[str] | None, *, sandboxed: bool) -> tuple[Network, ...]:
    """Return the peers of ``[hub] trusted_proxies``, or the default if it is unset.

    The default is loopback if sessions are sandboxed and so have no network; without a sandbox no
    peer, since a student's kernel could then name any user (security.md, "Who is asking").
    """
    if listed is None:
        return parse_networks(_LOOPBACK if sandboxed else ())
    return parse_networks(listed)


def named_user(values: Sequence[bytes]) -> str:
    """Return the unchecked name in a trusted header, "" without; raises InvalidInput for two."""
    if len(values) > 1:
        raise InvalidInput("The request names its user more than once.")
    try:
        return values[0].strip().decode() if values else ""
    except UnicodeDecodeError as error:
        raise InvalidInput("The user's name in the request is not UTF-8 text.") from error


class Authenticator:
    def __init__(self, policy: AuthPolicy, revocations: Revocations, clock: Clock) -> None:
        self._policy = policy
        self._revocations = revocations
        self._clock = clock
        header = policy.trusted_header.lower().encode("latin-1")
        # Whatever the settings say: clients send that one themselves.
        self._header = b"" if header == b"authorization" else header

    def identify(
        self, headers: Headers, client: str | None, *, cookie: str, host_known: bool
    ) -> Identity | None:
        """Return the identity of a request, or None; ``cookie`` is the cookie's name.

        ``client`` is the peer's address, None for the Unix socket. ``host_known``: no page of
        another site can have sent the request under the name in its ``Host``.

        Raises: InvalidInput for a repeated credential, a malformed name in the header, and a header
        or dev mode under a name that is not known.
        """
        bearer = bearer_token(headers)
        values = [value for name, value in headers if name == self._header]
        named = self._named(values, client, host_known=host_known)
        login = self._login([value for name, value in cookies_in(headers) if name == cookie])
        if login and named and login.username != named:
            login = None
        front = bool(named) and self._policy.trusts(client)
        if login and bearer is None:
            return self._identity(login, login.role, Method.COOKIE, front=front)
        if named:
            method = Method.HEADER if front else Method.DEV
            # Beside a foreign bearer token a login keeps its id, but its role is not used.
            used = login or self._new_login(named, method)
            fresh = None if login else used
            return self._identity(used, Role.STUDENT, method, fresh, front=front)
        if bearer is not None:
            claims = verify_token(self._policy.secret, bearer, self._revocations.epoch)
            if claims is None:
                return None
            role = self._policy.role_of(claims.username, claims.role)
            return Identity(claims.username, role, Method.BEARER, "", None, claims.role)
        if self._policy.dev:
            if not host_known:
                raise _unknown_host("lets everybody in")
            guest = self._new_login(f"guest-{secrets.token_hex(2)}", Method.DEV)
            return self._identity(guest, Role.STUDENT, Method.DEV, guest)
        return None

    def reads_metrics(self, headers: Headers) -> bool:
        """Raise InvalidInput for a repeated credential; a metrics token gives no identity."""
        bearer = bearer_token(headers)
        return bearer is not None and verify_metrics_token(
            self._policy.secret, bearer, self._revocations.epoch
        )

    def _named(self, values: Sequence[bytes], client: str | None, *, host_known: bool) -> str:
        """Return the user in the header if it counts (trusted peer or dev mode), else ''."""
        if not values or not (self._policy.dev or self._policy.trusts(client)):
            return ""
        text = named_user(values)
        if text and not host_known:
            raise _unknown_host(f"believes {self._policy.trusted_header}")
        return Username.claimed(text) if text else ""

    def _login(self, values: Sequence[str]) -> Login | None:
        secret, now = self._policy.secret, self._clock.now()
        # Others may be of a hub below another path of this host, which has its own secret.
        logins = [each for value in values if (each := read_cookie(secret, value, now))]
        if len(logins) > 1:
            raise InvalidInput(
                "The request has two login cookies.", hint="Delete this site's cookies."
            )
        login = logins[0] if logins else None
        if login is None or login.epoch != self._revocations.epoch(login.username):
            return None
        if login.login_id.startswith(_DEV_LOGIN) and not self._policy.dev:
            return None
        return None if self._revocations.login_revoked(login.login_id) else login

    def _new_login(self, username: str, method: Method) -> Login:
        mark = _DEV_LOGIN if method is Method.DEV else ""
        return Login(
            username=username,
            role=Role.STUDENT,
            login_id=mark + new_login_id(),
            issued=int(self._clock.now().timestamp()),
            epoch=self._revocations.epoch(username),
        )

    def _identity(
        self,
        login: Login,
        proven: Role,
        method: Method,
        fresh: Login | None = None,
        *,
        front: bool = False,
    ) -> Identity:
        user, role = login.username, self._policy.role_of(login.username, proven)
        return Identity(user, role, method, login.login_id, fresh, proven, login.issued, front)


def _unknown_host(what: str) -> InvalidInput:
    return InvalidInput(
        f"This hub {what} at localhost, at an IP address and at its own name only.",
        hint="Set [hub] public_url to the address that browsers use.",
    )


def bearer_token(headers: Headers) -> str | None:
    """Return the token; None for another scheme (Basic). Raises InvalidInput for two."""
    values = [value for name, value in headers if name == b"authorization"]
    if len(values) > 1:
        raise InvalidInput("The request has two Authorization headers.")
    scheme, _, token = b"".join(values).strip().partition(b" ")
    return token.strip().decode("utf-8", "replace") if scheme.lower() == b"bearer" else None


@lru_cache(maxsize=_MOST_PEERS)
def is_within(client: str, networks: tuple[Network, ...]) -> bool:
    """Return whether an address is in one of the networks; cached for use on every request."""
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return any((mapped or address) in each for each in networks)
