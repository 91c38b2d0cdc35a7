"""The tokens of Moodle sites that a person has signed in to, kept between commands (compat 1).

0.3.16 keeps one, of the site signed in to last, in ``token.json``. We keep one for each site in
``moodle_tokens.json`` beside it and go on writing the old file, so that both programs can be used
by turns: what the old file says of its site is never older than what we remember.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from mograder.core.atomic_file import write_file
from mograder.core.errors import InvalidInput
from mograder.transports.kept_tokens import changing_tokens, read_tokens
from mograder.transports.moodle.address import parse_moodle_url

_OURS, _LOCK = "moodle_tokens.json", ".moodle_tokens.lock"
_PRIVATE = 0o600


@dataclass(frozen=True, slots=True)
class CachedToken:
    """A token for one site, and whose it is; 0.3.16 keeps no username."""

    url: str
    token: str = field(repr=False)
    full_name: str
    username: str = ""


class _Entry(BaseModel):
    model_config = ConfigDict(extra="ignore")

    token: str
    fullname: str = ""


class _Old(_Entry):
    url: str


class _Site(_Entry):
    username: str = ""


class _Ours(BaseModel):
    model_config = ConfigDict(extra="ignore")

    sites: dict[str, _Site] = Field(default_factory=dict)


class TokenCache:
    """The tokens of one person, by site; several programs may use it at once."""

    def __init__(self, path: Path) -> None:
        """Name the file of 0.3.16, ``~/.config/mograder/token.json``; ours stands beside it."""
        self._old = path
        self._ours = path.with_name(_OURS)

    def find(self, url: str) -> CachedToken | None:
        """Return the token for a site, however its address is written, whoever cached it."""
        wanted = parse_moodle_url(url)
        entry = self._all().get(wanted)
        if entry is None:
            return None
        return CachedToken(wanted, entry.token, entry.fullname, entry.username)

    def keep(self, token: CachedToken) -> None:
        """Save a token, readable by nobody else; other sites' tokens stay.

        Raises:
            InvalidInput: The directory cannot be written.
        """
        url = parse_moodle_url(token.url)
        with changing_tokens(self._old.parent, _LOCK):
            entries = self._all()
            entries[url] = _Site(
                token=token.token, fullname=token.full_name, username=token.username
            )
            _write(self._ours, _Ours(sites=entries))
            _write(self._old, _Old(url=url, token=token.token, fullname=token.full_name))

    def forget(self, url: str) -> bool:
        """Drop the token of a site from both files; tell whether there was one.

        Raises:
            InvalidInput: The directory cannot be written.
        """
        gone = parse_moodle_url(url)
        if gone not in self._all():
            return False
        with changing_tokens(self._old.parent, _LOCK):
            entries = self._all()
            entries.pop(gone, None)
            _write(self._ours, _Ours(sites=entries))
            old = read_tokens(_Old, self._old)
            if old is not None and _same_site(old.url, gone):
                self._old.unlink(missing_ok=True)
        return True

    def _all(self) -> dict[str, _Site]:
        """Return all that is cached; a damaged file counts as empty, and a login mends it."""
        ours = read_tokens(_Ours, self._ours)
        entries = dict(ours.sites) if ours else {}
        old = read_tokens(_Old, self._old)
        if old is not None and (url := _site(old.url)):
            ours_too = url in entries and entries[url].token == old.token
            username = entries[url].username if ours_too else ""
            entries[url] = _Site(token=old.token, fullname=old.fullname, username=username)
        return entries


def _site(url: str) -> str:
    try:
        return parse_moodle_url(url)
    except InvalidInput:
        return ""


def _same_site(url: str, site: str) -> bool:
    return _site(url) == site


def _write(path: Path, content: BaseModel) -> None:
    write_file(path, content.model_dump_json(indent=2).encode() + b"\n", _PRIVATE)
