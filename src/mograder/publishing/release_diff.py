"""The changes that publishing would make on a hub: new, changed, unchanged, removed files (B99)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mograder.clients.file_upload import Upload
from mograder.clients.hub import Held
from mograder.core.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Changes:
    """Sorted file names; ``kind_before`` is the item's kind on the hub if publishing changes it.

    ``exact``: the hub listed all its files, so that nothing else would change.
    """

    new: tuple[str, ...]
    changed: tuple[str, ...]
    unchanged: tuple[str, ...]
    removed: tuple[str, ...]
    kind_before: str
    exact: bool

    @property
    def none(self) -> bool:
        """Whether the hub is known to hold exactly this already."""
        return self.exact and not (self.new or self.changed or self.removed or self.kind_before)


def changes(local: Mapping[str, str], kind: str, held: Held) -> Changes:
    """Compare local files, SHA-256 by name, with the files on the hub; pure."""
    common = local.keys() & held.files.keys()
    same = {name for name in common if local[name] == held.files[name]}
    return Changes(
        new=tuple(sorted(local.keys() - held.files.keys())),
        changed=tuple(sorted(common - same)),
        unchanged=tuple(sorted(same)),
        removed=tuple(sorted(held.files.keys() - local.keys())),
        kind_before=held.kind if held.kind != kind else "",
        exact=held.complete,
    )


def digests(files: Sequence[Upload]) -> dict[str, str]:
    """Return the hexadecimal SHA-256 of each file by its name on the hub.

    Raises:
        InvalidInput: A file cannot be read.
    """
    found = {}
    for each in files:
        try:
            with each.path.open("rb") as file:
                found[each.name] = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise InvalidInput(f"{each.path} cannot be read: {error.strerror}.") from error
    return found
