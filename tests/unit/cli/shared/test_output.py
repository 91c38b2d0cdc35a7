"""Progress on a terminal."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import textwrap
import time

import pytest

_ASKING = """
    import click
    from mograder.cli.shared import output, student_work
    from mograder.core.errors import Conflict

    @click.command()
    def ask():
        with output.DISPLAY() as shown:
            getattr(shown, "say", shown)("Sending")
            agrees = student_work._agrees(Conflict("It is late."), "Let the late one count?")
            getattr(shown, "say", shown)("Sending again")
        click.echo(agrees)

    ask()
"""


@pytest.mark.full
@pytest.mark.parametrize("display", ["reporting", "transferring"])
def test_a_question_is_not_overwritten_by_the_progress(display: str) -> None:
    ours, theirs = os.openpty()
    code = textwrap.dedent(_ASKING).replace("DISPLAY", display)
    command = [sys.executable, "-c", code]
    environment = {**os.environ, "TERM": "xterm"}
    with subprocess.Popen(
        command, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs, env=environment
    ) as child:
        try:
            told, end = b"", time.monotonic() + 20
            while b"count? [y/N]:" not in told and time.monotonic() < end:
                told += os.read(ours, 4096) if select.select([ours], [], [], 1)[0] else b""
            while select.select([ours], [], [], 0.5)[0]:  # a spinner turns without end
                told += os.read(ours, 4096)
                assert told.endswith(b"count? [y/N]: ")
            assert b"It is late.\r\n" in told
            os.write(ours, b"y\n")
            assert child.communicate(timeout=20)[0] == b"True\n"
        finally:
            child.kill()
    os.close(theirs)
    os.close(ours)
