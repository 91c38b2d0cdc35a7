"""Structured logging: text for a terminal, with priorities for journald.

Secrets are masked in the message, the extra fields and the traceback when a record is formatted,
because all records pass through the formatter (security.md, "Who is asking": secrets never in
logs). Entry points call :func:`configure_logging` once; all other modules call :func:`get_logger`.
"""

from __future__ import annotations

import contextlib
import logging
import re
import sys
import threading
from contextvars import ContextVar
from datetime import UTC, datetime

from mograder.core.errors import InvalidInput

request_id: ContextVar[str] = ContextVar("mograder_request_id", default="")
"""The id of the request being served, added to all its log records; empty outside of requests."""

_ROOT = "mograder"
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {
    *("message", "asctime", "taskName"),
    "color_message",  # uvicorn's copy of the message, for its own formatter
}
_SECRET_FIELD = re.compile(r"(?i)token|secret|password|authorization|cookie|capability")
_SHORTEST_SECRET = 8
_LAST_SECONDS = 0.2
_PRIORITIES = (
    (logging.CRITICAL, 2),
    (logging.ERROR, 3),
    (logging.WARNING, 4),
    (logging.INFO, 6),
    (0, 7),
)
"""The syslog priority of each level and those above it."""


_MASKS: tuple[tuple[re.Pattern[str], str], ...] = (
    # Whole header values first, so that the patterns below need not match inside them.
    (re.compile(r"(?i)(\bauthorization['\"]?\s*[:=,]\s*b?['\"]?)[^\r\n'\"]+"), r"\1***"),
    (re.compile(r"(?i)(\bcookie\s*:\s*)[^\r\n'\"]+"), r"\1***"),
    (re.compile(r"(?i)(['\"](?:set-)?cookie['\"]\s*[:,]\s*b?['\"])[^\r\n'\"]+"), r"\1***"),
    (re.compile(r"(mograder_(?:session|signin_[0-9a-f]+)=)[^;,\s'\"]+"), r"\1***"),
    # Signed and encrypted tokens: id_token, logout_token, assertions. Not only those with a dot: an
    # address of 120 KB full of "-eyJ" would be searched for it from each of them, for 8 seconds.
    (re.compile(r"\beyJ[A-Za-z0-9_-]{10,}(?:\.[A-Za-z0-9_.-]*)?"), "***"),
    (re.compile(r"(?i)((?:assertion|verifier|[?&]state|nonce)=)[^&\s'\"#;]+"), r"\1***"),
    (re.compile(r"(?i)(\b(?:bearer|basic)\s+)[^\s'\",;]{16,}"), r"\1***"),
    # A token is `username:hex64`; in a URL its colon may be escaped.
    (re.compile(r"(?i)(:|%3a)[0-9a-f]{64}"), r"\1***"),
    (re.compile(r"(/s/|/lti/register/|/calendar/[^/\s]+/)[A-Za-z0-9_-]{22,}"), r"\1***"),
    (re.compile(r"(?i)([?&]code=)[^&\s'\"#;]+"), r"\1***"),
    (re.compile(r"(?i)((?:token|secret|password|enrollment_code)=)[^&\s'\"#;]+"), r"\1***"),
    (re.compile(r"(://[^\s/:@]*:)[^\s/]+@"), r"\1***@"),
)

_registered: tuple[str, ...] = ()


def register_secret(secret: str) -> None:
    """Mask this exact text in all logs, for secrets such as the hub's that no pattern matches.

    Texts under 8 characters are ignored: masking them would hide ordinary words.
    """
    global _registered  # noqa: PLW0603  - replaced whole, so that readers need no lock
    if len(secret) >= _SHORTEST_SECRET and secret not in _registered:
        _registered = tuple(sorted((*_registered, secret), key=len, reverse=True))


def mask(text: str) -> str:
    """Return the text without tokens, capability paths, cookies, passwords and known secrets."""
    for secret in _registered:
        text = text.replace(secret, "***")
    for pattern, replacement in _MASKS:
        text = pattern.sub(replacement, text)
    return text


def get_logger(name: str) -> logging.Logger:
    """Return the logger of a module, below the ``mograder`` logger, whose level applies."""
    below = name == _ROOT or name.startswith(f"{_ROOT}.")
    return logging.getLogger(name if below else f"{_ROOT}.{name}")


def configure_logging(
    *, level: str = "info", journal: bool = False, to: QuietHandler | None = None
) -> None:
    """Send every record, masked, to standard error, or ``to`` another place; may be called again.

    ``journal``: standard error goes to journald, which adds the time and reads a priority (B45).
    Our records are written from ``level`` up, those of libraries from ``warning`` up (from
    ``level`` up if that is ``debug``).
    """
    chosen = logging.getLevelNamesMapping().get(level.upper())
    if chosen is None:
        raise InvalidInput(
            f"There is no log level {level!r}.", hint="Use debug, info, warning or error."
        )
    root = logging.getLogger()
    for handler in [each for each in root.handlers if isinstance(each, QuietHandler)]:
        root.removeHandler(handler)
    handler = to or _Handler(sys.stderr)
    handler.setFormatter(JournalFormatter() if journal else TextFormatter())
    root.addHandler(handler)
    root.setLevel(chosen if chosen <= logging.DEBUG else max(chosen, logging.WARNING))
    logging.getLogger(_ROOT).setLevel(chosen)


def log_before_exit(log: logging.Logger, text: str, *arguments: object) -> None:
    """Log why this process ends now; wait for that 0.2 seconds at most: the disk may hang."""
    telling = threading.Thread(target=log.critical, args=(text, *arguments), daemon=True)
    telling.start()
    telling.join(_LAST_SECONDS)


class TextFormatter(logging.Formatter):
    """A formatter of one readable line, which no text can forge, and of the traceback, if any."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        head = f"{at} {record.levelname.lower().ljust(7)} {_sentence(record)}"
        trace = _trace(record)
        return head + (f"\n{trace}" if trace else "")


class JournalFormatter(logging.Formatter):
    """As :class:`TextFormatter`, for journald: a priority before each line, and no time.

    `journalctl -u mograder-hub -p warning` then shows warnings and errors only.
    """

    def format(self, record: logging.LogRecord) -> str:
        priority = next(
            number for level, number in _PRIORITIES if record.levelno >= level or level == 0
        )
        lines = [_sentence(record), *_trace(record).splitlines()]
        return "\n".join(f"<{priority}>{line}" for line in lines)


class QuietHandler(logging.Handler):
    """A handler that does not print a record's raw arguments when writing fails."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # logging's name
        notice = f"A log record of {record.name}, line {record.lineno}, could not be written.\n"
        # Standard error may be a file on the same full disk; callers must not end for that.
        with contextlib.suppress(OSError, ValueError):
            if sys.__stderr__ is not None:
                sys.__stderr__.write(notice)


class _Handler(QuietHandler, logging.StreamHandler):  # type: ignore[type-arg]  # only in the stubs
    """A handler for standard error."""


def _sentence(record: logging.LogRecord) -> str:
    try:
        message = mask(record.getMessage())
    except (TypeError, ValueError, KeyError):
        message = mask(f"{record.msg} (its arguments do not fit)")
    parts = [f"{record.name}:", printable(message)]
    for name, value in vars(record).items():
        if name not in _STANDARD:
            shown = "***" if _SECRET_FIELD.search(name) else mask(str(value))
            parts.append(f"{name}={printable(shown)}")
    if request := request_id.get():
        parts.append(f"request={request}")
    return " ".join(parts)


def _trace(record: logging.LogRecord) -> str:
    formatter = logging.Formatter()
    parts = []
    if record.exc_info:
        parts.append(formatter.formatException(record.exc_info))
    elif record.exc_text:
        parts.append(record.exc_text)
    if record.stack_info:
        parts.append(record.stack_info)
    return mask("\n".join(parts))


def printable(text: str) -> str:
    """Return a text with control characters escaped, which forge lines and drive a terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
