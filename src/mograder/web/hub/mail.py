"""The events that people get letters about, found in what the course has recorded.

Looking at the records, instead of being told by each page, finds marks that a command released,
too, and what happened while the hub was away. A letter's key names its event, so that an event
that is found again, as each is for some days, gives no second letter, and none is written for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncIterator,
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from functools import cache, cached_property, partial
from itertools import product
from urllib.parse import quote

from mograder.clients.mail import is_address
from mograder.core.item_dates import course_zone
from mograder.core.names import INSTRUCTOR, ItemName, Username, is_rehearsal
from mograder.core.settings import LoadedSettings
from mograder.core.tasks import Job, every
from mograder.exchange.mailing import LetterEvent, Post
from mograder.grading.release.feedback import CourseFeedback
from mograder.grading.release.releasing import readable_marks
from mograder.grading.release.student_marks import Telling, telling
from mograder.operations.sign_in_settings import mail_server, own_url
from mograder.sessions.copy_updates import CopyUpdates
from mograder.sessions.session import CopyOf
from mograder.store.copies.update_rows import UpdateRows
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.late_work import Change, LateFacts, LateWork, Membership
from mograder.store.gradebook.mark_release import MarkReleases, ReleaseRow, standing
from mograder.store.hub.letters import INVITED, LetterRow, Letters, LetterState, letter_key
from mograder.store.marking.regrade_requests import (
    MessageKind,
    RegradeRequests,
)
from mograder.web.hub.copies.hand_in import late_at
from mograder.web.hub.core.hub_app import HubApp, Run
from mograder.web.hub.today import read_today
from mograder.web.marking.context import question_title

_SOON = timedelta(days=1)
_LOOK_SECONDS = 60.0


def open_mail(hub: HubApp) -> Run:
    services = hub.services
    post = hub.add(
        open_post(services.loaded, Letters(services.state.engine), services.mail_password)
    )
    find = partial(find_events, hub, post.home)
    look = partial(asyncio.to_thread, post.look, services.clock, find)
    return partial(_at_work, post, look)


@asynccontextmanager
async def _at_work(post: Post, look: Job) -> AsyncIterator[None]:
    """Send letters during the block; at its end the one that is being sent is the last."""
    post.ends.clear()
    async with every(_LOOK_SECONDS, "letters", look):
        try:
            yield
        finally:
            post.ends.set()


def open_post(loaded: LoadedSettings, letters: Letters, password: str) -> Post:
    """Raise InvalidInput, which names the key of ``[mail]`` that is missing or cannot work."""
    return Post(letters, mail_server(loaded, password), own_url(loaded))


def find_events(app: HubApp, home: str, since: datetime, now: datetime) -> Iterator[LetterEvent]:
    """Yield the events of ``[mail] events`` since a time; blocks. ``home`` is the hub's address."""
    events = _Events(app, since, now, home)
    finders: Mapping[str, Callable[[], Iterator[LetterEvent]]] = {
        "handed-in": events.handed_in,
        "released": events.released,
        "decided": events.decided,
        "updated": events.updated,
        "due": events.due,
        "digest": events.digest,
    }
    for kind in app.services.loaded.settings.mail.events:
        yield from finders[kind]()


def write_links(
    app: HubApp, links: Iterable[tuple[str, str, str]], until: datetime
) -> frozenset[str]:
    """Write letters for (person, address or "", link); return those without an address; blocks."""
    post, now = app.of(Post), app.services.clock.now()
    events = _Events(app, now, now, post.home)
    found = {user: (told or events.address(user), link) for user, told, link in links}
    known = {user: each for user, each in found.items() if is_address(each[0])}
    post.letters.add(
        events.letter((INVITED, user, "", link), link, address=address, values={"until": until})
        for user, (address, link) in known.items()
    )
    return frozenset(found.keys() - known.keys())


@dataclass(frozen=True)
class _Events:
    app: HubApp
    since: datetime
    now: datetime
    home: str

    def handed_in(self) -> Iterator[LetterEvent]:
        for item in self._assignments:
            for user, at in self.app.submissions.arrivals(item).items():
                name = Username.valid(user)
                if name is not None and at >= self.since:
                    yield self._event(
                        ("handed-in", name, item, at.isoformat()),
                        ("submissions", name, item),
                        at=at,
                        own=partial(self.app.dates.own, item, name),
                        sent=partial(self.app.submissions.counting, name, item),
                        late=partial(late_at, self.app, name, item, at),
                    )

    def released(self) -> Iterator[LetterEvent]:
        book = self._book
        if book is None:
            return

        changes = LateWork(book).changes()
        then = LateFacts().after(each for at, each in changes if at <= self.since)

        @cache
        def tells(item: str) -> tuple[Telling, Telling]:
            """Return what students were told when the events begin, and are told now."""
            course = self.app.services.loaded, book, item, self.app.marking.key
            before, now = (CourseFeedback(*course, at) for at in (self.since, self.now))
            return telling(before, then), telling(now)

        recent = [each for at, each in changes if at > self.since]
        for (item, student), rows in self._releases(book, recent).items():
            shown = standing(rows, self.now).shown
            if shown is None or not ItemName.valid(item):
                continue
            if self._is_news(rows, shown, *tells(item)):
                event = ("released", student, item, str(shown.number))
                yield self._event(event, ("marks", student, item))

    def _releases(
        self, book: Gradebook, recent: Collection[Change]
    ) -> Mapping[tuple[str, str], Sequence[ReleaseRow]]:
        """Return recent releases, and those that waited for a date, which may have come earlier."""
        moved = {each.assignment for each in recent if not isinstance(each, Membership)}
        grouped = any(isinstance(each, Membership) for each in recent)
        releases = MarkReleases(book)
        found = dict(releases.since(self.since))
        for item in self._assignments:
            last = self.app.dates.of(item).last or self.since
            if last <= self.now and (self.since < last or grouped or item in moved):
                found |= {(item, each): rows for each, rows in releases.rows(item).items()}
        return found

    def _is_news(
        self, rows: Sequence[ReleaseRow], shown: ReleaseRow, before: Telling, now: Telling
    ) -> bool:
        """Return whether a student is told released marks now, and was not before ``since``."""
        readable = max(shown.at, shown.visible_from or shown.at)
        told = (shown.assignment, shown.student, readable) in self._decisions
        recent = readable >= self.since and not told
        if before.ahead.later is None and now.ahead.later is None:
            return recent
        marks = readable_marks(shown)
        if marks is None or not marks.hidden_tests:
            return recent
        waited = before.of(rows).later is not None
        return (recent or waited) and now.of(rows).later is None

    def decided(self) -> Iterator[LetterEvent]:
        for each in RegradeRequests(self._book).of() if self._book is not None else ():
            decision = each.decision
            if decision is not None and decision.at >= self.since:
                numbers = (str(each.number), str(decision.number))
                yield self._event(
                    ("decided", each.student, each.assignment, *numbers),
                    ("marks", each.student, each.assignment),
                    question=question_title(each.question),
                    done="" if decision.after is None else decision.kind.value,
                )

    def updated(self) -> Iterator[LetterEvent]:
        offers = UpdateRows(self.app.services.state.engine).offers()
        new = {k: v for k, v in offers.items() if v.offered_at >= self.since and not v.withdrawn}
        workspaces = self.app.services.workspaces
        for user, item in product(workspaces.people() if new else (), map(ItemName, new)):
            if workspaces.has_copy(user, item):
                event = ("updated", user, item, str(new[item].number))
                # A copy that was begun since, or has it already, gets none.
                comes = partial(self.app.of(CopyUpdates).is_waiting, CopyOf(user, item))
                yield self._event(event, comes=comes)

    def due(self) -> Iterator[LetterEvent]:
        services = self.app.services
        for item in self._assignments:
            done, dates = self.app.submissions.arrivals(item), self.app.dates.of(item)
            visible = self.app.visibility.of(item).visible(self.now)
            for user in self._students:
                due = dates.of(user)
                if due is None or user in done or not self.now < due <= self.now + _SOON:
                    continue
                if visible or self.app.items.has_begun(user, item):
                    event, collects = ("due", user, item), services.loaded.settings.hub.collect
                    yield self._event((*event, due.isoformat()), due=due, collects=collects)

    def digest(self) -> Iterator[LetterEvent]:
        here = self.now.astimezone(self._zone)
        if here.hour >= self.app.services.loaded.settings.mail.digest_hour:
            for name in self.app.services.policy.instructors:
                event = ("digest", name, "", here.date().isoformat())
                today = partial(read_today, self.app)
                yield self._event(event, ("course", "today"), here=here, today=today)

    def _event(
        self, event: tuple[str, ...], where: tuple[str, ...] = ("",), **values: object
    ) -> LetterEvent:
        """Return an event, with a letter of these ``values`` that leads to the page ``where``."""
        link = "/".join((self.home, *(quote(each, safe="") for each in where)))
        return letter_key(*event), partial(self.letter, event, link, values=values)

    def letter(
        self,
        event: tuple[str, ...],
        link: str,
        *,
        address: str = "",
        values: Mapping[str, object],
    ) -> LetterRow:
        kind, user, item, *_ = event
        names = {"title": self.app.checks.title, "time": self._time}
        letter = self.app.pages.render("letter.txt", "", event=event, **names, **values)
        subject, _, text = letter.strip().partition("\n")
        # A person who may not sign in cannot read the page that the letter names.
        known = user != INSTRUCTOR and not is_rehearsal(user)
        comes_in = known and self.app.services.admits(user)
        return LetterRow(
            letter_key(*event),
            kind,
            user,
            item,
            address or self.address(user),
            f"[{self.app.title}] {subject}"[:900],
            f"{text}\n\n{link}\n\n-- \n{self.app.title}\n",
            self.now,
            self.now,
            LetterState.WAITING if text and comes_in else LetterState.SENT,
        )

    def address(self, user: str) -> str:
        domain = self.app.services.loaded.settings.mail.domain
        found = self._told.get(user) or (user if "@" in user else "")
        return found or (f"{user}@{domain}" if domain else "")

    @cached_property
    def _decisions(self) -> frozenset[tuple[str, str, datetime]]:
        """The changes of marks that people get another letter about; each is a release, too.

        A release that can only be read later than it was decided gets a letter of its own.
        """
        if self._book is None or "decided" not in self.app.services.loaded.settings.mail.events:
            return frozenset()
        return frozenset(
            (each.assignment, each.student, each.decision.at)
            for each in RegradeRequests(self._book).of()
            if each.decision is not None and each.decision.kind is MessageKind.CHANGED
        )

    @cached_property
    def _told(self) -> Mapping[str, str]:
        return self._book.addresses() if self._book is not None else {}

    @cached_property
    def _book(self) -> Gradebook | None:
        return self.app.book()

    @cached_property
    def _assignments(self) -> list[ItemName]:
        return self.app.services.releases.assignments()

    @cached_property
    def _students(self) -> tuple[Username, ...]:
        """The students who have begun something or may begin; some may no longer come in."""
        services = self.app.services
        listed = map(Username.valid, services.roster.students() or ())
        names = {*services.workspaces.people(), *listed} - services.policy.staff
        return tuple(each for each in names if each is not None)

    def _time(self, at: datetime) -> str:
        return f"{at.astimezone(self._zone):%a %d %b, %H:%M %Z}"

    @cached_property
    def _zone(self) -> tzinfo | None:
        return course_zone(self.app.services.loaded.settings)
