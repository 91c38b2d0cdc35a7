"""Sends the letters about events in the course, while the hub runs.

The events are found by ``web.hub.mail``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from functools import partial

from mograder.clients.mail import MailServer, Sending, is_address
from mograder.core.clock import Clock
from mograder.core.errors import RemoteFailed
from mograder.core.log import get_logger
from mograder.store.hub.letters import INVITED, LetterRow, Letters, LetterState, letter_key

_BACK = timedelta(days=3)
"""How long an event may have been over before its letter is written, such as after a break."""
_AT_ONCE = 50
_WRITTEN_AT_ONCE = 500
"""Databases bound the parameters of a statement, and other writers wait for this one."""
_FIRST_PAUSE, _LONGEST_PAUSE = timedelta(minutes=5), timedelta(hours=4)
_GIVEN_UP = timedelta(days=3)
_OF_A_DAY, _DAY = frozenset({"due", "digest"}), timedelta(days=1)
"""The kinds of letters that are wrong a day later: the item was due, and the day is over."""
_log = get_logger(__name__)


LetterEvent = tuple[str, Callable[[], LetterRow]]
"""The key of a letter about an event, and a function that writes the letter; it blocks."""

Find = Callable[[datetime, datetime], Iterator[LetterEvent]]
"""Yields the events since a time, as they are at another; blocks."""


@dataclass
class Post:
    """The hub's letters. Mutable state: ``problem``, why the mail server sends none, else "".

    ``ends`` is set when the hub stops: no further letter is sent then.
    """

    letters: Letters
    server: MailServer
    home: str
    problem: str = ""
    ends: threading.Event = field(default_factory=threading.Event, repr=False)
    _since: datetime | None = field(default=None, repr=False)

    def look(self, clock: Clock, find: Find) -> None:
        """Write the letters about new events, and send those that are due; blocks.

        Letters that wait are sent also if ``find`` or a letter's function raises.

        Raises: Busy if the database does not answer, and the errors of ``find`` and its functions.
        """
        now = clock.now()
        # The clock may have been ahead at the first look.
        since = self._since = min(self._since or self.letters.open(now), now)
        try:
            self._write(find(max(since, now - _BACK), now))
        finally:
            while not self.ends.is_set() and (rows := self.letters.due(now, _AT_ONCE)):
                if not self._send(rows, now):
                    break

    def _write(self, found: Iterator[LetterEvent]) -> None:
        events, written = dict(found), 0
        keys = sorted(events)
        for begin in range(0, len(keys), _WRITTEN_AT_ONCE):
            some = keys[begin : begin + _WRITTEN_AT_ONCE]
            known = self.letters.known(some)
            new = [events[key]() for key in some if key not in known]
            self.letters.add(new)
            written += len(new)
        if written:
            _log.info("%d letters were written", written)

    def _send(self, rows: tuple[LetterRow, ...], now: datetime) -> bool:
        """Send letters; return false if the rest has to wait."""
        waiting = {each.key: each for each in rows}
        for row in rows:
            if why := self._why_not(row, now):
                del waiting[row.key]
                self.letters.end(row.key, LetterState.FAILED, now, why)
        try:
            self._deliver(waiting, now)
        except RemoteFailed as error:
            if not self.problem:
                _log.error("%s", error)
            self.problem = error.message
            self.letters.postpone(waiting, now + _FIRST_PAUSE, error.message[:900])
            return False
        self.problem = ""
        return True

    def _why_not(self, row: LetterRow, now: datetime) -> str:
        """Return why a letter is not to be sent any more, "" for one that is."""
        if row.kind in _OF_A_DAY and now - row.at > _DAY:
            return "The mail server took no letters while this one was true."
        if row.kind == INVITED and not self.letters.has_link(row.username, now):
            return "Its link is not valid any more: invite again."
        if is_address(row.address):
            return ""
        return f"{row.address} is no mail address." if row.address else "no address is known."

    def _deliver(self, waiting: dict[str, LetterRow], now: datetime) -> None:
        """Send letters over one connection, and take out those of which something became."""
        if not waiting:
            return
        with self.server.connected() as smtp:
            for row in tuple(waiting.values()):
                if self.ends.is_set():
                    return
                begin = partial(self.letters.begin, row.key)
                sent = self.server.send(smtp, row.address, self._message(row), begin)
                del waiting[row.key]
                if sent is not None:  # it waited until now
                    self._note(row, *sent, now)
                if sent is not None and sent[0] is Sending.UNKNOWN:
                    return  # the connection is lost

    def _note(self, row: LetterRow, sending: Sending, words: str, now: datetime) -> None:
        if sending is Sending.SENT:
            self.letters.end(row.key, LetterState.SENT, now)
        elif sending is Sending.LATER and now - row.at < _GIVEN_UP:
            pause = min(_FIRST_PAUSE * 2 ** min(row.tries, 10), _LONGEST_PAUSE)
            self.letters.postpone([row.key], now + pause, words, refused=True)
        else:
            why = "The mail server refuses it"
            if sending is Sending.UNKNOWN:
                why = "The connection ended while it was sent, so it may have arrived"
            self.letters.end(row.key, LetterState.FAILED, now, f"{why}: {words}")

    def _message(self, row: LetterRow) -> bytes:
        message = EmailMessage(policy=SMTP)
        message["From"], message["To"] = self.server.sender, row.address
        message["Subject"] = " ".join(row.subject.split())
        message["Date"] = format_datetime(row.at)
        number = letter_key(self.home, row.key)  # courses may send from one domain
        message["Message-ID"] = f"<{number}@{self.server.sender.rpartition('@')[2]}>"
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no automatic reply
        message.set_content(row.text, cte="quoted-printable")
        return message.as_bytes()
