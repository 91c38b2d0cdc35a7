"""Recording the versions of copies: what the editor saved, and what stands in the file otherwise.

The methods block: callers on the event loop use a thread.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from mograder.core.clock import Clock
from mograder.core.errors import Conflict, InvalidInput, MograderError, NotFound
from mograder.core.log import get_logger
from mograder.core.names import ItemName, Username, is_rehearsal
from mograder.notebook import MAX_NOTEBOOK
from mograder.store.copies.merged_files import KnownFiles
from mograder.store.copies.workspaces import Workspaces
from mograder.store.releases.releases import Releases
from mograder.store.versions.kept_releases import KeptReleases
from mograder.store.versions.versions import REPLACING, Origin, Version, Versions, digest_of

_log = get_logger(__name__)


@dataclass(slots=True)
class RecordingCounters:
    """Counts since the hub's start, for the metrics; approximate, as several threads add to it."""

    recorded: int = 0
    failed: int = 0
    too_large: int = 0
    """Saves of a notebook that is larger than any that can be opened, which are not recorded."""


class CopyRecorder:
    def __init__(
        self,
        versions: Versions,
        kept: KeptReleases,
        workspaces: Workspaces,
        releases: Releases,
        clock: Clock,
    ) -> None:
        self.versions = versions
        self.kept = kept
        self.tally = RecordingCounters()
        self._workspaces = workspaces
        self._releases = releases
        self._clock = clock

    def saved(self, user: Username, item: ItemName, text: bytes) -> Version:
        """Record a text that the editor saved; return its version, or raise Busy if it fails."""
        try:
            made = self.versions.record(user, item, text, Origin.EDITOR, self._clock.now())
        except MograderError:
            self.tally.failed += 1
            raise
        self.tally.recorded += 1
        return made

    def found(
        self, user: Username, item: ItemName, origin: Origin = Origin.FOUND
    ) -> Version | None:
        """Record the copy's file if it is not as last recorded; return the newest version.

        Return None if there is no readable notebook of a size that can be opened. A text that is
        a release of the item, as after a reset, is recorded as such. One that was a version before
        is of the release that it was of then; of one that was put in place of another, and was no
        version, its own lines tell it.

        Raises: :class:`~mograder.core.errors.Busy` if it could not be recorded.
        """
        with self.versions.alone(user, item):
            text = self._text(user, item)
            if text is None:
                return None
            told, release = None, None
            if origin is Origin.FOUND:
                told = partial(self._told, user, item, text)
            elif origin is Origin.RESET:
                release = digest_of(text)
                told = partial(_of_release, release)
            elif origin in REPLACING:
                release = self.versions.release_of_text(user, item, text)
                release = release or self.kept.fitting(item, text.decode(errors="replace")) or None
            now = self._clock.now()
            return self.versions.record(user, item, text, origin, now, release=release, told=told)

    def look(self, user: Username, item: ItemName) -> None:
        """As :meth:`found`; only log a failure, which must not keep a session from starting.

        The copies of a rehearsal's users are not recorded.
        """
        if is_rehearsal(user):
            return
        try:
            self.found(user, item)
        except MograderError as error:
            self.tally.failed += 1
            _log.warning("the copy %s/%s could not be recorded: %s", user, item, error)

    def known_files(self, user: Username, item: ItemName) -> KnownFiles:
        """Return the digests of an item's data files, now and as the copy got them; raises Busy."""
        return self.kept.known_files(item, self.versions.release_of(user, item))

    def _text(self, user: Username, item: ItemName) -> bytes | None:
        try:
            return self._workspaces.read(user, item, f"{item}.py", MAX_NOTEBOOK).data
        except (NotFound, InvalidInput, Conflict):
            return None

    def _told(
        self, user: Username, item: ItemName, text: bytes, before: bool
    ) -> tuple[Origin, str | None]:
        """Return the origin of a text that was found, and its release, None if that is not known.

        It may be an earlier one: the item may be published again while a copy is made.
        """
        digest, known = digest_of(text), set[str]()
        with suppress(MograderError, OSError):
            if release := self._releases.get(item):
                self.kept.keep(release, self._clock.now())  # it may be there by hand
            known = {each.digest for each in self.kept.all(item)}
        if digest in known:
            return _of_release(digest, before)
        return Origin.FOUND, self.versions.release_of_text(user, item, text)


def _of_release(release: str, before: bool) -> tuple[Origin, str | None]:
    """Return the origin of a release's text, by whether the copy had another one before."""
    return Origin.RESET if before else Origin.RELEASE, release
