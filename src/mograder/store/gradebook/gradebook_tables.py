"""The tables of ``gradebook.db``; those of 0.3.16 in the same file are in ``gradebook_0316``.

In the tables about marking by people, release, requests and late work rows are only added: the
newest row of an entry counts, earlier ones are its history. ``at`` is ISO 8601 in UTC, ``by`` the
user who made the change.
``gradebook_migrations/versions`` creates the tables; a contract test compares the two.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
)
from sqlalchemy.schema import SchemaItem
from sqlalchemy.types import TypeEngine

from mograder.store.database.database import Converted
from mograder.store.gradebook.grading_records import (
    SentFile,
    checks_json,
    checks_of,
    texts_of,
    utc_iso,
)

metadata = MetaData()

_MOMENT = String(40)
_TIME = Converted(_MOMENT, utc_iso, datetime.fromisoformat)
"""A moment that its records hold as an aware time, instead of as a text."""


def _texts(*names: str) -> Iterator[Column[str]]:
    return (Column(name, Text, nullable=False) for name in names)


def _list(
    name: str, dump: Callable[[Any], str], load: Callable[[str], Any], key: str | None = None
) -> Column[Any]:
    stored = Converted(Text(), dump, load)
    return Column(name, stored, key=key, nullable=False, server_default="[]")


marked_assignments = Table(
    "marked_assignments",
    metadata,
    Column("name", Text, nullable=False),
    Column("max_mark", Float, nullable=False),
    Column("marks", Text),
    Column("automatic", Text),
    PrimaryKeyConstraint("name", name="pk_marked_assignments"),
)
"""The graded assignments: JSON of the marks by question, and of the keys of those with checks."""

student_names = Table(
    "student_names",
    metadata,
    Column("username", Text, nullable=False),
    Column("full_name", Text, nullable=False, server_default=""),
    PrimaryKeyConstraint("username", name="pk_student_names"),
)
"""The full names of students, "" where one is unknown."""

student_work = Table(
    "student_work",
    metadata,
    *_texts("assignment", "student"),
    Column("total", Float),
    Column("received", String(40), nullable=False, server_default=""),
    Column("receipt", Integer),
    Column("earlier_auto", Float),
    Column("earlier_pct", Float),
    Column("earlier_mark", Float),
    Column("earlier_submitted", Text, nullable=False, server_default=""),
    Column("cell_errors", Integer, nullable=False, server_default="0"),
    _list("tampered", json.dumps, texts_of),
    _list("checks", checks_json, checks_of),
    PrimaryKeyConstraint("assignment", "student", name="pk_student_work"),
)
"""One row for each student and assignment with graded or marked work, as ``grading_records.Work``.

``total`` follows from the other tables; it is kept for pages that show all assignments of a class.
"""

exchanged_0316 = Table(
    "exchanged_0316",
    metadata,
    *_texts("assignment", "student", "row", "updated_at"),
    Column("mark", Integer, nullable=False),
    PrimaryKeyConstraint("assignment", "student", name="pk_exchanged_0316"),
)
"""The row of 0.3.16's table that was imported or exported last, as JSON.

If that table is in another file, its path follows the name of the assignment, in a second line.
``mark`` is the number of the student's newest mark by a person then. From the two follows whether a
row has changed on either side since.
"""

identities = Table(
    "identities",
    metadata,
    Column("site", String(500), nullable=False),
    Column("user_id", Integer, nullable=False),
    Column("username", String(200), nullable=False),
    Column("full_name", Text, nullable=False, server_default=""),
    Column("email", Text, nullable=False, server_default=""),
    Column("idnumber", Text, nullable=False, server_default=""),
    PrimaryKeyConstraint("site", "user_id", name="pk_identities"),
)
"""The username on the hub of each Moodle user; Moodle does not show usernames to most teachers."""


def _files_json(files: Sequence[SentFile]) -> str:
    return json.dumps([*map(astuple, files)], ensure_ascii=False)


def _files_of(text: str) -> tuple[SentFile, ...]:
    return tuple(SentFile(*each) for each in json.loads(text))


def _uploads(name: str) -> Table:
    return Table(
        name,
        metadata,
        Column("site", String(500), nullable=False),
        Column("assignment_id", Integer, nullable=False),
        Column("user_id", Integer, nullable=False),
        Column("grade", String(40), nullable=False),
        Column("attempt", Integer, nullable=False, server_default="0"),
        Column("modified", Integer, nullable=False, server_default="0"),
        Column("comment", Text),
        Column("files", Converted(Text(), _files_json, _files_of)),
        Column("team", Boolean, nullable=False, server_default="0"),
        Column("uploaded_at", String(40), nullable=False),
        PrimaryKeyConstraint("site", "assignment_id", "user_id", name=f"pk_{name}_values"),
    )


uploads = _uploads("uploads")
"""The values in Moodle for each user after our last upload."""

upload_intents = _uploads("upload_intents")
"""The values being uploaded: written before the first request, removed when Moodle confirms them.

``modified`` is the Unix time of Moodle's grade before the upload.
"""

grading_runs = Table(
    "grading_runs",
    metadata,
    Column("id", Integer, primary_key=True),
    *_texts("assignment", "student"),
    Column("submission_sha256", String(64), nullable=False),
    Column("state", String(40), nullable=False),
    Column("problem", Text, nullable=False, server_default=""),
    *_texts("result", "signature"),
    Column("at", String(40), nullable=False),
    Index("ix_grading_runs_student", "assignment", "student"),
)
"""Every result of grading a submission; rows are only added."""

question_marks = Table(
    "question_marks",
    metadata,
    Column("id", Integer, primary_key=True),
    *_texts("assignment", "student", "question"),
    Column("points", Float),
    Column("available", Float),
    Column("state", String(40), nullable=False),
    Column("comment", Text, nullable=False, server_default=""),
    Column("marker", String(200), nullable=False, server_default=""),
    Column("run", Integer),
    Column("at", String(40), nullable=False),
    Index("ix_question_marks_student", "assignment", "student"),
)
"""Every mark of a question, by grading (``marker`` is empty) or by a person; rows are only added.

``run`` is the grading run of a mark by grading, and the newest one when a person gave it.
"""


def _log(
    name: str, *parts: SchemaItem, index: Sequence[str] = (), at: TypeEngine[Any] = _MOMENT
) -> Table:
    """Return a table whose rows are only added, with the user who made each, and when."""
    made = Column("by", String(200), nullable=False), Column("at", at, nullable=False)
    number = Column("id", Integer, primary_key=True)
    indexes = [Index(f"ix_{name}_{index[-1]}", *index)] if index else []
    return Table(name, metadata, number, *parts, *made, *indexes)


rubrics = _log(
    "rubrics",
    *_texts("assignment", "question"),
    Column("starts_at", String(20), nullable=False),
    index=("assignment", "question"),
)
"""From where the points of a question's saved comments count: ``zero`` or ``full`` marks."""

saved_comments = _log(
    "saved_comments",
    Column("comment", String(40), nullable=False),
    *_texts("assignment", "question", "text"),
    Column("points", Float),
    Column("position", Integer, nullable=False, server_default="0"),
    Column("retired", Boolean, nullable=False, server_default="0"),
    index=("assignment", "question"),
)
"""Comments to use again for answers to a question; one with points is an item of its rubric.

``comment`` identifies it over its changes.
"""

mark_details = Table(
    "mark_details",
    metadata,
    Column("mark", Integer, nullable=False),
    Column("adjustment", Float),
    _list("saved_comments", json.dumps, texts_of, key="saved"),
    Column("reason", Text, nullable=False, server_default=""),
    Column("takes_back", Boolean, nullable=False, server_default="0"),
    PrimaryKeyConstraint("mark", name="pk_mark_details"),
)
"""How a person's row of ``question_marks`` came about.

``saved_comments`` is a JSON list of identifiers, ``adjustment`` the points beside theirs; None
where the marker gave the points as a number. ``reason`` is why the mark replaces one by grading.
``takes_back``: the row is no change, it took back the one before.
"""

answer_annotations = _log(
    "answer_annotations",
    Column("annotation", String(40), nullable=False),
    *_texts("assignment", "student"),
    Column("submission_sha256", String(64), nullable=False),
    Column("question", Text, nullable=False, server_default=""),
    Column("cell", Integer, nullable=False),
    Column("first_line", Integer),
    Column("last_line", Integer),
    Column("text", Text, nullable=False),
    Column("saved_comment", String(40)),
    Column("removed", Boolean, nullable=False, server_default="0"),
    index=("assignment", "student"),
)
"""Comments at a cell of a submission, or at lines of it (from 1; None for the whole cell)."""

marking_shares = _log(
    "marking_shares",
    *_texts("assignment", "question", "student"),
    Column("marker", String(200), nullable=False),
    index=("assignment", "student"),
)
"""The marker of all answers of a student; an empty marker means any, and ``question`` is empty."""

answer_separations = _log(
    "answer_separations",
    *_texts("assignment", "question", "student"),
    Column("separate", Boolean, nullable=False),
    index=("assignment", "question"),
)
"""Answers that a marker took out of their group of equal answers, or put back."""

mark_releases = _log(
    "mark_releases",
    *_texts("assignment", "student"),
    Column("visible_from", _TIME),
    Column("note", Text, nullable=False, server_default=""),
    Column("grade", Text, nullable=False, server_default=""),
    Index("ix_mark_releases_of_student", "student"),  # each student's first page reads these
    index=("assignment", "student"),
    at=_TIME,
)
"""Marks that students may see, from a time on; ``visible_from`` None takes them back.

``grade`` is the JSON of the marks at the time of release: later changes are visible only after the
next release.
"""

regrade_requests = _log(
    "regrade_requests",
    *_texts("assignment", "student", "question"),
    index=("assignment", "student"),
    at=_TIME,
)
"""Requests of students to look at a question's mark again; their texts are messages."""

regrade_messages = _log(
    "regrade_messages",
    Column("request", Integer, nullable=False),
    Column("kind", String(20), nullable=False),
    Column("text", Text, nullable=False, server_default=""),
    Column("assignee", String(200), nullable=False, server_default=""),
    Column("points_before", Float, key="before"),
    Column("points_after", Float, key="after"),
    index=("request",),
    at=_TIME,
)
"""The thread of a request: asked, answered, assigned, changed, kept, reopened, withdrawn."""

extensions = _log(
    "extensions",
    Column("assignment", Text, nullable=False),
    Column("student", Text, nullable=False, server_default=""),
    Column("student_group", Text, key="group", nullable=False, server_default=""),
    Column("until", _TIME),
    Column("exempt", Boolean, nullable=False, server_default="0"),
    Column("removed", Boolean, nullable=False, server_default="0"),
    Column("reason", Text, nullable=False, server_default=""),
    index=("assignment",),
)
"""Later due dates and exemptions from deductions, of a student or a group.

An empty ``assignment`` means all assignments; that is for exemptions only.
"""

group_members = _log(
    "group_members",
    Column("student_group", Text, key="group", nullable=False),
    Column("student", Text, nullable=False),
    Column("removed", Boolean, nullable=False, server_default="0"),
)
"""The groups of students that extensions and releases may name."""

late_policies = _log(
    "late_policies",
    Column("assignment", Text, nullable=False),
    Column("policy", Text),
)
"""The rule for late work of an assignment as JSON, of all for an empty name.

A row without a policy returns to the rule of the settings.
"""

similarity_verdicts = _log(
    "similarity_verdicts",
    *_texts("assignment", "one", "other"),
    Column("verdict", String(40), nullable=False),
    Column("note", Text, nullable=False, server_default=""),
    index=("assignment",),
)
"""An instructor's verdict on two similar submissions; the names are in alphabetical order."""
