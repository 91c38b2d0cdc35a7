"""Every failure that we can explain, by family.

A family decides the exit code (``cli.main``) and the HTTP status (``web.problems``); both
look a class up by its ancestry, and a test demands every family in both tables
(architecture.md, "Errors").
"""

from __future__ import annotations

import errno


class MograderError(Exception):
    """A failure with a sentence that a teacher understands and a hint on what to do.

    ``message`` is one sentence, shown to people as it is. ``hint`` is the remedy, or empty.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()

    def __reduce__(self) -> tuple[object, ...]:
        """Support pickling for families whose constructor takes other arguments than a message.

        A parser that runs in a process of its own sends its failures back this way.
        """
        return _unpickled, (type(self), self.args, self.__dict__)


def _unpickled(
    family: type[MograderError], args: tuple[object, ...], state: dict[str, object]
) -> MograderError:
    error = family.__new__(family, *args)
    error.__dict__.update(state)
    return error


class InvalidInput(MograderError):
    """What was given cannot be used: a name, a file, a setting, a request body."""


class TooLarge(InvalidInput):
    """What was given exceeds a bound; the message names the bound."""


class NotAuthenticated(MograderError):
    """Nobody is signed in, or the credentials are no good."""


class Forbidden(MograderError):
    """Somebody is signed in, but may not do this."""


class NotFound(MograderError):
    """The thing does not exist, or the asker may not know that it does."""


class Conflict(MograderError):
    """The thing changed, or is in use, so that this cannot be done now."""


class Busy(MograderError):
    """No capacity at the moment; ``retry_after`` is in seconds."""

    def __init__(self, message: str, *, hint: str = "", retry_after: int = 10) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class TimedOut(MograderError):
    """Something of ours did not answer in its time (compat.md 2.3: 504 at session start)."""


class RemoteFailed(MograderError):
    """Another server refused, failed or could not be reached."""


class SandboxUnavailable(MograderError):
    """No sandbox can be made here, so nothing of a student's is run."""


def is_disk_full(error: OSError) -> bool:
    """Tell whether a file could not be written because the disk or the quota is full."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)
