"""The tokens of a person, stored between commands, one for each server (B148).

0.3.16 stores one token of each kind, of the server signed in to last, in ``https_token.json`` and
``token.json`` (compatibility-0.3.16.md 1). We store all of a kind in ``https_tokens.json`` and
``moodle_tokens.json`` in the user's folder, and still write the old files, so that both programs
can be used alternately: an old file's token for its server is never older than ours (decision 30).
On macOS and Windows the old files are in another folder, and written only where they are already.

The files have the mode 0600. Windows has no modes; there the user's folder is readable by the user
and administrators only. No keyring is used: each program of the user could read it all the same
(decision 51).
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import httpx
from pydantic import BaseModel, ConfigDict, ValidationError

from mograder.clients.server_url import parse_moodle_url
from mograder.core.errors import InvalidInput
from mograder.core.files import file_lock
from mograder.core.files.disk import write_file
from mograder.core.operating_system import SYSTEM, earlier_folder, user_folder

T = TypeVar("T", bound=BaseModel)

_LARGEST = 1 << 20
_RETRY_KEY_BYTES = 24


@dataclass(frozen=True, slots=True)
class CachedToken:
    """A token for one server; ``user`` and ``full_name`` are empty if they are not known.

    ``url`` has no trailing slash. ``untried``: the server could not be reached at any sign-in.
    """

    url: str
    token: str = field(repr=False)
    user: str = ""
    full_name: str = ""
    untried: bool = False


class _Entry(BaseModel):
    """A token in the form of the files; each kind uses the fields it needs."""

    model_config = ConfigDict(extra="ignore")

    token: str
    user: str = ""
    username: str = ""
    fullname: str = ""
    untried: bool = False


class _Old(_Entry):
    url: str


class _Registering(BaseModel):
    """A registration that the server may have carried out, though its answer has not come."""

    url: str
    user: str
    key: str


class _Ours(BaseModel):
    model_config = ConfigDict(extra="ignore")

    servers: dict[str, _Entry] = {}
    sites: dict[str, _Entry] = {}


@dataclass(frozen=True, slots=True)
class Kind:
    """The files of one kind of server, and their fields.

    ``ours`` holds the tokens under the key ``group``, with the fields ``fields``; ``old`` is the
    file of 0.3.16, with the fields ``old_fields``. ``key`` returns one spelling for all addresses
    of one server, or raises InvalidInput.
    """

    ours: str
    old: str
    lock: str
    group: str
    fields: frozenset[str]
    old_fields: frozenset[str]
    key: Callable[[str], str]


def server_key(url: str) -> str:
    """Return one spelling for all addresses of a server: host in lower case, no trailing slash."""
    try:
        # Twice: a default port is dropped only behind a scheme in lower case.
        return str(httpx.URL(str(httpx.URL(url.strip())))).rstrip("/")
    except httpx.InvalidURL:
        return url.strip().rstrip("/")


def user_of(token: str) -> str:
    """Return the name before the colon of a server's token, or "" (compatibility-0.3.16.md 1)."""
    name, colon, _ = token.partition(":")
    return name if colon else ""


def demand_user_of(token: str) -> str:
    user = user_of(token)
    if not user:
        raise InvalidInput(
            "That is no token: it has the form NAME:HEX.",
            hint="Copy the whole line you were given.",
        )
    return user


HTTPS = Kind(
    ours="https_tokens.json",
    old="https_token.json",
    lock=".https_tokens.lock",
    group="servers",
    fields=frozenset({"token", "user"}),
    old_fields=frozenset({"url", "token", "user"}),
    key=server_key,
)
MOODLE = Kind(
    ours="moodle_tokens.json",
    old="token.json",
    lock=".moodle_tokens.lock",
    group="sites",
    fields=frozenset({"token", "fullname", "username"}),
    old_fields=frozenset({"url", "token", "fullname"}),
    key=parse_moodle_url,
)


class TokenStore:
    """The tokens of one kind below one home directory; several processes may use it at once.

    A change raises :class:`InvalidInput` if the directory cannot be written.
    """

    def __init__(self, home: Path, kind: Kind) -> None:
        self._directory = user_folder(home)
        self._kind = kind
        self._old_path = earlier_folder(home) / kind.old
        self._registering = self._directory / "https_registering.json"

    @property
    def path(self) -> Path:
        return self._directory / self._kind.ours

    def find(self, url: str) -> CachedToken | None:
        """Return the token for a server, whichever program stored it; none of a damaged file."""
        key = self._kind.key(url)
        entry = self._all().get(key)
        return None if entry is None else _cached(key, entry)

    def servers(self) -> tuple[CachedToken, ...]:
        return tuple(_cached(key, entry) for key, entry in self._all().items())

    def retry_key(self, url: str, user: str) -> str:
        """Return the key for registering at an assignment server, stored until a token is.

        It is the same for another try with the same name, also of a later command: the server may
        have given out the name, and its answer was lost.
        """
        asked = _Registering(
            url=self._kind.key(url), user=user, key=secrets.token_urlsafe(_RETRY_KEY_BYTES)
        )
        with self._changing():
            found = _read(_Registering, self._registering)
            if found is not None and (found.url, found.user) == (asked.url, user):
                return found.key
            _replace(self._registering, asked.model_dump())
        return asked.key

    def save(
        self,
        url: str,
        token: str,
        user: str = "",
        full_name: str = "",
        *,
        untried: bool = False,
    ) -> None:
        """Store a token for a server, readable by its owner only, beside those of all others.

        ``untried`` is stored in our file only, and not where the address has been tried before.
        """
        key = self._kind.key(url)
        with self._changing():
            entries = self._all()
            new = _Old(
                url=url.strip().rstrip("/"),
                token=token,
                user=user,
                username=user,
                fullname=full_name,
                untried=untried and (key not in entries or entries[key].untried),
            )
            # Copy the entry of the old file first, then write that file: its entry takes
            # precedence, so a crash in between leaves the new token.
            self._write(entries)
            if SYSTEM == "linux" or self._old_path.exists():
                _replace(self._old_path, new.model_dump(include=set(self._kind.old_fields)))
            entries[key] = new
            self._write(entries)
            asked = _read(_Registering, self._registering)
            if asked is not None and asked.url == key:
                self._registering.unlink()

    def forget(self, url: str) -> bool:
        key = self._kind.key(url)
        if key not in self._all():
            return False
        with self._changing():
            entries = self._all()
            entries.pop(key, None)
            self._write(entries)
            if key in self._old():
                self._old_path.unlink(missing_ok=True)
        return True

    def _all(self) -> dict[str, _Entry]:
        """Return the entries of both files by server; the old file's entry takes precedence."""
        ours = _read(_Ours, self.path) or _Ours()
        entries = {**ours.servers, **ours.sites}
        for key, old in self._old().items():
            known = entries.get(key)
            # 0.3.16 stores no user name for a Moodle, and not that a token was not tried.
            same = known if known is not None and known.token == old.token else old
            ours_only = {"username": same.username, "untried": same.untried}
            entries[key] = old.model_copy(update=ours_only)
        return entries

    def _old(self) -> dict[str, _Entry]:
        """Return the entry of the old file by server, {} if there is none."""
        found = _read(_Old, self._old_path)
        with suppress(InvalidInput):
            return {} if found is None else {self._kind.key(found.url): found}
        return {}

    def _write(self, entries: Mapping[str, _Entry]) -> None:
        fields = self._kind.fields
        rows = {
            key: entry.model_dump(include={*fields, *(["untried"] if entry.untried else [])})
            for key, entry in entries.items()
        }
        _replace(self.path, {self._kind.group: rows})

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Lock the files for one process, so that of two concurrent sign-ins both stay."""
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            with os.fdopen(file_lock.open_lock(self._directory / self._kind.lock)) as lock:
                file_lock.acquire(lock.fileno(), seconds=None)
                yield
        except OSError as error:
            raise InvalidInput(
                f"The token cannot be kept in {self._directory}: {error.strerror}.",
                hint="Check the directory's owner and permissions, or give --token each time.",
            ) from error


def _read(shape: type[T], path: Path) -> T | None:
    try:
        with path.open("rb") as stream:
            return shape.model_validate_json(stream.read(_LARGEST))
    except (OSError, ValidationError):
        return None


def _replace(path: Path, content: object) -> None:
    write_file(path, f"{json.dumps(content, indent=2, ensure_ascii=False)}\n".encode(), 0o600)


def _cached(url: str, entry: _Entry) -> CachedToken:
    user = entry.user or entry.username or user_of(entry.token)
    return CachedToken(url, entry.token, user, entry.fullname, entry.untried)
