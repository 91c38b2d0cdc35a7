"""The statistics of an assignment from a course's gradebook."""

from __future__ import annotations

from collections import defaultdict

from mograder.core.settings import LoadedSettings
from mograder.grading.late.course_late import CourseLate
from mograder.grading.results.recorded_result import last_result
from mograder.grading.statistics.item_statistics import ItemStatistics, item_statistics
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.grading_records import RecordedRun


def course_statistics(
    loaded: LoadedSettings, book: Gradebook, assignment: str, key: bytes
) -> ItemStatistics:
    """Return the statistics of an assignment as it is marked now; blocks.

    Results whose signature is not by ``key`` do not count.
    """
    runs: dict[str, list[RecordedRun]] = defaultdict(list)
    for run in book.runs(assignment):
        runs[run.student].append(run)
    found = {student: last_result(key, each).result for student, each in runs.items()}
    results = {student: each for student, each in found.items() if each is not None}
    return item_statistics(assignment, CourseLate(loaded).grades(book, assignment), results)
