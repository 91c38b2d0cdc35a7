"""Drafts of notebooks on an assignment server: one a person and item, replaced version by version.

A draft is not a submission: it is what a student's browser last saved, or what another computer of
theirs was about to submit, so that the work goes on anywhere. Each version has a tag; a writer
names the one that it replaces, so that a newer one, from elsewhere, is never overwritten in silence
(docs/reference/https-api.md).
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from pathlib import Path

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from mograder.core.errors import Conflict, MograderError
from mograder.core.files.disk import DISK, Disk
from mograder.core.log import get_logger
from mograder.core.names import ItemName, Username
from mograder.store.filesystem.files import atomic_write
from mograder.store.filesystem.records import locked_directory, make_directories

DRAFTS = Path(".mograder") / "drafts"
DRAFT_LIMIT = 4 * 1024 * 1024
"""Bytes of one draft."""

_log = get_logger(__name__)


class Draft(BaseModel):
    """One person's draft of one item: its text, when it was saved, and how often it was before."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    version: int = Field(ge=1)
    saved: AwareDatetime
    text: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def tag(self) -> str:
        """Identifies this version: its number and a digest of its text."""
        return f"{self.version}-{self.sha256[:16]}"


class DraftChanged(Conflict):
    """Raised when a draft is not the version that was to be replaced; ``current`` is what it is."""

    def __init__(self, current: Draft | None) -> None:
        super().__init__(
            "Another version of this notebook was saved meanwhile.",
            hint="Look at both, and keep one.",
        )
        self.current = current


class Drafts:
    """The drafts of a course; safe to use from several threads and processes."""

    def __init__(self, root: Path, *, disk: Disk = DISK) -> None:
        self._root = root / DRAFTS
        self._disk = disk

    def find(self, user: Username, item: ItemName) -> Draft | None:
        """Raise MograderError if the file is damaged, as it would seem to be no draft."""
        try:
            return Draft.model_validate_json(self._file(user, item).read_bytes())
        except FileNotFoundError:
            return None
        except (ValidationError, OSError) as error:
            _log.error("the draft of %s for %s cannot be read: %s", user, item, error)
            raise MograderError(
                "The draft on the server cannot be read.", hint="Tell your instructor."
            ) from error

    def replace(
        self, user: Username, item: ItemName, text: str, now: datetime, over: str | None
    ) -> Draft:
        """Save a draft over the version with the tag ``over``, None for the first one.

        The same text over the version before it is the answer to a lost reply: nothing changes.

        Raises: :class:`DraftChanged`, :class:`~mograder.core.errors.Busy` when the disk is full.
        """
        place = self._file(user, item)
        make_directories(place.parent, disk=self._disk)
        with locked_directory(place.parent, disk=self._disk):
            current = self.find(user, item)
            if current is not None and current.text == text:
                return current
            if (current.tag if current else None) != over:
                raise DraftChanged(current)
            version = current.version + 1 if current else 1
            draft = Draft(version=version, saved=now, text=text)
            atomic_write(place, draft.model_dump_json().encode(), 0o600, disk=self._disk)
            return draft

    def _file(self, user: Username, item: ItemName) -> Path:
        return self._root / item / f"{user}.json"
