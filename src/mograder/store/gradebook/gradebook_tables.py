"""The tables of ``gradebook.db``: those of 0.3.16, unchanged, and additional ones.

The first three are compatibility-0.3.16.md 9 exactly, so that 0.3.16 can read them.
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
