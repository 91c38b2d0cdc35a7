"""The part of the hub's services that the session proxy uses."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from mograder.auth.identity import Revocations
from mograder.core.settings import LoadedSettings
from mograder.sessions.session import LiveSession, SessionKey
from mograder.web.hub.support.capabilities import Capabilities
from mograder.web.hub.support.identity import IdentityServices


class Pool(Protocol):
    """The part of the session pool that the hot path uses; it answers from memory."""

    def find(self, key: SessionKey) -> LiveSession | None: ...

    def by_id(self, session_id: str) -> LiveSession | None: ...

    def touch(self, session: LiveSession) -> None: ...

    def connected(self, session: LiveSession) -> AbstractContextManager[object]: ...

    async def pages_first(self, live: LiveSession, /) -> None: ...


class FeatureRules(Protocol):
    """The features that an item allows; :class:`~mograder.sessions.item_policy.Allowances`."""

    async def allows(self, item: str, feature: str) -> bool: ...


class ProxyServices(IdentityServices, Protocol):
    """The part of the hub's services that the proxy uses."""

    @property
    def loaded(self) -> LoadedSettings: ...

    @property
    def revocations(self) -> Revocations: ...

    @property
    def pool(self) -> Pool: ...

    @property
    def capabilities(self) -> Capabilities: ...

    @property
    def allowances(self) -> FeatureRules: ...
