"""The file with the times for which items are to be warm."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mograder.core.errors import Conflict, InvalidInput
from mograder.store.releases import release_times
from mograder.store.releases.release_times import WarmTimes

NOW = datetime(2026, 10, 5, 8, 0, tzinfo=UTC)
LATER = NOW + timedelta(days=7)


def test_times_are_added_shown_by_another_hub_and_removed(tmp_path: Path) -> None:
    times, other = (WarmTimes(tmp_path / "r" / ".warm.json") for _ in range(2))
    assert times.all() == {}
    times.add(["L01", "A1"], LATER, NOW)
    assert times.add(["A1"], NOW, NOW) == {"A1": (NOW, LATER), "L01": (LATER,)}
    assert other.all() == {"A1": (NOW, LATER), "L01": (LATER,)}
    assert other.remove(["A1"], NOW) == {"L01": (LATER,)} == times.all()


def test_what_is_past_goes_with_the_next_change(tmp_path: Path) -> None:
    times = WarmTimes(tmp_path / ".warm.json")
    times.add(["A1"], NOW, NOW)
    assert times.add(["L01"], LATER, NOW + timedelta(hours=1)) == {"L01": (LATER,)}


@pytest.mark.parametrize("text", ["{", "[1]", '{"A1": ["tomorrow"]}', '{"A1": 1}', "[" * 9999])
def test_a_file_that_cannot_be_read_counts_as_empty(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / ".warm.json"
    path.write_text(text)
    assert WarmTimes(path).all() == {}
    before = path.read_bytes()
    with pytest.raises(Conflict, match="cannot be read"):
        WarmTimes(path).add(["A1"], LATER, NOW)
    with pytest.raises(Conflict, match="cannot be read"):
        WarmTimes(path).remove(["A1"], NOW)
    assert path.read_bytes() == before, "what can be mended is not written over"
    assert "counts as empty" in caplog.text


def test_there_are_not_any_number_of_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(release_times, "_MOST_TIMES", 2)
    times = WarmTimes(tmp_path / ".warm.json")
    with pytest.raises(InvalidInput, match="At most 2 times"):
        times.add(["A", "B", "C"], NOW, NOW)
    assert times.all() == {}
