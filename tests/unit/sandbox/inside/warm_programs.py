"""Forks the worker and the judge from one process that has imported marimo, to save their starts.

``python warm_programs.py SOCKET`` reads from a descriptor: JSON ``{"program", "options",
"arguments", "cwd"}`` with the program's four descriptors; it answers with the child's id.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import runpy
import signal
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

ENDS = ("report", "control", "requests", "answers")
_IMPORTED = ("marimo", "marimo._ast.load", "marimo._ast.app", "marimo._runtime.dataflow")


def main() -> None:
    """Fork a program for each message."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for name in (*_IMPORTED, "marimo._runtime.context.script_context", "numpy", "mograder.runtime"):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    with socket.socket(fileno=int(sys.argv[1])) as asked:
        while True:
            data, descriptors, _, _ = socket.recv_fds(asked, 1 << 20, len(ENDS))
            if not data:
                return
            child = os.fork()
            if child == 0:
                asked.detach()
                _run(json.loads(data), descriptors)
            for each in descriptors:
                os.close(each)
            asked.send(str(child).encode())


def _run(asked: dict[str, Any], descriptors: list[int]) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.close(int(sys.argv[1]))
    os.chdir(asked["cwd"])
    tempfile.tempdir = asked["cwd"]
    options = json.dumps(asked["options"] | dict(zip(ENDS, descriptors, strict=True)))
    program = asked["program"]
    sys.argv = [*program, options, *asked["arguments"]]
    sys.path[0] = str(Path(program[0]).parent)
    try:
        runpy.run_path(program[0], run_name="__main__")
    finally:
        os._exit(1)


if __name__ == "__main__":
    main()
