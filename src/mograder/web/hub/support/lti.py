"""The objects that the handlers of LTI 1.3 use, made once when the hub starts."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from anyio import CapacityLimiter

from mograder.auth.lti_addresses import addresses_of
from mograder.clients.key_sets import CachedKeySet, KeyRequest
from mograder.core.clock import Clock
from mograder.core.sections.external_settings import LtiPlatform
from mograder.exchange.lti.roster import RosterNames
from mograder.operations.sign_in_settings import own_url
from mograder.store.course.allowlist import Allowlist
from mograder.store.external.external_people import ExternalPeople, UsedStates
from mograder.store.external.lti_platforms import Keys, Links, Platforms
from mograder.store.external.lti_rosters import LtiRosters
from mograder.store.external.lti_scores import LtiScores
from mograder.web.hub.support.lti_platform_services import PlatformServices
from mograder.web.hub.support.lti_rosters import RosterKeeping
from mograder.web.hub.support.lti_scores import ScoreSending, ScoreSources
from mograder.web.hub.support.lti_tasks import BackgroundPasses
from mograder.web.hub.support.services import Services

_REQUESTS_AT_ONCE = 8
"""Threads for requests to platforms, so that a slow platform does not take all of the hub's."""


@dataclass(frozen=True, slots=True)
class LtiService:
    """LTI 1.3 of this hub: platforms, launched activities, the hub's keys, and people's links.

    ``own_url`` is the hub's address, without a slash at its end.
    """

    own_url: str
    clock: Clock
    platforms: Platforms
    links: Links
    keys: Keys
    people: ExternalPeople
    used: UsedStates
    key_sets: PlatformKeys
    limiter: CapacityLimiter
    allowlist: Allowlist
    scores: ScoreSending
    rosters: RosterKeeping
    passes: BackgroundPasses

    async def open(self) -> None:
        """Begin the work in the background; the allowlist asks the rosters from now on.

        The hub's key is made if there is none yet, so that no launch has to wait for it.
        """
        await asyncio.to_thread(self.keys.current, self.clock.now())
        await asyncio.to_thread(self.rosters.load)
        self.allowlist.more = self.rosters.names
        await self.passes.open()

    async def close(self) -> None:
        """End what :meth:`open` has begun."""
        await self.passes.close()


class PlatformKeys:
    """The key sets of platforms, one for each platform, fetched when a token needs them.

    Mutable state: the key sets, by their platform and its settings.
    """

    def __init__(self, clock: Clock, limiter: CapacityLimiter) -> None:
        self._clock = clock
        self._limiter = limiter
        self._sets: dict[LtiPlatform, CachedKeySet] = {}

    def of(self, platform: LtiPlatform) -> CachedKeySet:
        """Return the key set of a platform; other settings of a platform begin with an empty one.

        Raises: InvalidInput for an address in the platform's settings that cannot be used.
        """
        found = self._sets.get(platform)
        if found is None:
            fetch = KeyRequest(platform)
            found = CachedKeySet(fetch, self._clock, limiter=self._limiter)
            self._sets = {
                known: keys for known, keys in self._sets.items() if known.key != platform.key
            }
            self._sets[platform] = found
        return found


def make_lti(services: Services) -> LtiService:
    """Return the objects of LTI 1.3.

    Raises: InvalidInput if the hub does not know its own public address, or a platform's address
        in the settings cannot be used.
    """
    engine, clock = services.state.engine, services.clock
    for platform in services.loaded.settings.lti.platform:
        addresses_of(platform)
    limiter = CapacityLimiter(_REQUESTS_AT_ONCE)
    platforms, links = Platforms(engine, services.loaded.settings.lti), Links(engine)
    keys, people = Keys(engine, services.secret), ExternalPeople(engine)
    asked = PlatformServices(lambda claims: keys.current(clock.now()).sign(claims), clock)
    sources = ScoreSources(
        services.loaded, services.grading.key, clock, platforms.all, links, people, asked.of
    )
    scores = ScoreSending(sources, LtiScores(engine))
    rosters = RosterKeeping(
        LtiRosters(engine), people, platforms.all, asked.of, clock, RosterNames(clock)
    )
    return LtiService(
        own_url=own_url(services.loaded),
        clock=clock,
        platforms=platforms,
        links=links,
        keys=keys,
        people=people,
        used=UsedStates(engine, clock),
        key_sets=PlatformKeys(clock, limiter),
        limiter=limiter,
        allowlist=services.roster,
        scores=scores,
        rosters=rosters,
        passes=BackgroundPasses((scores.run, rosters.run)),
    )
