"""The key set of another system, fetched when a token needs it.

A token with an unknown key id may be signed with a new key, so the set is fetched again; at most
once a minute, or a flood of invented ids would become a flood of requests to that system. A fetch
that fails keeps the set of before.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial

from anyio import CapacityLimiter, to_thread

from mograder.auth.jose import InvalidToken, KeySet, UnknownKey, verify
from mograder.auth.lti_addresses import addresses_of
from mograder.clients.guarded_http import platform_http
from mograder.core.clock import Clock
from mograder.core.errors import MograderError, RemoteFailed
from mograder.core.log import get_logger
from mograder.core.sections.settings_model import LtiPlatform
from mograder.core.tasks import Progress, SingleFlight

_PAUSE = 60.0
_PAUSE_WITHOUT = 5.0
_LIFETIME = 3600.0
_log = get_logger(__name__)


class CachedKeySet:
    """One system's keys, for callers on the event loop; a set belongs to one issuer.

    ``fetch`` returns the parsed JWKS document, and runs in a thread of ``limiter``. Mutable state:
    the set and the time of the last fetch, changed on the event loop only.
    """

    def __init__(
        self,
        fetch: Callable[[], object],
        clock: Clock,
        *,
        limiter: CapacityLimiter | None = None,
    ) -> None:
        self._fetch = fetch
        self._clock = clock
        self._limiter = limiter
        self._flight: SingleFlight[str, None] = SingleFlight()
        self._keys: KeySet | None = None
        self._tried: float | None = None
        self._fetched = 0.0

    async def verify(
        self,
        token: str,
        *,
        algorithms: Collection[str],
        types: Collection[str] = ("", "JWT"),
        kid_required: bool = True,
    ) -> dict[str, object]:
        """Return the claims of a token, as :func:`mograder.auth.jose.verify` does."""
        if self._keys is None or self._clock.steady() - self._fetched > _LIFETIME:
            await self._refresh()
        check = partial(
            verify, token, algorithms=algorithms, types=types, kid_required=kid_required
        )
        try:
            return check(self._known())
        except UnknownKey:
            if not await self._refresh():
                raise
        return check(self._known())

    def _known(self) -> KeySet:
        if self._keys is None:
            raise RemoteFailed("The keys for signatures cannot be read.", hint="Try again soon.")
        return self._keys

    async def _refresh(self) -> bool:
        """Fetch the set, unless this was tried lately; return whether there is a new one."""
        before = self._keys
        if not self._flight.busy(""):
            pause = _PAUSE_WITHOUT if self._keys is None else _PAUSE
            if self._tried is not None and self._clock.steady() - self._tried < pause:
                return False
        await self._flight.get("", self._fetch_once)
        return self._keys is not before

    async def _fetch_once(self, _: Progress) -> None:
        self._tried = self._clock.steady()
        try:
            document = await to_thread.run_sync(self._fetch, limiter=self._limiter)
            self._keys = KeySet.parse(document)
        except (InvalidToken, MograderError) as error:
            _log.warning("a key set could not be fetched: %s", error)
            return
        self._fetched = self._clock.steady()


def key_request(platform: LtiPlatform) -> Callable[[], object]:
    """Return what fetches a platform's parsed key set; it raises RemoteFailed."""
    url = addresses_of(platform).keys
    http = platform_http(platform, url)

    def fetch() -> object:
        answer = http.send("GET", url, headers=(("Accept", "application/json"),))
        if not answer.good:
            raise RemoteFailed(f"The learning platform answered {answer.status} for its keys.")
        return answer.json()

    return fetch
