"""The reserve of a disk is the smaller of two."""

from __future__ import annotations

import pytest

from mograder.core.files.disk import DiskReserve

GIB = 1 << 30


@pytest.mark.parametrize(
    ("mb", "total", "reserve"),
    [(1024, 100 * GIB, GIB), (1024, 2 * GIB, 2 * GIB // 20), (0, GIB, 0), (1024, 0, 0)],
)
def test_a_small_volume_has_a_small_reserve(mb: int, total: int, reserve: int) -> None:
    assert DiskReserve(mb).of(total) == reserve
