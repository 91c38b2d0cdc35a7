"""The results of a validation survive a restart of the hub (B55)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import Engine, insert

from mograder.grading.validation_report import (
    CheckStatus,
    ValidatedCheck,
    ValidationReport,
    ValidationResult,
    answer_of,
)
from mograder.hub.checks import ValidationResults
from mograder.sandbox.execution.report import CellResult, CellStatus, ExecutionResult, Outcome
from mograder.store.database.database import values_of, writing
from mograder.store.hub.board import KeptResults, ResultRow, results
from tests.support.hub_app import Hub, running_hub
from tests.support.hub_copies import FORM, WORK, ask, begin, read, send

NOW = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
FAILED = CellResult(0, "_", CellStatus.ERROR, "ZeroDivisionError", "division by zero", 2, "")


def row(user: str, minutes: int = 0, answer: str = "{}") -> ResultRow:
    """A result of A1."""
    return ResultRow(user, "A1", NOW + timedelta(minutes=minutes), answer)


def test_the_newest_of_each_copy_is_kept_and_told_oldest_first(engine: Engine) -> None:
    kept = KeptResults(engine)
    for each in (row("alice"), row("bob", 1), row("alice", 2, '{"ok": "größe"}')):
        kept.save(each)
    assert kept.newest(100) == (row("bob", 1), row("alice", 2, '{"ok": "größe"}'))
    kept.remove("bob", "A1")
    assert [each.username for each in kept.newest(100)] == ["alice"]


def test_there_is_an_end_to_what_is_kept(engine: Engine) -> None:
    kept = KeptResults(engine)
    for number in range(5):
        kept.save(row(f"student{number}", number))
    assert [each.username for each in kept.newest(5)] == ["student3", "student4"]
    assert len(kept.newest(100)) == 2


def test_a_class_of_600_keeps_the_results_of_three_items(engine: Engine) -> None:
    report = ValidationReport("A1.py", Outcome.UNREADABLE, "line 3 is unfinished")
    text = answer_of(report, html_available=True).model_dump_json()
    with writing(engine) as connection:
        rows = [values_of(row(f"student{number}", number, text)) for number in range(1800)]
        connection.execute(insert(results), rows)
    found = ValidationResults(KeptResults(engine))
    found.load()
    assert all(found.of(f"student{number}", "A1") for number in (0, 1799))


async def test_of_a_long_answer_all_checks_are_kept_and_fewer_details(engine: Engine) -> None:
    messages = tuple(f"{number} {500 * 'x'}" for number in range(9))
    checks = tuple(
        ValidatedCheck(f"Q{number}: part", f"Q{number}", CheckStatus.DANGER, messages)
        for number in range(60)
    )
    report = ValidationReport("A1.py", Outcome.FINISHED, checks=checks)
    found = ValidationResults(KeptResults(engine))
    await found.put("alice", "A1", ValidationResult(NOW, answer_of(report, html_available=True)))
    result = found.of("alice", "A1")
    assert result is not None
    assert [each.label for each in result.answer.checks] == [each.label for each in checks]
    assert {each.details for each in result.answer.checks} == {
        tuple(text[:500] for text in messages[:4])
    }


async def _home(hub: Hub) -> str:
    return await read(hub, "/")


async def test_b55_the_next_hub_shows_what_the_one_before_found(tmp_path: Path) -> None:
    """Unless another notebook took the copy's place meanwhile; and an unreadable one is left."""
    place = tmp_path / "course"
    async with running_hub(place, "", "A1") as first:
        first.runs.result = ExecutionResult(Outcome.FINISHED, (FAILED,))
        await begin(first)
        await ask(first, "POST", "/validate/alice/A1")
        assert "See why" in await _home(first)
        KeptResults(first.engine).save(row("bob", answer='{"of": "another version"}'))
    async with running_hub(place) as second:
        assert "See why" in await _home(second)
        found = await ask(second, "GET", "/validation/alice/A1", headers=FORM)
        assert "division by zero" in found.text
        assert (await send(second, WORK)).status_code == 200
        assert "See why" not in await _home(second)
        found = await ask(second, "GET", "/validation/alice/A1", headers=FORM)
        assert "for instance since another notebook took its place" in found.text
    async with running_hub(place) as third:
        assert "See why" not in await _home(third)
