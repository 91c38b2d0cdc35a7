"""Runs one notebook, cell by cell, and reports each cell and each check as it ends.

Runs inside the sandbox with the environment's own python, cold or as a zygote's child, and imports
only the standard library, marimo and mograder's runtime. The cells are compiled and
ordered by marimo; a failed cell skips only the cells that depend on it, as in the editor.

Usage: ``python cell_runner.py JSON -- NOTEBOOK`` with JSON ``{"fd": 7, "rlimits": {"RLIMIT_NPROC":
256}, "caches": "/path", "outputs": false}``, where ``caches`` may be empty. Lines of JSON are
written to ``fd`` at once, so that the cell of an endless loop is known when the run is killed:
``{"kind": "start", "index": 0}``, ``"cell"``, ``"check"`` (a line of the sidecar,
compatibility-0.3.16.md 8, with the cell that was running), with ``outputs`` also ``"output"`` (an
output of the cell, in pieces), and at last ``{"kind": "end"}``; without that line the notebook
exited early. All lines are untrusted. With ``"report": "/path"`` instead of ``fd`` they are written
to that file, since Windows passes no descriptors on.

After each cell the checks' functions are restored. Checks run in one process with the answer, so
this is not a security boundary (docs/explanation/validation.md): a determined student finds a way
around it. But an answer that replaces ``check`` or ``all``, deliberately or by mistake, gains
nothing.

It needs ``own_modules.py`` and ``serve.py`` beside it, and internals of marimo (tested with
0.14.17, 0.18.4 and 0.25.2). If those have changed, the report says so, and nothing runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
import inspect
import io
import itertools
import json
import os
import pathlib
import re
import sys
import tempfile
import time
import types
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import FunctionType, ModuleType
from typing import Any

import own_modules  # type: ignore[import-not-found]  # in this file's directory
import serve  # type: ignore[import-not-found]

_OURS = ("mograder.judging", "mograder.runtime")
_BENEATH = ("builtins", "json", "json.encoder", "math", "os")
"""Modules with which a check is evaluated and reported."""

_NOT_KEPT = frozenset(("__import__", "_", "display", "exit", "help", "input", "print", "quit"))
"""Builtins that libraries and notebooks replace legitimately, and that no check uses."""

_FIXED = frozenset(("__dict__", "__doc__", "__weakref__"))
_PARTS = ("__code__", "__defaults__", "__kwdefaults__")


class Guard:
    """A copy of our runtime's modules, and of those it uses, from before any cell ran."""

    def __init__(self) -> None:
        """Import and copy the modules; a module that cannot be imported is left out."""
        self._modules: dict[str, tuple[ModuleType, dict[str, Any], dict[str, Any]]] = {}
        self._functions: list[tuple[Any, ...]] = []
        self._classes: list[tuple[type, dict[str, Any]]] = []
        for name in (*_BENEATH, *_OURS):
            with contextlib.suppress(ImportError):
                self._keep(name)

    def _keep(self, name: str) -> None:
        module = importlib.import_module(name)
        kept = {key: value for key, value in vars(module).items() if key not in _NOT_KEPT}
        self._modules[name] = (module, vars(module), kept)
        for value in kept.values():
            self._keep_value(value)

    def _keep_value(self, value: Any) -> None:
        if isinstance(value, FunctionType):
            self._functions.append((value, *(getattr(value, part) for part in _PARTS)))
        elif isinstance(value, type) and value.__module__ in _OURS:
            members = {key: each for key, each in vars(value).items() if key not in _FIXED}
            self._classes.append((value, members))
            for each in members.values():
                self._keep_value(getattr(each, "fget", each))

    def put_back(self, names: dict[str, Any]) -> None:
        """Undo a cell's changes to the modules; ``names`` are the notebook's globals."""
        for _, own, kept in self._modules.values():
            own.update(kept)  # the builtins first, since the code below uses them
        for name, (module, own, kept) in self._modules.items():
            sys.modules[name] = module
            if name in _OURS:
                for added in own.keys() - kept.keys():
                    del own[added]
        for each in self._functions:
            self._put_function_back(*each)
        for kind, members in self._classes:
            self._put_class_back(kind, members)
        for value in tuple(names.values()):
            if type(value).__module__ in _OURS:
                for hidden in type(value).__dict__.keys() & vars(value).keys():
                    del vars(value)[hidden]

    def _put_function_back(self, function: FunctionType, *parts: Any) -> None:
        # Only what has changed: setting any of them makes all calls of the function slower.
        for name, part in zip(_PARTS, parts, strict=True):
            if getattr(function, name) is not part:
                setattr(function, name, part)

    def _put_class_back(self, kind: type, members: dict[str, Any]) -> None:
        now = vars(kind)
        for added in now.keys() - members.keys() - _FIXED:
            delattr(kind, added)
        for name, member in members.items():
            if now.get(name) is not member:
                setattr(kind, name, member)


@functools.cache
def guard() -> Guard:
    """Return the copy of this process, or of the zygote that it was forked from."""
    return Guard()


_TAIL = 4000
"""Characters of a cell's printed output that are sent with its result."""

_MOST_OUTPUTS = 50
"""Outputs of one cell that are sent."""

_WHOLE = 200_000
_BUNDLE = "application/vnd.marimo+mimebundle"
_PREFERRED = (
    *("image/png", "image/svg+xml", "image/jpeg"),
    *("text/html", "text/markdown", "text/plain"),
)


def quiet_figures() -> None:
    """Select matplotlib's Agg backend: marimo's needs an editor (see :class:`Shown`)."""
    os.environ["MPLBACKEND"] = "Agg"
    if "matplotlib" in sys.modules:
        sys.modules["matplotlib"].use("Agg")


class Tail(io.RawIOBase):
    """Standard output of which only the end is kept: a gigabyte of prints costs a few kilobytes."""

    def __init__(self, *, whole: bool = False) -> None:
        """Keep ``_TAIL`` characters for the result, or ``whole``, for display, 200 000."""
        self._kept = bytearray()
        self._lost = False
        self._most = _WHOLE if whole else _TAIL
        text = io.TextIOWrapper(
            io.BufferedWriter(self), encoding="utf-8", errors="replace", line_buffering=True
        )
        sys.stdout = sys.stderr = self._text = text

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return 1

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        most = 4 * self._most
        self._kept += view[-most:]
        if len(self._kept) > most or len(view) > most:
            del self._kept[:-most]
            self._lost = True
        return len(view)

    def take(self) -> str:
        """Return the output since the last call, or the end of it."""
        with contextlib.suppress(Exception):  # a student may have closed it
            self._text.flush()
        text = self._kept.decode("utf-8", "replace")
        cut, self._lost = self._lost or len(text) > self._most, False
        self._kept.clear()
        return ("…" if cut else "") + text[-self._most :]


@dataclass(frozen=True)
class Output:
    """One output of a cell: text, or an image as a data URL; ``cut`` if it is not all of it."""

    mimetype: str
    data: str
    printed: bool = False
    cut: bool = False


class Shown:
    """The outputs that marimo would show below a cell, in marimo's own formats.

    A student's page shows them, and an author reviews with their text what a release reveals. With
    a marimo that formats differently there are none, and the notebook still runs.
    """

    def __init__(self) -> None:
        """Register marimo's formatters for libraries, as its kernel does."""
        self._format: Any = None
        self._figures: list[Output] = []
        with contextlib.suppress(ImportError, AttributeError, TypeError):
            formatters = importlib.import_module("marimo._output.formatters.formatters")
            self._collect_figures()
            formatters.register_formatters()
            self._format = importlib.import_module("marimo._output.formatting").try_format

    def take(self, value: Any, context: Any) -> list[Output]:
        """Return the outputs of a cell whose last value is ``value``; ``context`` is marimo's."""
        said = getattr(getattr(context, "execution_context", None), "output", None)
        found: list[Output] = []
        with contextlib.suppress(Exception):  # a notebook's ``__repr__`` may raise anything
            stacked = said.stack() if said else None
            found += (self._one(each) for each in (stacked, value) if each is not None)
        found += self._figures
        self._figures = []
        return [output for output in found if output.data]

    def _one(self, value: Any) -> Output:
        """Return an output; of a value in several formats, the first that a page can show."""
        if self._format is None:
            return Output("text/plain", "")
        formatted = self._format(value)
        data = formatted.data
        text = data if isinstance(data, str) else json.dumps(data, default=str)
        if formatted.mimetype != _BUNDLE:
            return Output(str(formatted.mimetype), text)
        bundle = json.loads(text)
        wanted = next((each for each in _PREFERRED if each in bundle), "")
        return Output(wanted, str(bundle[wanted])) if wanted else Output(_BUNDLE, "…", cut=True)

    def _collect_figures(self) -> None:
        """Make ``plt.show()`` an output, as in the editor, as soon as matplotlib is imported."""
        module = importlib.import_module("marimo._output.formatters.matplotlib_formatters")
        register = module.MatplotlibFormatter.register

        def register_and_collect(factory: Any) -> None:
            register(factory)
            with contextlib.suppress(ImportError, AttributeError):
                backend: Any = importlib.import_module("marimo._output.mpl")
                backend._internal_show = self._show
                sys.modules["matplotlib"].use("module://marimo._output.mpl")

        module.MatplotlibFormatter.register = register_and_collect

    def _show(self, canvas: Any) -> None:
        with contextlib.suppress(Exception):  # as an output that cannot be formatted
            if len(self._figures) <= _MOST_OUTPUTS:
                self._figures.append(self._one(canvas.figure))
        sys.modules["matplotlib.pyplot"].close(canvas.figure)


_MOST_CELLS = 2000
_MESSAGE, _NAME = 2000, 200
_OF_MARIMO = re.compile(r"line (\d{1,9}) SyntaxError: (.*?)\.?$")
"""marimo's own errors, such as that of a star import, have no other line number."""
_PIECE, _CELL_OUTPUT, _ALL_OUTPUT = 16_000, 2 << 20, 8 << 20
_LINE = 200
"""Characters of a line besides the text of an output."""
_DETAILS, _DETAIL = 20, 500
_SIDECAR_BYTES = 1 << 20
_MOST_CHECKS = 500
"""Limits of one notebook's report (characters, bytes, items); the supervisor has its own."""

_CHANGED = (ImportError, AttributeError, TypeError, KeyError, AssertionError)
"""Exceptions of a marimo with changed internals, raised before any cell has run."""
_BROKEN = (*_CHANGED, SyntaxError, ValueError, RecursionError)
"""Those, and what is raised for a file that is no notebook."""


def main(argv: list[str]) -> None:
    options = json.loads(argv[0])
    if (descriptor := options.get("fd")) is None:  # without changing the ends of lines
        flags = os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0)
        descriptor = os.open(options["report"], flags)
    report = prepare(options, descriptor, argv[2], outputs=options["outputs"])
    with opened(argv[2], report) as found:
        if found is not None:
            notebook, module = found
            CellRunner(notebook, report, module.__dict__).run()
    report.say({"kind": "end"})
    # Do not run the student's threads and exit handlers.
    os._exit(0)


def prepare(
    options: dict[str, Any], descriptor: int, notebook: str, *, outputs: bool
) -> NotebookReport:
    """Set the rlimits and this process's output for a notebook; return the report to write to."""
    prepare_process(options)
    os.set_inheritable(descriptor, False)
    quiet_figures()
    shown = Shown() if outputs else None
    tail = Tail(whole=shown is not None)
    # Modules beside the notebook can be imported, as in the editor; installed ones take
    # precedence, so that no file of a student's replaces the checks.
    sys.path.append(str(pathlib.Path(notebook).resolve().parent))
    sidecar, path = tempfile.mkstemp(prefix="checks-")
    os.environ["MOGRADER_SIDECAR_PATH"] = path
    return NotebookReport(descriptor, sidecar, tail, shown)


def prepare_process(options: dict[str, Any]) -> None:
    own_modules.hide()
    serve.set_limits(options["rlimits"])
    if options["caches"]:
        serve.copy_caches(options["caches"])


def _check(line: bytes) -> dict[str, Any] | None:
    try:
        told = json.loads(line)
        details = [str(each)[:_DETAIL] for each in told["details"]]
        if len(details) > _DETAILS:
            details[_DETAILS:] = [f"… and {len(details) - _DETAILS} more"]
        return {
            "label": str(told["label"])[:_DETAIL],
            "status": str(told["status"])[:_NAME],
            "details": details,
            "earned_weight": float(told["earned_weight"]),
            "total_weight": float(told["total_weight"]),
        }
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


@dataclass
class NotebookReport:
    """The report, written line by line; errors of writing are ignored.

    ``_sidecar`` is a private file for the runtime's lines (compatibility-0.3.16.md 8).
    """

    _fd: int
    _sidecar: int
    tail: Any
    shown: Any
    _read: int = 0
    _checks: int = 0
    _told: int = 0

    def say(self, words: dict[str, Any]) -> None:
        """Write one line; half of a surrogate pair, which no JSON may have, is written as `?`."""
        data = json.dumps(words, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
        with contextlib.suppress(OSError):
            while data:
                data = data[os.write(self._fd, data) :]

    def tell_checks(self, index: int) -> None:
        """Report the checks since the last call, with the cell that was running."""
        # Not `pread`, which Windows does not have.
        os.lseek(self._sidecar, self._read, os.SEEK_SET)
        data = os.read(self._sidecar, _SIDECAR_BYTES)
        self._read += len(data)
        for check in filter(None, map(_check, data.splitlines())):
            self._checks += 1
            if self._checks <= _MOST_CHECKS:
                self.say({"kind": "check", "index": index, **check})

    def tell_outputs(self, index: int, outputs: list[Any]) -> None:
        """Report a cell's outputs in pieces, up to limits for the cell and for the notebook.

        A text is cut there; an image is left out, and so are further outputs.
        """
        left = min(_CELL_OUTPUT, _ALL_OUTPUT - self._told)
        for part, output in enumerate(outputs[:_MOST_OUTPUTS]):
            image = output.mimetype.startswith("image/")
            pieces = [output.data[at : at + _PIECE] for at in range(0, len(output.data), _PIECE)]
            sizes = [len(json.dumps(piece)) + _LINE for piece in pieces]
            fitting = sum(total <= left for total in itertools.accumulate(sizes))
            kept = 0 if image and fitting < len(pieces) else fitting
            cut = output.cut or kept < len(pieces)
            for at, piece in enumerate(pieces[:kept] or [""]):
                self.say(
                    {
                        "kind": "output",
                        "index": index,
                        "part": part,
                        "mimetype": output.mimetype[:_NAME],
                        "printed": output.printed,
                        "cut": cut and at >= kept - 1,
                        "text": piece,
                    }
                )
            told = sum(sizes[:kept]) or _LINE
            left -= told
            self._told += told
            if left <= 0:
                break

    def tell_cell(self, index: int, name: str, status: str, **more: Any) -> None:
        known = {"error_type": "", "message": "", "line": None, "output_tail": "", "seconds": 0.0}
        cell = {"kind": "cell", "index": index, "name": name[:_NAME], "status": status}
        self.say({**cell, **known, **more})


@dataclass
class Notebook:
    """marimo's data of a notebook: its cells in the order of the file, and its graph."""

    app: Any
    graph: Any
    order: list[Any]
    cells: dict[Any, Any]
    indexes: dict[Any, int]
    names: dict[Any, str]
    failed: dict[Any, tuple[str, str, int | None]] = field(default_factory=dict)
    skipped: set[Any] = field(default_factory=set)
    codes: dict[Any, str] = field(default_factory=dict)


@contextlib.contextmanager
def opened(path: str, report: NotebookReport) -> Iterator[tuple[Notebook, ModuleType] | None]:
    """Yield a notebook and the module of its names; report why it cannot run if it cannot."""
    with contextlib.ExitStack() as stack:
        found = None
        try:
            notebook = load_notebook(path)
            found = notebook, stack.enter_context(notebook_context(notebook, path))
        except _BROKEN as error:
            kind, message = type(error).__name__[:_NAME], error_text(error)
            line: int | None = getattr(error, "lineno", None)
            if isinstance(error, _CHANGED):
                message = f"this marimo's cells cannot be run one by one ({message})"[:_MESSAGE]
            report.say({"kind": "failure", "error_type": kind, "message": message, "line": line})
        yield found


def load_notebook(path: str) -> Notebook:
    """Return a notebook with its graph; ``SyntaxError`` if there is none in the file."""
    load = importlib.import_module("marimo._ast.load").load_app
    internal = importlib.import_module("marimo._ast.app").InternalApp
    dataflow = importlib.import_module("marimo._runtime.dataflow")
    raw = load(path)
    if raw is None:
        raise SyntaxError("there is no notebook in this file")
    raw._unparsable = False  # reported per cell below
    app = internal(raw)
    data = list(app.cell_manager.cell_data())[:_MOST_CELLS]
    graph = raw._graph
    if not raw._initialized:  # as marimo does, but without refusing cycles and redefinitions
        for cell_id, cell in app.cell_manager.valid_cells():
            graph.register_cell(cell_id, cell._cell)
        raw._defs = graph.definitions.keys()
        raw._execution_order = dataflow.topological_sort(graph, list(graph.cells))
        raw._initialized = True
    notebook = Notebook(
        app=app,
        graph=graph,
        order=list(raw._execution_order),
        cells={each.cell_id: graph.cells.get(each.cell_id) for each in data},
        indexes={each.cell_id: index for index, each in enumerate(data)},
        names={each.cell_id: str(each.name).lstrip("*") for each in data},
        codes={each.cell_id: each.code for each in data},
    )
    for each in data:
        if each.cell is None:
            notebook.failed[each.cell_id] = _syntax_error(each.code)
    try:  # the module's path depends on marimo's release
        validate: Any = importlib.import_module("marimo._lint.validate_graph")
    except ImportError:
        validate = importlib.import_module("marimo._runtime.validate_graph")
    for cell_id, errors in validate.check_for_errors(graph).items():  # cycles, and redefinitions
        error = next(iter(errors))
        notebook.failed[cell_id] = (type(error).__name__, str(error.describe()), None)
    return notebook


def _syntax_error(code: str) -> tuple[str, str, int | None]:
    compiler = importlib.import_module("marimo._ast.compiler")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compiler.compile_cell(code, cell_id="broken")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        message, line = getattr(error, "msg", str(error)), getattr(error, "lineno", None)
        told = _OF_MARIMO.match(message)
        return "SyntaxError", told[2] if told else message, int(told[1]) if told else line
    return "SyntaxError", "marimo cannot read this cell", None


@contextlib.contextmanager
def notebook_context(notebook: Notebook, path: str) -> Iterator[types.ModuleType]:
    """Yield the module of the notebook's names, with the context that marimo's functions need."""
    script = importlib.import_module("marimo._runtime.context.script_context")
    types_ = importlib.import_module("marimo._runtime.context.types")
    stream = importlib.import_module("marimo._messaging.types").NoopStream()
    module = types.ModuleType("__main__")
    module.__file__ = path
    script.initialize_script_context(app=notebook.app, stream=stream, filename=path)
    ours, sys.modules["__main__"] = sys.modules["__main__"], module
    yield module
    sys.modules["__main__"] = ours
    types_.teardown_context()


def skip_after(notebook: Notebook, cell_id: Any) -> None:
    """Mark all cells that depend on a cell, directly or not, as skipped."""
    waiting = [cell_id]
    while waiting:
        for child in notebook.graph.children.get(waiting.pop(), ()):
            if child not in notebook.skipped and child not in notebook.failed:
                notebook.skipped.add(child)
                waiting.append(child)


class CellRunner:
    """Runs all cells of a notebook but failed, skipped and disabled ones.

    ``ended`` is called after each cell, with its id, its status, and the name of its exception.
    """

    def __init__(
        self,
        notebook: Notebook,
        report: NotebookReport,
        names: dict[str, Any],
        ended: Callable[[Any, str, str], None] = lambda cell_id, status, error: None,
    ) -> None:
        self._notebook = notebook
        self._report = report
        self._names = names
        self._ended = ended
        self._loop: asyncio.AbstractEventLoop | None = None
        self._guard = guard()
        self._in_cell = in_cell()

    def run(self) -> None:
        """Run the cells in marimo's order; disabled ones are marked as skipped.

        Those that cannot run are reported before it, those that were skipped after it.
        """
        notebook = self._notebook
        for cell_id, (kind, message, line) in notebook.failed.items():
            told = {"error_type": kind[:_NAME], "message": message[:_MESSAGE], "line": line}
            self._tell(cell_id, "error", **told)
            skip_after(notebook, cell_id)
        for cell_id in notebook.order:
            passed_over = notebook.failed.keys() | notebook.skipped
            if cell_id in passed_over or cell_id not in notebook.indexes:
                continue
            if notebook.graph.is_disabled(cell_id):
                notebook.skipped.add(cell_id)
                continue
            self._run_cell(cell_id)
        for cell_id in notebook.skipped:
            self._tell(cell_id, "skipped", message="a cell that it needs did not run")

    def _tell(self, cell_id: Any, status: str, **more: Any) -> None:
        index, name = self._notebook.indexes[cell_id], self._notebook.names[cell_id]
        self._report.tell_cell(index, name, status, **more)

    def _run_cell(self, cell_id: Any) -> None:
        report, index = self._report, self._notebook.indexes[cell_id]
        report.say({"kind": "start", "index": index})
        started = time.perf_counter()
        with self._in_cell(cell_id):
            status, more, shown = self._attempt(cell_id)
        self._guard.put_back(self._names)  # the code below uses the same functions
        report.tell_checks(index)
        printed = report.tail.take()
        if report.shown is not None:
            shown += [Output("text/plain", printed, printed=True)] if printed else []
            report.tell_outputs(index, shown)
        more["output_tail"] = printed[-_TAIL:]
        more["seconds"] = round(time.perf_counter() - started, 4)
        self._tell(cell_id, status, **more)
        self._ended(cell_id, status, more.get("error_type", ""))

    def _attempt(self, cell_id: Any) -> tuple[str, dict[str, Any], list[Any]]:
        """Run a cell; return its status, details, and its outputs if they are reported."""
        cell, shown = self._notebook.cells[cell_id], self._report.shown
        status, value = "ok", None
        more: dict[str, Any] = {}
        try:
            value = self._execute(cell)
        except BaseException as error:  # noqa: BLE001 - a student's cell may raise anything
            status, more = _failure(error, cell)
            skip_after(self._notebook, cell_id)
            if status == "skipped":
                value = getattr(error, "output", None)
        return status, more, [] if shown is None else shown.take(value, marimo_context())

    def _execute(self, cell: Any) -> Any:
        value = None
        for code in (cell.body, cell.last_expr):
            if code is None:
                continue
            value = eval(code, self._names)  # noqa: S307 - runs in the sandbox
            if code.co_flags & inspect.CO_COROUTINE:
                self._loop = self._loop or asyncio.new_event_loop()
                value = self._loop.run_until_complete(value)
        return value


def in_cell() -> Callable[[Any], contextlib.AbstractContextManager[Any]]:
    """Return marimo's context manager for the code of a cell; ``mo.ui`` works in one only."""
    return getattr(marimo_context(), "with_cell_id", contextlib.nullcontext)


def marimo_context() -> Any:
    return importlib.import_module("marimo._runtime.context.types").get_context()


def _failure(error: BaseException, cell: Any) -> tuple[str, dict[str, Any]]:
    kind = type(error).__name__[:_NAME]
    if kind == "MarimoStopError":
        return "skipped", {"message": "stopped by mo.stop"}
    line, trace = None, error.__traceback__
    places = {code.co_filename for code in (cell.body, cell.last_expr) if code is not None}
    while trace is not None:
        if trace.tb_frame.f_code.co_filename in places:
            line = trace.tb_lineno
        trace = trace.tb_next
    return "error", {"error_type": kind, "message": error_text(error), "line": line}


def error_text(error: BaseException) -> str:
    """Return an exception's text, at most 2000 characters, also if its class prevents it."""
    try:
        return str(error)[:_MESSAGE]
    except BaseException:  # noqa: BLE001 - a student's __str__
        return "(its message cannot be shown)"


if __name__ == "__main__":
    main(sys.argv[1:])
