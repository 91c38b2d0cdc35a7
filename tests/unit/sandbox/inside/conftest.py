"""Fixtures of the tests of what runs inside a sandbox."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.unit.sandbox.inside.judging import Judge, Judged, WarmPrograms, judged


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judge]:
    """Judges a submission by a source, by warm programs, each time in a directory of its own."""
    programs = WarmPrograms()

    def judge(source: str, submission: str, **more: Any) -> Judged:
        place = tmp_path_factory.mktemp("judged")
        return judged(place, source, submission, programs=programs, **more)

    yield judge
    programs.stop()
