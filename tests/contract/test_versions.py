"""Versions of copies, on each database: recording, reading, and thinning.

What stays can be read back, whatever was removed.
"""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, event, select

from mograder.core.errors import NotFound
from mograder.store.database.database import open_engine, reading, writing
from mograder.store.versions import version_thinning, versions
from mograder.store.versions.version_texts import Damaged, stored, version_copies
from mograder.store.versions.version_texts import versions as rows
from mograder.store.versions.version_thinning import Thinning, VersionMark, staying
from mograder.store.versions.versions import Origin, Versions, milliseconds

NOW = datetime(2026, 5, 4, 10, 0, tzinfo=UTC)
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def kept(engine: Engine) -> Versions:
    """The versions of a new database."""
    return Versions(engine)


def test_each_version_can_be_read_back_and_the_newest_is_first(kept: Versions) -> None:
    texts = [b"", b"a = 1\n", b"a = 1\nb = 2\n", b"a = 1\n"]
    for number, text in enumerate(texts):
        made = kept.record("anna", "A1", text, Origin.EDITOR, NOW + number * SECOND)
        assert made.number == number + 1
        assert made == kept.newest("anna", "A1")

    found = kept.all("anna", "A1")
    assert [each.number for each in found] == [4, 3, 2, 1]
    assert found[0].saved == NOW + 3 * SECOND
    assert [kept.text("anna", "A1", number + 1) for number in range(4)] == texts
    assert kept.texts("anna", "A1", (4, 1, 3)) == {n: texts[n - 1] for n in (1, 3, 4)}


def test_the_same_text_makes_no_new_version(kept: Versions) -> None:
    first = kept.record("anna", "A1", b"a = 1\n", Origin.RELEASE, NOW, release="r1")
    again = kept.record("anna", "A1", b"a = 1\n", Origin.EDITOR, NOW + SECOND)
    assert again == first
    assert kept.all("anna", "A1") == (first,)


def test_an_opened_copy_costs_few_transactions(kept: Versions, engine: Engine) -> None:
    # A class opens its notebooks at the same moment, and each of them is recorded then.
    begun: list[object] = []
    event.listen(engine, "begin", begun.append)

    def transactions(user: str) -> int:
        before = len(begun)
        kept.record(
            user, "A1", b"a = 1\n", Origin.FOUND, NOW, told=lambda _: (Origin.RELEASE, "r1")
        )
        return len(begun) - before

    kept.record("anna", "A1", b"a = 1\n", Origin.RELEASE, NOW, release="r1")
    assert transactions("anna") == 1  # unchanged
    assert transactions("bert") == 4  # a new copy of a known release
    assert kept.release_of("bert", "A1") == "r1"


def test_a_copy_remembers_the_release_that_it_came_from(kept: Versions) -> None:
    assert kept.release_of("anna", "A1") == ""
    kept.record("anna", "A1", b"a = 1\n", Origin.RELEASE, NOW, release="r1")
    edited = kept.record("anna", "A1", b"a = 2\n", Origin.EDITOR, NOW)
    assert edited.release == "r1"
    merged = kept.record("anna", "A1", b"a = 2\n", Origin.MERGE, NOW, release="r2")
    assert (merged.number, merged.release) == (2, "r2")
    assert kept.record("anna", "A1", b"a = 3\n", Origin.EDITOR, NOW).release == "r2"
    assert kept.newest("anna", "A1") == kept.all("anna", "A1")[0]
    assert kept.release_of("anna", "A1") == "r2"
    assert [each.release for each in kept.all("anna", "A1")] == ["r2", "r2", "r1"]
    assert kept.release_of("bert", "A1") == ""


def test_a_version_that_is_not_there_is_not_found(kept: Versions) -> None:
    with pytest.raises(NotFound):
        kept.text("anna", "A1", 1)
    kept.record("anna", "A1", b"a = 1\n", Origin.EDITOR, NOW)
    for number in (0, 2, -1):
        with pytest.raises(NotFound):
            kept.text("anna", "A1", number)
        with pytest.raises(NotFound):
            kept.texts("anna", "A1", (1, number))
    assert kept.texts("anna", "A1", ()) == {}
    with pytest.raises(NotFound):
        kept.text("bert", "A1", 1)


def test_saves_of_many_threads_are_all_there(kept: Versions) -> None:
    def save(number: int) -> None:
        user = f"student{number % 3}"
        kept.record(user, "A1", b"x = %d\n" % number, Origin.EDITOR, NOW)

    with ThreadPoolExecutor(12) as threads:
        list(threads.map(save, range(60)))
    for user in range(3):
        found = kept.all(f"student{user}", "A1")
        assert [each.number for each in found] == list(range(20, 0, -1))
        texts = {kept.text(f"student{user}", "A1", each.number) for each in found}
        assert texts == {b"x = %d\n" % number for number in range(user, 60, 3)}


def test_saves_by_two_hubs_are_all_there(engine: Engine, url: str) -> None:
    """Both record versions of one copy at the same time, each with its own memory."""
    other = open_engine(url)
    hubs = [Versions(engine), Versions(other)]

    def save(number: int) -> int:
        text = b"x = %d\n" % number
        return hubs[number % 2].record("anna", "A1", text, Origin.EDITOR, NOW).number

    with ThreadPoolExecutor(6) as threads:
        numbers = list(threads.map(save, range(40)))
    assert sorted(numbers) == list(range(1, 41))
    for number, at in enumerate(numbers):
        assert hubs[1].text("anna", "A1", at) == b"x = %d\n" % number
    other.dispose()


def test_many_small_changes_of_a_long_text_can_be_read(kept: Versions) -> None:
    text = b"".join(b"line %d\n" % line for line in range(2000))
    for number in range(100):
        text = text.replace(b"line %d\n" % (number * 17), b"changed %d\n" % number)
        kept.record("anna", "A1", text, Origin.EDITOR, NOW + number * SECOND)
    assert kept.text("anna", "A1", 100) == text
    assert b"changed 42\n" in kept.text("anna", "A1", 43)
    assert b"changed 43\n" not in kept.text("anna", "A1", 43)


# Thinning ----------------------------------------------------------------------------------


def every(step: timedelta, span: timedelta, before: timedelta = timedelta()) -> list[VersionMark]:
    """Versions at regular times that end ``before`` now, the oldest first."""
    count = span // step
    first = milliseconds(NOW - before - span)
    return [
        VersionMark(
            number + 1, first + number * (step // timedelta(milliseconds=1)), replaced=False
        )
        for number in range(count)
    ]


def kept_of(marks: list[VersionMark], interval: int = 1) -> list[VersionMark]:
    stay = staying(marks, milliseconds(NOW), interval, len(marks))
    return [mark for mark in marks if mark.number in stay]


def test_all_of_the_last_day_stay() -> None:
    marks = every(10 * SECOND, DAY)
    assert kept_of(marks) == marks


@pytest.mark.parametrize(
    ("before", "step", "left"),
    [
        (2 * DAY, MINUTE, 10 * MINUTE),
        (8 * DAY, MINUTE, HOUR),
        (40 * DAY, 10 * MINUTE, DAY),
    ],
)
def test_older_ones_become_fewer(before: timedelta, step: timedelta, left: timedelta) -> None:
    span = 4 * left
    found = kept_of(every(step, span, before))
    assert span // left <= len(found) <= span // left + 3
    again = kept_of(found)
    assert again == found


def test_the_first_the_newest_and_the_replaced_ones_stay() -> None:
    marks = every(MINUTE, 2 * HOUR, before=100 * DAY)
    marks[50] = VersionMark(marks[50].number, marks[50].saved, replaced=True)
    found = kept_of(marks)
    assert marks[0] in found
    assert marks[50] in found
    assert marks[-1] in found
    assert len(found) <= 5


def text_of(generator: random.Random, before: bytes) -> bytes:
    """An edit of a text."""
    lines = before.splitlines(keepends=True)
    at = generator.randrange(len(lines) + 1)
    if lines and generator.random() < 0.3:
        del lines[at - 1 : at + generator.randrange(3)]
    lines.insert(at, b"x%d = %d\n" % (generator.randrange(100), generator.randrange(10**9)))
    return b"".join(lines)


@pytest.mark.parametrize("seed", range(3))
def test_what_stays_can_be_read_back(engine: Engine, seed: int) -> None:
    """Random edits over two months, thinned again and again as time goes by."""
    generator = random.Random(seed)
    kept, thinning = Versions(engine), Thinning(engine)
    text, now = b"", NOW
    texts: dict[int, bytes] = {}
    for _ in range(150):
        now += generator.choice([SECOND, 10 * SECOND, MINUTE, HOUR, 8 * HOUR])
        text = generator.choice([*texts.values(), b""]) if generator.random() < 0.05 else text
        text = text_of(generator, text)
        origin = generator.choice([Origin.EDITOR] * 20 + [Origin.RESTORE])
        made = kept.record("anna", "A1", text, origin, now)
        texts[made.number] = text
        if generator.random() < 0.05:
            for copy in thinning.due(now, 10):
                thinning.thin(copy, now)
    left = kept.all("anna", "A1")
    assert 10 < len(left) < 150
    assert left[0].number == 150
    assert left[-1].number == 1
    for each in left:
        assert kept.text("anna", "A1", each.number) == texts[each.number]
    with reading(engine) as connection:
        head = connection.execute(select(version_copies)).one()
        data = connection.execute(select(rows.c.data)).scalars().all()
    assert head.kept == len(left) == len(data)
    assert head.bytes == sum(map(len, data))


def saved_long_ago(engine: Engine, *origins: Origin) -> tuple[Versions, Thinning]:
    """Versions of these origins, a second apart, and their thinning."""
    kept = Versions(engine)
    for number, origin in enumerate(origins):
        at = NOW - 10 * DAY + number * SECOND
        kept.record("anna", "A1", b"x = %d\n" % number, origin, at)
    return kept, Thinning(engine)


def test_a_text_that_was_handed_in_later_stays(engine: Engine) -> None:
    """The file is found again right after it, so it is not the last of its ten minutes."""
    origins = [Origin.RELEASE, Origin.UNSAVED, *[Origin.EDITOR] * 8]
    kept, thinning = saved_long_ago(engine, *origins)
    assert thinning.thin(1, NOW) == 7
    assert [each.number for each in kept.all("anna", "A1")] == [10, 2, 1]
    assert kept.text("anna", "A1", 2) == b"x = 1\n"


def test_a_replaced_text_stays_also_if_one_was_handed_in_just_before_it_was_replaced(
    engine: Engine,
) -> None:
    """A reset ends the session, whose page then hands in what it could not save."""
    origins = [Origin.RELEASE, Origin.FOUND, Origin.UNSAVED, Origin.RESET, *[Origin.EDITOR] * 5]
    kept, thinning = saved_long_ago(engine, *origins)
    thinning.thin(1, NOW)
    assert [each.number for each in kept.all("anna", "A1")] == [9, 3, 2, 1]


def test_a_copy_that_changes_meanwhile_is_left_alone(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, thinning = saved_long_ago(engine, *[Origin.EDITOR] * 10)
    look = version_thinning.staying

    def late(*given: object) -> object:
        kept.record("anna", "A1", b"new\n", Origin.EDITOR, NOW)
        return look(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(version_thinning, "staying", late)
    assert thinning.thin(1, NOW) == 0
    monkeypatch.undo()
    assert len(kept.all("anna", "A1")) == 11
    assert thinning.thin(1, NOW) == 8
    assert kept.text("anna", "A1", 11) == b"new\n"


def of_few_versions(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> tuple[Versions, Thinning]:
    """Versions of copies that may have twenty, and their thinning."""
    for module in (versions, version_thinning):
        monkeypatch.setattr(module, "MOST_VERSIONS", 20)
    return Versions(engine), Thinning(engine)


def test_a_flood_costs_bounded_room_and_only_middle_versions(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it is thinned in time or not; what was saved before the flood stays readable."""
    kept, thinning = of_few_versions(engine, monkeypatch)
    honest = [b"honest %d\n" % number for number in range(5)]
    for number, text in enumerate(honest):
        kept.record("anna", "A1", text, Origin.EDITOR, NOW + number * HOUR)
    begin = NOW + 5 * HOUR
    for number in range(100):
        at = begin + number * timedelta(milliseconds=10)
        kept.record("anna", "A1", b"flood %d\n" % number, Origin.EDITOR, at)
    found = kept.all("anna", "A1")
    assert len(found) == 40
    assert kept.text("anna", "A1", found[0].number) == b"flood 99\n"
    assert thinning.due(begin + MINUTE, 10) == (1,)
    assert thinning.thin(1, begin + MINUTE) > 20
    left = kept.all("anna", "A1")
    assert [kept.text("anna", "A1", each.number) for each in left[-5:]] == honest[::-1]
    assert kept.text("anna", "A1", left[0].number) == b"flood 99\n"
    assert thinning.due(begin + 2 * MINUTE, 10) == ()


def test_a_version_of_a_flood_that_is_thinned_meanwhile_can_be_read(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes the newest one's place, and may be stored as a difference from one that goes."""
    kept, thinning = of_few_versions(engine, monkeypatch)
    for number in range(41):
        at = NOW + number * timedelta(milliseconds=10)
        kept.record("anna", "A1", b"flood %d\n" % number, Origin.EDITOR, at)
    link, removed = stored, list[int]()

    def late(*given: object) -> object:
        found = link(*given)  # type: ignore[arg-type]
        if not removed:
            removed.append(thinning.thin(1, NOW + HOUR))
        return found

    monkeypatch.setattr(versions, "stored", late)
    fresh = kept.record("anna", "A1", b"mine\n", Origin.EDITOR, NOW + HOUR)
    assert removed[0] > 20
    for each in kept.all("anna", "A1"):
        kept.text("anna", "A1", each.number)
    assert kept.text("anna", "A1", fresh.number) == b"mine\n"


def test_large_texts_cost_bounded_room(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (versions, version_thinning):
        monkeypatch.setattr(module, "MOST_BYTES", 100_000)
    monkeypatch.setattr(version_thinning, "_MOST_LEFT", 75_000)
    generator = random.Random(1)
    kept, thinning = Versions(engine), Thinning(engine)
    last = b""
    for number in range(60):
        last = generator.randbytes(20_000)
        kept.record("anna", "A1", last, Origin.RESTORE, NOW + number * SECOND)
    with reading(engine) as connection:
        stored = connection.execute(select(version_copies.c.bytes)).scalar_one()
    assert stored <= 100_000 * 3 + 30_000
    thinning.thin(1, NOW + HOUR)
    with reading(engine) as connection:
        stored = connection.execute(select(version_copies.c.bytes)).scalar_one()
    assert stored <= 75_000
    assert kept.text("anna", "A1", 60) == last


def test_damaged_versions_are_reported_and_the_next_needs_none_of_them(engine: Engine) -> None:
    kept, text = Versions(engine), b"".join(b"x%d = %d\n" % (at, at**5) for at in range(200))
    for number in range(3):
        kept.record("anna", "A1", text + b"y = %d\n" % number, Origin.EDITOR, NOW)
    with writing(engine) as connection:
        connection.execute(rows.update().where(rows.c.number == 1).values(data=b"damaged"))
    for number in (1, 2, 3):
        with pytest.raises(Damaged):
            kept.text("anna", "A1", number)
    for number in (4, 5):
        kept.record("anna", "A1", text + b"z = %d\n" % number, Origin.EDITOR, NOW)
        assert kept.text("anna", "A1", number) == text + b"z = %d\n" % number


def test_a_version_can_be_read_while_others_are_thinned(engine: Engine) -> None:
    kept, generator = Versions(engine), random.Random(7)
    for copy in range(6):
        text = b""
        for number in range(40):
            text = text_of(generator, text)
            at = NOW - 10 * DAY + number * SECOND
            kept.record(f"student{copy}", "A1", text, Origin.EDITOR, at)
    ended = threading.Event()

    def read_all() -> int:
        times = 0
        while not ended.is_set() or not times:
            for copy in range(6):
                assert kept.text(f"student{copy}", "A1", 40)
            times += 1
        return times

    with ThreadPoolExecutor(2) as readers:
        reads = [readers.submit(read_all) for _ in range(2)]
        try:
            removed = [Thinning(engine).thin(copy, NOW) for copy in range(1, 7)]
        finally:
            ended.set()
        assert all(read.result() for read in reads)
    assert all(removed)
