"""The file with the opening times of a term."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from mograder.publishing.schedule import parse_schedule

LONDON = ZoneInfo("Europe/London")


@pytest.mark.parametrize(
    ("written", "opens"),
    [
        ("2026-10-21", datetime(2026, 10, 21, 10, 30, tzinfo=LONDON)),
        ('"2026-10-21"', datetime(2026, 10, 21, 10, 30, tzinfo=LONDON)),
        ("2026-10-21T08:00:00", datetime(2026, 10, 21, 8, 0, tzinfo=LONDON)),
        ('"2026-10-21T00:00"', datetime(2026, 10, 21, 0, 0, tzinfo=LONDON)),
    ],
)
def test_a_day_opens_at_the_time_of_the_file_also_as_a_text(written: str, opens: datetime) -> None:
    plan = parse_schedule(f'time = "10:30"\n[items]\nA2 = {written}\n', "term.toml")
    assert plan.opens == {"A2": opens}
