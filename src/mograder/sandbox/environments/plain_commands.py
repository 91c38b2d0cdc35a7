"""The commands of a build, run on this machine as the person could run them in a terminal.

For systems without sandboxes, where the packages are chosen by the person's own course.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from uv import find_uv_bin

from mograder.core.process_tree import ProcessTree, apart
from mograder.core.tasks.single_flight import Progress
from mograder.sandbox.protocol import RunCommand

_TIMED_OUT = 124
_LINE_BYTES = 1 << 20
_FOR_SANDBOXES = frozenset({"UV_LINK_MODE"})
"""Variables of builds that are of use in sandboxes only: uv's cache is on the same disk here."""


class PlainCommands:
    """Runs build commands with the given environment variables, and those of each command."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = dict(variables)

    async def run(self, command: RunCommand, on_line: Progress) -> int:
        """Run a command, call ``on_line`` with each line of its output; return its status.

        ``uv`` is our own; other programs are given relative to the directory of the build.
        """
        program, *arguments = command.argv
        # Not resolved: the Python of an environment may be a link, and has to be called by it.
        path = find_uv_bin() if program == "uv" else str(command.directory / program)
        own = {key: value for key, value in command.variables.items() if key not in _FOR_SANDBOXES}
        process = await asyncio.create_subprocess_exec(
            *(path, *arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=command.directory,
            env={**self._variables, **own, "PYTHONUTF8": "1"},
            limit=_LINE_BYTES,
            **apart(),
        )
        tree = ProcessTree(process.pid)
        try:
            async with asyncio.timeout(command.timeout):
                await _pass_on(process, on_line)
                return await process.wait()
        except TimeoutError:
            on_line("It took too long and was ended.")
            return _TIMED_OUT
        finally:
            if process.returncode is None:
                tree.kill()
                await process.wait()


async def _pass_on(process: asyncio.subprocess.Process, on_line: Progress) -> None:
    assert process.stdout is not None
    while True:
        try:
            line = await process.stdout.readline()
        except ValueError:  # a longer one, which is dropped
            continue
        if not line:
            return
        on_line(line.decode("utf-8", "replace").rstrip("\r\n"))
