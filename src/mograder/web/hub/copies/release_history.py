"""The releases of items, the earlier ones too, and merges put in place: what updates need."""

from __future__ import annotations

from datetime import datetime

from mograder.core.clock import Clock
from mograder.core.errors import Conflict, MograderError
from mograder.core.log import get_logger
from mograder.core.names import ItemName, Username
from mograder.sessions.copy_updates import KeptText
from mograder.store.copies.merged_files import Placing
from mograder.store.copies.workspaces import Workspaces
from mograder.store.releases.releases import Releases
from mograder.store.versions.kept_releases import KeptReleases
from mograder.store.versions.versions import Versions

_TOLD = (Placing.BESIDE, Placing.STAYS, Placing.FAILED, Placing.REMOVED)
_log = get_logger(__name__)


class KeptHistory:
    """The published releases and the kept ones; implements ``ReleaseHistory``."""

    def __init__(
        self, releases: Releases, kept: KeptReleases, versions: Versions, clock: Clock
    ) -> None:
        self._releases = releases
        self._kept = kept
        self._versions = versions
        self._clock = clock

    def present(self, item: ItemName, /) -> KeptText | None:
        """Return the published release of an item; None if it is not published.

        It is kept if it was not, as when its files were copied into the course by hand.
        """
        release = self._releases.get(item)
        if release is None:
            return None
        digest = self._kept.keep(release, self._clock.now())
        text = self._kept.text(digest) if digest else None
        return None if text is None else KeptText(digest, text)

    def origin(self, user: Username, item: ItemName, mine: str, /) -> KeptText | None:
        """Return the release that a copy came from, None if it cannot be told.

        The copy's timeline says so; for older copies the text is compared with the kept releases.
        """
        digest = self._versions.release_of(user, item) or self._kept.fitting(item, mine)
        if not digest:
            return None
        text = self._kept.text(digest)
        return self._in_timeline(user, item, digest) if text is None else KeptText(digest, text)

    def _in_timeline(self, user: Username, item: ItemName, digest: str) -> KeptText | None:
        """Return a release that is not kept, but is the text of a version of the copy."""
        for each in self._versions.all(user, item):
            if each.digest == digest:
                try:
                    text = self._versions.text(user, item, each.number)
                    return KeptText(digest, text.decode())
                except (MograderError, UnicodeDecodeError) as error:
                    _log.warning("a version of %s/%s cannot be read: %s", user, item, error)
        return None


class MergePlacement:
    """Puts merges in place, with the release's data files; implements ``Placement``."""

    def __init__(self, releases: Releases, kept: KeptReleases, workspaces: Workspaces) -> None:
        self._releases = releases
        self._kept = kept
        self._workspaces = workspaces

    def put(
        self,
        user: Username,
        item: ItemName,
        text: bytes,
        new: KeptText,
        base: KeptText | None,
        now: datetime,
        /,
    ) -> tuple[str, ...]:
        """Replace the text and the data files; return sentences about files that were changed.

        Raises: :class:`~mograder.core.errors.Busy` (disk full), :class:`Conflict` if the item has
        been published again.
        """
        release = self._releases.get(item)
        if release is None or self._kept.keep(release, now) != new.digest:
            raise Conflict(f"{item} has just been published again.", hint="Try again.")
        known = self._kept.known_files(item, "" if base is None else base.digest)
        changes = self._workspaces.merge(user, release, text, known, now)
        return tuple(each.sentence for each in changes if each.how in _TOLD)
