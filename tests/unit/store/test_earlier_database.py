"""A newer database is replaced by the copy that an older program can read, and is kept."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mograder.cli.main import run
from mograder.core.errors import Busy, NotFound
from mograder.store.database import MIGRATIONS, open_engine, schema_version, upgrade
from mograder.store.earlier_database import put_back_earlier
from mograder.store.hub_state import HubState

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


def test_a_newer_database_is_kept_and_the_one_of_before_is_back(url: str, later: Path) -> None:
    _write(url, "alice")
    _write(url, "bob", later)
    returned = put_back_earlier(url)
    assert returned is not None
    assert (_epoch(url, "alice"), _epoch(url, "bob")) == (1, 0)
    kept = f"sqlite:///{returned.kept}"
    assert (_epoch(kept, "alice"), _epoch(kept, "bob")) == (1, 1)
    assert put_back_earlier(url) is None, "the second time there is nothing to do"


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
        put_back_earlier(url)
    assert _epoch(url, "bob") == 1


def test_a_database_that_is_in_use_is_not_replaced(url: str, later: Path) -> None:
    _write(url, "alice")
    _write(url, "bob", later)
    engine = open_engine(url)
    with engine.connect() as connection:
        connection.exec_driver_sql("SELECT 1 FROM users")
        with pytest.raises(Busy, match="open"):
            put_back_earlier(url)
    assert schema_version(engine) == "next"
    engine.dispose()
