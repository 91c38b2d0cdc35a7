"""The release after this one, for upgrades: the same program with a later version and one more
migration of the hub's database."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.support.course import REPOSITORY
from tests.support.sources import copy_sources

VERSION = "99.0"
TABLE = "of_the_next_release"

_MIGRATIONS = Path("src/mograder/store/migrations/versions")
_MIGRATION = """\
import sqlalchemy as sa
from alembic import op

revision = "next"
down_revision = "{newest}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table("{table}", sa.Column("id", sa.Integer(), primary_key=True))
"""


def newest_migration() -> str:
    """The revision of this program's database."""
    return max(path.name for path in (REPOSITORY / _MIGRATIONS).glob("r*.py"))[1:5]


def build_next_release(place: Path) -> Path:
    """Build its wheel in an empty directory."""
    source = place / "source"
    copy_sources(source)
    (source / "src/mograder/__init__.py").write_text(f'__version__ = "{VERSION}"\n', "utf-8")
    text = _MIGRATION.format(newest=newest_migration(), table=TABLE)
    (source / _MIGRATIONS / "r9999_next.py").write_text(text, "utf-8")
    uv = REPOSITORY / ".tools" / "uv" / "bin" / "uv"
    command = [str(uv), "build", "--wheel", "--quiet", "--out-dir", str(place), str(source)]
    subprocess.run(command, check=True)
    (built,) = place.glob("mograder_hub-*.whl")
    return built
