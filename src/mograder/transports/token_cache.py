"""The tokens of assignment servers that a person has signed in to, kept between commands (B148).

0.3.16 keeps one token, of the server signed in to last, in ``https_token.json`` (compat.md 1). We
keep one for each server in ``https_tokens.json`` beside it, and go on writing the old file too, so
that both programs can be used by turns: whoever signed in last is in the old file, and what it
says of its server is never older than what we remember (decision 30).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import httpx
from pydantic import BaseModel, ConfigDict

from mograder.core.atomic_file import write_file
from mograder.transports.kept_tokens import changing_tokens, read_tokens

_OURS, _OLD, _LOCK = "https_tokens.json", "https_token.json", ".https_tokens.lock"
_PRIVATE = 0o600
_WHERE = Path(".config", "mograder")
"""Below the home directory, wherever XDG_CONFIG_HOME points: 0.3.16 looks nowhere else."""


@dataclass(frozen=True, slots=True)
class CachedToken:
    """Who is signed in to a server; ``url`` has no slash at its end."""

    url: str
    token: str = field(repr=False)
    user: str


class _Entry(BaseModel):
    model_config = ConfigDict(extra="ignore")

    token: str
    user: str = ""


class _Old(_Entry):
    url: str


class _Ours(BaseModel):
    model_config = ConfigDict(extra="ignore")

    servers: dict[str, _Entry] = {}


class TokenCache:
    """The tokens below one home directory; several programs may use it at once."""

    def __init__(self, home: Path) -> None:
        self._directory = home / _WHERE

    @property
    def path(self) -> Path:
        """The file that holds the tokens of all servers."""
        return self._directory / _OURS

    def find(self, url: str) -> CachedToken | None:
        """Return the token for a server, whichever program cached it.

        A file that holds something else counts as empty: signing in again mends it.
        """
        wanted = server_key(url)
        old = self._old()
        if old is not None and server_key(old.url) == wanted:
            return _cached(wanted, old)
        entry = self._ours().servers.get(wanted)
        return None if entry is None else _cached(wanted, entry)

    def save(self, url: str, token: str, user: str) -> CachedToken:
        """Remember a token for a server, beside those of all others.

        Raises:
            InvalidInput: The directory cannot be written.
        """
        entry = _Entry(token=token, user=user)
        with changing_tokens(self._directory, _LOCK):
            servers = self._migrated()
            # The old file first: it is believed, so a crash in between leaves the new token.
            old = _Old(url=url.strip().rstrip("/"), token=token, user=user)
            write_file(self._directory / _OLD, old.model_dump_json(indent=2).encode(), _PRIVATE)
            servers[server_key(url)] = entry
            self._write(servers)
        return _cached(server_key(url), entry)

    def forget(self, url: str) -> bool:
        """Drop the token for a server from both files; false if there was none.

        Raises:
            InvalidInput: The directory cannot be written.
        """
        wanted = server_key(url)
        if self.find(url) is None:
            return False
        with changing_tokens(self._directory, _LOCK):
            servers = self._migrated()
            servers.pop(wanted, None)
            self._write(servers)
            old = self._old()
            if old is not None and server_key(old.url) == wanted:
                (self._directory / _OLD).unlink(missing_ok=True)
        return True

    def _migrated(self) -> dict[str, _Entry]:
        """Take over what only the old file knows, before it is written over."""
        servers = dict(self._ours().servers)
        old = self._old()
        if old is not None:
            servers[server_key(old.url)] = _Entry(token=old.token, user=old.user)
            self._write(servers)
        return servers

    def _write(self, servers: dict[str, _Entry]) -> None:
        write_file(self.path, _Ours(servers=servers).model_dump_json(indent=2).encode(), _PRIVATE)

    def _ours(self) -> _Ours:
        return read_tokens(_Ours, self.path) or _Ours()

    def _old(self) -> _Old | None:
        return read_tokens(_Old, self._directory / _OLD)


def server_key(url: str) -> str:
    """Return one spelling for all addresses of one server: host in small letters, no last slash."""
    try:
        # Twice: a default port is dropped only behind a scheme in small letters.
        return str(httpx.URL(str(httpx.URL(url.strip())))).rstrip("/")
    except httpx.InvalidURL:
        return url.strip().rstrip("/")


def _cached(url: str, entry: _Entry) -> CachedToken:
    user = entry.user or entry.token.partition(":")[0]
    return CachedToken(url, entry.token, user)
