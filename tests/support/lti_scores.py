"""A course with released marks, and the fake platform that they are sent to."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine

from mograder.clients.lti_platform import LtiServices
from mograder.core.sections.settings_model import LtiPlatform
from mograder.hub.lti_scores import ItemScores, ScoreSending
from mograder.hub.lti_service import PerPlatform, platform_services
from mograder.store.external.external_people import ExternalPeople
from mograder.store.external.external_tables import Link, ScoreRow, ScoreState
from mograder.store.external.lti_platforms import Links
from mograder.store.external.lti_scores import LtiScores
from tests.support.clock import ManualClock
from tests.support.gradebooks import AT
from tests.support.lti.state import Grade, LineItem
from tests.support.lti.tokens import line_item_url
from tests.support.lti_hub import own_key
from tests.support.lti_platform import LtiPlatform as FakePlatform
from tests.support.lti_platform import lti_platform
from tests.support.released_course import ReleasedCourse, open_released_course

ITEM = "A1"


@dataclass(frozen=True, slots=True)
class ScoreDesk:
    """The parts of a hub that send marks, without the hub: `run` is one pass.

    The course's first three students are alice, bob and carol, of whom carol has no mark; all are
    linked to the platform's people. The item's activity is number 1 of the platform.
    """

    course: ReleasedCourse
    platform: FakePlatform
    settings: LtiPlatform
    clock: ManualClock
    engine: Engine
    services: PerPlatform[LtiServices]
    sending: ScoreSending

    @property
    def queue(self) -> LtiScores:
        return LtiScores(self.engine)

    @property
    def column(self) -> LineItem:
        """The activity's own line item at the platform."""
        return self.platform.state.line_items[28]

    def run(self) -> None:
        """Queue what is due and send it."""
        self.sending.run(lambda: False)

    def later(self, seconds: float = 4000) -> None:
        """Do the same some time later, when everything may be tried again."""
        self.clock.advance(seconds)
        self.run()

    def release(self, *students: str) -> None:
        """Release the present marks at the present time."""
        self.course.release(*students, minutes=(self.clock.now() - AT).total_seconds() / 60)

    def send(self, *students: str) -> None:
        """Release the present marks, and send them."""
        self.release(*students)
        self.run()

    def correct(self, username: str, points: float, *, after: float) -> None:
        """Give a student another mark, and send it so many seconds later."""
        self.course.mark(username, points)
        self.clock.advance(after)
        self.send(username)

    def shown(self) -> ItemScores:
        """Return what the item's page shows."""
        found = self.sending.of_item(ITEM)
        assert found is not None
        return found

    def row(self, username: str) -> ScoreRow:
        """Return the student's only row of the queue."""
        (found,) = (each for each in self.queue.of(ITEM) if each.username == username)
        return found

    def state(self, username: str) -> ScoreState:
        return self.row(username).state

    def states(self) -> Counter[ScoreState]:
        """Return how many of the item's marks are in each state."""
        return Counter(each.state for each in self.queue.of(ITEM))

    def there(self, username: str) -> Grade:
        """Return the student's grade at the platform."""
        return self.platform.grade(username, self.column)

    def taken(self, username: str) -> list[int]:
        """Return the statuses of the answers to all marks sent for a student, in order."""
        subject = self.platform.state.person(username).subject
        quoted = f'"userId": "{subject}"'.encode()
        return [status for asked, status in self.platform.taken if quoted in asked.body]

    def open_sending(self, *settings: LtiPlatform) -> ScoreSending:
        """Return the parts of one more hub on the same database, also with other settings."""
        return _sending(
            self.course, settings or (self.settings,), self.clock, self.engine, self.services
        )

    def see(self, number: int = 1, item: str = ITEM, lineitem: str | None = None) -> Link:
        """Store an activity as a launch does; "" for one that names no grade item."""
        found = line_item_url(self.platform.url, "4", 27 + number, "1")
        link = Link(
            *self.settings.key,
            "1",
            "4",
            str(number),
            item,
            f"Activity {number}",
            found if lineitem is None else lineitem,
            f"{self.platform.url}/mod/lti/services.php/4/lineitems?type_id=1",
            self.clock.now(),
        )
        Links(self.engine).saw(link)
        return link

    def know(self, username: str) -> None:
        """Link a person of the platform to the user of the same name."""
        subject = self.platform.state.person(username).subject
        people = ExternalPeople(self.engine)
        people.link(self.settings.issuer, subject, username, username, "", self.clock.now())

    def add_students(self, count: int) -> None:
        """Add students at both ends, each with a mark."""
        for username in (f"s{number}" for number in range(count)):
            self.platform.state.add_person(username)
            self.know(username)
            self.course.grade(username)
            self.course.mark(username, 5)


@contextlib.contextmanager
def open_score_desk(place: Path, engine: Engine, toml: str = "") -> Iterator[ScoreDesk]:
    """Make the course and the platform, at :data:`AT`; nothing is released yet."""
    clock, key = ManualClock(AT), own_key()
    with (
        open_released_course(place, toml) as course,
        lti_platform(
            clock=lambda: clock.now().timestamp(), hub_keys={"keys": [key.public()]}
        ) as platform,
    ):
        settings = LtiPlatform.model_validate(platform.settings(scores="released"))
        services = platform_services(key.sign, clock)
        sending = _sending(course, (settings,), clock, engine, services)
        desk = ScoreDesk(course, platform, settings, clock, engine, services, sending)
        desk.see()
        for username in ("alice", "bob", "carol"):
            desk.know(username)
        yield desk


def _sending(
    course: ReleasedCourse,
    settings: tuple[LtiPlatform, ...],
    clock: ManualClock,
    engine: Engine,
    services: PerPlatform[LtiServices],
) -> ScoreSending:
    people, links = ExternalPeople(engine), Links(engine)
    queue, platforms = LtiScores(engine), lambda: settings
    return ScoreSending(course.loaded, course.key, clock, platforms, links, people, services, queue)
