"""What updates need of the stores of releases and of copies."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from mograder.core.names import ItemName, Username


@dataclass(frozen=True, slots=True)
class KeptText:
    """A kept release: its digest and its notebook's text."""

    digest: str
    text: str


class ReleaseHistory(Protocol):
    """The releases of each item, the earlier ones too."""

    def present(self, item: ItemName, /) -> KeptText | None:
        """Return the published release of an item; None if it is not published."""

    def origin(self, user: Username, item: ItemName, mine: str, /) -> KeptText | None:
        """Return the release that a copy came from, None if it cannot be told.

        ``mine`` is the copy's text.
        """


class Placement(Protocol):
    """Puts a merge in place of a copy that no session has open."""

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
        """Replace the text and the data files; return sentences about files.

        Raises: :class:`~mograder.core.errors.Busy` (disk full), :class:`Conflict`.
        """
