"""Published items, without a hub."""

from __future__ import annotations

import io
from collections.abc import Mapping

from mograder.core.names import ItemName
from mograder.store.releases.releases import ItemKind, Release, Releases


def publish(
    releases: Releases,
    files: Mapping[str, bytes],
    name: str = "A1",
    kind: ItemKind = ItemKind.ASSIGNMENT,
) -> Release:
    with releases.stage(ItemName.parse(name)) as staged:
        for filename, content in files.items():
            staged.add(filename, io.BytesIO(content))
        return staged.commit(kind)
