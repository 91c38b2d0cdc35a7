"""The tables of ``gradebook.db``: those of 0.3.16, unchanged, and additional ones.

The first three are compatibility-0.3.16.md 9 exactly, so that 0.3.16 can read them. In the tables
about marking by people, release, requests and late work rows are only added: the newest row of an
entry counts, earlier ones are its history. ``at`` is ISO 8601 in UTC, ``by`` the user who made the
change.
``gradebook_migrations/versions`` creates the tables; a contract test compares the two.
"""

from __future__ import annotations

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
from sqlalchemy import Text as LongText

metadata = MetaData()

assignments = Table(
    "assignments",
    metadata,
    Column("name", Text, nullable=False),
    Column("max_mark", Float, server_default="100"),
    Column("marks_metadata", Text),
    Column("auto_check_keys", Text),
    PrimaryKeyConstraint("name"),
)

students = Table(
    "students",
    metadata,
    Column("username", Text, nullable=False),
    Column("full_name", Text),
    PrimaryKeyConstraint("username"),
)

submissions = Table(
    "submissions",
    metadata,
    Column("assignment", Text, nullable=False),
    Column("student", Text, nullable=False),
    Column("auto_mark", Float),
    Column("manual_mark", Float),
    Column("total_mark", Float),
    Column("feedback", Text, server_default=""),
    Column("cell_errors", Integer, server_default="0"),
    Column("tampered", Text, server_default="[]"),
    Column("check_results", Text, server_default="[]"),
    Column("graded_at", Text),
    Column("autograded_at", Text),
    Column("updated_at", Text),
    Column("penalty_pct", Float),
    Column("penalised_mark", Float),
    Column("submitted_at", Text),
    PrimaryKeyConstraint("assignment", "student"),
)

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
        Column("files", Text),
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
    Column("assignment", Text, nullable=False),
    Column("student", Text, nullable=False),
    Column("submission_sha256", String(64), nullable=False),
    Column("state", String(40), nullable=False),
    Column("problem", Text, nullable=False, server_default=""),
    Column("result", Text, nullable=False),
    Column("signature", Text, nullable=False),
    Column("at", String(40), nullable=False),
    Index("ix_grading_runs_student", "assignment", "student"),
)
"""Every result of grading a submission; rows are only added."""

question_marks = Table(
    "question_marks",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("assignment", Text, nullable=False),
    Column("student", Text, nullable=False),
    Column("question", Text, nullable=False),
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

mirrored = Table(
    "mirrored",
    metadata,
    Column("assignment", Text, nullable=False),
    Column("student", Text, nullable=False),
    Column("updated_at", Text, nullable=False),
    Column("auto_mark", Float),
    Column("manual_mark", Float),
    Column("graded_at", Text, nullable=False, server_default=""),
    PrimaryKeyConstraint("assignment", "student", name="pk_mirrored"),
)
"""What our marks last put into ``submissions``, to recognise a mark that 0.3.16 gave afterwards."""


def _made() -> tuple[Column[str], Column[str]]:
    """Return the columns that say which user made a row, and when."""
    return (
        Column("by", String(200), nullable=False),
        Column("at", String(40), nullable=False),
    )


rubrics = Table(
    "rubrics",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("assignment", LongText, nullable=False),
    Column("question", LongText, nullable=False),
    Column("starts_at", String(20), nullable=False),
    *_made(),
    Index("ix_rubrics_question", "assignment", "question"),
)
"""From where the points of a question's saved comments count: ``zero`` or ``full`` marks."""

saved_comments = Table(
    "saved_comments",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("comment", String(40), nullable=False),
    Column("assignment", LongText, nullable=False),
    Column("question", LongText, nullable=False),
    Column("text", LongText, nullable=False),
    Column("points", Float),
    Column("position", Integer, nullable=False, server_default="0"),
    Column("retired", Boolean, nullable=False, server_default="0"),
    *_made(),
    Index("ix_saved_comments_question", "assignment", "question"),
)
"""Comments to use again for answers to a question; one with points is an item of its rubric.

``comment`` identifies it over its changes.
"""

mark_details = Table(
    "mark_details",
    metadata,
    Column("mark", Integer, nullable=False),
    Column("adjustment", Float),
    Column("saved_comments", LongText, nullable=False, server_default="[]"),
    Column("reason", LongText, nullable=False, server_default=""),
    PrimaryKeyConstraint("mark", name="pk_mark_details"),
)
"""How a person's row of ``question_marks`` came about.

``saved_comments`` is a JSON list of identifiers, ``adjustment`` the points beside theirs; None
where the marker gave the points as a number. ``reason`` is why the mark replaces one by grading.
"""

answer_annotations = Table(
    "answer_annotations",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("annotation", String(40), nullable=False),
    Column("assignment", LongText, nullable=False),
    Column("student", LongText, nullable=False),
    Column("submission_sha256", String(64), nullable=False),
    Column("question", LongText, nullable=False, server_default=""),
    Column("cell", Integer, nullable=False),
    Column("first_line", Integer),
    Column("last_line", Integer),
    Column("text", LongText, nullable=False),
    Column("saved_comment", String(40)),
    Column("removed", Boolean, nullable=False, server_default="0"),
    *_made(),
    Index("ix_answer_annotations_student", "assignment", "student"),
)
"""Comments at a cell of a submission, or at lines of it (from 1; None for the whole cell)."""

marking_shares = Table(
    "marking_shares",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("assignment", LongText, nullable=False),
    Column("question", LongText, nullable=False),
    Column("student", LongText, nullable=False),
    Column("marker", String(200), nullable=False),
    *_made(),
    Index("ix_marking_shares_student", "assignment", "student"),
)
"""The marker who is to mark a student's answer; an empty marker means any."""

answer_separations = Table(
    "answer_separations",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("assignment", LongText, nullable=False),
    Column("question", LongText, nullable=False),
    Column("student", LongText, nullable=False),
    Column("separate", Boolean, nullable=False),
    *_made(),
    Index("ix_answer_separations_question", "assignment", "question"),
)
"""Answers that a marker took out of their group of equal answers, or put back."""

mark_releases = Table(
    "mark_releases",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("assignment", LongText, nullable=False),
    Column("student", LongText, nullable=False),
    Column("visible_from", String(40)),
    Column("note", LongText, nullable=False, server_default=""),
    Column("grade", LongText, nullable=False, server_default=""),
    *_made(),
    Index("ix_mark_releases_student", "assignment", "student"),
)
"""Marks that students may see, from a time on; ``visible_from`` None takes them back.

``grade`` is the JSON of the marks at the time of release: later changes are visible only after the
next release.
"""

regrade_requests = Table(
    "regrade_requests",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("assignment", LongText, nullable=False),
    Column("student", LongText, nullable=False),
    Column("question", LongText, nullable=False),
    *_made(),
    Index("ix_regrade_requests_student", "assignment", "student"),
)
"""Requests of students to look at a question's mark again; their texts are messages."""

regrade_messages = Table(
    "regrade_messages",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("request", Integer, nullable=False),
    Column("kind", String(20), nullable=False),
    Column("text", LongText, nullable=False, server_default=""),
    Column("assignee", String(200), nullable=False, server_default=""),
    Column("points_before", Float),
    Column("points_after", Float),
    *_made(),
    Index("ix_regrade_messages_request", "request"),
)
"""The thread of a request: asked, answered, assigned, changed, kept, reopened, withdrawn."""

extensions = Table(
    "extensions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("assignment", LongText, nullable=False),
    Column("student", LongText, nullable=False, server_default=""),
    Column("student_group", LongText, nullable=False, server_default=""),
    Column("until", String(40)),
    Column("exempt", Boolean, nullable=False, server_default="0"),
    Column("removed", Boolean, nullable=False, server_default="0"),
    Column("reason", LongText, nullable=False, server_default=""),
    *_made(),
    Index("ix_extensions_assignment", "assignment"),
)
"""Later due dates and exemptions from deductions, of a student or a group.

An empty ``assignment`` means all assignments; that is for exemptions only.
"""

group_members = Table(
    "group_members",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("student_group", LongText, nullable=False),
    Column("student", LongText, nullable=False),
    Column("removed", Boolean, nullable=False, server_default="0"),
    *_made(),
)
"""The groups of students that extensions and releases may name."""

late_policies = Table(
    "late_policies",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("assignment", LongText, nullable=False),
    Column("policy", LongText),
    *_made(),
)
"""The rule for late work of an assignment as JSON, of all for an empty name.

A row without a policy returns to the rule of the settings.
"""

mirrored_penalties = Table(
    "mirrored_penalties",
    metadata,
    Column("assignment", LongText, nullable=False),
    Column("student", LongText, nullable=False),
    Column("penalty_pct", Float),
    Column("earlier_pct", Float),
    Column("earlier_mark", Float),
    PrimaryKeyConstraint("assignment", "student", name="pk_mirrored_penalties"),
)
"""The values that we last put into the penalty columns of ``submissions``; others are 0.3.16's.

``earlier_pct`` and ``earlier_mark`` are the deduction of 0.3.16 that was there before.
The row of a student is written again, unlike those of the other tables.
"""

similarity_verdicts = Table(
    "similarity_verdicts",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("assignment", LongText, nullable=False),
    Column("one", LongText, nullable=False),
    Column("other", LongText, nullable=False),
    Column("verdict", String(40), nullable=False),
    Column("note", LongText, nullable=False, server_default=""),
    *_made(),
    Index("ix_similarity_verdicts_assignment", "assignment"),
)
"""An instructor's verdict on two similar submissions; the names are in alphabetical order."""
