"""The part of the hub's services that the session proxy uses."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol, TypeVar

from mograder.auth.identity import Revocations
from mograder.core.settings import LoadedSettings
from mograder.sessions.session import SessionKey
from mograder.web.hub.proxy.upstream import Session
from mograder.web.hub.support.capabilities import Capabilities
from mograder.web.hub.support.identity import IdentityServices

S = TypeVar("S", bound=Session)


class Pool(Protocol[S]):
    """The part of the session pool that the hot path uses; it answers from memory."""

    def find(self, key: SessionKey) -> S | None: ...

    def by_id(self, session_id: str) -> S | None: ...

    def touch(self, session: S) -> None: ...

    def connected(self, session: S) -> AbstractContextManager[object]: ...

    async def pages_first(self, live: S, /) -> None: ...


class FeatureRules(Protocol):
    """The features that an item allows; :class:`~mograder.sessions.item_policy.Allowances`."""

    async def allows(self, item: str, feature: str) -> bool: ...


class ProxyServices(IdentityServices, Protocol[S]):
    """The part of the hub's services that the proxy uses."""

    @property
    def loaded(self) -> LoadedSettings: ...

    @property
    def revocations(self) -> Revocations: ...

    @property
    def pool(self) -> Pool[S]: ...

    @property
    def capabilities(self) -> Capabilities: ...

    @property
    def allowances(self) -> FeatureRules: ...
