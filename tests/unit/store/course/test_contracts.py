"""Recorded contracts: texts that are kept by a digest, and what is not one."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from mograder.store.course.sources import ContractStore

DIGEST = "ab" * 32


def test_a_text_is_kept_for_its_owner_and_replaced(tmp_path: Path) -> None:
    store = ContractStore(tmp_path / "state" / "contracts")
    assert store.read(DIGEST) is None
    store.write(DIGEST, "ü")
    store.write(DIGEST, "{}\n")
    assert ContractStore(tmp_path / "state" / "contracts").read(DIGEST) == "{}\n"
    [path] = (tmp_path / "state" / "contracts").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_cannot_be_read_is_as_none(tmp_path: Path) -> None:
    store = ContractStore(tmp_path)
    (tmp_path / f"{DIGEST}.json").write_bytes(b"\xff")
    assert store.read(DIGEST) is None
    (tmp_path / f"{'cd' * 32}.json").mkdir()
    assert store.read("cd" * 32) is None


@pytest.mark.parametrize("name", ["../x", "", "AB" * 32, DIGEST + "\n"])
def test_only_digests_are_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="SHA-256"):
        ContractStore(tmp_path).read(name)
