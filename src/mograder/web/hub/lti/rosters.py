"""The members of courses on learning platforms: read at times, and let in where that decides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from mograder.clients.lti_services import LtiServices
from mograder.core.clock import Clock
from mograder.core.sections.external_settings import LtiPlatform
from mograder.exchange.lti.roster import (
    CourseMembers,
    RosterNames,
    load_courses,
    refresh,
    wanted_rosters,
)
from mograder.store.external.external_people import ExternalPeople
from mograder.store.external.lti_rosters import Course, LtiRosters

READ_EVERY = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class RosterKeeping:
    """Reads the members of courses, and keeps ``names`` up to date; its methods block.

    ``services`` returns the services of a platform.
    """

    rosters: LtiRosters
    people: ExternalPeople
    platforms: Callable[[], Sequence[LtiPlatform]]
    services: Callable[[LtiPlatform], LtiServices]
    clock: Clock
    names: RosterNames

    def run(self, stopped: Callable[[], bool]) -> None:
        """Read the courses whose turn it is, and take over what is known of all."""
        for platform, roster in wanted_rosters(self.platforms(), self.rosters.all()):
            now = self.clock.now()
            if not stopped() and self.rosters.take(roster, now, READ_EVERY):
                refresh(self.rosters, self.services(platform), platform, roster, now)
        self.load()

    def load(self) -> None:
        """Let in the members of the last readings of the courses that decide it."""
        decides = any(each.roster == "allow" for each in self.platforms())
        courses = (each for each in self.courses() if each.platform.roster == "allow")
        self.names.load(courses, decides=decides)

    def launched(
        self, platform: LtiPlatform, context: str, memberships_url: str, username: str
    ) -> None:
        """Note a launch of a course: where its members are read, and that this user is one."""
        if platform.roster == "off":
            return
        course = Course(platform.key, context)
        if memberships_url:
            self.rosters.remember(course, memberships_url)
        self.names.launched(username, course)

    def courses(self) -> tuple[CourseMembers, ...]:
        """Return the courses with a roster, and their members."""
        platforms = self.platforms()
        issuers = {each.issuer for each in platforms if each.roster != "off"}
        linked = {
            issuer: {each.subject: each.username for each in self.people.people(issuer)}
            for issuer in issuers
        }
        return load_courses(self.rosters, platforms, linked)
