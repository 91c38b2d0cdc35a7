"""Sends letters by a mail server (SMTP, RFC 5321); each call blocks, for seconds at most."""

from __future__ import annotations

import re
import smtplib
import ssl
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from enum import StrEnum
from functools import partial

from mograder.core.errors import RemoteFailed
from mograder.core.sections.external_settings import MailSecurity

_SECONDS = 10.0
"""For each answer of the server."""
_ADDRESS = re.compile(r"""[^@\s<>,;:"()\\]{1,64}@[A-Za-z0-9.-]{1,255}""")
_PERMANENT = 500


class Sending(StrEnum):
    """The outcome of sending a letter."""

    SENT = "sent"
    LATER = "later"
    """The server did not take it now; it was not sent."""
    REFUSED = "refused"
    """The server takes no letter for this address."""
    UNKNOWN = "unknown"
    """The connection ended while it was sent: it may have arrived."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A letter of plain text; ``key`` is the same whenever it is sent."""

    key: str
    address: str
    subject: str
    text: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Sent:
    """A letter's outcome, with the server's words if it was not sent."""

    letter: Letter
    sending: Sending
    words: str = ""


@dataclass(frozen=True, slots=True)
class MailServer:
    """A mail server, and the address that letters come from; no ``user``: without a sign-in."""

    host: str
    port: int
    security: MailSecurity
    sender: str
    user: str = ""
    password: str = ""

    def send(self, letters: Iterable[Letter], begin: Callable[[str], bool]) -> Iterator[Sent]:
        """Send letters over one connection, and yield what became of each.

        ``begin`` is asked with a letter's key before its text is sent, and may decline. From then
        on the letter may arrive whatever happens, so it must not be sent again.

        Raises:
            RemoteFailed: The server cannot be reached, refuses the sign-in or the sender, or the
                connection was lost; the letters that were not yielded are as before.
        """
        with self._connected() as smtp:
            for letter in letters:
                found = self._one(smtp, letter, begin)
                if found is not None:
                    yield found
                if found is not None and found.sending is Sending.UNKNOWN:
                    return

    def check(self) -> None:
        """Connect and sign in; nothing is sent.

        Raises:
            RemoteFailed: The server cannot be reached, or refuses the sign-in.
        """
        with self._connected() as smtp:
            code, words = smtp.noop()
            if code >= 400:
                raise smtplib.SMTPResponseException(code, words)

    @contextmanager
    def _connected(self) -> Iterator[smtplib.SMTP]:
        context = ssl.create_default_context()
        secured = partial(smtplib.SMTP_SSL, context=context)
        make = secured if self.security == "tls" else smtplib.SMTP
        try:
            with closing(make(self.host, self.port, timeout=_SECONDS)) as smtp:
                if self.security == "starttls":
                    smtp.starttls(context=context)
                smtp.ehlo_or_helo_if_needed()
                if self.user:
                    smtp.login(self.user, self.password)
                yield smtp
                with suppress(OSError, smtplib.SMTPException):
                    smtp.quit()
        except (OSError, smtplib.SMTPException) as error:
            raise RemoteFailed(
                f"The mail server {self.host}:{self.port} takes no letter: {_words_of(error)}",
                hint="Look at [mail] in mograder.toml; letters are tried again later.",
            ) from error

    def _one(self, smtp: smtplib.SMTP, letter: Letter, begin: Callable[[str], bool]) -> Sent | None:
        data = self._message(letter)
        code, words = smtp.mail(self.sender)
        if code >= 400:
            raise smtplib.SMTPSenderRefused(code, words, self.sender)
        code, words = smtp.rcpt(letter.address)
        if code >= 400:
            smtp.rset()
            sending = Sending.REFUSED if code >= _PERMANENT else Sending.LATER
            return Sent(letter, sending, _text(words))
        if not begin(letter.key):
            smtp.rset()
            return None
        try:
            code, words = smtp.data(data)
        except smtplib.SMTPDataError as error:  # before the text was sent
            return Sent(letter, Sending.LATER, _words_of(error))
        except (OSError, smtplib.SMTPException) as error:
            return Sent(letter, Sending.UNKNOWN, _words_of(error))
        if code >= 400:
            sending = Sending.REFUSED if code >= _PERMANENT else Sending.LATER
            return Sent(letter, sending, _text(words))
        return Sent(letter, Sending.SENT)

    def _message(self, letter: Letter) -> bytes:
        message = EmailMessage(policy=SMTP)
        message["From"] = self.sender
        message["To"] = letter.address
        message["Subject"] = " ".join(letter.subject.split())
        message["Date"] = format_datetime(letter.at)
        message["Message-ID"] = f"<{letter.key}@{self.sender.rpartition('@')[2]}>"
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no automatic reply
        message.set_content(letter.text, cte="quoted-printable")
        return message.as_bytes()


def is_address(text: str) -> bool:
    """Whether a text is one mail address, of ASCII characters, that can stand in a header."""
    return text.isascii() and text.isprintable() and _ADDRESS.fullmatch(text) is not None


def _words_of(error: Exception) -> str:
    if isinstance(error, smtplib.SMTPResponseException):
        return f"{error.smtp_code} {_text(error.smtp_error)}"
    told = (error.strerror if isinstance(error, OSError) else "") or str(error)
    return " ".join(told.split())[:300] or type(error).__name__


def _text(words: bytes | str) -> str:
    text = words.decode("utf-8", "replace") if isinstance(words, bytes) else words
    return " ".join(text.split())[:300]
