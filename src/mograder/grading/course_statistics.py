"""The statistics of an assignment of a course, from its gradebook.

They are apart from :mod:`mograder.grading.item_statistics`, which ``mograder quality`` uses in
installations without SQLAlchemy.
"""

from __future__ import annotations

from mograder.core.settings import LoadedSettings
from mograder.grading.grading_result import last_results
from mograder.grading.item_statistics import ItemStatistics, item_statistics
from mograder.grading.late.course_late import CourseLate
from mograder.store.gradebook.gradebook import Gradebook


def course_statistics(
    loaded: LoadedSettings, book: Gradebook, assignment: str, key: bytes
) -> ItemStatistics:
    """Return the statistics of an assignment as it is marked now; blocks.

    Results whose signature is not by ``key`` do not count.
    """
    found = last_results(key, book, assignment)
    results = {name: last.result for name, last in found.items() if last.result is not None}
    return item_statistics(assignment, CourseLate(loaded).grades(book, assignment), results)
