"""Publishing a release: what it does in which thread."""

from __future__ import annotations

import asyncio
import io
import threading
from pathlib import Path
from typing import cast

import pytest

from mograder.core.names import ItemName
from mograder.publishing.publish import publish_release
from mograder.sandbox.environments.builder import Environments
from mograder.store.course import support_files
from mograder.store.releases.releases import Releases

A1 = ItemName.parse("A1")
NOTEBOOK = b"import marimo\n\napp = marimo.App()\n\n\n@app.cell\ndef _():\n    return\n"


class _Ready:
    async def prepare(self, *_: object) -> None:
        """Build nothing."""


def test_no_file_of_a_release_is_read_on_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []
    monkeypatch.setattr(
        support_files, "first_mark", lambda _: threads.append(threading.get_ident())
    )
    releases = Releases(tmp_path / "release")
    with releases.stage(A1) as staged:
        for name in ("A1.py", "helper.py"):
            staged.add(name, io.BytesIO(NOTEBOOK))
        asyncio.run(
            publish_release(
                releases=releases,
                environments=cast("Environments", _Ready()),
                name=A1,
                kind=None,
                staged=staged,
                progress=lambda _: None,
            )
        )
    assert len(threads) == 2
    assert threading.get_ident() not in threads
