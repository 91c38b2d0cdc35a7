"""A newer database is replaced by the copy that an older program can read, and is kept."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from mograder.cli.main import run
from mograder.core.errors import Busy, NotFound
from mograder.store.database.database import MIGRATIONS, open_engine, schema_version, upgrade
from mograder.store.database.earlier_database import Returned, find_earlier, put_back
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.hub.hub_state import HubState

pytestmark = pytest.mark.usefixtures("real_migrations")

_LATER = """\
from alembic import op
import sqlalchemy as sa

revision = "next"
down_revision = "{newest}"
branch_labels = None
depends_on = None


def upgrade():
    op.add_column("users", sa.Column("later", sa.Integer))
"""


@pytest.fixture
def later(tmp_path: Path) -> Path:
    """The migrations of the release after this one."""
    place = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, place, ignore=shutil.ignore_patterns("__pycache__"))
    newest = max(path.name for path in MIGRATIONS.glob("versions/r*.py"))[1:5]
    (place / "versions" / "r9999_next.py").write_text(_LATER.format(newest=newest))
    return place


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/hub.db"


def _write(url: str, username: str, migrations: Path = MIGRATIONS) -> None:
    engine = open_engine(url)
    upgrade(engine, migrations=migrations)
    HubState(engine).bump_epoch(username)
    engine.dispose()


def _epoch(url: str, username: str) -> int:
    engine = open_engine(url)
    try:
        return HubState(engine).epoch(username)
    finally:
        engine.dispose()


def return_it(url: str) -> Returned | None:
    earlier = find_earlier(url)
    return None if earlier is None else put_back(earlier)


def test_a_newer_database_is_kept_and_the_one_of_before_is_back(url: str, later: Path) -> None:
    _write(url, "alice")
    _write(url, "bob", later)
    returned = return_it(url)
    assert returned is not None
    assert (_epoch(url, "alice"), _epoch(url, "bob")) == (1, 0)
    kept = f"sqlite:///{returned.kept}"
    assert (_epoch(kept, "alice"), _epoch(kept, "bob")) == (1, 1)
    assert return_it(url) is None, "the second time there is nothing to do"


def test_a_database_that_this_program_reads_stays_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mograder.toml").write_text("")
    _write(f"sqlite:///{tmp_path}/.mograder/hub.db", "alice")
    before = (tmp_path / ".mograder" / "hub.db").read_bytes()
    assert run(["hub", "return-database", "-C", str(tmp_path)]) == 0
    assert "is as this version needs it" in capsys.readouterr().out
    assert (tmp_path / ".mograder" / "hub.db").read_bytes() == before


def test_without_a_copy_nothing_is_changed(url: str, later: Path, tmp_path: Path) -> None:
    _write(url, "bob", later)  # a new database, of which no copy was made
    for copy in tmp_path.glob("hub.db.before-*"):
        copy.unlink()
    with pytest.raises(NotFound, match="no copy"):
        return_it(url)
    assert _epoch(url, "bob") == 1


def test_a_database_that_is_in_use_is_not_replaced(url: str, later: Path) -> None:
    _write(url, "alice")
    _write(url, "bob", later)
    engine = open_engine(url)
    with engine.connect() as connection:
        connection.exec_driver_sql("SELECT 1 FROM users")
        with pytest.raises(Busy, match="open"):
            return_it(url)
    assert schema_version(engine) == "next"
    engine.dispose()


def _table_of_later(file: Path) -> None:
    """Make it what the next release would have left: its tables, and the copy of before."""
    shutil.copy(file, file.with_name(f"{file.name}.before-next"))
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'next'")
    connection.close()


def test_n5_the_marks_go_back_with_the_hubs_database_or_neither_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mograder.toml").write_text("")
    hub, marks = tmp_path / ".mograder" / "hub.db", tmp_path / "gradebook.db"
    _write(f"sqlite:///{hub}", "alice")
    Gradebook(marks).close()
    marks.chmod(0o664)
    for file in (hub, marks):
        _table_of_later(file)
    copy = marks.with_name("gradebook.db.before-next")
    copy.rename(tmp_path / "elsewhere")
    assert run(["hub", "return-database", "-C", str(tmp_path)]) != 0
    assert list(tmp_path.rglob("*.after-next-*")) == [], "the hub's own stays too"
    (tmp_path / "elsewhere").rename(copy)
    assert run(["hub", "return-database", "-C", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "Put back hub.db.before-next" in out
    assert "Put back gradebook.db.before-next" in out
    assert marks.stat().st_mode & 0o777 == 0o664, "whoever shares it still may"
    Gradebook(marks).close()
