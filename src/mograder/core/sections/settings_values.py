"""Validators of single values of ``mograder.toml``, and the base class of its sections.

The validators also normalise the spelling. The messages of validation errors are in the terms of
TOML files, not of pydantic; notebook headers, which are checked by the same models, share them.

Each raises :class:`ValueError` with a predicate ("must be …") for the message that names file and
key.
"""

from __future__ import annotations

import builtins
import ipaddress
import re
from datetime import UTC, date, datetime
from datetime import time as daytime
from typing import Annotated, Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict
from pydantic_core import ErrorDetails

from mograder.core.clock import from_unix, within_reach
from mograder.core.errors import InvalidInput
from mograder.core.names import Username

FEATURES: Final = ("ai", "execute", "lsp", "packages", "secrets", "terminal")
"""The allowed values in ``[tool.mograder] allow`` and ``[items.NAME] allow`` (sessions.md, "What is
switched off")."""


_FIRST_SECONDS = 10**9
"""A smaller number would be a time before 2002: it is a day, as 20261201, or a mistake, as 2026."""
END_OF_DAY = daytime(23, 59, 59)
"""The last second of a day on which something is due or closes; forms show it as 23:59."""

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_PATH_SEGMENT = re.compile(r"[A-Za-z0-9._~-]+")
_HOST = re.compile(r"\[[0-9a-f:.]+\]|[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_EXPECTED = {
    "int": "a whole number",
    "float": "a number",
    "finite": "a number",
    "bool": "true or false",
    "string": "text",
    "tuple": "a list",
    "list": "a list",
    "mapping": "a table",
    "dict": "a table",
    "model": "a table",
}


def normalise_base_url(text: str) -> str:
    """Return a path prefix, of plain segments, as ``/live/hub``, or ``""`` for the root."""
    path = text.strip().rstrip("/")
    if not path:
        return ""
    segments = path.removeprefix("/").split("/")
    if any(not _PATH_SEGMENT.fullmatch(each) or each in {".", ".."} for each in segments):
        raise ValueError("must be a path prefix such as /live/hub, without scheme, query or '..'")
    return "/" + "/".join(segments)


def normalise_public_url(text: str) -> str:
    """Return the origin that browsers use, spelled as in ``Origin``, or ``""``."""
    if not text.strip():
        return ""
    expected = "must be scheme and host only, such as https://hub.example.net"
    try:
        parts = urlsplit(text.strip())
        port = parts.port
    except ValueError as error:
        raise ValueError(expected) from error
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
    extra = parts.path.rstrip("/") or parts.query or parts.fragment or "@" in parts.netloc
    if parts.scheme not in _DEFAULT_PORTS or extra or not _HOST.fullmatch(host):
        raise ValueError(expected)
    shown = "" if port in {None, _DEFAULT_PORTS[parts.scheme]} else f":{port}"
    return f"{parts.scheme}://{host}{shown}"


def issuer_address(text: str) -> str:
    """Return the address of an identity provider or a platform unchanged, or ``""``.

    Plain http is possible for this machine, for trials.
    """
    if not text:
        return ""
    expected = "must be an address such as https://login.example.org, without query or user"
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError as error:
        raise ValueError(expected) from error
    local = parts.hostname in {"localhost", "127.0.0.1", "::1"}
    scheme = parts.scheme == "https" or (parts.scheme == "http" and local)
    odd = any(not each.isprintable() or each.isspace() for each in text)
    if not scheme or not parts.hostname or "@" in parts.netloc or odd or set("?#\\") & set(text):
        raise ValueError(expected)
    return text


def listed(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def user(text: str) -> str:
    try:
        return Username.claimed(text)
    except InvalidInput as error:
        raise ValueError(f"must list usernames: {error.message}") from error


def peer(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text)) if "/" in text else str(ipaddress.ip_address(text))
    except ValueError as error:
        raise ValueError(
            "must list addresses or networks such as 10.0.0.0/8"
            f" ({text!r}: {str(error).removeprefix(repr(text)).strip()})"
        ) from error


def header(text: str) -> str:
    if text and not _HEADER_NAME.fullmatch(text):
        raise ValueError("must be the name of an HTTP header, or empty to trust none")
    return text


def feature(text: str) -> str:
    if text not in FEATURES:
        raise ValueError(f"must list some of {', '.join(FEATURES)}, not {text[:40]!r}")
    return text


def module(text: str) -> str:
    if not text.isidentifier():
        raise ValueError(f"must list modules by their first name, such as os, not {text[:40]!r}")
    return text


def builtin(text: str) -> str:
    if not hasattr(builtins, text):
        raise ValueError(f"must list builtins of Python, such as open, not {text[:40]!r}")
    return text


def database_url(text: str) -> str:
    """Return a database's URL, or ``""``; no error shows the text, which may hold a password."""
    if text and "://" not in text:
        raise ValueError("must be a URL such as postgresql://user:password@host/name, or empty")
    return text


def moment(value: object) -> object:
    """Return a time as ISO 8601 text with its offset; None unchanged.

    One without an offset is in UTC, and a date alone is its last moment.
    """
    try:
        found = written_time(value)
    except ValueError as error:
        raise ValueError("must be a time such as 2027-02-28T18:00+01:00") from error
    if found is None:
        return None if value is None else ""
    if not isinstance(found, datetime):
        found = datetime.combine(found, END_OF_DAY)
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).isoformat()


def written_time(value: object) -> date | None:
    """Return a date, or a date and time, as a person or Moodle wrote it; None for "" and 0.

    It is one of TOML, ISO 8601 text, or seconds since 1970.
    """
    try:
        found = _date_or_time(value)
        if found is None or within_reach(found):
            return found
    except ValueError:
        pass
    raise ValueError("must be a time such as 2026-12-01T18:00, or a date such as 2026-12-01")


def _date_or_time(value: object) -> date | None:
    if value is None or isinstance(value, date):
        return value
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(value)
    text = str(value).strip() if value else ""
    if not text:
        return None
    if text.isascii() and text.isdecimal() and (seconds := int(text)) >= _FIRST_SECONDS:
        return from_unix(seconds)
    try:
        return date.fromisoformat(text)
    except ValueError:
        return datetime.fromisoformat(text)


def unix_seconds(value: object) -> object:
    """Return Moodle's seconds since 1970 unchanged; a date or a text belongs elsewhere."""
    if isinstance(value, date | str):
        raise ValueError(
            'must be the seconds that Moodle gives; write a date as due in [items."NAME"]'
        )
    return value


def zone(text: str) -> str:
    try:
        return ZoneInfo(text).key if text else ""
    except (ValueError, OSError, KeyError) as error:
        raise ValueError(f"must be a time zone such as Europe/London, not {text[:40]!r}") from error


def present(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    return text


Present = Annotated[str, AfterValidator(present)]


class Section(BaseModel):
    """The base of all sections: unknown keys are errors, and values do not change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


def complaint(error: ErrorDetails, *, secret: bool = False) -> str:
    """Return a predicate such as "must be at least 1, not 0", without a full stop.

    ``secret`` hides the value. Unknown keys are not handled here: only the caller knows the table's
    other keys, of which one may have been meant.
    """
    kind = error["type"]
    context = error.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        expected = f"one of {context['expected']}".replace("'", '"')
    elif kind in {"greater_than_equal", "less_than_equal"}:
        bound = f"at least {context['ge']}" if "ge" in context else f"at most {context['le']}"
        expected = bound
    else:
        expected = _EXPECTED.get(kind.split("_")[0], "of another type")
    shown = "" if secret else f", not {_clipped(error['input'])}"
    return f"must be {expected}{shown}"


def _clipped(value: object) -> str:
    text = repr(value) if isinstance(value, str) else str(value)
    if isinstance(value, bool):
        text = text.lower()
    return text if len(text) <= 60 else text[:57] + "..."
