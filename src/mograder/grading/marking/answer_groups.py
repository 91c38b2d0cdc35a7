"""The groups of equal answers to a question, from the submissions as they are now."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from mograder.core.errors import MograderError
from mograder.grading.marking.graded_work import WorkFiles
from mograder.grading.marking.question_sources import QuestionSources
from mograder.grading.marking.shown_work import Works, WorkToShow
from mograder.grading.similarity.equal_answers import AnswerGroup, group_answers

_LONGEST = 20_000
"""Characters of an answer from which on it is in no group: long ones are not equal by chance."""


async def answer_groups(
    works: Works,
    files: WorkFiles,
    students: Iterable[str],
    sources: QuestionSources,
    question: str,
) -> tuple[AnswerGroup, ...]:
    """Return the groups of two or more of the students with equal answers to a question."""
    answers: dict[str, list[str]] = {}
    texts = await asyncio.to_thread(lambda: {each: _text(files, each) for each in students})
    for student, text in texts.items():
        work = await works.show(WorkToShow(text, "submission.py", sources))
        codes = [cell.code for cell in work.of(question) if cell.own]
        if sum(map(len, codes)) <= _LONGEST:
            answers[student] = codes
    return await asyncio.to_thread(group_answers, answers, sources.kept)


def _text(files: WorkFiles, student: str) -> str:
    try:
        return files.graded_first(student)
    except (MograderError, OSError):
        return ""
