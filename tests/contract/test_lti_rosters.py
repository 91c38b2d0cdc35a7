"""The members of a platform's course: read completely or not at all, and let in by their names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from mograder.auth.credentials import Role
from mograder.core.sections.settings_model import LtiPlatform
from mograder.exchange.lti_roster import RosterNames
from mograder.hub.lti_service import RosterKeeping, platform_services
from mograder.store.course.allowlist import Allowlist
from mograder.store.external.external_people import ExternalPeople
from mograder.store.external.external_tables import Course
from mograder.store.external.lti_platforms import LtiRosters
from tests.support.clock import ManualClock
from tests.support.gradebooks import AT
from tests.support.lti_hub import own_key
from tests.support.lti_platform import LtiPlatform as FakePlatform
from tests.support.lti_platform import lti_platform

DAY = 86_400.0
_SECOND_PAGE_FAILS: tuple[Any, ...] = (None, 500)


@dataclass
class Desk:
    platform: FakePlatform
    settings: LtiPlatform
    clock: ManualClock
    people: ExternalPeople
    keeping: RosterKeeping
    allowlist: Allowlist

    @property
    def course(self) -> Course:
        return Course(*self.settings.key, "4")

    @property
    def memberships(self) -> str:
        return f"{self.platform.url}/mod/lti/services.php/CourseSection/4/bindings/1/memberships"

    def read(self, seconds: float = 700) -> None:
        """Make one pass of reading after some time."""
        self.clock.advance(seconds)
        self.keeping.run(lambda: False)

    def configure(self, **changes: object) -> None:
        """Change the platform's settings."""
        self.settings = self.settings.model_copy(update=changes)

    def allows(self, username: str) -> bool:
        return self.allowlist.allows(username, Role.STUDENT)

    @property
    def error(self) -> str:
        (roster,) = self.keeping.rosters.all()
        return roster.error


@pytest.fixture
def desk(tmp_path: Path, engine: Engine) -> Iterator[Desk]:
    """A hub that has seen one launch of a course, and reads with `names = "same"`."""
    clock, key = ManualClock(AT), own_key()
    with lti_platform(
        clock=lambda: clock.now().timestamp(), hub_keys={"keys": [key.public()]}
    ) as platform:
        settings = LtiPlatform.model_validate(platform.settings(roster="allow", names="same"))
        people, names = ExternalPeople(engine), RosterNames(clock)
        services = platform_services(key.sign, clock)
        allowlist = Allowlist(tmp_path / "allowed_users.txt")
        allowlist.more = names
        made = Desk(platform, settings, clock, people, None, allowlist)  # type: ignore[arg-type]
        made.keeping = RosterKeeping(
            LtiRosters(engine),
            people,
            lambda: (made.settings,),
            lambda: made.settings.roster == "allow",
            services,
            clock,
            names,
        )
        made.keeping.load()
        made.keeping.launched(settings, "4", made.memberships, "alice")
        yield made


def test_who_has_launched_is_let_in_before_the_first_reading(desk: Desk) -> None:
    assert desk.allows("alice")
    assert not desk.allows("bob")
    assert desk.allowlist.allows("prof", Role.INSTRUCTOR)


def test_the_members_are_let_in_and_all_others_are_not(desk: Desk) -> None:
    desk.read()
    assert desk.allows("alice")
    assert desk.allows("bob")
    assert desk.allows("dora")
    assert not desk.allows("mallory")
    assert not desk.allows("admin")


def test_the_students_are_all_members_but_teachers_also_beside_a_list(
    desk: Desk, tmp_path: Path
) -> None:
    assert desk.allowlist.students() == frozenset(), "no reading has told of any"
    desk.read()
    found = desk.allowlist.students()
    assert found is not None
    assert found >= {"alice", "bob", "dora"}
    assert desk.allows("teach1")
    assert "teach1" not in found
    (tmp_path / "allowed_users.txt").write_text("guest\n")
    assert desk.allowlist.students() == found | {"guest"}
    desk.platform.always("members", 500)
    desk.read(DAY)
    assert desk.allowlist.students() == frozenset({"guest"}), "as they are not let in"


def test_who_leaves_the_course_is_not_let_in_after_the_next_reading(desk: Desk) -> None:
    desk.read()
    before = desk.allowlist.version()
    desk.platform.state.change("bob", active=False)
    desk.read(30)
    assert desk.allows("bob")
    desk.read()
    assert not desk.allows("bob")
    assert desk.allowlist.version() != before


def test_who_launched_and_left_is_not_let_in_either(desk: Desk) -> None:
    desk.read()
    desk.keeping.launched(desk.settings, "4", desk.memberships, "alice")
    desk.platform.state.change("alice", active=False)
    assert desk.allows("alice")
    desk.read()
    assert not desk.allows("alice")


@pytest.mark.parametrize("what", ["closed", "no HTTP", "HTML", "huge", 500, 404, 401])
def test_the_last_complete_reading_counts_for_a_day(desk: Desk, what: str | int) -> None:
    desk.read()
    desk.platform.always("members", what)
    desk.read()
    assert desk.error
    assert desk.allows("bob")
    desk.read(DAY)
    assert not desk.allows("bob")
    desk.platform.always("members", None)
    desk.read()
    assert desk.allows("bob")
    assert desk.error == ""


def test_the_file_lets_in_further_people(desk: Desk, tmp_path: Path) -> None:
    desk.read()
    (tmp_path / "allowed_users.txt").write_text("guest\n")
    assert desk.allows("guest")
    assert desk.allows("bob")
    assert not desk.allows("mallory")


def test_a_roster_that_is_only_shown_lets_everybody_in(desk: Desk) -> None:
    desk.configure(roster="show")
    desk.read()
    assert desk.allows("mallory")
    (course,) = desk.keeping.courses()
    assert "Carol & Co M" in {each.display_name for each in course.members}


def test_of_two_platforms_the_one_that_is_only_shown_lets_nobody_in(desk: Desk) -> None:
    shown = desk.settings.model_copy(update={"client_id": "another", "roster": "show"})
    desk.keeping.launched(shown, "4", "", "mallory")
    assert not desk.allows("mallory")


def test_names_of_its_own_are_nobody_here_until_they_are_linked(desk: Desk) -> None:
    desk.configure(names="own")
    desk.read()
    assert not desk.allows("bob")
    desk.people.link(desk.settings.issuer, "14", "robert", "Bob", "", desk.clock.now())
    desk.read()
    assert desk.allows("robert")
    assert not desk.allows("bob")


def test_a_members_name_that_is_linked_to_another_person_lets_nobody_in(desk: Desk) -> None:
    desk.people.link(desk.settings.issuer, "999", "bob", "Other", "prof", desk.clock.now())
    desk.read()
    assert not desk.allows("bob")


def test_without_names_members_are_known_by_their_links_only(desk: Desk) -> None:
    desk.configure(client_id="client-private")
    place = desk.memberships.replace("bindings/1", "bindings/2")
    desk.keeping.launched(desk.settings, "4", place, "alice")
    desk.people.link(desk.settings.issuer, "14", "bob", "", "", desk.clock.now())
    desk.read()
    assert desk.allows("bob")
    assert not desk.allows("dora")


def test_a_course_that_is_not_the_hubs_is_never_read(desk: Desk) -> None:
    desk.configure(courses=("9",))
    desk.read()
    assert desk.platform.asked == []


def test_a_list_of_another_course_is_refused(desk: Desk) -> None:
    other = desk.memberships.replace("CourseSection/4", "CourseSection/5")
    desk.keeping.rosters.remember(desk.course, other)
    desk.read()
    assert "another course" in desk.error
    assert not desk.allows("bob")


def test_an_empty_list_expels_nobody(desk: Desk) -> None:
    desk.read()
    for each in list(desk.platform.state.people.values()):
        desk.platform.state.change(each.username, active=False)
    desk.read()
    assert "empty" in desk.error
    assert desk.allows("bob")


def test_all_pages_are_read(desk: Desk) -> None:
    desk.keeping.rosters.remember(desk.course, f"{desk.memberships}?limit=3")
    desk.read()
    assert desk.allows("frank@uni.example")
    assert desk.allows("dora")
    assert sum("memberships" in each.path for each in desk.platform.asked) == 3


def test_a_page_that_fails_leaves_the_earlier_reading(desk: Desk) -> None:
    desk.read()
    desk.keeping.rosters.remember(desk.course, f"{desk.memberships}?limit=3")
    for each in ("alice", "dora"):
        desk.platform.state.change(each, active=False)
    desk.platform.trouble("members", *_SECOND_PAGE_FAILS)
    desk.read()
    assert desk.allows("dora")


def test_the_members_of_another_server_are_not_asked(desk: Desk) -> None:
    desk.keeping.rosters.remember(desk.course, "https://evil.example.org/memberships")
    desk.read()
    assert "another server" in desk.error
    assert all(each.path.endswith("token.php") for each in desk.platform.asked)


def test_one_of_two_hubs_reads(desk: Desk) -> None:
    (roster,) = desk.keeping.rosters.all()
    now, every = desk.clock.now(), timedelta(minutes=10)
    assert desk.keeping.rosters.take(roster, now, every)
    assert not desk.keeping.rosters.take(roster, now, every)


def test_a_roster_is_read_again_after_a_clock_that_was_ahead_was_put_right(desk: Desk) -> None:
    now, every = desk.clock.now(), timedelta(minutes=10)
    ahead = now + timedelta(days=365)
    for moment, is_due in ((ahead, True), (now, True), (now, False)):
        (roster,) = desk.keeping.rosters.all()
        assert desk.keeping.rosters.take(roster, moment, every) is is_due
