"""The members of platforms' courses: who may enter by them, and how they are read.

A function that takes ``rosters`` raises Busy when the hub's database does not answer.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from mograder.auth.lti_claims import STAFF
from mograder.clients.lti_platform import LtiServices
from mograder.core.clock import Clock
from mograder.core.errors import RemoteFailed
from mograder.core.log import get_logger
from mograder.core.names import Username
from mograder.core.sections.settings_model import LtiPlatform
from mograder.store.external.external_tables import Course, Roster
from mograder.store.external.lti_platforms import LtiRosters, RosterMember

VALID = timedelta(days=1)
"""How long a complete reading counts if later ones fail, and a launch until the next reading."""

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class CourseMembers:
    """A course with the members of its last complete reading, and their users of this hub.

    ``users`` are usernames by the member's id at the platform: those that a sign-in or an
    instructor linked, and, where the platform's names are the hub's, the other members' names.
    """

    platform: LtiPlatform
    roster: Roster
    members: tuple[RosterMember, ...]
    users: Mapping[str, str] = field(default_factory=dict)

    @property
    def allowed(self) -> frozenset[str]:
        """The users whom the course's members let in, while the reading is valid."""
        return self._users_of(self.members)

    @property
    def students(self) -> frozenset[str]:
        """Those of ``allowed`` who are no teachers of the course."""
        return self._users_of(each for each in self.members if STAFF.isdisjoint(each.roles))

    def _users_of(self, members: Iterable[RosterMember]) -> frozenset[str]:
        return frozenset(self.users[m.subject] for m in members if m.subject in self.users)


def users_of(
    platform: LtiPlatform, members: Iterable[RosterMember], linked: Mapping[str, str]
) -> dict[str, str]:
    """Return the users of members by the members' ids.

    ``linked`` are the platform's linked people: usernames by the person's id. A name that belongs
    to another person of the platform is nobody else's, and a platform with names of its own tells
    none of this hub.
    """
    found = {}
    taken = frozenset(linked.values())
    for each in members:
        own = linked.get(each.subject, "")
        named = each.username if platform.names == "same" and each.username not in taken else ""
        if own or named:
            found[each.subject] = own or named
    return found


def read_members(
    services: LtiServices, platform: LtiPlatform, roster: Roster
) -> tuple[RosterMember, ...]:
    """Return a course's members as the platform tells them now; blocks.

    Raises: RemoteFailed if the reading is not complete, or the course would be empty.
    """
    found = services.members(roster.memberships_url, roster.context)
    members = []
    for each in found:
        if each.active:
            told = each.claims.get(platform.username, "")
            name = told if Username.valid(told) == told else ""
            members.append(RosterMember(each.subject, name, each.name, each.roles))
    if not members:
        raise RemoteFailed("The platform's list of members is empty.")
    return tuple(members)


def refresh(
    rosters: LtiRosters, services: LtiServices, platform: LtiPlatform, roster: Roster, now: datetime
) -> bool:
    """Read a course's members and keep them, or why that failed; return whether it worked."""
    try:
        members = read_members(services, platform, roster)
    except RemoteFailed as error:
        _log.warning("the members of a course of %s were not read: %s", platform.issuer, error)
        rosters.failed(roster.course, str(error))
        return False
    rosters.replace(roster.course, members, now)
    return True


def wanted_rosters(
    platforms: Iterable[LtiPlatform], rosters: Iterable[Roster]
) -> Iterator[tuple[LtiPlatform, Roster]]:
    """Yield the rosters to read: those of courses that belong to this hub, where it is set."""
    by_key = {each.key: each for each in platforms if each.roster != "off"}
    for roster in rosters:
        platform = by_key.get((roster.issuer, roster.client_id))
        if platform is not None and roster.context in platform.courses:
            yield platform, roster


class RosterNames:
    """The users whom platforms' courses let in, as an access list asks for them; thread-safe.

    A person who has launched is let in before the next reading. Mutable state, each replaced as a
    whole: ``_decides``, ``_courses``, with the names and the students of each course and until
    when they count, and ``_launched``, the launches by username, which ``_lock`` guards while it
    is replaced.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._decides = False
        self._courses: tuple[tuple[frozenset[str], frozenset[str], datetime], ...] = ()
        self._launched: Mapping[str, tuple[Course, datetime]] = {}
        self._lock = threading.Lock()

    def load(self, courses: Iterable[CourseMembers], *, decides: bool) -> None:
        """Take over what was read; a launch before a course was read ends to count."""
        entries = []
        read: dict[Course, datetime] = {}
        for each in courses:
            if each.roster.read_at is not None:
                read[each.roster.course] = each.roster.read_at
                entries.append((each.allowed, each.students, each.roster.read_at + VALID))
        self._decides, self._courses = decides, tuple(entries)
        with self._lock:
            self._launched = {
                name: (course, at)
                for name, (course, at) in self._launched.items()
                if course not in read or at >= read[course]
            }

    def launched(self, username: str, course: Course, at: datetime) -> None:
        """Let in a person whom the platform sent ``at`` a time: it does so for members only."""
        with self._lock:
            self._launched = {**self._launched, username: (course, at)}

    def decides(self) -> bool:
        """Return whether any platform's members are let in, and others only by the file."""
        return self._decides

    def has(self, username: str) -> bool:
        now, launch = self._clock.now(), self._launched.get(username)
        if launch is not None and now - launch[1] < VALID:
            return True
        return any(username in names and now < until for names, _, until in self._courses)

    def students(self) -> frozenset[str]:
        """Return the students of courses that were read; what a launch tells is no list of them."""
        now = self._clock.now()
        return frozenset[str]().union(*(names for _, names, until in self._courses if now < until))

    def version(self) -> Hashable:
        """Return a value that differs after a user was removed, also by time."""
        now = self._clock.now()
        valid = [each for each in self._courses if now < each[-1]]
        launched = (name for name, (_, at) in self._launched.items() if now - at < VALID)
        return self._decides, tuple(valid), frozenset(launched)


def load_courses(
    rosters: LtiRosters, platforms: Collection[LtiPlatform], linked: Mapping[str, Mapping[str, str]]
) -> tuple[CourseMembers, ...]:
    """Return what is known of courses with a roster; ``linked`` has usernames by issuer and id."""
    found = []
    for platform, roster in wanted_rosters(platforms, rosters.all()):
        members = rosters.members(roster.course)
        users = users_of(platform, members, linked.get(platform.issuer, {}))
        found.append(CourseMembers(platform, roster, members, users))
    return tuple(found)
