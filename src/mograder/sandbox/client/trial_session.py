"""A session that tries the sandbox: its workspace, its environment, and the request to start it."""

from __future__ import annotations

import secrets
from pathlib import Path

from mograder.sandbox.environments.record import RECORD, EnvironmentRecord
from mograder.sandbox.protocol import COMMANDS_SLOT, Limits, Mode, StartSession


def trial_session(
    word: str, place: Path, notebook: str, roots: tuple[Path, ...], limits: Limits
) -> StartSession:
    """Make the directories below ``place``, with a notebook of this text; return the request.

    ``word`` names the session, its notebook and its environment, which still lacks its program
    ``env/bin/python``. ``roots`` are the directories of that program's interpreter.
    """
    workspace, environment = place / "workspace", place / "environment"
    for directory in (workspace, environment / "env" / "bin", environment / "caches"):
        directory.mkdir(parents=True)
    (workspace / f"{word}.py").write_text(notebook)
    record = EnvironmentRecord(key=word, python="", marimo="", interpreter_roots=roots)
    (environment / RECORD).write_text(record.model_dump_json())
    return StartSession(
        session_id=f"{word}-{secrets.token_hex(8)}"[:16],
        mode=Mode.EDIT,
        directory=workspace,
        notebook=f"{word}.py",
        environment=environment,
        base_url=f"/{word}",
        uid_slot=COMMANDS_SLOT,
        limits=limits,
    )
