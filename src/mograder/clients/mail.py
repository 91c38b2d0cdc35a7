"""Sends letters by a mail server (SMTP, RFC 5321); each call blocks, for seconds at most."""

from __future__ import annotations

import re
import smtplib
import ssl
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial

from mograder.core.errors import RemoteFailed
from mograder.core.sections.settings_model import MailSecurity

_SECONDS = 10.0  # for each answer of the server
# Without "?", so that no header takes it for an encoded word (RFC 2047) and decodes it.
_ADDRESS = re.compile(r"""[^@\s<>,;:"()?\\]{1,64}@[A-Za-z0-9.-]{1,255}""")
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
class MailServer:
    """A mail server, and the address that letters come from; no ``user``: without a sign-in."""

    host: str
    port: int
    security: MailSecurity
    sender: str
    user: str = ""
    password: str = field(default="", repr=False)

    def check(self) -> None:
        """Connect and sign in; nothing is sent."""
        with self.connected() as smtp:
            code, words = smtp.noop()
            if code >= 400:
                raise smtplib.SMTPResponseException(code, words)

    @contextmanager
    def connected(self) -> Iterator[smtplib.SMTP]:
        """Yield a connection with the sign-in done, for :meth:`send`."""
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

    def send(
        self, smtp: smtplib.SMTP, address: str, message: bytes, begin: Callable[[], bool]
    ) -> tuple[Sending, str] | None:
        """Send a letter; return what became of it, with the server's words if it was not sent.

        ``begin`` is asked before the text is sent; if it declines, None is returned. From then on
        the letter may arrive whatever happens, so it must not be sent again.
        """
        code, words = smtp.mail(self.sender)
        if code >= 400:
            raise smtplib.SMTPSenderRefused(code, words, self.sender)
        code, words = smtp.rcpt(address)
        if code >= 400:
            with suppress(smtplib.SMTPServerDisconnected):  # some servers hang up then
                smtp.rset()
            return _outcome(code), _text(words)
        if not begin():
            smtp.rset()
            return None
        try:
            code, words = smtp.data(message)
        except smtplib.SMTPDataError as error:  # before the text was sent
            with suppress(smtplib.SMTPServerDisconnected):
                smtp.rset()  # else the server refuses the next letter
            return Sending.LATER, _words_of(error)
        except (OSError, smtplib.SMTPException) as error:
            return Sending.UNKNOWN, _words_of(error)
        return _outcome(code), _text(words) if code >= 400 else ""


def _outcome(code: int) -> Sending:
    if code < 400:
        return Sending.SENT
    return Sending.REFUSED if code >= _PERMANENT else Sending.LATER


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
