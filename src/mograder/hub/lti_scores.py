"""Sending released marks to learning platforms: what is due, the queue, and an item's state."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from mograder.clients.lti_platform import LtiServices
from mograder.core.clock import Clock
from mograder.core.errors import MograderError, RemoteFailed
from mograder.core.log import get_logger
from mograder.core.sections.settings_model import LtiPlatform
from mograder.core.settings import LoadedSettings
from mograder.exchange.lti_scores import (
    UNREADABLE,
    ActivityAddress,
    Delivery,
    comment_text,
    grade_item_of,
)
from mograder.grading.release.feedback import CourseFeedback
from mograder.grading.release.student_marks import DueMark, DueMarks, due_marks
from mograder.store.external.external_people import ExternalPeople
from mograder.store.external.external_tables import Link, PlatformKey, ScoreRow, ScoreState
from mograder.store.external.lti_platforms import Links
from mograder.store.external.lti_scores import DueScore, LtiScores
from mograder.store.gradebook.gradebook import Gradebook, existing_gradebook
from mograder.store.gradebook.mark_release import MarkReleases

LEASE = timedelta(minutes=1)
"""How long a mark is one process's; longer than a try with all its requests may take."""

_AGAIN = timedelta(hours=1)
"""How long an item without a change is not looked at; settings may change meanwhile."""

_MOST_FAILURES = 3

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Looked:
    """An item as it was looked at: ``stamp`` differs after any change, ``until`` a time."""

    stamp: Hashable
    until: datetime
    unlinked: int = 0


@dataclass(frozen=True, slots=True)
class ActivityScores:
    """An activity's marks seen there; ``gone`` is one's number if its grade item is gone."""

    title: str
    arrived: int
    total: int
    gone: int


@dataclass(frozen=True, slots=True)
class ItemScores:
    """What an item's page shows of the marks sent; activities that are gone do not count.

    ``arrived`` of ``total`` were seen there. ``open`` are the marks that wait or are not there,
    each with its activity's title, ``unlinked`` counts students whose account there is not known.
    ``homeless`` are activities without a grade item, ``failing`` the platforms left alone until the
    next pass.
    """

    counts: Mapping[ScoreState, int]
    arrived: int
    total: int
    activities: Sequence[ActivityScores]
    open: Sequence[tuple[ScoreRow, str]]
    last: datetime | None
    unlinked: int
    homeless: Sequence[str]
    failing: Collection[PlatformKey]
    unread: bool


@dataclass(slots=True)
class ScoreSending:
    """Finds what is due and sends it; its methods block, for one thread.

    ``services`` returns the services of a platform; ``key`` verifies the results of grading.
    Mutable state: ``_looked``, the items as they were looked at, ``_searched``, the time at which
    an activity's grade item was looked for, and ``_failing``, the platforms that failed lately.
    """

    loaded: LoadedSettings
    key: bytes = field(repr=False)
    clock: Clock
    platforms: Callable[[], Sequence[LtiPlatform]]
    links: Links
    people: ExternalPeople
    services: Callable[[LtiPlatform], LtiServices]
    queue: LtiScores
    _looked: dict[str, _Looked] = field(default_factory=dict, init=False)
    _searched: dict[tuple[str, ...], datetime] = field(default_factory=dict, init=False)
    _failing: frozenset[PlatformKey] = field(default=frozenset(), init=False)

    def run(self, stopped: Callable[[], bool]) -> None:
        platforms = self._platforms()
        if not platforms:
            return
        try:
            self.queue_due(stopped)
        except MograderError as error:  # what is in the queue is sent all the same
            _log.error("marks for learning platforms could not be looked up: %s", error)
        self._send(platforms, stopped)

    def queue_due(self, stopped: Callable[[], bool] = lambda: False) -> None:
        """Queue what has become due. Raises: as the gradebook, and Busy."""
        platforms = self._platforms()
        by_item: defaultdict[str, list[Link]] = defaultdict(list)
        for each in self._activities(platforms):
            by_item[each.item].append(each)
        book = existing_gradebook(self.loaded.gradebook_path) if by_item else None
        if book is None:
            return
        with book:
            newest = MarkReleases(book).newest()
            people = {  # the ids at each platform by username
                issuer: {each.username: each.subject for each in self.people.people(issuer)}
                for issuer in {each.issuer for each in platforms.values()}
            }
            for item, activities in by_item.items():
                if stopped():
                    return
                if item in newest or self.queue.at(_grade_items(activities)):
                    at_home = [self._with_grade_item(each, platforms) for each in activities]
                    known = tuple(frozenset(each.items()) for each in people.values())
                    stamp = (newest.get(item), tuple(at_home), known)
                    self._look_at(book, item, at_home, people, stamp)

    def of_item(self, item: str) -> ItemScores | None:
        """Return what an item's page shows; None for an item that is on no platform."""
        platforms = self._platforms()
        activities = [each for each in self._activities(platforms) if each.item == item]
        sent = [each for each in self.queue.of(item) if each.platform in platforms]
        # Of several courses of a platform a student may be in one: the others take no mark.
        there = {each.username for each in sent if each.given is not None and _has_arrived(each)}
        refused = ScoreState.REFUSED
        rows = [each for each in sent if each.state is not refused or each.username not in there]
        if not activities and not rows:
            return None
        looked = self._looked.get(item)
        titles = {each.lineitem: each.title for each in activities}
        shown = _by_activity(rows, titles)
        gone = {each.lineitem for each in rows if each.state is ScoreState.GONE}
        alive = [each for each in rows if each.lineitem not in gone]
        done = (ScoreState.SENT, ScoreState.STOPPED)
        return ItemScores(
            counts=Counter(each.state for each in alive),
            arrived=sum(each.arrived for each in shown if not each.gone),
            total=sum(each.total for each in shown if not each.gone),
            activities=shown,
            open=[
                (each, titles.get(each.lineitem, "")) for each in alive if each.state not in done
            ],
            last=max((each.sent_at for each in alive if each.sent_at), default=None),
            unlinked=0 if looked is None else looked.unlinked,
            homeless=[each.title for each in activities if not each.lineitem],
            failing=self._failing,
            unread=any(each.detail == UNREADABLE for each in alive),
        )

    def put_away(self, item: str, number: int) -> str:
        """Forget the activity of one of an item's marks, whose grade item is gone."""
        return self.queue.put_away(item, number)

    def send_again(self, item: str, number: int = 0) -> int:
        """Try an item's marks again, all or one, also those refused; return how many."""
        return self.queue.send_again(item, self.clock.now(), number=number)

    def _platforms(self) -> dict[PlatformKey, LtiPlatform]:
        return {each.key: each for each in self.platforms() if each.scores == "released"}

    def _activities(self, platforms: Mapping[PlatformKey, LtiPlatform]) -> list[Link]:
        """Return the activities of items, one for each grade item: the one launched last."""
        found: dict[tuple[str, ...], Link] = {}
        for each in self.links.all():
            platform = platforms.get((each.issuer, each.client_id))
            if platform is not None and each.item and each.context in platform.courses:
                found.setdefault((each.lineitem,) if each.lineitem else _place(each), each)
        return list(found.values())

    def _look_at(
        self,
        book: Gradebook,
        item: str,
        activities: Sequence[Link],
        people: Mapping[str, Mapping[str, str]],
        stamp: Hashable,
    ) -> None:
        now, looked = self.clock.now(), self._looked.get(item)
        if looked is not None and looked.stamp == stamp and now < looked.until:
            return
        try:
            due = due_marks(CourseFeedback(self.loaded, book, item, self.key, now))
            scores, unlinked = _scores(due, activities, people)
            there = self.queue.at(_grade_items(activities))
            scores += _of_others(item, there, scores, activities, people)
            self.queue.set_due(item, scores, now)
        except MograderError as error:
            _log.error("the marks of %s for learning platforms: %s", item, error)
            return
        until = min(now + _AGAIN, due.changes_at or now + _AGAIN)
        self._looked[item] = _Looked(stamp, until, unlinked)

    def _with_grade_item(self, link: Link, platforms: Mapping[PlatformKey, LtiPlatform]) -> Link:
        if link.lineitem or not link.lineitems:
            return link
        now = self.clock.now()
        place = _place(link)
        if now - self._searched.get(place, now - _AGAIN) < _AGAIN:
            return link
        self._searched[place] = now
        try:
            services = self.services(platforms[link.issuer, link.client_id])
            found = grade_item_of(
                services.line_items(link.lineitems, link.item), link.resource_link
            )
        except RemoteFailed as error:
            _log.warning("the grade item of an activity for %s: %s", link.item, error)
            return link
        return self.links.found_grade_item(link, found) if found else link

    def _send(
        self, platforms: Mapping[PlatformKey, LtiPlatform], stopped: Callable[[], bool]
    ) -> None:
        failures: Counter[PlatformKey] = Counter()
        places = {
            each.lineitem: ActivityAddress(each.lineitems, each.resource_link)
            for each in self._activities(platforms)
        }

        def working() -> list[PlatformKey]:
            return [key for key in platforms if failures[key] < _MOST_FAILURES]

        def note(key: PlatformKey, *, worked: bool) -> None:
            failures[key] = 0 if worked else failures[key] + 1

        while not stopped() and working():
            row = self.queue.take(working(), self.clock.now(), LEASE)
            if row is None:
                break
            key, place = row.platform, places.get(row.lineitem, ActivityAddress())
            note(key, worked=self._delivery(platforms[key]).deliver(row, place))
        failing = set(platforms) - set(working())
        failures.clear()  # perhaps some grade items are locked, whose results can be read
        for rows in self.queue.to_look_at(working(), self.clock.now()):
            key, place = rows[0].platform, places.get(rows[0].lineitem, ActivityAddress())
            if not stopped() and key in working():
                worked = self._delivery(platforms[key]).look(rows, place)
                note(key, worked=worked)
                failing -= {key} if worked else set()
        self._failing = frozenset(failing | (set(platforms) - set(working())))

    def _delivery(self, platform: LtiPlatform) -> Delivery:
        return Delivery(self.services(platform), self.queue, self.clock)


def _place(link: Link) -> tuple[str, ...]:
    """Return the key of an activity; contexts and links of two platforms may be equal numbers."""
    return link.issuer, link.client_id, link.deployment, link.context, link.resource_link


def _scores(
    due: DueMarks, activities: Sequence[Link], people: Mapping[str, Mapping[str, str]]
) -> tuple[list[DueScore], int]:
    """Return the marks for each activity, and how many students are not known at any platform."""
    scores: list[DueScore] = []
    unlinked = {username for username, mark in due.marks.items() if mark is not None}
    for link in activities:
        known = people[link.issuer]
        unlinked.difference_update(known)
        for username, mark in due.marks.items():
            if link.lineitem and username in known:
                scores += _score(link, (known[username], username), mark)
    return scores, len(unlinked)


def _of_others(
    item: str,
    there: Sequence[ScoreRow],
    wanted: Sequence[DueScore],
    activities: Sequence[Link],
    people: Mapping[str, Mapping[str, str]],
) -> list[DueScore]:
    """Return empty marks, which erase those of people unlinked since, and of an earlier item."""
    places = {(link.issuer, link.client_id, link.lineitem) for link in activities}
    known = {each.key for each in wanted}
    return [
        DueScore(*row.platform, row.lineitem, row.subject, row.username, None, 1.0)
        for row in there
        if (*row.platform, row.lineitem) in places
        and (row.lineitem, row.subject) not in known
        and (
            row.item != item
            or row.given is None
            or people[row.issuer].get(row.username) != row.subject
        )
    ]


def _score(link: Link, person: tuple[str, str], mark: DueMark | None) -> Sequence[DueScore]:
    """Return a person's mark for an activity; ``person`` is the id there, and the username."""
    place = (link.issuer, link.client_id, link.lineitem, *person)
    if mark is None:
        return [DueScore(*place, None, 1.0)]
    if mark.grade.final is None or mark.grade.max_mark <= 0:  # nothing that a platform could scale
        return []
    comment = comment_text(mark.grade.comment, mark.late)
    return [DueScore(*place, mark.grade.final, mark.grade.max_mark, comment)]


def _by_activity(rows: Sequence[ScoreRow], titles: Mapping[str, str]) -> list[ActivityScores]:
    by_place: defaultdict[str, list[ScoreRow]] = defaultdict(list, {each: [] for each in titles})
    for row in rows:
        by_place[row.lineitem].append(row)
    found = []
    for place, own in by_place.items():
        due = [
            each for each in own if each.given is not None and each.state is not ScoreState.STOPPED
        ]
        gone = next((each.number for each in own if each.state is ScoreState.GONE), 0)
        if place and (due or gone):
            arrived = sum(map(_has_arrived, due))
            found.append(ActivityScores(titles.get(place, ""), arrived, len(due), gone))
    return found


def _has_arrived(row: ScoreRow) -> bool:
    may_be_there = (ScoreState.SENT, ScoreState.WAITING, ScoreState.TAKEN)
    return row.state in may_be_there and row.sent_at is not None


def _grade_items(activities: Sequence[Link]) -> frozenset[str]:
    return frozenset(each.lineitem for each in activities)
