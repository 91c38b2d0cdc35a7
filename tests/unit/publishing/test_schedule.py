"""The file with the opening times of a term."""

from __future__ import annotations

import zoneinfo
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from mograder.core.errors import InvalidInput
from mograder.publishing.schedule import parse_schedule, parse_zone

LONDON = ZoneInfo("Europe/London")


@pytest.mark.parametrize(
    ("written", "opens"),
    [
        ("2026-10-21", datetime(2026, 10, 21, 10, 30, tzinfo=LONDON)),
        ('"2026-10-21"', datetime(2026, 10, 21, 10, 30, tzinfo=LONDON)),
        ("2026-10-21T08:00:00", datetime(2026, 10, 21, 8, 0, tzinfo=LONDON)),
        ("2026-10-21T08:00", datetime(2026, 10, 21, 8, 0, tzinfo=LONDON)),
        ('"2026-10-21T00:00"', datetime(2026, 10, 21, 0, 0, tzinfo=LONDON)),
    ],
)
def test_a_day_opens_at_the_time_of_the_file_also_as_a_text(written: str, opens: datetime) -> None:
    plan = parse_schedule(f'time = "10:30"\n[items]\nA2 = {written}\n', "term.toml")
    assert plan.opens == {"A2": opens}


def test_week_0_is_the_one_before_the_first() -> None:
    """As in 0.3.16, for an induction week."""
    plan = parse_schedule("start = 2026-10-05\n[weeks]\n0 = ['A0']\n1 = ['A1']", "term.toml")
    assert plan.opens["A1"] - plan.opens["A0"] == timedelta(weeks=1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("strt = 2026-10-05", "term.toml: strt is not a key of a schedule."),
        ("time = 'nine'", 'term.toml: time must be a time such as "09:00", without an offset.'),
        ("time = 9", 'term.toml: time must be a time such as "09:00", without an offset.'),
        ("time = 9.30", 'term.toml: time must be a time such as "09:00", without an offset.'),
        ("time = '09:00+02:00'", 'term.toml: time must be a time such as "09:00", without'),
        ("[items]\n'../x' = 2026-10-05", "term.toml: Invalid name '../x'"),
        ("[items]\nA2 = '5 Oct'", "term.toml: items.A2 must be a time such as"),
        (
            "start = 2026-10-05\n[weeks]\n1 = ['A1']\n3 = ['A1', 'A2']",
            "term.toml: A1 is in week 3 and in another one.",
        ),
        (f"[items]\nA2 = {'9' * 5000}", "term.toml: Exceeds the limit"),
        (f"[items]\nA2 = {'[' * 5000}", "term.toml is nested too deeply."),
    ],
)
def test_a_mistake_is_told_with_the_file_and_the_key(text: str, words: str) -> None:
    with pytest.raises(InvalidInput) as told:
        parse_schedule(text, "term.toml")
    assert told.value.message.startswith(words)


def test_a_zone_that_browsers_name_needs_no_package_of_the_system() -> None:
    """Debian 13 and Ubuntu 24.04 have Asia/Calcutta in tzdata-legacy, which is not installed."""
    zoneinfo.reset_tzpath([])
    zoneinfo.ZoneInfo.clear_cache(only_keys=["Asia/Calcutta"])
    try:
        assert parse_zone("Asia/Calcutta").key == "Asia/Calcutta"
    finally:
        zoneinfo.reset_tzpath()
