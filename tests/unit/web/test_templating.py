"""Sentences with times on pages: escaped, with elements that scripts tell in the reader's zone."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from mograder import web
from mograder.grading.late_work import moment
from mograder.web.pages import load_pages, timed

AT = datetime(2026, 11, 25, 18, 0, tzinfo=UTC)


def test_each_time_of_a_sentence_becomes_an_element_and_all_else_is_escaped() -> None:
    told = timed({}, f"<b>due {moment(AT)}</b>, received {moment(AT)} by receipt 17")
    local = AT.astimezone().isoformat()
    assert told.count(f'<time datetime="{local}">{moment(AT)}</time>') == 2
    assert told.startswith("&lt;b&gt;due <time")
    assert told.endswith("by receipt 17")


def test_a_time_that_is_written_with_seconds_is_told_with_them() -> None:
    at = AT.replace(second=30)
    told, local = moment(at, exact=True), at.astimezone().isoformat()
    assert timed({}, told) == f'<time datetime="{local}" data-seconds>{told}</time>'


def test_the_hour_that_clocks_repeat_is_told_by_the_name_of_its_zone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as here:
        here.setenv("TZ", "Europe/Berlin")
        time.tzset()
        hours = [datetime(2026, 10, 25, hour, 30, tzinfo=UTC) for hour in (0, 1)]
        told = [timed({}, moment(at)) for at in hours]
        other = timed({}, "2026-10-25 02:30 UTC")
    time.tzset()
    assert told == [
        f'<time datetime="2026-10-25T02:30:00+0{ahead}:00">2026-10-25 02:30 {zone}</time>'
        for ahead, zone in ((2, "CEST"), (1, "CET"))
    ]
    assert other == "2026-10-25 02:30 UTC", "not this machine's zone, so left as it is"


def test_times_are_in_the_zone_of_the_page_where_it_has_one() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    hours = [datetime(2026, 10, 25, hour, 30, tzinfo=UTC) for hour in (0, 1)]
    assert [timed({"zone": berlin}, moment(at, berlin)) for at in hours] == [
        '<time datetime="2026-10-25T02:30:00+02:00">2026-10-25 02:30 CEST</time>',
        '<time datetime="2026-10-25T02:30:00+01:00">2026-10-25 02:30 CET</time>',
    ]


@pytest.mark.parametrize("text", ["", "2026-99-99 18:00 UTC", "at 18:00 UTC", "2026-11-25 18:00"])
def test_what_is_no_time_stays_as_it_is(text: str) -> None:
    assert timed({}, text) == text


def test_the_name_of_a_template_or_a_static_file_is_that_of_one_file() -> None:
    pages, (top,) = load_pages(), map(Path, web.__path__)
    static = [each.name for place in top.rglob("static") for each in place.iterdir()]
    assert sorted(static) == sorted(pages.static.by_name)
    templates = [each for place in top.rglob("templates") for each in place.rglob("*.*")]
    assert len(pages.environment.list_templates()) == len(templates)
