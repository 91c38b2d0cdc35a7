"""A real mail server for tests (aiosmtpd), and one that takes connections and says nothing."""

from __future__ import annotations

import asyncio
import email
import email.policy
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from tests.support.process import free_port

PASSWORD = "right"


@dataclass
class MailBox:
    """The letters that the server took; ``refused`` has addresses and the server's answers.

    ``no_text`` has addresses for which it refuses the command that begins a letter's text.
    ``drops`` lets the server close the connection in place of its answer to a letter's text,
    ``hangs_up`` after it has refused an address.
    """

    port: int = 0
    letters: list[EmailMessage] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    no_text: set[str] = field(default_factory=set)
    drops: bool = False
    hangs_up: bool = False

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Take an address, or refuse it."""
        if address in self.refused:
            if self.hangs_up:
                assert server.transport is not None
                asyncio.get_running_loop().call_soon(server.transport.close)
            return self.refused[address]
        if address not in self.no_text:  # without an address aiosmtpd refuses DATA
            envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        content = envelope.content
        assert isinstance(content, bytes)
        self.letters.append(email.message_from_bytes(content, policy=email.policy.default))
        if self.drops:
            assert server.transport is not None
            server.transport.close()
        return "250 OK"

    def to(self, address: str) -> list[str]:
        """Return the subjects of the letters to an address."""
        return [str(each["Subject"]) for each in self.letters if each["To"] == address]


@contextmanager
def mail_server(*, sign_in: bool = False) -> Iterator[MailBox]:
    """Yield a running server's letters; with ``sign_in`` it takes them from "hub" only."""
    box = MailBox()

    def authenticator(
        server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: object
    ) -> AuthResult:
        assert isinstance(data, LoginPassword)
        right = (data.login, data.password) == (b"hub", PASSWORD.encode())
        return AuthResult(success=right, handled=False)

    box.port = free_port()
    with warnings.catch_warnings():  # each connection warns that a password needs TLS
        warnings.simplefilter("ignore", UserWarning)
        controller = Controller(
            box,
            hostname="127.0.0.1",
            port=box.port,
            auth_required=sign_in,
            auth_require_tls=False,
            authenticator=authenticator,
        )
        controller.start()
        try:
            yield box
        finally:
            controller.stop()


@contextmanager
def silent_server() -> Iterator[int]:
    """Yield the port of a server that takes connections and never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]
