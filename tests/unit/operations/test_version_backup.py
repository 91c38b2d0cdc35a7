"""Versions of copies are in a backup, and there again after it was restored."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from mograder.core.settings import load_settings
from mograder.operations.backup import back_up
from mograder.operations.restore import restore
from mograder.store.database.database import open_engine, upgrade
from mograder.store.versions.versions import Origin, Versions

NOW = datetime(2026, 5, 4, 10, 0, tzinfo=UTC)


def test_a_restored_course_has_every_version(tmp_path: Path) -> None:
    course, target = tmp_path / "course", tmp_path / "backup.tar.gz"
    (course / ".mograder").mkdir(parents=True)
    (course / "mograder.toml").write_text("title = 'Spring'\n")
    engine = open_engine(f"sqlite:///{course / '.mograder' / 'hub.db'}")
    upgrade(engine)
    kept = Versions(engine)
    texts = [b"x = %d\n" % number * 20 for number in range(30)]
    for number, text in enumerate(texts):
        kept.record("anna", "A1", text, Origin.EDITOR, NOW + timedelta(seconds=number), release="r")
    back_up(load_settings(course, environ={}), target, lambda _: None)
    kept.record("anna", "A1", b"later\n", Origin.EDITOR, NOW + timedelta(hours=1))
    engine.dispose()

    restore(target, tmp_path / "restored", {}, lambda _: None)

    again = open_engine(f"sqlite:///{tmp_path / 'restored' / '.mograder' / 'hub.db'}")
    found = Versions(again)
    assert [each.number for each in found.all("anna", "A1")] == list(range(30, 0, -1))
    assert [found.text("anna", "A1", number + 1) for number in range(30)] == texts
    assert found.release_of("anna", "A1") == "r"
    assert found.record("anna", "A1", b"new\n", Origin.EDITOR, NOW).number == 31
    again.dispose()
