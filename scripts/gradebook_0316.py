"""Use the gradebook of mograder 0.3.16; run this with the Python of an environment that has it.

    python gradebook_0316.py COMMAND GRADEBOOK [JSON]

``make``: grade and mark a class as its commands and its grader's page do. ``read``: print what its
pages and commands read, as JSON. ``autograde``, ``save``: one submission again, with the values of
JSON. The calls of its page are in its ``grader/app.py``: the slider is stored as ``manual_mark``,
and the total is the automatic mark without its fraction plus the rounded part of the others.
"""

from __future__ import annotations

import json
import sys
import time
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

# The modules of 0.3.16, which the checker of types cannot see.
Gradebook: Any = import_module("mograder.grading.gradebook").Gradebook
grades_from_gradebook: Any = import_module("mograder.transport.moodle").grades_from_gradebook

MARKS = {"Q1": 10, "Q2": 15, "Q3": 15, "Analysis": 60}
AUTOMATIC = ["Q1", "Q2", "Q3"]
SAID = "Good work overall. The plot has no labels. See the sample solution."


def make(book: Any) -> None:
    """Fill a new gradebook: fair rows, and each trap of its own."""
    book.upsert_students({"alice": "Alice Ångström", "bob": "Bob B", "cleo": "Cleo C"})
    book.upsert_assignment("A1", sum(MARKS.values()), MARKS, AUTOMATIC)
    for student, auto in (("alice", 25.0), ("bob", 15.0), ("cleo", 40.0), ("eve", 25.0)):
        autograde(book, {"assignment": "A1", "student": student, "auto": auto})
    save(book, {"assignment": "A1", "student": "alice", "slider": 70, "feedback": SAID})
    save(book, {"assignment": "A1", "student": "bob", "slider": 50, "feedback": SAID})
    book.save_penalty("A1", "alice", 10.0, 60, submitted_at="1795292502")
    save(book, {"assignment": "A1", "student": "cleo", "slider": 90, "feedback": SAID})
    book.save_penalty("A1", "cleo", 100.0, 0, submitted_at="1795992502")
    time.sleep(0.01)
    autograde(book, {"assignment": "A1", "student": "bob", "auto": 25.0})  # its wrong total
    book.upsert_assignment("A2-Essay", 100, None, None)
    autograde(book, {"assignment": "A2-Essay", "student": "alice", "auto": None})
    book.save_manual_grade("A2-Essay", "alice", 65, SAID, total_mark=65)
    book.save_manual_grade("A2-Essay", "bob", 80, "Fine.")  # no submission was graded
    book.upsert_assignment("A3-Checks", 20, {"Q1": 20}, ["Q1"])
    autograde(book, {"assignment": "A3-Checks", "student": "alice", "auto": 20.0})


def autograde(book: Any, values: dict[str, Any]) -> None:
    """Store a result as its `autograde` does."""
    check = SimpleNamespace(label="Q1: first", status="success", hidden=False)
    book.save_autograde_result(
        values["assignment"], values["student"], [check], 0, values["auto"], values.get("tampered")
    )


def save(book: Any, values: dict[str, Any]) -> None:
    """Save a mark as its grader's page does."""
    name, student = values["assignment"], values["student"]
    assignment, row = book.get_assignment(name), book.get_submission(name, student)
    auto = None if row["auto_mark"] is None else int(row["auto_mark"])
    keys = set(assignment["auto_check_keys"] or [])
    marks = assignment["marks_metadata"] or {}
    available = int(assignment["max_mark"]) - sum(v for k, v in marks.items() if k in keys)
    slider = values["slider"]
    total = slider
    if available > 0 and auto is not None:
        total = auto + round(slider / 100 * available)
    book.save_manual_grade(
        name,
        student,
        slider,
        values["feedback"],
        total_mark=total,
        expected_updated_at=row["updated_at"],
    )


def read(path: Path) -> dict[str, Any]:
    """Return what its pages show and its commands send."""
    with Gradebook(path) as book:
        names = [row[0] for row in book._conn.execute("SELECT name FROM assignments ORDER BY name")]
        return {
            "names": book.get_name_lookup(),
            "moodle": grades_from_gradebook(path),
            "marks": book.collect_student_marks(names),
            "assignments": {
                name: {
                    "assignment": book.get_assignment(name),
                    "submissions": book.list_submissions(name),
                    "grades": book.collect_grades(name),
                    "graded": book.count_graded(name),
                }
                for name in names
            },
        }


def main() -> None:
    command, path = sys.argv[1], Path(sys.argv[2])
    if command == "read":
        print(json.dumps(read(path)))
        return
    with Gradebook(path) as book:
        if command == "make":
            make(book)
        else:
            {"autograde": autograde, "save": save}[command](book, json.loads(sys.argv[3]))


if __name__ == "__main__":
    main()
