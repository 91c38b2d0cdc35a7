"""The rig that pretends another system: what mograder's modules find there, and what others do."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.other_system import OtherSystem

pytestmark = pytest.mark.full

REFUSED = """
import sys
def refused(call):
    try:
        call()
    except Exception as error:
        return f"{type(error).__name__} {getattr(error, 'winerror', '')}".strip()
    return "done"
"""


def printed(system: str, code: str, cwd: Path | None = None) -> list[str]:
    """Return the lines that a piece of Python prints, as a module of mograder on a system."""
    done = OtherSystem(system).python(REFUSED + code, cwd=cwd)  # type: ignore[arg-type]
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("system", "seen"),
    [
        ("windows", ["win32", "ModuleNotFoundError", "False", "False", "False", "cp1252"]),
        ("macos", ["darwin", "done", "False", "True", "True", "utf-8"]),
        ("linux", ["linux", "done", "True", "True", "True", "utf-8"]),
    ],
)
def test_mograder_sees_the_modules_of_the_system(system: str, seen: list[str]) -> None:
    code = """
import os, signal, socket
print(sys.platform)
print(refused(lambda: __import__("fcntl", globals())))
print(hasattr(os, "O_PATH"))
print(hasattr(os, "O_NOFOLLOW"))
print(hasattr(signal, "SIGKILL") and hasattr(socket, "AF_UNIX"))
print(sys.stdout.encoding)
"""
    assert printed(system, code) == seen


def test_other_packages_see_linux() -> None:
    code = """
__name__ = "anything"
import os, sys, fcntl
print(sys.platform, os.O_PATH > 0, os.path.exists("/proc/self"))
"""
    assert printed("windows", code) == ["linux True True"]


@pytest.mark.parametrize("system", ["windows", "macos"])
def test_it_has_no_proc_and_one_name_in_all_cases(system: str, tmp_path: Path) -> None:
    (tmp_path / "Lab").mkdir()
    (tmp_path / "Lab" / "Notes.txt").write_text("here\n")
    code = """
from pathlib import Path
print(Path("/proc/self").exists())
print(refused(lambda: open("/proc/self/stat")))
print(Path("lab/notes.TXT").read_text())
"""
    assert printed(system, code, tmp_path)[:3] == ["False", "FileNotFoundError", "here"]


def test_windows_does_not_replace_or_remove_what_is_open(tmp_path: Path) -> None:
    for name in ("held", "new", "read-only"):
        (tmp_path / name).write_text(name)
    (tmp_path / "read-only").chmod(0o444)
    code = """
import os, shutil
from pathlib import Path
with open("held"):
    print(refused(lambda: os.replace("new", "held")))
    print(refused(lambda: os.replace("held", "other")))
    print(refused(lambda: Path("held").unlink()))
    os.mkdir("folder"); file = open("folder/inside", "w")
    print(refused(lambda: os.rename("folder", "moved")))
    print(refused(lambda: shutil.rmtree("folder")))
    file.close()
print(refused(lambda: os.rename("new", "held")))
print(refused(lambda: os.unlink("read-only")))
print(refused(lambda: os.replace("new", "read-only")))
print(refused(lambda: os.replace("new", "held")))
print(refused(lambda: shutil.rmtree("folder")))
"""
    assert printed("windows", code, tmp_path) == [
        *("PermissionError 5", "PermissionError 32", "PermissionError 32"),
        *("PermissionError 32", "PermissionError 32"),
        *("FileExistsError 183", "PermissionError 5", "PermissionError 5", "done", "done"),
    ]


def test_windows_refuses_names_directories_and_descriptors(tmp_path: Path) -> None:
    code = """
import os
from pathlib import Path
for name in ("a:b", "aux.py", "dot.", "what?"):
    print(refused(lambda: Path(name).write_text("")))
print(refused(lambda: os.open(".", os.O_RDONLY)))
print(refused(lambda: os.stat("x", dir_fd=3)))
print(refused(lambda: os.listdir(3)))
print(refused(lambda: os.symlink("x", "y")))
"""
    assert printed("windows", code, tmp_path) == [
        *["OSError 123"] * 4,
        *("PermissionError 5", "NotImplementedError", "TypeError", "OSError 1314"),
    ]


def test_windows_writes_text_with_carriage_returns_and_the_code_page(tmp_path: Path) -> None:
    code = """
import os
from pathlib import Path
Path("text").write_text("é\\n")
Path("lines").write_text("é\\n", encoding="utf-8", newline="\\n")
fd = os.open("low", os.O_WRONLY | os.O_CREAT); os.write(fd, b"a\\n"); os.close(fd)
fd = os.open("bin", os.O_WRONLY | os.O_CREAT | os.O_BINARY); os.write(fd, b"a\\n"); os.close(fd)
fd = os.open("bin", os.O_RDONLY); print(refused(lambda: os.fsync(fd)))
"""
    assert printed("windows", code, tmp_path) == ["OSError 6"]
    written = {each.name: each.read_bytes() for each in tmp_path.iterdir()}
    assert written == {
        "text": b"\xe9\r\n",
        "lines": b"\xc3\xa9\n",
        "low": b"a\r\n",
        "bin": b"a\n",
    }


def test_windows_processes_take_no_arguments_of_posix() -> None:
    code = """
import asyncio, subprocess
print(refused(lambda: subprocess.Popen(["true"], start_new_session=True)))
print(subprocess.run(["true"], creationflags=subprocess.CREATE_NO_WINDOW).returncode)
async def handler():
    asyncio.get_running_loop().add_signal_handler(2, print)
print(refused(lambda: asyncio.run(handler())))
"""
    assert printed("windows", code) == ["ValueError", "0", "NotImplementedError"]


def test_a_command_runs_there() -> None:
    done = OtherSystem("windows").mograder("--version")
    assert (done.returncode, done.stdout[:8]) == (0, "mograder"), done.stderr


@pytest.mark.parametrize("system", ["windows", "macos", "linux"])
def test_our_own_word_for_the_system_is_the_pretended_one(system: str) -> None:
    code = "from mograder.core.operating_system import SYSTEM; print(SYSTEM)"
    assert printed(system, code) == [system]
