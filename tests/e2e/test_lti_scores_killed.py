"""A hub that is killed again and again while a platform fails: every released mark arrives once.

The moments are random; `make test-long` prints the seed.
"""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine

from mograder.core.sections.settings_model import LtiPlatform
from mograder.grading.release.feedback import CourseFeedback
from mograder.grading.release.releasing import release
from mograder.store.database.database import database_url, open_engine
from mograder.store.database.upgrades import upgrade
from mograder.store.external.external_people import ExternalPeople
from mograder.store.external.external_tables import Link, ScoreState
from mograder.store.external.lti_platforms import Links
from mograder.store.external.lti_scores import LtiScores
from tests.support.course import log_place, work_place
from tests.support.hub import HubConfig, HubProcess
from tests.support.identity import instructor
from tests.support.lti.state import Activity
from tests.support.lti.tokens import line_item_url
from tests.support.lti_platform import LtiPlatform as FakePlatform
from tests.support.lti_platform import lti_platform
from tests.support.released_course import ReleasedCourse, open_released_course

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]

KILLS = 50
STUDENTS = [f"s{number:02}" for number in range(40)]
TROUBLES: tuple[tuple[str, str | int], ...] = (
    ("token", "closed"),
    ("token", 500),
    ("scores", "closed"),
    ("scores", "lost"),
    ("scores", "no HTTP"),
    ("scores", 409),
    ("scores", 401),
    ("scores", 500),
    ("results", 500),
    ("results", "no HTTP"),
)
"""What goes wrong with a few requests of a round; a 409 without a mark there is told."""


def test_every_mark_arrives_once_whatever_happens(chance: random.Random) -> None:
    with _rig() as (hub, course, platform, activity):
        queue = LtiScores(_engine(hub))
        column = platform.state.line_item_of(activity)
        assert column is not None
        points: dict[str, float] = {}
        for kill in range(KILLS):
            for student in chance.sample(STUDENTS, 8):
                points[student] = kill / 10
                course.mark(student, points[student])
            _release(course)
            for kind, what in chance.sample(TROUBLES, 3):
                platform.trouble(kind, *[what] * chance.randint(1, 3))
            hub.launch(hub.command(), hub.environment(), hub.course)
            _wait_for_requests(platform, hub, chance.randint(1, 40))
            hub.kill()
        platform._troubles.clear()
        hub.restart()
        _send_until_nothing_waits(hub, queue)
        rows = {row.username: row for row in queue.of("A1")}
        for student, given in points.items():
            expected = (7.5 + given) / 20 * 100
            there = platform.grade(student, column).given
            assert rows[student].state is ScoreState.SENT, rows[student]
            assert there == pytest.approx(expected), student
        assert _taken_twice(platform) == []
        assert "access-" not in hub.log_text()


def _release(course: ReleasedCourse) -> None:
    now = datetime.now(UTC)
    feedback = CourseFeedback(course.loaded, course.book, "A1", course.key, now)
    release(feedback, STUDENTS, at=None, by="prof")


def _wait_for_requests(platform: FakePlatform, hub: HubProcess, count: int) -> None:
    """Wait until the hub has sent so many requests, or has nothing more to send for a while."""
    before, deadline = len(platform.asked), time.monotonic() + 30
    last, silent_since = before, 0.0
    while len(platform.asked) - before < count and time.monotonic() < deadline:
        assert hub.returncode is None, hub.tail()
        if len(platform.asked) != last or not silent_since:
            last, silent_since = len(platform.asked), time.monotonic()
        elif last > before and time.monotonic() - silent_since > 1:
            return
        time.sleep(0.002)


def _send_until_nothing_waits(hub: HubProcess, queue: LtiScores) -> None:
    """Ask as an instructor for all marks again, until each has arrived."""
    deadline = time.monotonic() + 300
    with hub.client(instructor()) as client:
        while (states := {each.state for each in queue.of("A1")}) != {ScoreState.SENT}:
            assert time.monotonic() < deadline, states
            answer = client.post("/course/lti/scores/A1", follow_redirects=False)
            assert answer.status_code == 303, answer.text
            time.sleep(2)


def _taken_twice(platform: FakePlatform) -> list[tuple[str, float]]:
    """Return the marks that the platform has entered more than once."""
    taken: Counter[tuple[str, float]] = Counter()
    for asked, status in platform.taken:
        if status == 200:
            score = json.loads(asked.body)
            taken[score["userId"], score["scoreGiven"]] += 1
    return [mark for mark, count in taken.items() if count > 1]


@contextmanager
def _rig() -> Iterator[tuple[HubProcess, ReleasedCourse, FakePlatform, Activity]]:
    log = log_place() / "lti-scores-killed.log"
    log.unlink(missing_ok=True)
    with ExitStack() as stack:
        place = stack.enter_context(work_place())
        platform = stack.enter_context(lti_platform())
        given = platform.settings(scores="released")
        hub = HubProcess(
            place / "c",
            log,
            HubConfig(
                settings={
                    "hub.public_url": "http://127.0.0.1:{port}",
                    "hub.runtime_dir": str(place / "run"),
                    "lti.platform": [given],
                }
            ),
        )
        platform.serve(hub.url)
        made = open_released_course(hub.course, 'title = "Numerics"\n')
        course = stack.enter_context(made)
        for student in STUDENTS:
            platform.state.add_person(student)
            course.grade(student)
        activity = platform.state.add_activity("A1", "A1", 100)
        stack.callback(hub.stop)
        hub.start()
        hub.stop()
        _remember(hub, platform, LtiPlatform.model_validate(given), activity)
        yield hub, course, platform, activity


def _remember(
    hub: HubProcess, platform: FakePlatform, settings: LtiPlatform, activity: Activity
) -> None:
    """Store the activity and the people, as their launches would."""
    engine, now = _engine(hub), datetime.now(UTC)
    column = platform.state.line_item_of(activity)
    assert column is not None
    address = line_item_url(platform.url, "4", column.number, column.type_id)
    place = ("1", "4", str(activity.number), "A1", "A1", address, "")
    Links(engine).saw(Link(*settings.key, *place, now))
    people = ExternalPeople(engine)
    for student in STUDENTS:
        subject = platform.state.person(student).subject
        people.link(settings.issuer, subject, student, student, "", now)


def _engine(hub: HubProcess) -> Engine:
    engine = open_engine(database_url("", hub.course))
    upgrade(engine)
    return engine
