"""Append-only files of JSON lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from mograder.store.filesystem.records import Records
from tests.support.fake_disks import FailingDisk, Unplugged


def test_a_file_that_cannot_be_made_durable_is_not_kept_open(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    with pytest.raises(Unplugged):
        Records(path, disk=FailingDisk(0)).add([b"1"], durable=True)
    opened = [each.resolve() for each in Path("/proc/self/fd").iterdir()]
    assert path.resolve() not in opened
