"""Access tokens of a learning platform, by an assertion that the hub signs (client credentials)."""

from __future__ import annotations

import re
import secrets
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from mograder.clients.guarded_http import Answer, GuardedHttp
from mograder.core.clock import Clock
from mograder.core.errors import RemoteFailed

_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_EARLIER = 30
"""Seconds by which an assertion's time lies back: Moodle refuses one that is ahead of its clock."""

_LIFE = 60
_DEFAULT_LIFE = 3600
_RESERVE = 300
"""Seconds before its end at which a token is not used any more."""

_ERROR = re.compile(r"[a-z_]{1,40}")
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{1,8192}")


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A token with the scopes that the platform granted; ``until`` is in steady seconds."""

    text: str
    scopes: frozenset[str]
    until: float


class AccessTokens:
    """The tokens of one platform, kept by the scopes asked for; thread-safe.

    ``sign`` returns a signed token with the claims given. Mutable state: ``_kept``.
    """

    def __init__(
        self,
        http: GuardedHttp,
        token_url: str,
        client_id: str,
        sign: Callable[[Mapping[str, object]], str],
        clock: Clock,
    ) -> None:
        self._http = http
        self._url = token_url
        self._client_id = client_id
        self._sign = sign
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: dict[frozenset[str], AccessToken] = {}

    def get(self, scopes: Collection[str]) -> AccessToken:
        """Return a token for some of the scopes at least; blocks.

        Raises:
            RemoteFailed: The platform gives none. The message holds nothing secret.
        """
        wanted = frozenset(scopes)
        with self._lock:
            kept = self._kept.get(wanted)
            if kept is None or kept.until <= self._clock.steady():
                kept = self._kept[wanted] = self._fetch(wanted)
            return kept

    def drop(self, token: AccessToken) -> None:
        """Forget a token that the platform refused."""
        with self._lock:
            self._kept = {each: kept for each, kept in self._kept.items() if kept != token}

    def _fetch(self, scopes: frozenset[str]) -> AccessToken:
        begun = self._clock.steady()
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": _ASSERTION,
            "client_assertion": self._assertion(),
            "scope": " ".join(sorted(scopes)),
        }
        answer = self._http.send("POST", self._url, form=form)
        if not answer.good:
            raise RemoteFailed(
                f"The platform gives the hub no access ({answer.status}{_code(answer)}).",
                hint="Look at the tool's services and its public key set in the platform.",
            )
        return _parsed(answer, scopes, begun)

    def _assertion(self) -> str:
        now = int(self._clock.now().timestamp())
        return self._sign(
            {
                "iss": self._client_id,
                "sub": self._client_id,
                "aud": self._url,
                "iat": now - _EARLIER,
                "exp": now + _LIFE,
                "jti": secrets.token_urlsafe(24),
            }
        )


def _parsed(answer: Answer, asked: frozenset[str], begun: float) -> AccessToken:
    found = answer.json()
    values = found if isinstance(found, dict) else {}
    text, kind = values.get("access_token"), values.get("token_type", "Bearer")
    if not isinstance(text, str) or not _TOKEN.fullmatch(text) or str(kind).lower() != "bearer":
        raise RemoteFailed("The platform's answer holds no access token that can be used.")
    granted = values.get("scope")
    life = values.get("expires_in")
    seconds = float(life) if isinstance(life, int | float) and life > 0 else _DEFAULT_LIFE
    return AccessToken(
        text,
        frozenset(granted.split()) if isinstance(granted, str) else asked,
        begun + max(min(seconds, _DEFAULT_LIFE * 24) - _RESERVE, 0.0),
    )


def _code(answer: Answer) -> str:
    """Return the code of an error, "" for any other text, which may hold a secret."""
    try:
        found = answer.json()
    except RemoteFailed:
        return ""
    code = found.get("error") if isinstance(found, dict) else None
    return f", {code}" if isinstance(code, str) and _ERROR.fullmatch(code) else ""
