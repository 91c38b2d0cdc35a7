"""The gradebook that an app with pages of marking shares among its requests."""

from __future__ import annotations

from pathlib import Path

import pytest

from mograder.core.errors import InvalidInput
from mograder.core.settings import load_settings
from mograder.web.marking.gradebook import SharedGradebook


def test_the_gradebook_is_opened_once_when_it_is_needed(tmp_path: Path) -> None:
    path = tmp_path / "gradebook.db"
    with SharedGradebook(load_settings(tmp_path, environ={})) as shared:
        assert not path.exists()
        assert shared.get() is shared.get()
        assert shared.get().assignments() == ()
    shared.close()  # twice is harmless


def test_a_gradebook_that_cannot_be_opened_is_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "gradebook.db"
    path.mkdir()
    with SharedGradebook(load_settings(tmp_path, environ={})) as shared:
        with pytest.raises(InvalidInput, match="is a directory"):
            shared.get()
        path.rmdir()
        assert shared.get().students() == {}
