"""The sources of assignments on a hub, which have the solutions and the hidden tests.

They are the course's own, in ``[dirs] source``, or those that instructors sent, in a directory that
only the hub can read. No route serves their contents, and no session sees them. Below the course's
state directory are the contracts that were recorded of sources, each a JSON text.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from mograder.core.clock import Clock
from mograder.core.errors import Conflict
from mograder.core.files.disk import explained_when_unusable
from mograder.core.names import ItemName
from mograder.core.settings import LoadedSettings
from mograder.store.filesystem.files import atomic_write, entry_named
from mograder.store.releases.releases import ItemKind, Limits, Releases, ReleaseUpload

SENT = "sources"
"""The directory, in the course's state directory, of the sources that instructors sent."""

_TRIES = 5
_CONTRACTS = "contracts"
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Source:
    """The source of an assignment: its notebook, and whether it is in the course's own directory.

    ``files`` are the names of the files that an instructor sent, and ``sent`` is when; both are
    empty for the course's own.
    """

    notebook: Path
    own: bool
    files: tuple[str, ...] = ()
    sent: datetime | None = None


def open_sources(loaded: LoadedSettings, clock: Clock) -> Sources:
    """Return the sources of a course: its own, and those that instructors sent to its hub."""
    limits = loaded.settings.limits
    bounds = Limits(limits.upload_files, limits.upload_mb)
    sent = Releases(loaded.state_dir / SENT, limits=bounds, clock=clock, private=True)
    return Sources(loaded.path(loaded.settings.dirs.source), sent)


class Sources:
    """The sources of a course's assignments; thread-safe.

    ``own`` is the course's directory of sources; ``sent`` is a private store.
    """

    def __init__(self, own: Path, sent: Releases) -> None:
        self._own = own
        self._sent = sent

    def find(self, name: ItemName) -> Source | None:
        """Return an assignment's source, the course's own first. Raises: InvalidInput."""
        with explained_when_unusable(self._own / name):
            own = entry_named(entry_named(self._own, name), f"{name}.py")
            if own.is_file():
                return Source(own, own=True)
        sent = self._sent.get(name)
        if sent is None:
            return None
        return Source(sent.notebook, own=False, files=sent.files, sent=sent.updated)

    def digests(self, name: ItemName) -> Mapping[str, str]:
        """Return the SHA-256 of each sent file. Raises: Conflict if they are being replaced."""
        for _ in range(_TRIES):
            source = self.find(name)
            if source is None:
                return {}
            with contextlib.suppress(FileNotFoundError):  # it was replaced meanwhile
                return {each: _sha256(source.notebook.parent / each) for each in source.files}
        raise Conflict(f"The source of {name} is being replaced.", hint="Try again.")

    def stage(self, name: ItemName) -> ReleaseUpload:
        """Begin an upload for :meth:`commit`. Raises: Conflict if the course has its own source."""
        source = self.find(name)
        if source is not None and source.own:
            raise Conflict(
                f"This hub has its own source of {name}, {self._own.name}/{name}.",
                hint="Change it there, or remove it.",
            )
        return self._sent.stage(name)

    def commit(self, staged: ReleaseUpload) -> None:
        """Replace a source by an upload, atomically. Raises: Conflict if a later one was before."""
        staged.commit(ItemKind.ASSIGNMENT)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class ContractStore:
    """The contracts of one course, each by a SHA-256 of all that it depends on."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def read(self, digest: str) -> str | None:
        """Return a contract's text, or None if there is none or it cannot be read."""
        with contextlib.suppress(OSError, UnicodeDecodeError):
            return self._path(digest).read_text(encoding="utf-8")
        return None

    def write(self, digest: str, text: str) -> None:
        """Raise Busy when the disk is full."""
        path = self._path(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, text.encode("utf-8"), 0o600)

    def _path(self, digest: str) -> Path:
        if not _DIGEST.fullmatch(digest):
            raise ValueError("not a SHA-256 in hex")
        return self._directory / f"{digest}.json"


def contracts_of(loaded: LoadedSettings) -> ContractStore:
    return ContractStore(loaded.state_dir / _CONTRACTS)
