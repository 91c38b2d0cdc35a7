"""A notebook written for 0.3.16, students' versions of its release, and their check results.

``tests/data/legacy`` holds the source: checks, a Grader, hints, a written answer, hidden tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

NAME = "A1-Everything"
SOURCE = Path(__file__).parents[1] / "data" / "legacy" / NAME / f"{NAME}.py"
_TO_DO = "# YOUR CODE HERE\n{indent}pass\n"
_MEAN = "    mean = ...\n    " + _TO_DO.format(indent="    ")
_AREA = "        " + _TO_DO.format(indent="        ")
_WORD = "    word = ...\n    " + _TO_DO.format(indent="    ")
_SOLVED_AREA = """\
        if radius < 0:
            raise ValueError("no circle")
        return math.pi * radius**2
"""
Line = dict[str, object]


@dataclass(frozen=True, slots=True)
class Student:
    """A student's text for each placeholder, and the expected lines of the sidecar file.

    See compatibility-0.3.16.md 8.
    """

    answers: Mapping[str, str]
    lines: tuple[Line, ...]

    def work(self, release: str) -> str:
        """The release with the answers in it."""
        for placeholder, answer in self.answers.items():
            assert release.count(placeholder) == 1, placeholder
            release = release.replace(placeholder, answer)
        return release


def line(label: str, status: str, details: list[str], earned: float, total: float) -> Line:
    """One line of the sidecar, its keys in their order."""
    return {
        "label": label,
        "status": status,
        "details": details,
        "earned_weight": earned,
        "total_weight": total,
    }


_OTHER = line("Without marks", "success", [], 1, 1)
NOBODY = Student(
    {},
    (
        line("Q1: The mean", "warn", [], 0, 0),
        line("Q2: The area", "warn", [], 0, 0),
        line("Q3: A word", "warn", [], 0, 0),
        _OTHER,
    ),
)
"""The release as it is: all that earns marks waits."""

SOLVED = Student(
    {
        _MEAN: "    mean = sum(values) / len(values)\n",
        _AREA: _SOLVED_AREA,
        _WORD: '    word = "marimo"\n',
    },
    (
        line("Q1: The mean", "success", [], 2, 2),
        line("Q2: The area", "success", [], 3.5, 3.5),
        line("Q3: A word", "success", [], 1, 1),
        _OTHER,
    ),
)
STARTED = Student(
    {
        _MEAN: "    mean = 5.0\n",
        _AREA: "        return 3.14159265358979 * radius\n",
        _WORD: '    word = "python"\n',
    },
    (
        line("Q1: The mean", "partial", ["the mean of 2, 4 and 6 is **4**"], 1, 2),
        line(
            "Q2: The area",
            "partial",
            [
                "the area grows with the square",
                "a negative radius should raise a `ValueError`",
            ],
            1,
            3.5,
        ),
        line("Q3: A word", "danger", ["the word is not the one"], 0, 1),
        _OTHER,
    ),
)
