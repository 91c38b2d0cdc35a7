"""LTI 1.3 of this hub: its objects, made once at its start, and its work in the background."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache, partial
from typing import TypeVar

from anyio import CapacityLimiter, to_thread

from mograder.auth.lti_addresses import addresses_of
from mograder.clients.key_sets import CachedKeySet, key_request
from mograder.clients.lti_platform import LtiServices
from mograder.core.clock import Clock
from mograder.core.sections.settings_model import LtiPlatform
from mograder.core.tasks import every
from mograder.exchange.lti_roster import (
    VALID,
    CourseMembers,
    RosterNames,
    load_courses,
    refresh,
    wanted_rosters,
)
from mograder.hub.lti_scores import ScoreSending
from mograder.hub.services import Services
from mograder.operations.sign_in_settings import own_url
from mograder.store.external.external_people import ExternalPeople, UsedStates
from mograder.store.external.external_tables import Course
from mograder.store.external.lti_platforms import Keys, Links, LtiRosters, Platforms
from mograder.store.external.lti_scores import LtiScores

T = TypeVar("T")
PerPlatform = Callable[[LtiPlatform], T]
"""Returns the same object for a platform while its settings stay."""
_EVERY_SECONDS = 60.0
_MOST_PLATFORMS = 100
_REQUESTS_AT_ONCE = 8
"""Threads for requests to platforms, so that a slow platform does not take all of the hub's."""


@dataclass(frozen=True, slots=True)
class LtiService:
    """LTI 1.3 of this hub; ``own_url`` is the hub's address, without a slash at its end."""

    own_url: str
    platforms: Platforms
    links: Links
    keys: Keys
    people: ExternalPeople
    used: UsedStates
    key_sets: PerPlatform[CachedKeySet]
    """Raises InvalidInput, which names the setting, if an address of it cannot be used."""
    limiter: CapacityLimiter
    scores: ScoreSending
    rosters: RosterKeeping
    due: asyncio.Event
    """Has marks sent now instead of within a minute."""


def platform_services(
    sign: Callable[[Mapping[str, object]], str], clock: Clock
) -> PerPlatform[LtiServices]:
    return lru_cache(_MOST_PLATFORMS)(lambda platform: LtiServices(platform, sign, clock))


@asynccontextmanager
async def at_work(services: Services, lti: LtiService) -> AsyncIterator[None]:
    """Work in the background during the block; the access list asks the rosters from now on.

    The hub's key is made if there is none yet, so that no launch has to wait for it. At the end
    the requests to platforms that are under way are the last ones.
    """
    await asyncio.to_thread(lti.keys.current, services.clock.now())
    await asyncio.to_thread(lti.rosters.resume)
    services.roster.more = lti.rosters.names
    stop = threading.Event()
    send, read = (
        partial(to_thread.run_sync, each, stop.is_set, limiter=lti.limiter)
        for each in (lti.scores.run, lti.rosters.run)
    )
    async with (
        every(_EVERY_SECONDS, "marks for learning platforms", send, wake=lti.due),
        every(_EVERY_SECONDS, "members at learning platforms", read),
    ):
        try:
            yield
        finally:
            stop.set()


def make_lti(services: Services) -> LtiService:
    """Raise InvalidInput without a public address, or for a bad one of a platform."""
    engine, clock = services.state.engine, services.clock
    for platform in services.loaded.settings.lti.platform:
        addresses_of(platform)
    limiter = CapacityLimiter(_REQUESTS_AT_ONCE)
    platforms, links = Platforms(engine, services.loaded.settings.lti), Links(engine)
    keys, people = Keys(engine, services.secret), ExternalPeople(engine)
    asked = platform_services(lambda claims: keys.current(clock.now()).sign(claims), clock)
    scores = ScoreSending(
        services.loaded,
        services.grading.key,
        clock,
        platforms.all,
        links,
        people,
        asked,
        LtiScores(engine),
    )
    rosters = RosterKeeping(
        LtiRosters(engine),
        people,
        platforms.all,
        platforms.decide,
        asked,
        clock,
        RosterNames(clock),
    )
    return LtiService(
        own_url=own_url(services.loaded),
        platforms=platforms,
        links=links,
        keys=keys,
        people=people,
        used=UsedStates(engine, clock),
        key_sets=lru_cache(_MOST_PLATFORMS)(
            lambda platform: CachedKeySet(key_request(platform), clock, limiter=limiter)
        ),
        limiter=limiter,
        scores=scores,
        rosters=rosters,
        due=asyncio.Event(),
    )


READ_EVERY = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class RosterKeeping:
    """Reads the members of courses, and keeps ``names`` up to date; its methods block."""

    rosters: LtiRosters
    people: ExternalPeople
    platforms: Callable[[], Sequence[LtiPlatform]]
    decide: Callable[[], bool]
    services: Callable[[LtiPlatform], LtiServices]
    clock: Clock
    names: RosterNames

    def run(self, stopped: Callable[[], bool]) -> None:
        for platform, roster in wanted_rosters(self.platforms(), self.rosters.all()):
            now = self.clock.now()
            if not stopped() and self.rosters.take(roster, now, READ_EVERY):
                refresh(self.rosters, self.services(platform), platform, roster, now)
        self.load()

    def resume(self) -> None:
        """Load, and let in whom platforms sent to an earlier hub and no reading has told of yet.

        The log of these launches has the issuer only. So they count where it is one platform's,
        and until the next reading of the course that was read last.
        """
        self.load()
        oldest = self.clock.now() - VALID
        issuers = Counter(each.issuer for each in self.platforms())
        read = {each.roster.course: each.roster.read_at or oldest for each in self.courses()}
        for platform in self.platforms():
            if platform.roster != "allow" or issuers[platform.issuer] > 1:
                continue
            own = (each for each in read if (each.issuer, each.client_id) == platform.key)
            course = max(own, key=read.__getitem__, default=Course(*platform.key, ""))
            since = max(oldest, read.get(course, oldest))
            for username, at in self.rosters.launches(platform.issuer, since):
                self.names.launched(username, course, at)

    def load(self) -> None:
        courses = (each for each in self.courses() if each.platform.roster == "allow")
        self.names.load(courses, decides=self.decide())

    def launched(
        self, platform: LtiPlatform, context: str, memberships_url: str, username: str
    ) -> None:
        if platform.roster == "off":
            return
        course = Course(*platform.key, context)
        if memberships_url:
            self.rosters.remember(course, memberships_url)
        if platform.roster == "allow":
            self.names.launched(username, course, self.clock.now())

    def courses(self) -> tuple[CourseMembers, ...]:
        platforms = self.platforms()
        issuers = {each.issuer for each in platforms if each.roster != "off"}
        linked = {
            issuer: {each.subject: each.username for each in self.people.people(issuer)}
            for issuer in issuers
        }
        return load_courses(self.rosters, platforms, linked)
