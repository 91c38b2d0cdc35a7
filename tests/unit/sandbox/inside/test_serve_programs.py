"""A program executed by a zygote's child runs as if it had been started directly, with limits."""

from __future__ import annotations

import json
import os
import resource
import sys
from pathlib import Path

import pytest

from mograder.sandbox.inside import serve
from tests.support.programs import printed_by

pytestmark = pytest.mark.full

CHILD = """
import gc, sys
sys.path.insert(0, sys.argv[1])
import zygote
del sys.path[0]
gc.set_threshold(zygote._SELDOM)  # as in every zygote
zygote._PROGRAMS["cell_runner"](sys.argv[2:])
"""
AGAIN = """
import os, socket, sys
sys.path.insert(0, sys.argv[1])
import zygote

def perform(tidy):
    sys.argv = ["marimo"]
    return "failed " * 90

def execv(program, words):
    print(len(words[-1]), words[:-1] == sys.orig_argv[:-1], "failed" in words[-1])

zygote.warmup_run.perform, os.execv = perform, execv
zygote._do_warmup_run(socket.socket(), {"fd": 0})
"""
FRESH = "import gc; print(gc.get_threshold())"
NOTEBOOK = f"""import marimo

app = marimo.App()


@app.cell
def _():
    {FRESH}
    return
"""


def test_garbage_of_cells_is_collected_as_often_as_anywhere_else(tmp_path: Path) -> None:
    (tmp_path / "A1.py").write_text(NOTEBOOK)
    (tmp_path / "caches").mkdir()
    report, told = os.pipe()
    options = {"fd": told, "rlimits": {}, "caches": str(tmp_path / "caches"), "outputs": False}
    printed_by(
        *(sys.executable, "-c", CHILD, Path(serve.__file__).parent),
        *(json.dumps(options), "--", "A1.py"),
        cwd=tmp_path,
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), "TMPDIR": str(tmp_path)},
        pass_fds=[told],
    )
    os.close(told)
    with os.fdopen(report) as lines:
        cells = [each for line in lines if (each := json.loads(line))["kind"] == "cell"]
    assert [each["output_tail"] for each in cells] == [printed_by(sys.executable, "-c", FRESH)]


def test_a_zygote_that_starts_again_has_the_same_room_for_titles() -> None:
    room = "{}".ljust(2048)
    said = printed_by(sys.executable, "-c", AGAIN, Path(serve.__file__).parent, room)
    assert said == "2048 True True\n"


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
sys.path.insert(0, sys.argv[1])
import serve
serve.set_limits({{"RLIMIT_NOFILE": {wanted}}})
print(resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def _limited(wanted: int) -> str:
    code = LIMITED.format(wanted=wanted)
    return printed_by(sys.executable, "-c", code, Path(serve.__file__).parent).strip()


def test_a_limit_beyond_the_machines_is_cut_to_that() -> None:
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[1] > 64
    assert _limited(1 << 20) == "(64, 64)"
    assert _limited(32) == "(32, 32)"
