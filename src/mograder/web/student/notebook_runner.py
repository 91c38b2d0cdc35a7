"""Running the student's notebooks on their own machine: editors, and validations.

Both use the environment of the notebook's release, so that editor and validation have the same
packages. A validation runs in a sandbox where this machine supports one; elsewhere it runs without,
as the editor does, since the code is the student's own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path

from anyio import to_thread
from pydantic import BaseModel, ConfigDict

from mograder.core.clock import Clock, from_unix
from mograder.core.errors import InvalidInput, SandboxUnavailable
from mograder.core.log import get_logger
from mograder.core.settings import Environ, LoadedSettings
from mograder.grading.validate import Submission, validate
from mograder.grading.validation_report import (
    CheckAnswer,
    ValidationAnswer,
    ValidationReport,
    ValidationResult,
    answer_of,
)
from mograder.grading.workbench import Workbench, open_workbench, own_variables
from mograder.processes.local_editor import Editor, LocalEditors
from mograder.sandbox.execution.report import Outcome
from mograder.store.copies.student_folder import Notebook, StudentFolder
from mograder.store.course.course import read_notebook

Report = Callable[[str], None]

_log = get_logger(__name__)
_KIND = "check_cache"


class _OldCheck(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    label: str = ""
    status: str = ""
    details: tuple[str, ...] = ()


class Checked(BaseModel):
    """``.mograder/check_cache/<nb>.json``: 0.3.16's keys, and ours (compatibility-0.3.16.md 5)."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    notebook: str = ""
    file_mtime: float = 0.0
    checks: tuple[_OldCheck, ...] = ()
    export_ok: bool = True
    export_error: str | None = None
    cell_errors: int = 0
    at: datetime | None = None
    answer: ValidationAnswer | None = None


class NotebookRunner:
    """Runs the notebooks of one student; for one event loop."""

    def __init__(
        self, loaded: LoadedSettings, environ: Environ, folder: StudentFolder, clock: Clock
    ) -> None:
        variables = {**own_variables(environ), "LANG": "C.UTF-8"}
        self.editors = LocalEditors(loaded.state_dir / "editors", variables)
        self._loaded = loaded
        self._environ = environ
        self._folder = folder
        self._clock = clock
        self._stack = AsyncExitStack()
        self._workbench: Workbench | None = None
        self._opening = asyncio.Lock()

    async def edit(self, notebook: Notebook, report: Report) -> Editor:
        """Open a notebook in an editor, or return the one that is open."""
        found = self.editors.find(notebook.folder)
        if found is not None:
            return found
        released = self._folder.released(notebook)
        text = await to_thread.run_sync(read_notebook, released or notebook.path)
        workbench = await self._open(report)
        directory = await workbench.environment(text, report)
        report("Starting the editor")
        return await self.editors.open(notebook.folder, notebook.path, directory)

    async def validate(self, notebook: Notebook, report: Report) -> ValidationAnswer:
        """Run a copy of a notebook against its checks, and store the result."""
        released = self._folder.released(notebook)
        text = await to_thread.run_sync(read_notebook, notebook.path)
        release = None if released is None else await to_thread.run_sync(read_notebook, released)
        found = await self._run(notebook, text, release, report)
        answer = answer_of(found, html_available=False)
        await to_thread.run_sync(self._remember, notebook, answer)
        return answer

    def result(self, notebook: Notebook) -> ValidationResult | None:
        """Return the result of a notebook's last validation, by 0.3.16 too, or None."""
        found = self._folder.record(_KIND, notebook, Checked)
        if found is None:
            return None
        at = found.at or from_unix(found.file_mtime)
        return ValidationResult(at, found.answer or _of_old(found))

    def stale(self, notebook: Notebook) -> bool:
        found = self._folder.record(_KIND, notebook, Checked)
        return found is not None and abs(found.file_mtime - notebook.mtime) > 1e-3

    async def close(self) -> None:
        await self.editors.close()
        async with self._opening:
            await self._stack.aclose()
            self._workbench = None

    async def _run(
        self, notebook: Notebook, text: str, release: str | None, report: Report
    ) -> ValidationReport:
        workbench = await self._open(report)
        name = self._folder.name_of(notebook)
        try:
            header = release or text
            environment = await workbench.environment(header, report)
            limits = workbench.limits(header, notebook.folder)
        except InvalidInput as error:
            return ValidationReport(name, Outcome.UNREADABLE, str(error))
        report(f"Running {name}")
        seconds = self._loaded.settings.defaults.timeout
        place: Path = notebook.path.parent
        return await validate(
            Submission(text, name, environment, limits, seconds, release, place),
            workbench.runner.execute,
        )

    def _remember(self, notebook: Notebook, answer: ValidationAnswer) -> None:
        checks = tuple(
            _OldCheck(label=c.label, status=c.status, details=c.details) for c in answer.checks
        )
        record = Checked(
            notebook=self._folder.name_of(notebook),
            file_mtime=notebook.mtime,
            checks=checks,
            export_ok=answer.export_ok,
            export_error=answer.export_error,
            cell_errors=answer.cell_errors,
            at=self._clock.now(),
            answer=answer,
        )
        self._folder.put_record(_KIND, notebook, record)

    async def _open(self, report: Report) -> Workbench:
        """Open the workbench at its first use; the list does not need it."""
        async with self._opening:
            if self._workbench is None:
                report("Preparing this machine")
                self._workbench = await self._enter()
            return self._workbench

    async def _enter(self) -> Workbench:
        try:
            return await self._stack.enter_async_context(
                open_workbench(self._loaded, self._environ)
            )
        except SandboxUnavailable as error:
            if self._loaded.settings.security.use_bubblewrap:
                raise
            _log.warning("notebooks run without a sandbox, as the editors do: %s", error)
            opening = open_workbench(self._loaded, self._environ, sandbox=False)
            return await self._stack.enter_async_context(opening)


def _of_old(found: Checked) -> ValidationAnswer:
    checks = tuple(map(_check_of, found.checks))
    ok = found.export_ok and not found.cell_errors and all(each.passed for each in checks)
    passed = sum(each.passed for each in checks)
    return ValidationAnswer(
        file=found.notebook,
        ok=ok,
        summary=f"{passed} of {len(checks)} checks pass.",
        outcome=Outcome.FINISHED.value,
        checks=checks,
        cell_errors=found.cell_errors,
        errors=(),
        export_ok=found.export_ok,
        export_error=found.export_error or "",
        html_available=False,
        integrity_level="none",
        integrity_warnings=(),
        seconds=0.0,
    )


def _check_of(old: _OldCheck) -> CheckAnswer:
    status = next((s for s in ("success", "partial", "danger") if s == old.status), "warn")
    return CheckAnswer.model_validate(
        {
            "label": old.label,
            "status": status,
            "details": old.details,
            "ran": True,
            "passed": status == "success",
            "earned": None,
            "available": None,
            "cell": "",
            "line": None,
        }
    )
