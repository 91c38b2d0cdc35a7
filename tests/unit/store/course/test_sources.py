"""store.course.sources: digests of a source that is replaced meanwhile."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from mograder.core.errors import Conflict, InvalidInput
from mograder.core.names import ItemName
from mograder.store.course.sources import Source, Sources
from mograder.store.releases.releases import Releases

A1 = ItemName("A1")


class ReplacedSources(Sources):
    """Sources of which one was replaced after it was found, the first ``times``."""

    def __init__(self, directory: Path, times: int) -> None:
        super().__init__(directory / "own", Releases(directory / "sent"))
        self._notebook = directory / "A1.py"
        self._times = times

    def find(self, name: ItemName) -> Source:
        self._times -= 1
        gone = self._notebook.with_name("gone") / "A1.py"
        return Source(gone if self._times >= 0 else self._notebook, own=False, files=("A1.py",))


def test_a_source_that_is_replaced_meanwhile_is_read_again(tmp_path: Path) -> None:
    (tmp_path / "A1.py").write_text("x")
    found = ReplacedSources(tmp_path, times=2).digests(A1)
    assert found == {"A1.py": hashlib.sha256(b"x").hexdigest()}
    with pytest.raises(Conflict, match="The source of A1 is being replaced"):
        ReplacedSources(tmp_path, times=100).digests(A1)


def test_a_source_that_cannot_be_read_is_named_with_the_reason(tmp_path: Path) -> None:
    own = tmp_path / ("x" * 300)
    with pytest.raises(InvalidInput, match=r"A1\.py cannot be used: File name too long"):
        Sources(own, Releases(tmp_path / "sent")).find(A1)
