"""The tables of ``gradebook.db``: those of 0.3.16 as it makes them, and ours beside them.

The first three are compatibility-0.3.16.md 9 exactly, so that an old program reads what a new one
wrote. ``gradebook_migrations/versions`` makes them; a contract test holds the two together.
"""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    Float,
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
"""Who a Moodle user is on the hub and in our files; Moodle shows most teachers no usernames."""


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
"""What Moodle held for each person after our last upload."""

upload_intents = _uploads("upload_intents")
"""What is being sent: written before the first request, removed when Moodle has confirmed it.

``modified`` is the time of Moodle's grade before the upload.
"""
