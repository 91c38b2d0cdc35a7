"""The events that people get letters about, found in what the course has recorded.

Looking at the records, instead of being told by each page, finds marks that a command released,
too, and what happened while the hub was away. A letter's key names its event, so that an event
that is found again gives no second letter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from urllib.parse import quote

from mograder.core.item_dates import course_zone
from mograder.core.names import INSTRUCTOR, ItemName, Username, is_rehearsal
from mograder.grading.marking.answer_names import question_title
from mograder.store.copies.copy_updates import UpdateRows
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.mark_release import MarkReleases, standing
from mograder.store.hub.letters import LetterRow, letter_key
from mograder.store.marking.regrade_requests import MessageKind, RegradeRequests
from mograder.store.releases.releases import ItemKind
from mograder.web.hub.handlers.hand_in import cost_of, late_words
from mograder.web.hub.support.hub_app import HubApp
from mograder.web.hub.today.pages import Today, read_today

_SOON = timedelta(days=1)


def find_letters(app: HubApp, home: str, since: datetime, now: datetime) -> Iterator[LetterRow]:
    """Yield the letters about the events of ``[mail] events`` since a time; blocks.

    ``home`` is the hub's address.
    """
    yield from _Events(app, since, now, home).letters()


@dataclass(frozen=True)
class _Events:
    """The events since a time, of which each function yields the letters."""

    app: HubApp
    since: datetime
    now: datetime
    home: str

    def letters(self) -> Iterator[LetterRow]:
        finders: Mapping[str, Callable[[], Iterator[LetterRow]]] = {
            "handed-in": self._handed_in,
            "released": self._released,
            "decided": self._decided,
            "updated": self._updated,
            "due": self._due,
            "digest": self._digest,
        }
        for kind in self.app.services.loaded.settings.mail.events:
            yield from finders[kind]()

    def _handed_in(self) -> Iterator[LetterRow]:
        for item in self._assignments:
            for user, at in self.app.submissions.arrivals(item).items():
                name = Username.valid(user)
                sent = self.app.submissions.counting(name, item) if name else None
                if at < self.since or name is None or sent is None:
                    continue
                own = self.app.dates.own(item, name)
                late, cost = late_words(own, at), cost_of(self.app, name, item, at)
                if own.due is None:
                    told = ""
                elif not late:
                    told = f" It was due {self._time(own.due)}, so it is on time."
                else:
                    told = f" It was due {self._time(own.due)}, so it is {late}"
                    told += f" ({cost} of the mark)." if cost else "."
                digest = f"\n\nIts SHA-256 is {sent.sha256}" if sent.sha256 else ""
                yield self._letter(
                    ("handed-in", name, item, at.isoformat()),
                    f"{item} is handed in",
                    f"Your submission {sent.sequence} of {self._title(item)} arrived "
                    f"{self._time(at)}.{told}{digest}",
                    ("submissions", name, item),
                )

    def _released(self) -> Iterator[LetterRow]:
        book = self._book
        for each in book.assignments() if book is not None else ():
            item = ItemName.valid(each.name)
            rows = MarkReleases(book).rows(each.name) if book is not None and item else {}
            for student, releases in rows.items():
                shown = standing(releases, self.now).shown
                if item is None or shown is None:
                    continue
                if max(shown.at, shown.visible_from or shown.at) >= self.since:
                    yield self._letter(
                        ("released", student, item, str(shown.number)),
                        f"Your marks of {item}",
                        f"Your marks of {self._title(item)} can be read.",
                        ("marks", student, item),
                    )

    def _decided(self) -> Iterator[LetterRow]:
        for each in RegradeRequests(self._book).of() if self._book is not None else ():
            decision = each.decision
            if decision is None or decision.at < self.since:
                continue
            changed = decision.kind is MessageKind.CHANGED
            what = question_title(each.question)
            yield self._letter(
                ("decided", each.student, each.assignment, str(each.number), str(decision.number)),
                f"Your request about {each.assignment}",
                f"Your request to look again at {what} of {self._title(each.assignment)} was "
                f"decided: the mark was {'changed' if changed else 'kept'}.",
                ("marks", each.student, each.assignment),
            )

    def _updated(self) -> Iterator[LetterRow]:
        offers = UpdateRows(self.app.services.state.engine).offers()
        new = {k: v for k, v in offers.items() if v.offered_at >= self.since and not v.withdrawn}
        for user in self.app.listing.people() if new else ():
            for copy in self.app.listing.of(user):
                if (offer := new.get(copy.item)) is not None:
                    yield self._letter(
                        ("updated", user, copy.item, str(offer.number)),
                        f"An update of {copy.item}",
                        f"There is a new version of {self._title(copy.item)}. Your notebook gets "
                        "it when you open it next, and what you wrote stays.",
                        (),
                    )

    def _due(self) -> Iterator[LetterRow]:
        for item in self._assignments:
            rule = self.app.visibility.of(item)
            done = self.app.submissions.arrivals(item) if rule.visible(self.now) else {}
            for user in self._students if rule.visible(self.now) else ():
                due = self.app.dates.own(item, user).due
                if due is None or user in done or not self.now < due <= self.now + _SOON:
                    continue
                yield self._letter(
                    ("due", user, item, due.isoformat()),
                    f"{item} is due {self._time(due)}",
                    f"{self._title(item)} is due {self._time(due)}, and you have not handed it in.",
                    (),
                )

    def _digest(self) -> Iterator[LetterRow]:
        settings = self.app.services.loaded.settings
        here = self.now.astimezone(course_zone(settings))
        if here.hour < settings.mail.digest_hour:
            return
        text = digest_text(read_today(self.app), self._time)
        for name in self.app.services.policy.instructors if text else ():
            yield self._letter(
                ("digest", name, "", here.date().isoformat()),
                f"Today, {here:%A %d %B}",
                text,
                ("course", "today"),
            )

    def _letter(
        self, event: tuple[str, ...], subject: str, text: str, path: tuple[str, ...]
    ) -> LetterRow:
        kind, user, item, *_ = event
        where = "/".join((self.home, *(quote(each, safe="") for each in path)))
        return LetterRow(
            letter_key(*event),
            kind,
            user,
            item,
            self._address(user),
            f"[{self.app.title}] {subject}"[:900],
            f"{text}\n\n{where if path else f'{self.home}/'}\n\n-- \n{self.app.title}\n",
            self.now,
            self.now,
        )

    def _address(self, user: str) -> str:
        domain = self.app.services.loaded.settings.mail.domain
        found = self._told.get(user) or (user if "@" in user else "")
        return found or (f"{user}@{domain}" if domain else "")

    @cached_property
    def _told(self) -> Mapping[str, str]:
        """The addresses that Moodle has told, by username."""
        return self._book.addresses() if self._book is not None else {}

    @cached_property
    def _book(self) -> Gradebook | None:
        return self.app.book()

    @cached_property
    def _assignments(self) -> tuple[ItemName, ...]:
        found = self.app.services.releases.all()
        return tuple(each.name for each in found if each.kind is ItemKind.ASSIGNMENT)

    @cached_property
    def _students(self) -> tuple[Username, ...]:
        listed, policy = self.app.services.roster.listed(), self.app.services.policy
        names = self.app.listing.people() if listed is None else map(Username.valid, listed)
        staff = {INSTRUCTOR, *policy.instructors, *policy.markers}
        return tuple(e for e in names if e is not None and e not in staff and not is_rehearsal(e))

    @cached_property
    def _titles(self) -> Mapping[str, str]:
        return self.app.board.checks.titles()

    def _title(self, item: str) -> str:
        title = self._titles.get(item, "")
        return f"{title} ({item})" if title else item

    def _time(self, at: datetime) -> str:
        return f"{at.astimezone(course_zone(self.app.services.loaded.settings)):%a %d %b, %H:%M %Z}"


def digest_text(found: Today, time: Callable[[datetime], str]) -> str:
    """Return what the instructors' page of today has in lines; "" if there is nothing to tell."""
    lines = [
        *(f"{each.item}: due {time(each.dates.due)}" for each in found.due if each.dates.due),
        *(f"{each.item}: {each.count} handed in since yesterday" for each in found.came),
        *(f"{each.item}: {each.count} answers wait for a mark" for each in found.to_mark),
        *([f"Requests to look again: {len(found.requests)}"] if found.requests else []),
        *(f"{each.release.name}: could not be prepared" for each in found.failed),
    ]
    return "\n".join(lines)
