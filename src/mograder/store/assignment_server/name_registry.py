"""The names of an assignment server's people: those that are taken, and their registration (B141).

A name is taken once it was registered, or a token for it was issued or used. Only an instructor
can reset it, which also revokes its earlier tokens. Stored as lines that are only appended, in
``.mograder/people.jsonl`` beside the secret, so that the command line and several servers can
write at once.

Members of a class register one name each by its enrollment code (B140), which is independent of the
secret and proves no identity. Error messages are those of 0.3.16, whose clients show them.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from mograder.core.errors import Conflict, Forbidden, InvalidInput
from mograder.core.files.disk import DISK, Disk
from mograder.core.names import Username
from mograder.store.filesystem.records import Records

PEOPLE_FILE = Path(".mograder") / "people.jsonl"
_MOST = 20_000
_ALPHABET = re.compile(r"[a-zA-Z0-9._-]+")
_RETRY_KEY_LENGTHS = range(16, 201)


class How(StrEnum):
    """The last event of a name."""

    REGISTERED = "registered"
    ISSUED = "issued"
    USED = "used"
    REVOKED = "revoked"
    RESET = "reset"


_ENDED = frozenset({How.REVOKED, How.RESET})


@dataclass(frozen=True, slots=True)
class Known:
    """``retry`` is the mark of the client that registered it, ``epoch`` counts the revocations."""

    user: str
    how: How
    since: datetime
    epoch: int = 0
    retry: str = ""

    @property
    def taken(self) -> bool:
        return self.how is not How.RESET


class _Event(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    user: str
    how: How
    at: AwareDatetime
    retry: str = ""


class NameRegistry:
    """The names of one server; thread-safe: ``_known`` is replaced as a whole."""

    def __init__(self, path: Path, *, disk: Disk = DISK) -> None:
        self._records = Records(path, disk=disk)
        self._lock = threading.Lock()
        self._known: dict[str, Known] = {}
        self.refresh()

    def epoch(self, username: str) -> int:
        """Return how often the tokens of this name were revoked; from memory."""
        # Spellings that differ in case are one name: their tokens are revoked together.
        known = self.find(username)
        return known.epoch if known else 0

    def find(self, username: str) -> Known | None:
        """Return the state of a name, ignoring case; None if it is unknown; from memory."""
        return self._known.get(_key(username))

    def taken(self) -> tuple[Known, ...]:
        known = (each for each in self._known.values() if each.taken)
        return tuple(sorted(known, key=lambda each: each.user))

    def refresh(self) -> None:
        with self._lock:
            self._read()

    def register(self, user: str, retry: str, now: datetime) -> Known:
        """Register a name, synced to disk on return.

        A client that repeats its request with the same ``retry`` mark gets the same name again.

        Raises: :class:`Conflict` when the name is taken, or there are too many names,
        :class:`~mograder.core.errors.Busy` when the disk is full.
        """
        with self._lock, self._records.alone() as add:
            self._read()
            known = self.find(user)
            if known is not None and known.taken:
                if retry and retry == known.retry and known.user == user:
                    return known
                raise taken(user)
            # One that an instructor reset was counted when it was first taken.
            if known is None and sum(each.taken for each in self._known.values()) >= _MOST:
                raise Conflict(
                    f"{_MOST} names are registered here, and that is all.",
                    hint="Tell your instructor.",
                )
            event = _Event(user=user, how=How.REGISTERED, at=now, retry=retry)
            add([event.model_dump_json().encode()], True)
            self._read()
            return self._known[_key(user)]

    def note(self, users: Iterable[str], how: How, now: datetime) -> None:
        """Record that tokens were issued or used; names with such tokens already are unchanged.

        Raises: ``OSError``, :class:`~mograder.core.errors.Busy` when the disk is full.
        """
        with self._lock, self._records.alone() as add:
            self._read()
            known = ((user, self.find(user)) for user in users)
            new = [user for user, old in known if old is None or old.how in _ENDED]
            events = [_Event(user=user, how=how, at=now) for user in new]
            if events:
                add([each.model_dump_json().encode() for each in events], how is not How.USED)
            self._read()

    def end(self, user: str, how: How, now: datetime) -> None:
        """Revoke a name's tokens; ``RESET`` releases it. Raises: ``OSError``, Busy (disk full)."""
        with self._lock, self._records.alone() as add:
            event = _Event(user=user, how=how, at=now)
            add([event.model_dump_json().encode()], True)
            self._read()

    def _read(self) -> None:
        lines = self._records.fresh()
        if not lines:
            return
        # All lines of a file that was replaced: what it has in common with the one before would
        # count twice.
        known = {} if self._records.whole else dict(self._known)
        for line in lines:
            try:
                event = _Event.model_validate_json(line)
            except ValidationError:
                continue  # An incomplete line, left by a crash.
            key = _key(event.user)
            known[key] = _after(known.get(key), event)
        self._known = known


def taken(user: str) -> Conflict:
    return Conflict(
        f"The name {user} is taken on this server.",
        hint="If it is yours, use the token that you were given for it, "
        "or ask your instructor to reset the name.",
    )


def parse_username(text: str) -> Username:
    """Return the name if it is valid on an assignment server (compatibility-0.3.16.md 4).

    Only 0.3.16's alphabet is allowed, which is narrower than elsewhere, so that its servers and
    clients can take over the course again.

    Raises: :class:`InvalidInput`, with 0.3.16's message if it has one.
    """
    if not _ALPHABET.fullmatch(text):
        raise InvalidInput("Invalid username: must be alphanumeric, underscore, hyphen, or dot")
    if ".." in text:
        raise InvalidInput("Invalid username: must not contain '..'")
    if text.startswith("__"):
        raise InvalidInput("Reserved username")
    try:
        return Username.parse(text)
    except InvalidInput as error:
        reason = error.message.partition(": ")[2].rstrip(".")
        raise InvalidInput(f"Invalid username: {reason}") from error


def check_code(expected: str, given: str) -> None:
    """Compare in constant time. Raises: Forbidden if it is wrong, or if no code is expected."""
    if not expected or not hmac.compare_digest(_bytes(expected), _bytes(given)):
        raise Forbidden("Invalid enrollment code")


def retry_mark(key: str) -> str:
    """Return the hash by which a ``retry_key`` is known. Raises: InvalidInput (its length)."""
    if len(key) not in _RETRY_KEY_LENGTHS:
        raise InvalidInput("A 'retry_key' has 16 to 200 characters")
    return hashlib.sha256(b"mograder-retry\0" + _bytes(key)).hexdigest()


def _after(known: Known | None, event: _Event) -> Known:
    epoch = known.epoch if known else 0
    if event.how in _ENDED:
        return Known(event.user, event.how, event.at, epoch + 1)
    if known is not None and known.how not in _ENDED:
        return known
    return Known(event.user, event.how, event.at, epoch, event.retry)


def _key(username: str) -> str:
    return username.casefold()


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
