"""What publishing would change on a hub: new, changed, unchanged and removed files (B99)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mograder.core.errors import InvalidInput
from mograder.transports.hub import Held
from mograder.transports.upload import Upload


@dataclass(frozen=True, slots=True)
class Changes:
    """File names, sorted; ``kind_before`` is what the item was if it becomes something else.

    ``exact``: the hub told everything, so that nothing but this would change.
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
    """Compare what is here with what the hub holds; pure."""
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
    """Return the SHA-256 of each file by its name on the hub.

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
