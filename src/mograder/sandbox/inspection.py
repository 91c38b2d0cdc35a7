"""Parse a stranger's notebook in a process of its own, which may die of it.

Python's parser holds the interpreter's lock while it works: a megabyte of brackets would keep the
hub from answering anybody for seconds, and take hundreds of megabytes. So a text that a student
sent is looked at here, with an end to its time and memory. Only a short one is parsed in the hub
itself, where it takes less time than starting a process.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import sys
from dataclasses import dataclass
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, ValidationError

from mograder.core.errors import InvalidInput
from mograder.core.log import get_logger
from mograder.notebook.safety import scan
from mograder.notebook.syntax import check_notebook
from mograder.notebook.tampering import UNTOUCHED, Tampering, find_tampering

_SHORT = 32_000
"""Characters: parsed in some milliseconds, whatever they are."""

_SECONDS = 20
_MEMORY = 2 << 30
_WAIT_SECONDS = 60.0
_AT_ONCE = 2
_MOST_FINDINGS = 50
_MOST_ANSWER = 1 << 20
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Inspection:
    """What was found in a notebook.

    ``findings`` are messages of the safety scan, each with its line; ``tampering`` is what does
    not agree with the release, where one was given.
    """

    findings: tuple[tuple[str, int], ...]
    tampering: Tampering


class _Verdict(StrEnum):
    GOOD = "good"
    NO_NOTEBOOK = "no notebook"


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    verdict: _Verdict
    message: str = ""
    hint: str = ""
    findings: list[tuple[str, int]] = []
    tampered: list[str] = []
    tampered_marks: bool = False


class _Question(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    filename: str
    text: str
    release: str | None


class Inspector:
    """Looks at texts, a few at a time; the others wait for their turn."""

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def inspect(self, text: str, filename: str, release: str | None = None) -> Inspection:
        """Return what the safety scan finds in a marimo notebook, and what is not as released.

        Raises: :class:`InvalidInput` when it is none, with the line, or when looking at it takes
        more time or memory than any notebook needs.
        """
        question = _Question(filename=filename, text=text, release=release)
        if len(text) <= _SHORT:
            return _told(await asyncio.to_thread(_look, question))
        async with self._turns:
            said = await _ask(question)
        try:
            return _told(_Answer.model_validate_json(said))
        except ValidationError as error:
            _log.warning("%s could not be inspected: %s", filename, said[-300:])
            raise InvalidInput(
                f"{filename}: the notebook is too large or too complex to be checked.",
                hint="Move data in it to a file of its own.",
            ) from error


def _told(answer: _Answer) -> Inspection:
    if answer.verdict is _Verdict.NO_NOTEBOOK:
        raise InvalidInput(answer.message, hint=answer.hint)
    tampering = Tampering(tuple(answer.tampered), answer.tampered_marks)
    return Inspection(tuple(answer.findings), tampering)


async def _ask(question: _Question) -> bytes:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-m", __name__),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={},
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(_WAIT_SECONDS):
            said, _ = await process.communicate(question.model_dump_json().encode())
    except TimeoutError:
        return b""
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    return said[:_MOST_ANSWER]


def _look(question: _Question) -> _Answer:
    text, filename, release = question.text, question.filename, question.release
    tampering = UNTOUCHED
    try:
        check_notebook(text, filename)
        if release is not None:
            tampering = find_tampering(text, release, filename)
    except InvalidInput as error:
        return _Answer(
            verdict=_Verdict.NO_NOTEBOOK, message=error.message[:2000], hint=error.hint[:500]
        )
    found = scan(text, filename)[:_MOST_FINDINGS]
    return _Answer(
        verdict=_Verdict.GOOD,
        findings=[(each.message, each.line) for each in found],
        tampered=list(tampering.checks),
        tampered_marks=tampering.marks,
    )


def main() -> None:
    """Read the question from the standard input and write the answer, both as JSON."""
    resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    question = _Question.model_validate_json(sys.stdin.buffer.read())
    sys.stdout.write(_look(question).model_dump_json())


if __name__ == "__main__":
    main()
