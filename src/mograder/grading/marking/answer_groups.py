"""The groups of equal answers to a question, from the submissions as they are now.

A submission is parsed once, until its file changes; the groups of a question are computed once for
all submissions together.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

from mograder.core.errors import InvalidInput, MograderError
from mograder.grading.marking.graded_work import WorkFiles
from mograder.grading.marking.question_sources import QuestionSources
from mograder.grading.marking.shown_work import ShownWork, WorkToShow, show_work
from mograder.grading.similarity.equal_answers import AnswerGroup, group_answers
from mograder.processes.isolated_call import IsolatedCall

_KEPT = 4
"""Assignments whose submissions are kept in memory."""

_FILE = "submission.py"
_LONGEST = 20_000
"""Characters of an answer from which on it is in no group: long ones are not equal by chance."""


@dataclass(frozen=True, slots=True)
class AssignmentWork:
    """An assignment's submissions: its students, the directories of their files, its source."""

    assignment: str
    students: tuple[str, ...]
    autograded: Path
    submitted: Path
    sources: QuestionSources


class _FileState(NamedTuple):
    name: str
    mtime: int
    size: int


class _Stamp(NamedTuple):
    """The values from which groups are computed; equal ones have the same groups."""

    students: tuple[str, ...]
    sources: QuestionSources
    files: frozenset[_FileState]


@dataclass(slots=True)
class _Parsed:
    """The parsed submissions of an assignment, by SHA-256, and the groups by question."""

    stamp: _Stamp
    of: Mapping[str, str]
    works: Mapping[str, ShownWork]
    groups: dict[str, tuple[AnswerGroup, ...]] = field(default_factory=dict)


class AnswerGroups:
    """The groups of equal answers of a course.

    Mutable state: ``_parsed``, of the assignments looked at last, and ``_working``, the
    computations under way by assignment and question.
    """

    def __init__(self) -> None:
        self._apart = IsolatedCall()
        self._turn = asyncio.Lock()
        self._parsed: OrderedDict[str, _Parsed] = OrderedDict()
        self._working: dict[tuple[str, str], asyncio.Task[tuple[AnswerGroup, ...]]] = {}

    async def of(
        self, work: AssignmentWork, question: str, patience: float | None = None
    ) -> tuple[AnswerGroup, ...] | None:
        """Return the groups of two or more students with equal answers to a question.

        ``patience`` are the seconds after which None is returned if they have to be computed first;
        that goes on then. With None, the caller waits.
        """
        stamp = await asyncio.to_thread(_stamp, work)
        found = self._known(work, stamp, question)
        if found is not None:
            return found
        place = work.assignment, question
        task = self._working.get(place)
        if task is None:
            task = asyncio.create_task(self._compute(work, question))
            self._working[place] = task
            task.add_done_callback(lambda _: self._working.pop(place, None))
        done, _ = await asyncio.wait([task], timeout=patience)
        return task.result() if done else None

    def _known(
        self, work: AssignmentWork, stamp: _Stamp, question: str
    ) -> tuple[AnswerGroup, ...] | None:
        kept = self._parsed.get(work.assignment)
        return kept.groups.get(question) if kept is not None and kept.stamp == stamp else None

    async def _compute(self, work: AssignmentWork, question: str) -> tuple[AnswerGroup, ...]:
        async with self._turn:
            stamp = await asyncio.to_thread(_stamp, work)
            kept = self._parsed.get(work.assignment)
            if kept is None or kept.stamp != stamp:
                kept = await self._parse(work, stamp, kept)
            self._parsed[work.assignment] = kept
            self._parsed.move_to_end(work.assignment)
            while len(self._parsed) > _KEPT:
                self._parsed.popitem(last=False)
            if question not in kept.groups:
                answers = dict(_answers(kept, question))
                kept.groups[question] = await asyncio.to_thread(
                    group_answers, answers, work.sources.kept
                )
            return kept.groups[question]

    async def _parse(self, work: AssignmentWork, stamp: _Stamp, before: _Parsed | None) -> _Parsed:
        """Return the submissions, of which those that are known already are not parsed again."""
        is_same = before is not None and before.stamp.sources == work.sources
        known = before.works if before is not None and is_same else {}
        files = WorkFiles(work.autograded, work.submitted)
        of: dict[str, str] = {}
        works: dict[str, ShownWork] = {}
        for student in work.students:
            text = await asyncio.to_thread(_text, files, student)
            digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
            of[student] = digest
            if digest not in works:
                works[digest] = known.get(digest) or await self._show(text, work.sources)
        return _Parsed(stamp, of, works)

    async def _show(self, text: str, sources: QuestionSources) -> ShownWork:
        try:
            asked = WorkToShow(text, _FILE, sources)
            found = await self._apart.call(partial(show_work, asked), size=len(text))
        except InvalidInput:
            return ShownWork()
        return ShownWork(found.cells)


def _text(files: WorkFiles, student: str) -> str:
    try:
        return files.graded_first(student)
    except (MograderError, OSError):
        return ""


def _answers(parsed: _Parsed, question: str) -> Iterator[tuple[str, list[str]]]:
    for student, digest in parsed.of.items():
        codes = [cell.code for cell in parsed.works[digest].of(question) if cell.own]
        if sum(map(len, codes)) <= _LONGEST:
            yield student, codes


def _stamp(work: AssignmentWork) -> _Stamp:
    files = frozenset((*_files(work.autograded), *_files(work.submitted)))
    return _Stamp(work.students, work.sources, files)


def _files(directory: Path) -> Iterator[_FileState]:
    try:
        found = [each for each in os.scandir(directory) if each.name.endswith(".py")]
    except OSError:
        return
    for entry in found:
        with contextlib.suppress(OSError):
            status = entry.stat(follow_symlinks=False)
            yield _FileState(entry.path, status.st_mtime_ns, status.st_size)
