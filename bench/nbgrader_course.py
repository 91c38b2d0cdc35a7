"""nbgrader beside us: a throw-away environment, a course, and the seconds that grading takes.

One process of nbgrader's grades one student after another by its own API, so that starting Python
and importing nbgrader are not counted; the start of a kernel for each notebook is nbgrader's own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from uv import find_uv_bin

from bench.graded_assignment import NAME, nbgrader_source, nbgrader_submission
from tests.support.hub import outside

PACKAGES = ("nbgrader==0.9.5", "ipykernel==7.4.0")
"""The release that the numbers of performance.md were measured with."""

_PROGRAM = """\
import json, logging, sys, time
from nbgrader.apps import NbGraderAPI
from traitlets.config import Config

assignment, students = sys.argv[1], sys.argv[2:]
config = Config()
config.CourseDirectory.root = "."
config.CourseDirectory.course_id = "bench"
api = NbGraderAPI(config=config)
made = api.generate_assignment(assignment, force=True)
assert made["success"], made
seconds = []
for student in students:
    started = time.perf_counter()
    done = api.autograde(assignment, student, force=True)
    seconds.append(time.perf_counter() - started)
    assert done["success"], done
scores = [
    api.gradebook.find_submission(assignment, student).score for student in students
]
print(json.dumps({"seconds": seconds, "scores": scores}))
"""
_SECONDS = 900


class NbgraderCourse:
    """A course of nbgrader's with one assignment, in its own environment."""

    def __init__(self, directory: Path, uv_cache: Path) -> None:
        self._course = directory / "course"
        self._python = directory / "environment" / "bin" / "python"
        self._home = directory / "home"
        self._cache = uv_cache

    def make(self) -> None:
        """Install nbgrader and write the assignment."""
        self._home.mkdir(parents=True)
        environment = self._python.parent.parent
        self._run([find_uv_bin(), "venv", "--python", sys.executable, str(environment)])
        install = [find_uv_bin(), "pip", "install", "--python", str(self._python), *PACKAGES]
        self._run(install)
        _write(self._course / "source" / NAME / f"{NAME}.ipynb", nbgrader_source())

    def grade(self, count: int) -> list[float]:
        """Grade so many students, one after another; return the seconds for each."""
        students = [f"student{number}" for number in range(count)]
        for number, student in enumerate(students):
            path = self._course / "submitted" / student / NAME / f"{NAME}.ipynb"
            _write(path, nbgrader_submission(number))
        program = [str(self._python), "-W", "ignore", "-c", _PROGRAM, NAME, *students]
        told = json.loads(self._run(program).splitlines()[-1])
        if set(told["scores"]) != {30.0}:
            raise AssertionError(f"nbgrader gave {told['scores']}, not full marks")
        return [float(each) for each in told["seconds"]]

    def _run(self, command: list[str]) -> str:
        self._course.mkdir(parents=True, exist_ok=True)
        env = {**outside(), "HOME": str(self._home), "UV_CACHE_DIR": str(self._cache)}
        env["PATH"] = f"{self._python.parent}:{env['PATH']}"  # nbgrader calls `alembic`
        done = subprocess.run(
            command,
            cwd=self._course,
            env=env,
            check=False,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=_SECONDS,
        )
        if done.returncode != 0:
            raise AssertionError(f"{command[0]} failed:\n{done.stdout}{done.stderr}")
        return done.stdout


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
