"""The gradebook, ``gradebook.db``: students' names, their marks, and their Moodle users.

compatibility-0.3.16.md 9: a database that 0.3.16 made is copied, and its marks are imported into
tables of ours in the same file; its own tables are left as they are (``gradebook_0316``). Writers
lock the file ``gradebook.db.lock``.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Table, create_engine, delete, func, select
from sqlalchemy.sql.elements import ColumnElement

from mograder.core.clock import SystemClock
from mograder.core.context_managers import Closing
from mograder.core.errors import Busy, Conflict, InvalidInput, NotFound
from mograder.core.files import file_lock, open_flags
from mograder.core.files.disk import set_mode
from mograder.core.log import get_logger
from mograder.core.name_lookup import counted
from mograder.core.names import Username
from mograder.store.database.database import (
    columns_of,
    incoming,
    open_engine,
    reading,
    sqlite_url,
    upsert,
    values_of,
    writing,
)
from mograder.store.database.sqlite_files import copy_sqlite, may_write_beside, openable
from mograder.store.database.upgrades import awaits_upgrade, upgrade
from mograder.store.gradebook import gradebook_marks
from mograder.store.gradebook.exchange_0316 import (
    Deductions,
    compare_export,
    import_gradebook,
    prepare_export,
    write_export,
)
from mograder.store.gradebook.gradebook_0316 import (
    Gradebook0316,
    Told,
    changed_rows,
    damaged_rows,
    has_tables,
    is_first,
    place_of,
    put_exchanged,
    read_gradebook,
)
from mograder.store.gradebook.gradebook_marks import GivenMarks, record_given, rows_of
from mograder.store.gradebook.gradebook_tables import (
    grading_runs,
    identities,
    question_marks,
    student_names,
    student_work,
    upload_intents,
    uploads,
)
from mograder.store.gradebook.grading_records import (
    AssignmentRow,
    GradingRun,
    MarkEntry,
    RecordedMark,
    RecordedRun,
    SentFile,
    StudentGrade,
)
from mograder.store.gradebook.mark_counting import explaining_run, grade_of

GRADEBOOK_MIGRATIONS = Path(__file__).parents[1] / "gradebook_migrations"
"""The revisions of the gradebook's tables."""

_WAIT_SECONDS = 10.0
_IMPORTED = (
    "The marks of mograder 0.3.16 for %s in %s were imported. It does not see marks "
    "that are given here, unless they are exported: mograder gradebook export-0316"
)
_CHANGED = (
    "mograder 0.3.16 has changed %s of %s, which does not count here yet. To import it: "
    "mograder gradebook import-0316"
)
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Identity:
    """A user of a Moodle site; ``username`` is our name, ``user_id`` Moodle's number."""

    user_id: int
    username: str
    full_name: str = ""
    email: str = ""
    idnumber: str = ""


UNKNOWN_ATTEMPT = -1
"""The attempt number of a row that an earlier version of the program wrote."""


@dataclass(frozen=True, slots=True)
class SentGrade:
    """The values in Moodle for one user after our upload.

    ``grade`` is empty for none. ``attempt`` counts from 0, or is ``UNKNOWN_ATTEMPT``. ``modified``
    is Moodle's Unix time of the grade, 0 where it is not known, as ``comment`` and ``files`` are
    None. ``team``: the values come from another member's row.
    """

    user_id: int
    grade: str
    attempt: int = 0
    modified: int = 0
    comment: str | None = None
    files: tuple[SentFile, ...] | None = None
    team: bool = False


class Gradebook(Closing):
    """One course's marks; open it in a ``with`` block. Thread-safe.

    Every change, here and by the modules of marking, raises :class:`Busy` when another program
    locks the gradebook for over ten seconds, or the disk is full.
    """

    def __init__(self, path: Path, *, tells: bool = True, imports: bool = True) -> None:
        """Open or create the file, and upgrade its tables.

        Marks of 0.3.16 are imported where there are none of ours yet, unless ``imports`` is false.
        With ``tells``, that is logged, and later changes by 0.3.16 are.

        Raises: :class:`InvalidInput` when it is not a database, :class:`Conflict` when a newer
        mograder wrote it, :class:`Busy` when another program locks it for over ten seconds.
        """
        if path.is_dir():
            raise InvalidInput(f"{path} is a directory.", hint="See [gradebook] path.")
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._lock = path.with_name(path.name + ".lock")
        self._engine = _engine(path)
        try:
            if awaits_upgrade(self._engine, migrations=GRADEBOOK_MIGRATIONS):
                with _turn(self._lock):
                    upgrade(self._engine, migrations=GRADEBOOK_MIGRATIONS)
            if imports:
                self._look_at_0316(path.name, tells=tells)
        except BaseException:
            self._engine.dispose()
            raise

    def close(self) -> None:
        self._engine.dispose()

    def students(self) -> Mapping[str, str]:
        with self.reading() as connection:
            rows = connection.execute(select(student_names).order_by(student_names.c.username))
            return {row.username: row.full_name for row in rows}

    def known_students(self) -> frozenset[str]:
        tables = (student_work, question_marks, grading_runs)
        names = select(student_names.c.username).union(*(select(each.c.student) for each in tables))
        with self.reading() as connection:
            return frozenset(connection.execute(names).scalars())

    def put_students(self, names: Mapping[str, str]) -> None:
        """Add students or their names (B31); "" replaces none. Raises: InvalidInput."""
        rows = [{"username": Username.parse(user), "full_name": names[user]} for user in names]
        with self.writing() as connection:
            for row in rows:
                _put(connection, student_names, row)

    def addresses(self) -> Mapping[str, str]:
        wanted = select(identities.c.username, identities.c.email).where(identities.c.email != "")
        with self.reading() as connection:
            return {row.username: row.email for row in connection.execute(wanted)}

    def identities(self, site: str) -> tuple[Identity, ...]:
        wanted = select(*columns_of(identities, Identity)).where(identities.c.site == site)
        with self.reading() as connection:
            found = connection.execute(wanted.order_by(identities.c.user_id))
            return tuple(Identity(*row) for row in found)

    def put_identities(
        self, site: str, people: Iterable[Identity], stated: Collection[str] = ()
    ) -> None:
        """Add or update users of a Moodle site; an empty field does not replace a known value.

        A user who is not among them is forgotten where somebody has ``stated`` whose the username
        is now.

        Raises: :class:`Conflict` when two of them would have the same username.
        """
        news = {person.user_id: person for person in people}
        c = identities.c
        lost = c.username.in_([*stated]) & c.user_id.not_in([*news])
        with self.writing() as connection:
            connection.execute(delete(identities).where(c.site == site, lost))
            owners = {
                row.username: row.user_id
                for row in connection.execute(select(identities).where(c.site == site))
                if row.user_id not in news
            }
            for person in news.values():
                username = Username.parse(person.username)
                if owners.setdefault(username, person.user_id) != person.user_id:
                    raise Conflict(
                        f"{username} would be two users of Moodle: {owners[username]} and "
                        f"{person.user_id}.",
                        hint="Is one of them gone? Then say by --map FILE (columns username and "
                        "user_id) whose the username is now, and name it there once.",
                    )
                _put(connection, identities, {"site": site, **values_of(person)})

    def record_run(self, run: GradingRun) -> int:
        """Record the result of grading one submission, in one transaction; return its number.

        A question's mark is recorded only if it changed, and one that a person gave still counts.
        A result that needs attention gives no mark; one of the same submission stays.
        """
        with self.writing() as connection:
            return gradebook_marks.insert_run(connection, run)

    def record_marks(
        self,
        assignment: str,
        student: str,
        marks: Mapping[str, MarkEntry],
        *,
        marker: str,
        at: datetime,
        comment: str | None = None,
        version: int | None = None,
    ) -> StudentGrade:
        """Record a person's marks by question, and the comment on the submission if it is given.

        Return all marks that count then.

        Raises:
            Conflict: One of them was changed since ``version``.
            InvalidInput: A question does not exist, its mark is out of its range, or an entry with
                details replaces grading's mark without a reason.
            NotFound: The gradebook does not have the student for this assignment.
        """
        given = GivenMarks(marks, marker, at, comment, version)
        with self.writing() as connection:
            rows = gradebook_marks.read_student(connection, assignment, student)
            return record_given(connection, rows, given)

    def assignments(self) -> tuple[AssignmentRow, ...]:
        with self.reading() as connection:
            return gradebook_marks.read_assignments(connection)

    def grades(
        self, assignment: str, students: Collection[str] | None = None
    ) -> tuple[StudentGrade, ...]:
        """Return students' marks for an assignment, or all, as they count, ordered by username."""
        with self.reading() as connection:
            return tuple(map(grade_of, gradebook_marks.read_rows(connection, assignment, students)))

    def grade_at(self, assignment: str, student: str, version: int) -> StudentGrade:
        """Return a student's marks as they counted at an earlier ``StudentGrade.version``."""
        with self.reading() as connection:
            rows = gradebook_marks.read_student(connection, assignment, student)
        return grade_of(replace(rows, marks=[m for m in rows.marks if m.number <= version]))

    def has_marks(self, student: str) -> bool:
        tables = (student_work, question_marks)
        owners = (select(table.c.student).where(table.c.student == student) for table in tables)
        with self.reading() as connection:
            return any(connection.execute(each).first() for each in owners)

    def runs(self, assignment: str, student: str | None = None) -> tuple[RecordedRun, ...]:
        """Return the results of grading a student's submissions, or all, oldest first."""
        return self._runs(rows_of(grading_runs, assignment, student))

    def run(self, assignment: str, student: str, number: int) -> RecordedRun | None:
        own = rows_of(grading_runs, assignment, student) & (grading_runs.c.id == number)
        return next(iter(self._runs(own)), None)

    def last_run(self, assignment: str, student: str, work: str = "") -> RecordedRun | None:
        """Return a student's newest run; with a SHA-256, that of the submission that has it."""
        newest = select(func.max(grading_runs.c.id)).where(
            rows_of(grading_runs, assignment, student)
        )
        if work:
            newest = newest.where(grading_runs.c.submission_sha256 == work)
        return next(iter(self._runs(grading_runs.c.id == newest.scalar_subquery())), None)

    def explaining_runs(
        self, assignment: str, students: Collection[str] | None = None
    ) -> tuple[RecordedRun, ...]:
        with self.reading() as connection:
            known = gradebook_marks.read_rows(connection, assignment, students)
        numbers = [explaining_run(each).number for each in known if each.runs]
        return self._runs(grading_runs.c.id.in_(numbers))

    def _runs(self, where: ColumnElement[bool]) -> tuple[RecordedRun, ...]:
        wanted = select(grading_runs).where(where).order_by(grading_runs.c.id)
        with self.reading() as connection:
            return tuple(RecordedRun(*row) for row in connection.execute(wanted))

    def last_works(self, assignment: str) -> Mapping[str, tuple[str, str]]:
        """Return by student, sorted, the SHA-256 of the submission that was graded last.

        With it the time at which the submission that explains the marks was received, in ISO 8601
        and UTC, "" if not known.
        """
        runs, held = grading_runs.c, student_work.c
        last = select(func.max(runs.id)).where(runs.assignment == assignment).group_by(runs.student)
        same = (held.assignment == runs.assignment) & (held.student == runs.student)
        wanted = (
            select(runs.student, runs.submission_sha256, func.coalesce(held.received, ""))
            .outerjoin_from(grading_runs, student_work, same)
            .where(runs.id.in_(last))
            .order_by(runs.student)
        )
        with self.reading() as connection:
            return {row[0]: (row[1], row[2]) for row in connection.execute(wanted)}

    def history(self, assignment: str, student: str) -> tuple[RecordedMark, ...]:
        with self.reading() as connection:
            return tuple(gradebook_marks.read_student(connection, assignment, student).marks)

    def sent(self, site: str, assignment_id: int) -> Mapping[int, SentGrade]:
        """Return the values in Moodle after our last upload for an assignment, by user id."""
        return self._sent(uploads, site, assignment_id)

    def intended(self, site: str, assignment_id: int) -> Mapping[int, SentGrade]:
        """Return the values of an upload that Moodle has not confirmed, by user id."""
        return self._sent(upload_intents, site, assignment_id)

    def _sent(self, table: Table, site: str, assignment_id: int) -> Mapping[int, SentGrade]:
        where = (table.c.site == site) & (table.c.assignment_id == assignment_id)
        wanted = select(*columns_of(table, SentGrade)).where(where)
        with self.reading() as connection:
            return {row.user_id: SentGrade(*row) for row in connection.execute(wanted)}

    def record_intents(
        self, site: str, assignment_id: int, rows: Iterable[SentGrade], now: datetime
    ) -> None:
        """Record the values of an upload before the first request to Moodle."""
        with self.writing() as connection:
            _write_sent(connection, upload_intents, site, assignment_id, rows, now)

    def record_sent(
        self, site: str, assignment_id: int, rows: Sequence[SentGrade], now: datetime
    ) -> None:
        """Record the values that Moodle has confirmed, and remove the rows' intents."""
        with self.writing() as connection:
            _write_sent(connection, uploads, site, assignment_id, rows, now)
            c, users = upload_intents.c, [each.user_id for each in rows]
            own = (c.site == site) & (c.assignment_id == assignment_id) & c.user_id.in_(users)
            connection.execute(delete(upload_intents).where(own))

    def import_0316(
        self, file: Path | None, at: datetime, *, replaces: bool = False
    ) -> tuple[Told, ...]:
        """Take over the marks of 0.3.16's tables in a file, or in this one; all or none.

        With ``replaces``, 0.3.16's mark counts also where people have marked the work here since
        the last exchange; else such a row is left, which is told.

        Raises: NotFound if the file has no such tables.
        """
        # The turn comes first: rows that an export replaces before it would count as newer ones.
        with self.writing() as connection:
            own = contextlib.nullcontext(connection)
            with own if file is None else self._tables_0316(file) as theirs:
                if not has_tables(theirs):
                    name = self._path.name if file is None else file
                    raise NotFound(f"There are no marks of mograder 0.3.16 in {name}.")
                found = read_gradebook(theirs, file)
            return import_gradebook(connection, found, at, replaces=replaces)

    def export_0316(
        self,
        file: Path | None,
        deductions: Callable[[Gradebook], Deductions],
        at: datetime,
        *,
        replaces: bool = False,
        dry_run: bool = False,
    ) -> tuple[Told, ...]:
        """Write our marks into 0.3.16's tables in a file, or in this one.

        A row that 0.3.16 has changed since the last exchange is left, which is told, unless
        ``replaces``. ``deductions`` returns those of a gradebook that has the same marks.
        """
        with self.reading() as connection:
            those = deductions(OneTransaction(connection))
            export = prepare_export(connection, those, at, place_of(file))
        with self._tables_0316(file) as connection:
            found = compare_export(connection, export, replaces=replaces)
        if not dry_run and (found.rows or found.names or found.agreed):
            with self._tables_0316(file, writes=True) as connection:
                agreed = write_export(connection, found, at)
            with self.writing() as connection:
                put_exchanged(connection, agreed, place_of(file))
        return tuple(found.told)

    def damaged_0316(self) -> tuple[tuple[str, str, str], ...]:
        """Return assignment, student and column of the texts of 0.3.16 that it cannot read."""
        with self.reading() as connection:
            return tuple(damaged_rows(connection))

    def marks_0316(self, file: Path | None = None) -> Gradebook0316:
        """Return what the tables of 0.3.16 in a file, or in this one, hold; empty without them."""
        with self._tables_0316(file) as connection:
            return read_gradebook(connection, file)

    @contextlib.contextmanager
    def _tables_0316(self, file: Path | None, *, writes: bool = False) -> Iterator[Connection]:
        if file is None:
            with self.writing() if writes else self.reading() as connection:
                yield connection
            return
        engine = _engine(file) if writes or file.is_file() else create_engine("sqlite://")
        lock = file.with_name(file.name + ".lock")
        try:
            with (
                _turn(lock) if writes else contextlib.nullcontext(),
                writing(engine) if writes else reading(engine) as connection,
            ):
                yield connection
        finally:
            engine.dispose()

    def _look_at_0316(self, name: str, *, tells: bool) -> None:
        """Import the marks of 0.3.16 if there are none of ours, or log that it has changed some."""
        with self.reading() as connection:
            if not has_tables(connection):
                return
            first = is_first(connection)
            changed = 0 if first else changed_rows(connection)
        if not first:
            if changed and tells:
                _log.warning(_CHANGED, counted(changed, "row"), name)
            return
        with self.writing() as connection:
            if not is_first(connection):  # another process imported them meanwhile
                return
            found = read_gradebook(connection)
            import_gradebook(connection, found, SystemClock().now())
        if tells:
            _log.warning(_IMPORTED, counted(len(found.submissions), "submission"), name)

    def reading(self) -> contextlib.AbstractContextManager[Connection]:
        """Yield a connection for reading, to the modules of ``store`` with tables of this file."""
        return reading(self._engine)

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """Yield a connection in one transaction, as :meth:`reading`; the file's lock is held."""
        with _turn(self._lock), writing(self._engine) as connection:
            yield connection


class OfBook:
    """Tables of a gradebook."""

    def __init__(self, book: Gradebook) -> None:
        self._book = book


class OneTransaction(Gradebook):
    """A gradebook within one transaction of a connection; for one thread, and not to be closed."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def reading(self) -> contextlib.AbstractContextManager[Connection]:
        return contextlib.nullcontext(self._connection)

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        yield self._connection


def existing_gradebook(path: Path, *, tells: bool = False) -> Gradebook | None:
    """Open a gradebook, for ``--dry-run``; None without it, or if opening it would change it."""
    if not path.is_file():
        return None
    engine = _engine(path)
    try:
        waiting = awaits_upgrade(engine, migrations=GRADEBOOK_MIGRATIONS)
        if not waiting:
            with reading(engine) as connection:
                waiting = is_first(connection)
    finally:
        engine.dispose()
    return None if waiting else Gradebook(path, tells=tells)


@contextlib.contextmanager
def viewed_gradebook(path: Path, *, trial: bool = False) -> Iterator[Gradebook]:
    """Yield a gradebook for reading; where opening it would change it, a temporary copy of it.

    A file that this process may not write is copied too: SQLite cannot open it. For a ``trial`` of
    an import it always is, and the marks of 0.3.16 in it are not imported yet.

    Raises: :class:`NotFound` without the file, and as :class:`Gradebook`.
    """
    if not path.is_file():
        raise NotFound(f"There is no gradebook {path}.", hint="`mograder autograde` makes it.")
    opens = not trial and may_write_beside(path)
    found = existing_gradebook(path, tells=True) if opens else None
    if found is not None:
        with found:
            yield found
        return
    with tempfile.TemporaryDirectory(prefix="mograder-gradebook-") as directory:
        copy = Path(directory) / path.name
        copy_sqlite(openable(path, Path(directory) / "read"), copy)
        with Gradebook(copy, tells=False, imports=not trial) as book:
            yield book


def _engine(path: Path) -> Engine:
    return open_engine(sqlite_url(path), private=False)


@contextlib.contextmanager
def _turn(lock: Path) -> Iterator[None]:
    """Lock what 0.3.16 locks while it writes. Raises: Busy when it is held over ten seconds."""
    flags = os.O_RDWR | open_flags.CLOEXEC
    try:
        opened, new = os.open(lock, flags | os.O_CREAT | os.O_EXCL, 0o600), True
    except FileExistsError:
        opened, new = os.open(lock, flags), False
    with os.fdopen(opened) as file:
        if new:  # it gets the read and write permissions of the gradebook
            set_mode(file.fileno(), lock.with_suffix("").stat().st_mode & 0o666)
        if not file_lock.acquire(file.fileno(), seconds=_WAIT_SECONDS):
            raise Busy(
                f"Another program holds {lock.name}.",
                hint="Wait until it has finished grading, then try again.",
            )
        yield


def _put(connection: Connection, table: Table, row: Mapping[str, object]) -> None:
    """Insert a row, or change the one of its key; an empty text does not replace a known value."""
    known: dict[str, Any] = {
        name: func.coalesce(func.nullif(incoming(name), ""), table.c[name])
        for name in row
        if name not in table.primary_key.columns
    }
    connection.execute(upsert(connection, table, row, **known), row)


def _write_sent(
    connection: Connection,
    table: Table,
    site: str,
    assignment_id: int,
    rows: Iterable[SentGrade],
    now: datetime,
) -> None:
    for sent in rows:
        key = {"site": site, "assignment_id": assignment_id}
        row = {**key, **values_of(sent), "uploaded_at": now.isoformat()}
        connection.execute(upsert(connection, table, row), row)
