"""Fixtures of the tests of what runs inside a sandbox."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest

from tests.unit.sandbox.inside.judging import Judge, Judged, WarmPrograms, judged


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judge]:
    """Judges a submission by a source, by warm programs, each time in a directory of its own."""
    programs = WarmPrograms()

    def judge(source: str, submission: str, **more: object) -> Judged:
        run = partial(judged, tmp_path_factory.mktemp("judged"), programs=programs, **more)
        return run(source, submission)

    yield judge
    programs.stop()
