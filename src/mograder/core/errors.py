"""The exceptions with a message for users, one class for each family of failures.

The family determines the exit code (``cli.main``) and the HTTP status (``web.error_responses``).
Both find a class by its base classes, and a test requires each family in both (decision 12).
"""

from __future__ import annotations

import errno


class MograderError(Exception):
    """A failure with a message that a teacher understands and a hint on what to do.

    ``message`` is one sentence, shown to users unchanged. ``hint`` is the remedy, or empty.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class InvalidInput(MograderError):
    """An input that is not valid: a name, a file, a setting or a request body."""


class TooLarge(InvalidInput):
    """An input that exceeds a limit; the message names the limit."""


class NotAuthenticated(MograderError):
    """No user is signed in, or the credentials are not valid."""


class Forbidden(MograderError):
    """The signed-in user is not allowed to do this."""


class NotFound(MograderError):
    """The object does not exist, or the user is not allowed to know that it does."""


class Conflict(MograderError):
    """The object was changed, or is in use, so that this cannot be done now."""


class Busy(MograderError):
    """No capacity at the moment; ``retry_after`` is in seconds."""

    def __init__(self, message: str, *, hint: str = "", retry_after: int = 10) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class TimedOut(MograderError):
    """A process of ours did not answer in time.

    See compatibility-0.3.16.md 2.3: 504 at session start.
    """


class RemoteFailed(MograderError):
    """Another server refused, failed or could not be reached."""


class SandboxUnavailable(MograderError):
    """No sandbox can be started here, so no student code is run."""


class Unsupported(MograderError):
    """This operating system, or what is installed of mograder, does not have what is needed."""


def is_disk_full(error: OSError) -> bool:
    """Return whether a file could not be written because the disk or the quota is full."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)
