"""Requests of the hub to its OpenID Connect provider: description, tokens, userinfo, keys."""

from __future__ import annotations

import threading
from base64 import b64encode
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from mograder.auth.jose import InvalidToken
from mograder.auth.oidc import Provider
from mograder.clients.guarded_http import Answer, GuardedHttp
from mograder.core.clock import Clock, SystemClock
from mograder.core.errors import RemoteFailed
from mograder.core.sections.settings_model import OidcSettings
from mograder.core.web_origin import origin_of

_FRESH = 3600.0
_PAUSE = 5.0
_LONGEST = 262_144
_ERRORS = {
    "invalid_client": "It does not accept this hub's client_id or secret.",
    "unauthorized_client": "It does not let this client sign people in.",
}
"""What the errors of a token request mean; the provider's own words are not shown."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """The answer to a code; ``access`` is "" if there is none."""

    id_token: str = field(repr=False)
    access: str = field(repr=False)


class OidcProvider:
    """The provider of the settings, asked in the caller's thread; thread-safe.

    Its description is kept for an hour. A failed request for it is not repeated for some seconds:
    callers that wait for it would else each wait for a request of their own. Mutable state: the
    description and the last failure, under a lock. Every request may raise :class:`RemoteFailed`.
    """

    def __init__(self, settings: OidcSettings, secret: str, clock: Clock | None = None) -> None:
        self._settings = settings
        self._secret = secret
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._known: Provider | None = None
        self._read_at = 0.0
        self._failure: RemoteFailed | None = None
        self._failed_at = 0.0

    @property
    def known(self) -> Provider | None:
        """The provider's description as it was last read, without a request; None before."""
        return self._known

    def describe(self) -> Provider:
        """Return the description, an older one if need be; raises RemoteFailed if never read."""
        with self._lock:
            now = self._clock.steady()
            if self._known is not None and now - self._read_at < _FRESH:
                return self._known
            if self._failure is None or now - self._failed_at >= _PAUSE:
                self._read()
            if self._known is not None:
                return self._known
            failure = self._failure or RemoteFailed("The provider cannot be reached.")
            raise RemoteFailed(failure.message, hint=failure.hint)

    def exchange(self, code: str, verifier: str, redirect_uri: str) -> Tokens:
        """Return the tokens for a code; no error holds the code or the provider's words."""
        provider, client_id = self.describe(), self._settings.client_id
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": verifier,
        }
        headers = [("Accept", "application/json")]
        match provider.client_auth(self._secret):
            case "client_secret_basic":
                # Both parts are form-encoded first (RFC 6749, 2.3.1).
                pair = f"{quote(client_id, safe='')}:{quote(self._secret, safe='')}"
                basic = b64encode(pair.encode()).decode()
                headers.append(("Authorization", f"Basic {basic}"))
            case "client_secret_post":
                form |= {"client_id": client_id, "client_secret": self._secret}
            case "none":
                form["client_id"] = client_id
        asking = self._http(provider.origins)
        answer = asking.send("POST", provider.token_url, headers=headers, form=form)
        content = _members(answer.json()) if answer.good else {}
        id_token, access = content.get("id_token"), content.get("access_token", "")
        if not isinstance(id_token, str) or not isinstance(access, str):
            error = "" if answer.good else _error(answer)
            if error == "invalid_grant":
                raise InvalidToken("The sign-in was used already, or took too long.")
            raise RemoteFailed(
                f"The provider gave no tokens (status {answer.status}).",
                hint=_ERRORS.get(error, "Begin again."),
            )
        return Tokens(id_token, access)

    def userinfo(self, access: str) -> Mapping[str, object]:
        """Return the claims of userinfo, {} if the provider has none."""
        provider = self.describe()
        if not provider.userinfo_url or not access:
            return {}
        return _members(self._get("userinfo", provider, provider.userinfo_url, access))

    def key_set(self) -> object:
        provider = self.describe()
        return self._get("keys", provider, provider.keys_url)

    def _get(self, what: str, provider: Provider, url: str, bearer: str = "") -> object:
        answer = self._http(provider.origins).send("GET", url, bearer=bearer, longest=_LONGEST)
        if not answer.good:
            raise RemoteFailed(f"The provider gives no {what} (status {answer.status}).")
        return answer.json()

    def _read(self) -> None:
        issuer = self._settings.issuer
        asking = self._http([origin_of(issuer)])
        url = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
        try:
            answer = asking.send("GET", url, longest=_LONGEST)
            if not answer.good:
                raise RemoteFailed(
                    f"The provider has no description at {url} (status {answer.status}).",
                    hint="Compare [oidc] issuer with the provider's documentation.",
                )
            self._known = Provider.parse(answer.json(), issuer)
        except RemoteFailed as error:
            self._failure, self._failed_at = error, self._clock.steady()
            return
        self._failure, self._read_at = None, self._clock.steady()

    def _http(self, origins: Collection[str]) -> GuardedHttp:
        return GuardedHttp(
            origins,
            private_network=self._settings.private_network,
            name="the sign-in provider",
        )


def _members(document: object) -> Mapping[str, object]:
    if not isinstance(document, dict):
        raise RemoteFailed("The provider's answer is not an object of JSON.")
    return document


def _error(answer: Answer) -> str:
    """Return the code of an error of a token request, "" if there is none."""
    try:
        code = _members(answer.json()).get("error")
    except RemoteFailed:
        return ""
    return code if isinstance(code, str) else ""
