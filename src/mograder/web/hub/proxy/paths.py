"""The addresses of session pages, parsed once from the bytes received, and those that are guarded.

``/edit/user/<u>/<a>/…`` and ``/run/user/<u>/<l>/…`` are authorised by login, ``/s/<cap>/…`` by
capability. The decoded path is never used: differences in decoding between a proxy, the hub and
marimo would let requests bypass a check.

Some requests of a session's page need an instructor's permission. marimo's own settings could
switch these features off, but a workspace's configuration belongs to the student, so the proxy
decides (sessions.md, "What is switched off"). The rule is about the page's requests and no security
boundary: the sandbox bounds what a notebook's code can do. ``save_user_config`` is not guarded: it
writes only the student's own settings in their own workspace, which their code can write anyway;
refusing it would show an error at each change of the theme. Nor are the read-only requests for the
list of packages.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote, unquote_to_bytes

from mograder.core.errors import InvalidInput
from mograder.core.names import ItemName, Username
from mograder.sandbox.protocol import Mode
from mograder.sessions.session import SessionKey

_CAPABILITY = re.compile(r"[A-Za-z0-9_-]{16,64}")
_ENCODED_SEPARATOR = re.compile(r"%(?:2f|5c|00)", re.IGNORECASE)
_DOTS = re.compile(r"/(?:\.|%2e){1,2}(?:/|$)", re.IGNORECASE)
_UNCLEAN = re.compile(r"[\x00-\x20\x7f\\]|[^\x00-\x7f]")

BY_ITSELF = frozenset({"api/lsp/health", "api/usage"})
"""Requests that an open page repeats without user action, so no sign that it is in use."""

_END = r"(?![\w-])"
_GUARDED = re.compile(
    rf"""/*(?:
    (?P<terminal>terminal{_END})
    |(?P<lsp>lsp{_END}|api/+lsp/+restart{_END})
    |(?P<ai>mcp{_END}|api/+ai{_END})
    |(?P<packages>
        api/+packages(?!/+(?:sandbox|list|tree)/*$){_END}
        |api/+kernel/+install_missing_packages{_END}
        |api/+export/+requirements{_END})
    |(?P<secrets>api/+secrets{_END})
    |(?P<execute>api/+kernel/+execute{_END})
    |(?P<rename>api/+kernel/+rename{_END})
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_NAMES = {
    "terminal": "The terminal",
    "lsp": "The language server",
    "ai": "AI assistance",
    "packages": "Installing packages",
    "secrets": "The panel for secrets",
    "execute": "Running code from outside the page",
}
_KEEPS_ITS_NAME = (
    "The notebook keeps its name, because the hub finds your work by it. "
    "To have it under another name, export it and rename the file that you get."
)
"""The message for ``rename``, which is not among the features that an instructor can allow."""


@dataclass(frozen=True, slots=True)
class UserPath:
    """A session addressed by its owner, item and mode; ``rest`` is None without the final slash."""

    mode: Mode
    user: Username
    item: ItemName
    rest: str | None

    @property
    def key(self) -> SessionKey:
        return SessionKey(self.user, self.item, self.mode)


@dataclass(frozen=True, slots=True)
class CapabilityPath:
    """A session addressed by a capability; ``rest`` is still percent-encoded."""

    cap: str
    rest: str


@dataclass(frozen=True, slots=True)
class ProbePath:
    """``/s/probe``: the spinner page tests whether a reverse proxy forwards ``/s/``."""


SessionPath = UserPath | CapabilityPath | ProbePath

SESSION_PATHS = (b"/s/", b"/edit/user/", b"/run/user/")


def parse_session_path(raw_path: bytes) -> SessionPath | None:
    """Parse a raw path below the prefix; return None for one that is not the proxy's.

    Raises: :class:`InvalidInput` for encoded separators in the part that the hub routes by, dot
    segments, control characters, invalid names.
    """
    text = raw_path.decode("latin-1")
    if _UNCLEAN.search(text) or _DOTS.search(text):
        raise InvalidInput("This address is malformed.")
    parts = text.split("/", 3)
    if len(parts) >= 3 and parts[1] == "s":
        cap, _, rest = text.removeprefix("/s/").partition("/")
        if cap == "probe" and not rest:
            return ProbePath()
        return CapabilityPath(cap, rest) if _CAPABILITY.fullmatch(cap) else None
    if len(parts) == 4 and parts[1] in ("edit", "run") and parts[2] == "user":
        user, item, *tail = parts[3].split("/", 2) if "/" in parts[3] else ("", "")
        if user and item:
            return UserPath(Mode(parts[1]), *_names(user, item), *(tail or (None,)))
    return None


@lru_cache(maxsize=4096)
def _names(user: str, item: str) -> tuple[Username, ItemName]:
    """Parse the two names; cached, since every file of a page repeats them."""
    return Username.of_account(_decoded(user)), ItemName.parse(_decoded(item))


def _decoded(segment: str) -> str:
    if _ENCODED_SEPARATOR.search(segment):
        raise InvalidInput("This address is malformed.")
    try:
        return unquote_to_bytes(segment).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInput("This address is not valid UTF-8.") from error


def guarded_feature(rest: str) -> str:
    """Return the feature of a percent-encoded path, read as marimo will read it, or ""."""
    found = _GUARDED.match(unquote(rest) if "%" in rest else rest)
    return (found.lastgroup or "") if found else ""


def denial(feature: str) -> str:
    if feature == "rename":
        return _KEEPS_ITS_NAME
    return f"{_NAMES[feature]} is switched off for this notebook. Your instructor can allow it."
