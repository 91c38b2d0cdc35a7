"""Fixtures of the tests of what runs inside a sandbox."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.sandbox.inside.judging import WarmPrograms


@pytest.fixture(scope="module")
def programs() -> Iterator[WarmPrograms]:
    started = WarmPrograms()
    yield started
    started.stop()
