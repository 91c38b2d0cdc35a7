"""The judge with an audit hook: it notes each event by which code of a submission could run."""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path

_EVENTS = ("pickle.find_class", "code.__new__", "function.__new__", "os.", "subprocess.", "socket.")
_HARMLESS = (
    "os.listdir",
    "os.scandir",
    "os.putenv",
    "os.unsetenv",
    "os.mkdir",
    "os.walk",
    "os.remove",
)
_FILE = os.open("events", os.O_WRONLY | os.O_CREAT | os.O_APPEND)


def _note(event: str, arguments: tuple[object, ...]) -> None:
    if event in ("compile", "exec"):
        code = arguments[0]
        names = getattr(code, "co_names", ())
        text = code if isinstance(code, str | bytes) else ""
        if "noted" in names or "noted()" in str(text):
            os.write(_FILE, f"{event} of the submission\n".encode())
    elif event.startswith(_EVENTS) and not event.startswith(_HARMLESS):
        os.write(_FILE, f"{event}\n".encode())


if __name__ == "__main__":
    program = Path(sys.argv.pop(1))
    sys.argv[0] = str(program)
    sys.path.append(str(program.parent))
    sys.addaudithook(_note)
    runpy.run_path(str(program), run_name="__main__")
