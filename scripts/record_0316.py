"""Record the requests of mograder 0.3.16 to an assignment server, and its own server's answers.

    .venv/bin/python -m scripts.record_0316 [--ours]

It installs that release from the package index into an environment of its own below ``.tools/``,
runs each of its `https` commands through a recording proxy, and sends its server requests that its
commands never send. The recordings are in ``tests/data/https/``; tests replay them. With ``--ours``
its commands use our own server instead; the differences from the recordings are printed, and
nothing is written.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from scripts.recording_proxy import Proxy, exchange, recording
from scripts.recording_server import ENROLLMENT_CODE, SECRET, Serving, make_course, token_of

REPOSITORY = Path(__file__).parent.parent
RELEASE = "0.3.16"
TARGET = REPOSITORY / "tests" / "data" / "https"
_PLACE = REPOSITORY / ".tools" / f"mograder-{RELEASE}"
_SECONDS = 120
_ALICE, _BOB, _TEACHER = (token_of(name) for name in ("alice", "bob", "__instructor__"))


def main(arguments: Sequence[str]) -> int:
    """Make the recordings, or with ``--ours`` compare our server with them."""
    theirs = install()
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        course = make_course(scratch / "course")
        ours = "--ours" in arguments
        program = Path(sys.executable).with_name("mograder") if ours else theirs
        server = stack.enter_context(Serving(program, course, scratch / "home"))
        proxy = stack.enter_context(recording(server.port))
        commands = record_commands(theirs, proxy, scratch)
        if ours:
            return compare(commands)
        answers = record_answers(proxy)
    write("commands.json", {"release": RELEASE, "secret": SECRET, "commands": commands})
    write("answers.json", {"release": RELEASE, "secret": SECRET, "answers": answers})
    return 0


def install() -> Path:
    """Return the old release's command, installed from the index by its exact version."""
    command = _PLACE / "bin" / "mograder"
    if not command.exists():
        uv = Path(sys.executable).with_name("uv")
        python = sys.executable
        subprocess.run([uv, "venv", "--python", python, _PLACE], check=True)
        wanted = f"mograder=={RELEASE}"
        target = _PLACE / "bin" / "python"
        subprocess.run([uv, "pip", "install", "--python", target, wanted], check=True)
    told = subprocess.run([command, "--version"], check=True, capture_output=True, text=True)
    if RELEASE not in told.stdout:
        raise SystemExit(f"{command} is not {RELEASE}: {told.stdout}")
    return command


def record_commands(program: Path, proxy: Proxy, scratch: Path) -> list[dict[str, object]]:
    """Run each command as students and instructors do, in the order in which a course has them."""
    desk = scratch / "desk"
    desk.mkdir()
    (desk / "grades.csv").write_text("username,grade,feedback\nalice,8.5,Good.\nbob,4,Hm\n")
    (desk / "feedback").mkdir()
    (desk / "feedback" / "alice.html").write_text("<p>Good.</p>\n")
    url = ["--url", proxy.url]
    as_alice, as_teacher = [*url, "--token", _ALICE], [*url, "--token", _TEACHER]
    script = [
        ["login", *as_alice],
        ["fetch", "--list", *as_alice],
        ["fetch", "hw1", "-o", "hw1", *as_alice],
        ["fetch", "2", "-o", "hw2", *as_alice],
        ["feedback", "hw1", *as_alice],
        ["submit", "hw1", "hw1/homework.py", "--dry-run", *as_alice],
        ["submit", "hw1", "hw1/homework.py", *as_alice],
        ["submit", "hw1", "hw1/homework.py", *url, "--token", _BOB],
        ["feedback", "hw1", *as_alice],
        ["fetch-submissions", "hw1", *as_teacher],
        ["fetch-submissions", "hw1", "-o", "again", "--force", *as_teacher],
        ["upload-grades", "hw1", "--grades-csv", "grades.csv", *as_teacher],
        ["upload-feedback", "hw1", "--feedback-dir", "feedback", *as_teacher],
        ["feedback", "hw1", *as_alice],
    ]
    return [_run(program, words, desk, proxy, scratch) for words in script]


def _run(
    program: Path, words: Sequence[str], desk: Path, proxy: Proxy, scratch: Path
) -> dict[str, object]:
    home = scratch / "home"
    home.mkdir(exist_ok=True)
    environment = {
        "HOME": str(home),
        "PATH": os.environ["PATH"],
        "MOGRADER_SKIP_UPDATE_CHECK": "1",
        "COLUMNS": "200",
        "TERM": "dumb",
    }
    before = set(_files(desk))
    proxy.taken.clear()
    done = subprocess.run(
        [program, "https", *words],
        cwd=desk,
        env=environment,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )

    def plain(text: str) -> str:
        return text.replace(proxy.url, "URL").replace(str(scratch), "TMP")

    return {
        "command": [plain(word) for word in words],
        "exit": done.returncode,
        "stdout": plain(done.stdout),
        "stderr": plain(done.stderr),
        "new_files": sorted(set(_files(desk)) - before),
        "conversation": [each.as_json() for each in proxy.taken],
    }


def record_answers(proxy: Proxy) -> list[dict[str, object]]:
    """Send the server the requests that only our commands or no commands send."""
    proxy.taken.clear()
    for method, path, token, body in _questions():
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        if body is not None:
            headers["Content-Type"] = "application/json"
        exchange(proxy.port, method, path, headers, body)
    return [each.as_json() for each in proxy.taken]


def _questions() -> list[tuple[str, str, str, bytes | None]]:
    member = {"user": "carol", "enrollment_code": ENROLLMENT_CODE}

    def joining(**other: str) -> bytes:
        return json.dumps(member | other).encode()

    return [
        ("GET", "/", "", None),
        ("GET", "/me", _ALICE, None),
        ("GET", "/nothing/here", _ALICE, None),
        ("OPTIONS", "/assignments", "", None),
        ("GET", "/assignments", "", None),
        ("GET", "/assignments", "alice:00", None),
        ("GET", "/assignments?detail=1", _ALICE, None),
        ("GET", "/assignments/", _ALICE, None),
        ("GET", "/assignments/hw1/files/none.py", _ALICE, None),
        ("GET", "/assignments/hw1/status", _ALICE, None),
        ("GET", "/assignments/hw1/status?user=alice&detail=1", _ALICE, None),
        ("GET", "/assignments/hw2/status?user=alice&detail=1", _ALICE, None),
        ("GET", "/assignments/hw1/status?user=bob", _ALICE, None),
        ("GET", "/assignments/hw1/submissions", _ALICE, None),
        ("GET", "/assignments/hw1/submissions?detail=1", _TEACHER, None),
        ("GET", "/assignments/hw1/feedback/alice", _ALICE, None),
        ("GET", "/assignments/hw1/feedback/bob", _BOB, None),
        ("GET", "/assignments/hw1/feedback/bob", _ALICE, None),
        ("POST", "/assignments/hw1/submit", _ALICE, b"# x\n"),
        ("POST", "/assignments/hw1/submit?user=bob", _ALICE, b"# x\n"),
        ("POST", "/assignments/hw1/grades", _TEACHER, b"not json"),
        ("POST", "/assignments/hw1/grades", _ALICE, b"{}"),
        ("POST", "/assignments/hw1/feedback", _TEACHER, b"{}"),
        ("POST", "/register", "", joining()),
        ("POST", "/register", "", joining(retry_key="0123456789abcdef")),
        ("POST", "/register", "", joining(enrollment_code="wrong")),
        ("POST", "/register", "", joining(user="a b")),
        ("POST", "/register", "", joining(user="__instructor__")),
        ("POST", "/register", "", b"not json"),
        ("POST", "/receipts/verify", "", b"{}"),
    ]


def compare(commands: Sequence[Mapping[str, object]]) -> int:
    """Print how our server's conversations differ from the recorded ones; return 0 if none does."""
    recorded = json.loads((TARGET / "commands.json").read_text("utf-8"))["commands"]
    differences = 0
    for ours, theirs in zip(commands, recorded, strict=True):
        for key in ("exit", "stdout", "new_files"):
            if ours[key] != theirs[key]:
                differences += 1
                print(f"{' '.join(theirs['command'])}: {key}")
                print(f"  recorded {theirs[key]!r}\n  ours     {ours[key]!r}")
    print(f"{len(commands)} commands, {differences} differences")
    return 1 if differences else 0


def write(name: str, what: Mapping[str, object]) -> None:
    """Write one file of recordings."""
    TARGET.mkdir(parents=True, exist_ok=True)
    text = json.dumps(what, indent=1, ensure_ascii=False, sort_keys=True)
    (TARGET / name).write_text(f"{text}\n", "utf-8")


def _files(directory: Path) -> list[str]:
    return [
        path.relative_to(directory).as_posix()
        for path in directory.rglob("*")
        if path.is_file() or path.is_symlink()
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
