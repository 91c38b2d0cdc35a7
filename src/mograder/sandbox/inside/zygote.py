"""A warm process that forks sessions: marimo is imported once per environment, not per session.

Runs with the environment's own python in a zygote group (``policy.zygote_group_plan``) and imports
only the standard library, marimo and the programs beside it. It has one thread, no secret and no
file of the hub, and never runs student code: its forked child first joins a new sandbox, drops all
privileges, and then behaves as a cold start does from its first line on.

Usage: ``python zygote.py JSON`` with JSON ``{"fd": 7, "caches": "/path", "heavy": true, "template":
""}``, where ``template`` is the path of an assignment's plan if only its judges are forked; ``fd``
is a SOCK_SEQPACKET socket, on which it sends ``{"ready": true, "threads": 1, "problem": "",
"no_warmup": ""}``; ``no_warmup`` is the reason why there was no warm-up run.
Each request ``{"id": 1, "program": "serve", "uid": 3, "arguments": [...], "variables": {...},
"directory": "/...", "filter": "base64", "descriptors": ["fd"]}`` is sent with the descriptors of
the program (such as the listening socket of ``serve``; the options that get their numbers are
listed), then the output, a pidfd of the sandbox's placeholder, and a pipe, and one more if the
session has a cgroup: the child enters it by writing 0 there. The answer is ``{"id": 1, "problem":
""}`` with a pidfd of the session's first process. That process waits for a ``g`` on the pipe. When
it has ended, the zygote sends ``{"ended": 1, "status": 0}``.

An assignment's template runs in the zygote of its judges, if a fork can go on from it. A forked
judge gets other variables and other temporary directories, no thread and no descriptor of the
zygote's. A template that left anything of that behind, or that failed, would differ in a fork: then
each judge runs it by itself.
"""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import functools
import gc
import importlib
import importlib.util
import inspect
import json
import logging
import mimetypes
import multiprocessing
import multiprocessing.process
import os
import pathlib
import select
import signal
import socket
import sys
from collections.abc import Callable, Collection
from typing import Any

import answer_judge  # type: ignore[import-not-found]  # in this file's directory
import answer_worker  # type: ignore[import-not-found]
import cell_runner  # type: ignore[import-not-found]
import enter_sandbox  # type: ignore[import-not-found]
import own_modules  # type: ignore[import-not-found]
import serve  # type: ignore[import-not-found]
import warmup_run  # type: ignore[import-not-found]

_KEPT_BY_A_FORK = ("path", "main", "modules")
_OWN_DIRECTORIES = ("HOME", "TMPDIR")
_CACHE = "XDG_CACHE_HOME"


def run_template(plan: str) -> str:
    """Run the template of a plan; return why no judge may be forked after it, "" if one may."""
    answer_judge.prepare_output()
    template = answer_judge.open_template(plan)  # with it marimo writes its configuration
    before = _traces()
    if failed := template.prepare():
        return f"template failed: {next(iter(failed.values()))}"
    now = _traces()
    left = sorted(kind for kind, was in before.items() if now[kind] != was)
    return f"template left behind: {', '.join(left)}" if left else ""


def _traces() -> dict[str, object]:
    found: dict[str, object] = warmup_run.traces()
    files = {each: _files(pathlib.Path(os.environ[each])) for each in _OWN_DIRECTORIES}
    return {kind: of for kind, of in found.items() if kind not in _KEPT_BY_A_FORK} | files


def _files(top: pathlib.Path) -> frozenset[tuple[str, int]]:
    """Return the paths and times of files, without the caches, which a fork need not have."""
    cache = os.environ[_CACHE]
    found = set()
    for folder, folders, names in os.walk(top):
        folders[:] = [name for name in folders if os.path.join(folder, name) != cache]  # noqa: PTH118
        for name in (*folders, *names):
            path = pathlib.Path(folder, name)
            found.add((str(path), 0 if name in folders else path.lstat().st_mtime_ns))
    return frozenset(found)


_HEAVY = ("numpy", "pandas", "matplotlib.pyplot", "scipy", "altair", "plotly")
"""Slow imports common in notebooks; skipped where the environment does not have them."""

_RUNTIME = "mograder.runtime"
"""The modules that nearly every notebook imports first."""

_CARRIED = ("numpy", "pandas")
"""Libraries whose values worker and judge exchange most often."""

_MARIMO = (
    "marimo._cli.cli marimo._server.start marimo._server.api.router marimo._runtime.runtime "
    "marimo._runtime.kernel_lifecycle marimo._runtime.utils.set_ui_element_request_manager "
    "marimo._runtime.runner.hooks_lens marimo._runtime.runner.hooks_on_finish "
    "marimo._runtime.runner.hooks_post_execution marimo._runtime.runner.hooks_pre_execution "
    "marimo._runtime.runner.hooks_preparation "
    "marimo._plugins.ui._impl.anywidget.comm_provider marimo._save.manifest "
    "marimo._save.signing_policy marimo._data._external_storage.get_storage "
    "marimo._cli.files.cloudflare anyio._backends._asyncio anyio.streams.memory "
    "anyio.streams.tls markdown.extensions.footnotes markdown.extensions.sane_lists "
    "markdown.extensions.tables markdown.extensions.toc narwhals._interchange.dataframe "
    "packaging.version multiprocessing.connection multiprocessing.popen_fork "
    "multiprocessing.popen_spawn_posix multiprocessing.queues multiprocessing.synchronize "
    "pygments.formatters.html pygments.lexers pygments.styles pymdownx.arithmatex "
    "pymdownx.blocks.admonition pymdownx.blocks.details pymdownx.blocks.html "
    "pymdownx.blocks.tab pymdownx.caret pymdownx.critic pymdownx.emoji1_db pymdownx.highlight "
    "pymdownx.keys pymdownx.magiclink uvicorn.lifespan.on uvicorn.loops.auto "
    "uvicorn.protocols.http.auto uvicorn.protocols.websockets.auto "
    "tomlkit readline uvicorn.loops.asyncio "
    "marimo._ast.load marimo._ast.app marimo._lint.validate_graph marimo._runtime.dataflow "
    "marimo._runtime.context.script_context"
)
"""Modules that marimo imports before its first output; a missing one only costs time."""

_LAUNCH = ("control_queue", "set_ui_element_queue", "completion_queue", "input_queue")
"""The first parameters of marimo's ``launch_kernel``: queues whose pipes a kernel needs."""

_SELDOM, _OFTEN = 10_000, gc.get_threshold()
"""Thresholds of the garbage collector in a server, and in a process that runs cells."""


def _for_cells(run: Callable[[list[str]], None]) -> Callable[[list[str]], None]:
    def with_garbage_collected(argv: list[str]) -> None:
        gc.set_threshold(*_OFTEN)  # so that a cell's objects are freed as early as elsewhere
        run(argv)

    return with_garbage_collected


_PROGRAMS: dict[str, Callable[[list[str]], None]] = {
    "serve": serve.main,
    "cell_runner": _for_cells(cell_runner.main),
    "answer_worker": _for_cells(answer_worker.main),
    "answer_judge": _for_cells(answer_judge.main),
}
"""The programs that a child can run; any other name in a request is refused."""

_MODE_INDEX = 6
_WORDS = 400
_TEXTS = 256
_PR_SET_CHILD_SUBREAPER = 36
_REQUEST_BYTES = 1 << 18
_MOST_DESCRIPTORS = 16
_JOIN_SECONDS = 4.0

_libc = ctypes.CDLL(None, use_errno=True)
_fork_only = ctypes.PyDLL(None, use_errno=True).fork  # keeps the interpreter's lock


def main(argv: list[str]) -> None:
    options = json.loads(argv[0])
    control = socket.socket(fileno=options["fd"])
    control.set_inheritable(False)
    own_modules.hide()
    # A library that starts the main program again needs a file that exists in a session.
    sys.modules["__main__"].__file__ = serve.__file__
    serve.copy_caches(options["caches"])
    heavy = _HEAVY if options["heavy"] else ()
    no_warmup = ""
    if options["template"]:
        # Without marimo's server, which a judge has no use for: a fork costs in proportion to the
        # memory of the process, and each check is judged in a fork of its judge.
        problem = _import_all((), heavy) or run_template(options["template"])
    else:
        problem = _import_all(tuple(_MARIMO.split()), heavy) or _fork_kernels()
        no_warmup = options.get("no_warmup", "") or warmup_run.untested()
        if not problem and not no_warmup:
            problem = _render()
            if not problem:
                _do_warmup_run(control, options)
    _close_log_files()
    cell_runner.guard()
    gc.collect()
    if hasattr(_libc, "malloc_trim"):  # glibc's: what is not mapped costs nothing at a fork
        _libc.malloc_trim(0)
    gc.freeze()
    # A server that has just started allocates much and frees little: collecting is wasted time.
    gc.set_threshold(_SELDOM)
    programs = {"answer_judge"} if options["template"] else _PROGRAMS.keys()
    _Zygote(control, programs).run(problem, no_warmup)


def _import_all(servers: tuple[str, ...], heavy: tuple[str, ...]) -> str:
    """Import marimo, a server's modules, and ours; return why this process cannot serve, or ""."""
    importlib.import_module("marimo")
    if servers:
        importlib.import_module("uvicorn")
    for name in servers:
        _import(name)
    if problem := _threads("marimo"):
        return problem
    for name in (_RUNTIME, *heavy):
        if importlib.util.find_spec(name.partition(".")[0]) is not None:
            _import(name)
        if problem := _threads(name):
            return problem
    for name in _CARRIED:
        if name in sys.modules:
            own_modules.load(f"{name}_values")
    if "matplotlib.pyplot" in sys.modules:
        # marimo selects its backend when a session imports pyplot, which has already happened.
        sys.modules["matplotlib"].use("module://marimo._output.mpl")
    return ""


def _import(name: str) -> None:
    try:
        importlib.import_module(name)
    except Exception as error:  # noqa: BLE001 - a package may raise anything; a session will too
        sys.stderr.write(f"{name} was not imported: {error!r}\n")


def _threads(culprit: str) -> str:
    """Return a problem if there is a second thread: a fork would be unsafe; else ""."""
    count = own_modules.threads()
    return "" if count == 1 else f"threads: {culprit} started {count - 1}"


def _render() -> str:
    """Fill the caches that a first output needs; return why this process cannot serve, or ""."""
    try:
        marimo = importlib.import_module("marimo")
        marimo.md("# a\n\n- *b* `c` $x$\n\n```python\nx = 1\n```")
        marimo.as_html([1, {"a": 2}])
        importlib.import_module("marimo._server.api.router").build_routes("/x")
        mimetypes.init()
        _remember()
    except Exception as error:  # noqa: BLE001 - sessions only start more slowly
        sys.stderr.write(f"the first rendering failed: {error!r}\n")
    return _threads("the first rendering")


def _do_warmup_run(control: socket.socket, options: dict[str, Any]) -> None:
    """Do a warm-up run; if it changes the process state, restart the zygote without one."""
    if not (problem := warmup_run.perform(_close_log_files)):
        return
    sys.stderr.flush()
    control.set_inheritable(True)
    *program, given = sys.orig_argv  # the room in the last one is for titles of sessions
    words = json.dumps({**options, "no_warmup": problem[-_WORDS:]}).ljust(len(given))
    os.execv(sys.executable, [*program, words])  # noqa: S606 - no shell


def _remember() -> None:
    """Cache the plugins, since the environment does not change under its sessions.

    Also cache dedented texts: marimo parses a notebook three times before its first output, and
    dedenting takes most of that time.
    """
    registry: Any = importlib.import_module("marimo._entrypoints.registry")
    registry.entry_points = functools.cache(registry.entry_points)
    registry.entry_points()
    parse: Any = importlib.import_module("marimo._ast.parse")
    if callable(getattr(parse, "fixed_dedent", None)):
        parse.fixed_dedent = functools.lru_cache(_TEXTS)(parse.fixed_dedent)
    tables: Any = importlib.import_module("marimo._utils.narwhals_utils")
    tables.can_narwhalify(object())


def _fork_kernels() -> str:
    """Let marimo fork its kernels instead of spawning them; return "" or the mismatch found."""
    try:
        runtime: Any = importlib.import_module("marimo._runtime.runtime")
        kernels: Any = importlib.import_module("marimo._session.managers.kernel")
        queues: Any = importlib.import_module("marimo._session.managers.queue")
        launch = runtime.launch_kernel
        parameters = list(inspect.signature(launch).parameters)
        known = tuple(parameters[:4]) == _LAUNCH and parameters[_MODE_INDEX] == "is_edit_mode"
        known = known and callable(kernels.get_context) and callable(queues.get_context)
    except (ImportError, AttributeError, IndexError, ValueError) as error:
        return f"internals: {error}"
    if not known or kernels.runtime is not runtime:
        return "internals: marimo starts its kernels in another way"
    fork = multiprocessing.get_context("fork")
    kernels.get_context = lambda _method=None: fork
    queues.get_context = lambda _method=None: fork

    @functools.wraps(launch)
    def launch_kernel(*args: Any, **kwargs: Any) -> None:
        if not args[_MODE_INDEX]:  # run mode: a thread of the server, not a process
            launch(*args, **kwargs)
            return
        _leave_the_server(args[: len(_LAUNCH)])
        contextvars.Context().run(launch, *args, **kwargs)

    runtime.launch_kernel = launch_kernel
    # The check would start multiprocessing's resource tracker, a separate python process.
    checks: Any = importlib.import_module("marimo._utils.platform")
    if hasattr(checks, "check_shared_memory_available"):
        checks.check_shared_memory_available = lambda: (True, "")
    return ""


def _leave_the_server(queues: tuple[Any, ...]) -> None:
    """Reset a forked kernel's inherited server state: signals, event loop, descriptors."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    asyncio._set_running_loop(None)  # there is no public function for this
    gc.freeze()  # never collect the server's objects: closing them could close our descriptors
    gc.set_threshold(*_OFTEN)
    keep = {0, 1, 2}
    for queue in queues:
        keep |= {queue._reader.fileno(), queue._writer.fileno()}
    parent = multiprocessing.process.parent_process()
    if parent is not None:
        keep.add(parent.sentinel)
    enter_sandbox.close_all_but(keep)
    enter_sandbox.draw_new_random_numbers()


def _close_log_files() -> None:
    """Close log files: one that all sessions write to would be a channel between them."""
    named = [logging.getLogger(name) for name in logging.root.manager.loggerDict]
    for logger in (logging.root, *named):
        for handler in tuple(logger.handlers):
            if isinstance(handler, logging.FileHandler):
                logger.removeHandler(handler)
                handler.close()


class _Zygote:
    """The loop that forks on request, one at a time, and reaps ended sessions at once.

    The first process of a sandbox remains in the kernel until its last process is reaped.
    """

    def __init__(self, control: socket.socket, programs: Collection[str]) -> None:
        """``programs`` are those that may be forked."""
        self._control = control
        self._programs = programs
        self._sessions: dict[int, int] = {}
        self._forgets = enter_sandbox.remembered_files()

    def run(self, problem: str, no_warmup: str) -> None:
        """Serve requests until the supervisor closes the socket."""
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        wake, woken = os.pipe()
        os.set_blocking(wake, False)
        os.set_blocking(woken, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
        words = {"threads": own_modules.threads(), "problem": problem, "no_warmup": no_warmup}
        self._say({"ready": True, **words})
        while True:
            self._collect()
            waiting: list[Any] = [self._control, wake]
            readable = select.select(waiting, [], [])[0]
            if wake in readable:
                os.read(wake, 4096)
            if self._control in readable and not self._hear():
                return

    def _say(self, words: dict[str, object], pidfd: int | None = None) -> None:
        socket.send_fds(
            self._control, [json.dumps(words).encode()], [] if pidfd is None else [pidfd]
        )

    def _collect(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            session = self._sessions.pop(pid, None)
            if session is not None:
                self._say({"ended": session, "status": os.waitstatus_to_exitcode(status)})

    def _hear(self) -> bool:
        data, descriptors, _, _ = socket.recv_fds(self._control, _REQUEST_BYTES, _MOST_DESCRIPTORS)
        if not data:
            return False
        request = json.loads(data)
        try:
            pid, problem = self._fork(request, descriptors)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        if pid is None:
            self._say({"id": request["id"], "problem": problem})
            return True
        self._sessions[pid] = request["id"]
        pidfd = os.pidfd_open(pid)  # not reaped yet, even if it has ended
        self._say({"id": request["id"], "problem": problem}, pidfd)
        os.close(pidfd)
        return True

    def _fork(self, request: dict[str, Any], descriptors: list[int]) -> tuple[int | None, str]:
        """Fork; return the session's pid (ours) once it is confined, and a problem or ""."""
        name = request["program"]
        if name not in self._programs:
            return None, "failed: a program that is not forked here"
        program = _PROGRAMS[name]
        read_end, write_end = os.pipe()
        # Not os.fork: what Python does after a fork is done by the next one, in the session itself.
        # This process has one thread, and only joins the sandbox.
        entering = _fork_only()
        enter_sandbox.check(entering, "fork")
        if entering == 0:
            os.close(read_end)
            enter_sandbox.enter(
                request, descriptors, write_end, self._control, self._forgets, program
            )
        os.close(write_end)
        try:
            said, _ = answer_judge.read_told(read_end, _JOIN_SECONDS)
        finally:
            os.close(read_end)
        words = said.decode("utf-8", "replace").splitlines()
        os.waitpid(entering, 0)
        pid = next((int(word[4:]) for word in words if word.startswith("pid ")), None)
        if "inside" in words:
            return pid, ""
        return pid, next((word for word in words if word.startswith("failed ")), "failed silently")


if __name__ == "__main__":
    main(sys.argv[1:])
