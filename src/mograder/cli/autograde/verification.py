"""``mograder autograde --verify``: whether results are as they were signed, and of these files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from mograder.cli.autograde.selection import Chosen
from mograder.cli.shared.formatting import plain
from mograder.cli.shared.result import Result
from mograder.core.settings import LoadedSettings
from mograder.grading.batch.autograded_files import AutogradedFiles
from mograder.grading.batch.verify_results import Verified, verify_results
from mograder.grading.results.grading_result import grading_key
from mograder.store.course.course import shown
from mograder.store.gradebook.gradebook import existing_gradebook


def verify(chosen: Sequence[Chosen], loaded: LoadedSettings) -> Result:
    """Return what does not fit in the results of assignments."""
    key = grading_key(loaded)
    with ExitStack() as stack:
        gradebook = existing_gradebook(loaded.gradebook_path)
        if gradebook is not None:
            stack.enter_context(gradebook)
        found = [
            (each, verify_results(_files(each, key), each.files, each.submissions, gradebook))
            for each in chosen
        ]
    wrong = any(result.problems for _, results in found for result in results)
    return Result(_answer(found), _lines(found), int(wrong))


def _files(chosen: Chosen, key: bytes) -> AutogradedFiles:
    return AutogradedFiles(chosen.output, chosen.files.name, key)


def _lines(found: Sequence[tuple[Chosen, Sequence[Verified]]]) -> Iterator[str]:
    for chosen, results in found:
        for result in results:
            for problem in result.problems:
                yield f"  {plain(result.student)}: {plain(problem)}"
        wrong = sum(bool(result.problems) for result in results)
        fit = len(results) - wrong
        yield f"{shown(chosen.output)}: {fit} of {len(results)} results fit."


def _answer(found: Sequence[tuple[Chosen, Sequence[Verified]]]) -> dict[str, object]:
    return {
        "version": 1,
        "assignments": [
            {
                "assignment": chosen.files.name,
                "output": str(chosen.output),
                "results": [
                    {"student": each.student, "problems": list(each.problems)} for each in results
                ],
            }
            for chosen, results in found
        ],
    }
