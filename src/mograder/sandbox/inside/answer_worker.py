"""Runs a student's notebook without its checks, then answers the judge's requests with its values.

Runs inside the worker's sandbox with the environment's own python. As soon as a cell has ended, the
names of the interface that it defines are encoded: a check sees the value of that moment. After the
last cell, a process is forked for each check that asks for more than those values, so that a hang,
an exit or a changed object in one question concerns no other. This process starts and kills those,
sends encoded values, and runs no student code any more, except for threads of the notebook. Where
no process can be forked, or there are threads that a fork would lack, it answers itself.

Usage: ``python answer_worker.py JSON -- NOTEBOOK`` with JSON ``{"report": 3, "control": 4,
"requests": 5, "answers": 6, "rlimits": {}, "caches": "", "interface": ["area"], "skip": [2,
"<sha256>"], "outputs": false}``: descriptors, and the cells that do not run, by their index or by
the SHA-256 of their code. The report has the lines of ``cell_runner``, and ``end`` once the cells
are done; then the frame ``[0, "serving"]`` is written to ``answers``.

On ``control`` come frames ``["begin", number]`` and ``["end", nonce]``. After ``end`` the check's
process is killed, what it has not read of its requests is discarded, and the nonce's bytes are
written to ``answers``: what follows them belongs to the next check.
"""

from __future__ import annotations

import ast
import contextlib
import fcntl
import hashlib
import json
import os
import pathlib
import re
import select
import signal
import sys
import threading
from dataclasses import dataclass, field
from typing import Any

import answer_server  # type: ignore[import-not-found]  # in this file's directory
import cell_runner  # type: ignore[import-not-found]
import codec_rules as rules  # type: ignore[import-not-found]

_WITHOUT_LIMIT = 2**62
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_MAIN = threading.main_thread()
_POOL = re.compile(r"polars-\d")
"""The names of the threads of polars that its queries wait for."""


def main(argv: list[str]) -> None:
    options = json.loads(argv[0])
    report = cell_runner.prepare(options, options["report"], argv[2], outputs=options["outputs"])
    for name in ("control", "requests", "answers"):
        os.set_inheritable(options[name], False)
    snapshots = answer_server.Snapshots()
    with cell_runner.opened(argv[2], report) as found:
        if found is not None:
            notebook, module = found
            run = _Run(notebook, report, frozenset(options["interface"]), snapshots)
            run.leave_out(frozenset(options["skip"]))
            run.run(module.__dict__)
        report.say({"kind": "end"})
        server = answer_server.AnswerServer(snapshots, options["requests"], options["answers"])
        checks = _Checks(options, server)
        checks.tell([0, rules.SERVING])
        checks.serve()
    os._exit(0)


@dataclass
class _Run:
    """A run that takes the snapshots; ``imports`` are those needed of cells that are left out."""

    notebook: Any
    report: Any
    interface: frozenset[str]
    snapshots: Any
    imports: list[str] = field(default_factory=list)

    def leave_out(self, skip: frozenset[object]) -> None:
        """Skip the checks, and the cells that need more of them than their imports."""
        notebook = self.notebook
        for cell_id, cell in notebook.cells.items():
            if cell is None:
                continue
            digest = hashlib.sha256(cell.code.strip().encode("utf-8", "replace")).hexdigest()
            if notebook.indexes[cell_id] in skip or digest in skip:
                notebook.skipped.add(cell_id)
        for cell_id in tuple(notebook.skipped):
            self._skip_users(cell_id)

    def _skip_users(self, cell_id: Any) -> None:
        notebook, cell = self.notebook, self.notebook.cells[cell_id]
        imported = _imports(cell.code)
        for child in notebook.graph.children.get(cell_id, set()) - notebook.skipped:
            if child in notebook.failed:
                continue
            needed = notebook.cells[child].refs & cell.defs
            if needed <= imported.keys():
                self.imports += (imported[name] for name in sorted(needed))
            else:
                notebook.skipped.add(child)
                cell_runner.skip_after(notebook, child)

    def run(self, names: dict[str, Any]) -> None:
        """Run the cells, and say of each name of the interface without a value why it has none."""
        self.snapshots.names = names
        for each in dict.fromkeys(self.imports):
            with contextlib.suppress(Exception):  # then the cells that need it fail
                exec(each, names)  # noqa: S102 - a statement of the notebook

        def ended(cell_id: Any, status: str, error: str) -> None:
            if status == "ok":
                self._take(cell_id, names)
                return
            for name in self._defined(cell_id):
                self.snapshots.missing[name] = f"its cell failed ({error or status})"

        cell_runner.CellRunner(self.notebook, self.report, names, ended).run()
        for cell_id in self.notebook.skipped:
            for name in self._defined(cell_id):
                self.snapshots.missing.setdefault(name, "a cell that it needs did not run")
        for cell_id, (kind, message, _) in self.notebook.failed.items():
            for name in self._defined(cell_id):
                why = f"its cell cannot run ({kind}: {message})"
                self.snapshots.missing.setdefault(name, why)

    def _take(self, cell_id: Any, names: dict[str, Any]) -> None:
        """Keep the answers that a cell has defined, and note what its other names are."""
        for name in sorted(self._defined(cell_id) & names.keys()):
            self.snapshots.take(name, names[name])
        for name in self.notebook.cells[cell_id].defs - self.interface:
            self.snapshots.look_at(name, names.get(name))

    def _defined(self, cell_id: Any) -> frozenset[str]:
        cell = self.notebook.cells[cell_id]
        # Of what is no Python only the words are known.
        words = re.findall(r"\w+", self.notebook.codes[cell_id]) if cell is None else cell.defs
        return self.interface.intersection(words)


def _imports(code: str) -> dict[str, str]:
    """Return the imports at the top level of a cell by the names that nothing else binds there."""
    tree = ast.parse(code)
    found: dict[str, str] = {}
    imports = [each for each in tree.body if isinstance(each, ast.Import | ast.ImportFrom)]
    for node, alias in [(each, alias) for each in imports for alias in each.names]:
        one: Any = ast.Import([alias])
        if isinstance(node, ast.ImportFrom):
            one = ast.ImportFrom(node.module, [alias], node.level)
        name = alias.asname or alias.name.split(".")[0]
        found[name] = f"{found.get(name, '')}{ast.unparse(one)}\n"
    nodes = list(ast.walk(tree))
    names = [each for each in nodes if isinstance(each, ast.Name)]
    bound = {each.id for each in names if not isinstance(each.ctx, ast.Load)}
    bound |= {each.name for each in nodes if isinstance(each, _DEFINITIONS)}
    return {name: text for name, text in found.items() if name not in bound}


class _Checks:
    def __init__(self, options: dict[str, Any], server: Any) -> None:
        self._control = options["control"]
        self._requests, self._answers = options["requests"], options["answers"]
        self._server = server
        self._reader = rules.FrameReader(self._control, total_bytes=_WITHOUT_LIMIT)

    def serve(self) -> None:
        """Obey the judge until its end of the pipe is closed."""
        child = 0
        with contextlib.suppress(rules.FrameError):
            while True:
                self._wait(child)
                frame = self._reader.read(answer_server.FOREVER)
                if frame.head[0] == "begin":
                    child = self._begin()
                else:
                    self._end(child, bytes(frame.buffers[0]))
                    child = 0
        _kill(child)

    def _begin(self) -> int:
        try:
            child = -1 if _needs_threads() else os.fork()
        except OSError:  # too many processes of the student's
            child = -1
        if child < 0:
            self._serve_here()
            return 0
        if child == 0:
            os.setsid()
            try:
                self._server.serve()
            finally:
                os._exit(0)
        return child

    def _serve_here(self) -> None:
        """Answer in this process until the judge writes to ``control``, which interrupts it."""

        def interrupt(*_: object) -> None:
            signal.signal(signal.SIGIO, signal.SIG_IGN)  # there is one for each part of a frame
            raise _EndedError

        flags = fcntl.fcntl(self._control, fcntl.F_GETFL)
        try:
            signal.signal(signal.SIGIO, interrupt)
            fcntl.fcntl(self._control, fcntl.F_SETOWN, os.getpid())
            fcntl.fcntl(self._control, fcntl.F_SETFL, flags | os.O_ASYNC)
            self._server.serve(until=self._control)
            signal.signal(signal.SIGIO, signal.SIG_IGN)
        except _EndedError:
            self._server.renew()
        fcntl.fcntl(self._control, fcntl.F_SETFL, flags)

    def _wait(self, child: int) -> None:
        """Return once there is something to read; tell the judge if the process ends before."""
        while not child:
            ready, _, _ = select.select([self._control, self._requests], [], [])
            # What the judge writes to both it writes to this one first.
            if self._control in select.select([self._control], [], [], 0)[0]:
                return
            if self._requests in ready:
                self._server.serve_value()
        descriptor = os.pidfd_open(child)
        try:
            ready, _, _ = select.select([self._control, descriptor], [], [])
            if self._control not in ready:
                self.tell([0, "gone", "the process that answers has ended"])
        finally:
            os.close(descriptor)

    def _end(self, child: int, nonce: bytes) -> None:
        _kill(child)
        answer_server.drain(self._requests)
        with contextlib.suppress(OSError):
            while nonce:
                select.select([], [self._answers], [])
                nonce = nonce[os.write(self._answers, nonce) :]

    def tell(self, head: list[Any]) -> None:
        """Write a frame that answers no request; errors are ignored."""
        with contextlib.suppress(rules.FrameError):
            rules.FrameWriter(self._answers).write(head, seconds=1)


class _EndedError(BaseException):
    """The judge has ended a check whose answer is not at its end."""


def _needs_threads() -> bool:
    """Whether answers may wait for threads, which a forked process would lack.

    Those are polars' own, and what the notebook's code has started: a pool of ``concurrent``, say.
    Daemons are not waited for: libraries start some that only watch, such as a progress bar's.
    """
    if any(not each.daemon for each in threading.enumerate() if each is not _MAIN):
        return True
    if "polars" not in sys.modules:
        return False
    for each in pathlib.Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # it has ended
            if _POOL.match((each / "comm").read_text()):
                return True
    return False


def _kill(child: int) -> None:
    if not child:
        return
    for end in (os.killpg, os.kill):
        with contextlib.suppress(OSError):
            end(child, signal.SIGKILL)
    with contextlib.suppress(OSError):
        os.waitpid(child, 0)


if __name__ == "__main__":
    main(sys.argv[1:])
