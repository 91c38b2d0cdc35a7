"""The directories of copies and of releases."""

from __future__ import annotations

from pathlib import Path

import pytest

from mograder.store.releases.releases import Releases


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "hub-notebooks"


@pytest.fixture
def releases(tmp_path: Path) -> Releases:
    return Releases(tmp_path / "hub-release")
