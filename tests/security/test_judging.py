"""Forgeries by processes, files and descriptors, through the real sandboxes of worker and judge.

Forgeries by values and calls are in ``tests/unit/sandbox/inside/test_forgeries.py``.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mograder.sandbox.execution.judging import JudgingResult
from mograder.sandbox.execution.report import Outcome
from mograder.sandbox.protocol import Deadlines
from tests.support.judging_rig import DEADLINES, JudgingRig, earned, notebook, of, only_warm, rig
from tests.support.processes import processes_now

__all__ = ["rig"]

pytestmark = [pytest.mark.full, pytest.mark.timeout(400)]

CANARY, SEED = "Zx9hidden7canary", "Zx9seed7canary"
SOURCE = notebook(
    "import random\nfrom mograder.runtime import check\n_marks = {'Q1': 1, 'Q2': 1, 'Q3': 1}",
    "### BEGIN SOLUTION\nx = 3\n### END SOLUTION",
    "### BEGIN SOLUTION\ndef double(v):\n    return 2 * v\n### END SOLUTION",
    "### BEGIN SOLUTION\ny = 5\n### END SOLUTION",
    f"check('Q1', [(x == 3, '{CANARY}')])",
    "check('Q2', [(double(2) == 4, 'two')])\n### BEGIN HIDDEN TESTS\n"
    f"_text = open('{CANARY}.csv').read()\ncheck('Q2: hidden', [(double(0.5) == 1, _text)])\n"
    "### END HIDDEN TESTS",
    "check('Q3', [(y == 5, 'five')])",
)
HONEST = "def double(v):\n    return 2 * v"
ALL = {"Q1": 1.0, "Q2": 1.0, "Q2: hidden": 1.0, "Q3": 1.0}


def submission(first: str = "import os", double: str = HONEST, last: str = "y = 5") -> str:
    """Return a notebook whose ``x`` is wrong, and whose other answers are right."""
    return notebook("import os, sys, time", first, "x = 4", double, last)


def gained(result: JudgingResult) -> dict[str, float]:
    """Return the weight of each label; of a result that counts."""
    return {label: got for label, (got, _) in earned(result).items()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The files beside the source."""
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / f"{CANARY}.csv").write_text(CANARY)
    return folder


PROBE = """
import pathlib, re
wanted = {
    "the canary": re.compile(b"Zx9hidden7[c]anary"),
    "a hidden label": re.compile(b"Q2: [h]idden"),
    "the seed": re.compile(b"Zx9seed7[c]anary"),
    "decoy": re.compile(b"Zx9decoy7[4]2"),
}
decoy = "Zx9decoy7" + str(6 * 7)
with open("decoy.txt", "w") as _f:
    _f.write(decoy)

def look():
    seen = set()

    def search(data, place):
        seen.update(f"{name} {place}" for name, each in wanted.items() if each.search(data))

    for process in pathlib.Path("/proc").glob("[0-9]*"):
        for name in ("cmdline", "environ", "maps", "mountinfo"):
            try:
                search((process / name).read_bytes(), f"in {name}")
            except OSError:
                continue
    with open("/proc/self/mem", "rb", 0) as memory:
        for line in pathlib.Path("/proc/self/maps").read_text().splitlines():
            low, high = (int(each, 16) for each in line.split()[0].split("-"))
            if "r" in line.split()[1] and "[v" not in line and high - low < 1 << 28:
                try:
                    memory.seek(low)
                    search(memory.read(high - low), "in memory")
                except OSError:
                    continue
    outside = ("/proc", "/sys", "/usr", "/opt/mograder/environment")
    for top, folders, names in os.walk("/"):
        folders[:] = [n for n in folders if os.path.join(top, n) not in outside]
        for name in names:
            path = os.path.join(top, name)
            search(path.encode(), "as a path")
            try:
                with open(path, "rb") as file:
                    search(file.read(1 << 20) if os.path.isfile(path) else b"", "in a file")
            except OSError:
                continue
    return seen

def descriptors():
    kinds = []
    for name in sorted(os.listdir("/proc/self/fd"), key=int):
        try:
            kinds.append(os.readlink("/proc/self/fd/" + name).partition(":")[0])
        except OSError:
            pass
    return kinds

first_look = look()
print(sorted(first_look))
print(descriptors())
"""
WALKER = (
    "def double(v):\n    found = look() - {'decoy in memory', 'decoy in a file'}\n"
    "    if found: raise RuntimeError(sorted(found))\n    return 2 * v"
)


async def test_39_nothing_hidden_is_readable_beside_answers(rig: JudgingRig, folder: Path) -> None:
    """Neither when the notebook runs, nor while the judge asks; the search finds a decoy."""
    contract = await rig.contract(SOURCE, folder)
    request = rig.request(SOURCE, submission(PROBE, WALKER), contract=contract, folder=folder)
    request = replace(request, seed=SEED)
    patient = Deadlines(call=150.0, check=150.0, submission=150.0, notebook=150.0)
    while True:
        result = await rig.runner.judge(replace(request, deadlines=patient))
        assert gained(result) == ALL | {"Q1": 0.0}, of(result, "Q2")
        looked, opened = result.worker.cells[1].output_tail.splitlines()
        assert looked == "['decoy in a file', 'decoy in memory']"
        kinds = opened.strip("[]").replace("'", "").split(", ")
        # Report, control, requests, answers and the output; the file takes the checks' lines.
        assert kinds.count("pipe") in (4, 5, 6), kinds
        others = {each for each in kinds if each != "pipe"}
        assert all(each.startswith(("/dev/null", "/tmp/", "/proc/")) for each in others), others
        if not rig.local.kept or (await rig.local.starts()).get("template"):
            break


EVERYWHERE = (
    "for _n in os.listdir('/proc/self/fd'):\n"
    "    try: int(_n) < 3 or os.write(int(_n), {})\n    except OSError: pass"
)
LINE = (
    r'{"kind": "judged", "cell": 4, "line": 33, "hidden": false, "state": "judged", "reason": "",'
    r' "labels": [], "claims": [], "calls": []}\n{"kind": "end"}\n'
)
DAEMON = (
    "import subprocess, signal\nif os.fork() == 0:\n    os.setsid()\n"
    "    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 64))\n    if os.fork() == 0:\n"
    "        os.execv('/usr/bin/sleep', ['sleep', '98765'])\n    os._exit(0)"
)
PATCHES = (
    "import builtins, json, mograder.runtime as _r, mograder.judging as _j\n"
    "builtins.all = builtins.any = lambda *_: True\njson.dumps = lambda *_a, **_k: '[]'\n"
    "_r.check = _r.write_sidecar = lambda *_a, **_k: True\n"
    "for _n in list(vars(_j)): setattr(_j, _n, lambda *_a, **_k: True)"
)
FILES = (
    "for _n in ('numpy', 'mograder', 'sitecustomize', 'usercustomize', 'conftest', 'frames',\n"
    "           'answer_judge', 'json', 'random', 'polars_values'):\n"
    "    for _d in ('.', os.environ['HOME'], '/tmp', os.environ['XDG_CACHE_HOME']):\n"
    "        os.makedirs(_d, exist_ok=True)\n"
    "        open(os.path.join(_d, _n + '.py'), 'w').write('raise SystemExit(7)')\n"
    "        open(os.path.join(_d, _n + '.pth'), 'w').write('import os; os._exit(7)')"
)
LINKS = (
    "import socket\nos.unlink('A1.py')\nos.mkfifo('A1.py')\nos.symlink('/', 'root')\n"
    "os.symlink('loop', 'loop')\nos.mkfifo('fifo')\n"
    "_s = socket.socket(socket.AF_UNIX)\n_s.bind('socket')\n"
    "open('sparse', 'wb').truncate(1 << 24)\nos.mkdir('closed')\nos.chmod('closed', 0)"
)
CACHES = (
    "for _d in ('/opt/mograder/environment/caches', '/opt/mograder', '/opt/mograder/uv-cache',\n"
    "           '/usr/lib', '/etc'):\n"
    "    try: open(_d + '/poison', 'w')\n    except OSError: pass\n"
    "    else: print('written', _d)"
)
FLOOD = (
    "import gc\n_all = gc.get_objects()\n"
    "_fd = next(o for o in _all if type(o).__name__ == 'NotebookReport')._fd\n"
    "try:\n    for _ in range(2000): os.write(_fd, b'judge {}' * 8000 + b'\\n')\n"
    "except OSError: pass"
)
ENDS_EARLY = {"Q1": 0.0, "Q2": 0.0, "Q2: hidden": 0.0, "Q3": 0.0}
UNHARMED = ALL | {"Q1": 0.0}
ONE_QUESTION = UNHARMED | {"Q2": 0.0, "Q2: hidden": 0.0}
EXPLOITS = {
    "32 never done": (submission("while True: pass"), ENDS_EARLY),
    "32 no answer": (submission(double="def double(v): time.sleep(60)"), ONE_QUESTION),
    "32 a flood in a call": (
        submission(
            double="def double(v):\n    for n in os.listdir('/proc/self/fd'):\n"
            "        try:\n            while int(n) > 2: os.write(int(n), b'x' * 65536)\n"
            "        except OSError: pass"
        ),
        ONE_QUESTION,
    ),
    "32 a flooded report": (submission(FLOOD), UNHARMED),
    "33 an answer before the question": (
        submission(EVERYWHERE.format(r"b'\x10\0\0\0' * 9")),
        ENDS_EARLY,
    ),
    "37 a patched runtime": (submission(PATCHES), UNHARMED),
    "38 the judge's lines on all descriptors": (
        submission(EVERYWHERE.format(f"{LINE!r}.encode()")),
        ENDS_EARLY,
    ),
    "38 the sidecar": (
        submission(
            "import json\n_line = {'label': 'Q1', 'status': 'success', 'details': [],\n"
            "         'earned_weight': 9, 'total_weight': 9}\n"
            "open(os.environ['MOGRADER_SIDECAR_PATH'], 'a').write(json.dumps(_line))"
        ),
        UNHARMED,
    ),
    "41 modules of many names": (submission(FILES), UNHARMED),
    "42 shared caches": (submission(CACHES), UNHARMED),
    "43 a daemon": (submission(DAEMON), UNHARMED),
    "43 threads and exit handlers": (
        submission(
            "import atexit, threading\natexit.register(lambda: time.sleep(600))\n"
            "threading.Thread(target=time.sleep, args=(600,), daemon=False).start()"
        ),
        UNHARMED,
    ),
    "44 kill everything": (submission(double="def double(v): os.kill(-1, 9)"), None),
    "44 a fork bomb": (
        submission(double="def double(v):\n    while True: os.fork()"),
        ONE_QUESTION,
    ),
    "44 memory": (
        submission(double="def double(v):\n    k = []\n    while True: k.append(b'x' * (9 << 20))"),
        None,
    ),
    "45 an exit in a cell": (submission("os._exit(0)"), ENDS_EARLY),
    "45 an exit in a call": (submission(double="def double(v): os._exit(0)"), ONE_QUESTION),
    "45 a crash": (submission("import ctypes\nctypes.string_at(0)"), ENDS_EARLY),
    "46 links and pipes": (submission(LINKS), UNHARMED),
}
"""Submissions, and what they get; None for no more than an honest one."""


@only_warm
@pytest.mark.parametrize("number", sorted({name.partition(" ")[0] for name in EXPLOITS}))
async def test_no_forgery_gains_a_mark_or_harms_another_question(
    rig: JudgingRig, folder: Path, number: str
) -> None:
    exploits = {name: each for name, each in EXPLOITS.items() if name.startswith(number)}
    contract = await rig.contract(SOURCE, folder)
    deadlines = Deadlines(call=4.0, check=8.0, submission=60.0, notebook=20.0)
    for name, (text, expected) in exploits.items():
        request = rig.request(SOURCE, text, contract=contract, folder=folder)
        result = await rig.runner.judge(replace(request, deadlines=deadlines))
        got = gained(result)
        if expected is None:
            assert all(got[label] <= UNHARMED[label] for label in UNHARMED), name
        else:
            assert got == expected, (name, result)
        assert CANARY not in repr(result.worker), name
        assert "written" not in repr(result.worker.cells), name
        assert of(result, "Q1").state in ("judged", "not run")
        arguments = [process.info["cmdline"] or () for process in processes_now("cmdline")]
        assert not any("98765" in each for each in arguments), name
    honest = await rig.runner.judge(
        rig.request(SOURCE, submission(), contract=contract, folder=folder)
    )
    assert gained(honest) == UNHARMED
    assert honest.worker.outcome is Outcome.FINISHED


CALLBACK = notebook(
    "from mograder.runtime import check",
    "### BEGIN SOLUTION\ndef apply(f, v):\n    return f(v)\n### END SOLUTION",
    f"_truth = '{CANARY}'\n_near = 7\ndef _more(v):\n    return v + len(_truth)\n"
    "check('Q1', [(apply(lambda v: v + _near, 3) == 10, 'ten'), (_more(1) > 1, 'more')])",
)
READER = """
import gc, sys
def apply(f, v):
    result = f(v)
    found = {str(each.cell_contents) for each in f.__closure__ or ()}
    found |= {str(each) for k, each in f.__globals__.items() if k.endswith(("_near", "_truth"))}
    decoy = ["Zx9decoy7" + str(6 * 7)]
    for known in gc.get_objects():
        values = known.values() if type(known) is dict else known
        if type(known) in (dict, list, tuple):
            for each in list(values):
                # Not by the whole text, which would be a constant of this function.
                if type(each) is str and each.startswith("Zx9hidden7") and len(each) < 20:
                    found.update([each] if each.endswith("canary") else [])
                elif type(each) is str and each in decoy:
                    found.add(each)
    raise RuntimeError(f"read {sorted(found)}")
"""


@only_warm
async def test_36_a_function_of_the_check_takes_along_only_what_it_names(rig: JudgingRig) -> None:
    contract = await rig.contract(CALLBACK)
    result = await rig.judge(CALLBACK, notebook(READER), contract)
    assert gained(result) == {"Q1": 0.0}
    told = repr(of(result, "Q1"))
    assert "read ['7', 'Zx9decoy742']" in told, told


PEEK = """
import glob
def look():
    found = []
    places = [PLACE, ".", "..", "../..", os.environ["HOME"], "/tmp", "/var", "/root", "/home"]
    places += glob.glob("/proc/*/cwd") + glob.glob("/proc/*/root" + PLACE)
    places += ["/proc/self/root/proc/1/cwd", "/proc/1/root"]
    for place in places:
        for top, folders, names in os.walk(place, followlinks=False):
            folders[:] = [n for n in folders if n not in ("proc", "sys", "usr", "environment")]
            for name in names:
                path = os.path.join(top, name)
                try:
                    with open(path, "rb") as file:
                        data = file.read(1 << 20) if os.path.isfile(path) else b""
                except OSError:
                    continue
                for wanted in ("Zx9hidden7", "Zx9other7"):
                    if (wanted + "canary").encode() in data + name.encode():
                        found.append(wanted + " in " + path)
    return sorted(set(found))
with open("decoy", "w") as _file:
    _file.write("Zx9other7" + "canary")
print("looked", [os.path.basename(each) for each in look()][:1])
"""
PEEKS = (
    "def double(v):\n    found = [n for n in look() if not n.endswith('/decoy')]\n"
    "    if found: raise RuntimeError(found)\n    return 2 * v"
)


async def test_40_no_file_of_the_course_or_of_another_student_is_there(
    rig: JudgingRig, folder: Path, tmp_path: Path
) -> None:
    (folder / "source.py").write_text(SOURCE)
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "source.pyc").write_text(CANARY)
    for name in ("submitted/hw1/bob.py", "autograded/hw1/bob.json"):
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_text("Zx9other7canary")
    contract = await rig.contract(SOURCE, folder)
    text = submission(f"PLACE = {str(tmp_path)!r}\n{PEEK}", PEEKS)
    text = text.replace("Zx9hidden7canary", "none")
    request = rig.request(SOURCE, text, contract=contract, folder=folder)
    patient = Deadlines(call=90.0, check=180.0, submission=300.0, notebook=100.0)
    result = await rig.runner.judge(
        replace(request, deadlines=patient)
    )  # each call reads all files
    assert gained(result) == UNHARMED, of(result, "Q2")
    assert [each.output_tail for each in result.worker.cells][1] == "looked ['decoy']\n"


LOOKS = """
open("Zx9poison.decoy", "w").close()
_found = []
for _top, _folders, _names in os.walk("/"):
    _folders[:] = [n for n in _folders if os.path.join(_top, n) not in ("/proc", "/sys", "/usr")]
    _found += [n for n in _names if n.startswith("Zx9poison")]
import importlib.util, mograder.runtime
print(set(_found), importlib.util.find_spec("conftest"), os.environ.get("Zx9poison"))
"""
WRITES = """
import glob
_places = {".", "/tmp", os.environ["HOME"], *filter(os.path.isdir, glob.glob("/opt/mograder/*"))}
_places |= {v for v in os.environ.values() if v.startswith("/") and os.path.isdir(v)}
_written = 0
for _p in sorted(_places):
    for _name in ("numpy.py", "mograder.py", "sitecustomize.py", "conftest.py", "Zx9poison.pth"):
        try:
            with open(os.path.join(_p, _name), "w") as _file:
                _written += _file.write("import os; os.environ['Zx9poison'] = '1'") > 0
        except OSError:
            pass
print("wrote", _written > 0)
"""


async def test_41_42_nothing_that_a_worker_wrote_is_there_for_the_judge_or_the_next(
    rig: JudgingRig, folder: Path
) -> None:
    """Modules beside the notebook, and in every cache that it can write."""
    contract = await rig.contract(SOURCE, folder)
    poisoned = rig.request(SOURCE, submission(WRITES), contract=contract, folder=folder)
    clean = rig.request(SOURCE, submission(LOOKS), contract=contract, folder=folder)
    for _ in range(2):
        result = await rig.runner.judge(poisoned)
        assert gained(result) == UNHARMED
        assert result.worker.cells[1].output_tail == "wrote True\n"
        found = await rig.runner.judge(clean)
        assert gained(found) == UNHARMED
        assert found.worker.cells[1].output_tail == "{'Zx9poison.decoy'} None None\n"
    assert await rig.contract(SOURCE, folder) == contract


HELD_BACK = """\
import gc
report = next(each for each in gc.get_objects() if type(each).__name__ == "NotebookReport")
say = type(report).say
type(report).say = lambda self, words: words["kind"] == "end" or say(self, words)
"""
TELLER = """\
def double(v):
    line = {"kind": "check", "index": 0, "label": f"asked {v}", "outcomes": []}
    say(report, line)
    say(report, {"kind": "end"})
    return 2 * v
"""


async def test_30_no_line_of_the_workers_report_repeats_a_question(
    rig: JudgingRig, folder: Path
) -> None:
    """The report is closed before the first question, whatever the notebook says of its end."""
    contract = await rig.contract(SOURCE, folder)
    text = submission(HELD_BACK, TELLER)
    request = rig.request(SOURCE, text, contract=contract, folder=folder)
    deadlines = replace(request.deadlines, notebook=20.0)
    result = await rig.runner.judge(replace(request, deadlines=deadlines))
    assert gained(result) == ALL | {"Q1": 0.0}
    assert [each.status for each in result.worker.cells][:2] == ["ok", "ok"]
    assert "asked" not in repr(result.worker)


EARLY = """\
import select
_frame = sys._getframe()
while "answers" not in _frame.f_locals.get("options", ()):
    _frame = _frame.f_back
_pipes = _frame.f_locals["options"]
os.write(_pipes["answers"], _frame.f_globals["rules"].pack([0, "serving"]))
_ready, _, _ = select.select([_pipes["requests"], _pipes["control"]], [], [], 5)
print("asked", [os.read(each, 4096) for each in _ready])
"""


async def test_30_a_worker_that_says_too_early_that_it_serves_is_asked_nothing(
    rig: JudgingRig, folder: Path
) -> None:
    """Nothing is asked while a cell still runs, which could print the question.

    The worker's own words come in the first check then, which they break.
    """
    contract = await rig.contract(SOURCE, folder)
    request = rig.request(SOURCE, submission(EARLY), contract=contract, folder=folder)
    result = await rig.runner.judge(request)
    assert result.worker.cells[1].output_tail == "asked []\n"
    assert gained(result) == ALL | {"Q1": 0.0}


MESSAGES = notebook(
    "from mograder.runtime import check",
    "### BEGIN SOLUTION\ndef double(v):\n    return 2 * v\n### END SOLUTION",
    "### BEGIN HIDDEN TESTS\ncheck('Q1: hidden', [(double(0.625) == 1.25, 'no')])\n"
    "### END HIDDEN TESTS",
    "check('Q2', [(double(2) == 4, f'not four but {double(2)!r}')])",
)


async def test_30_a_visible_check_is_asked_before_the_hidden_ones(rig: JudgingRig) -> None:
    """Else its message could tell what an answer has kept of a hidden test in shared memory."""
    contract = await rig.contract(MESSAGES)
    remembers = (
        "def double(v):\n    if v < 1: asked[:5] = str(v).encode()\n    return asked[:5].hex()"
    )
    text = notebook("import mmap\nasked = mmap.mmap(-1, 1000)", remembers)
    result = await rig.judge(MESSAGES, text, contract)
    assert [check.hidden for check in result.checks] == [True, False]
    message = of(result, "Q2").labels[0].conditions[0].message
    assert message == "not four but '0000000000'"


MISLED = notebook(
    "from mograder.runtime import check",
    "### BEGIN SOLUTION\ndata = b'1'\n### END SOLUTION",
    "### BEGIN SOLUTION\ny = 5\n### END SOLUTION",
    "check('Q1', [(run(data) == 1, 'not one'), (data != b'', 'empty')])",
    "check('Q2', [(y == 5, 'five')])",
    # The audit hook does not hear of code that runs as a function.
    "import marshal, types\ndef run(data):\n    if data == b'1':\n        return 1\n"
    "    return types.FunctionType(marshal.loads(data), {})()",
)
TAKES_OVER = """
import os, signal, sys, mograder.runtime
line = %r.encode()
for name in os.listdir("/proc/self/fd"):
    for opened in (int(name), "/proc/self/fd/" + name, f"/proc/{os.getppid()}/fd/{name}"):
        try:
            fd = opened if isinstance(opened, int) else os.open(opened, os.O_WRONLY)
            fd < 3 or os.write(fd, line)
        except OSError:
            pass
judge = sys.modules["__main__"]
for module in list(sys.modules.values()):
    for found in ("by_contract", "expected"):
        if getattr(module, "__name__", "") == "label_results":
            setattr(module, found, lambda results, *rest: [])
mograder.runtime.write_sidecar = lambda result: None
if os.fork() == 0:
    os.setsid()
    for number in range(1, 65):
        try: signal.signal(number, signal.SIG_IGN)
        except (OSError, ValueError): pass
    while True:
        for name in os.listdir("/proc/self/fd"):
            try: os.read(int(name), 1 << 16)
            except OSError: pass
"""


async def test_a_check_that_an_answer_has_misled_spoils_its_own_label_only(
    rig: JudgingRig,
) -> None:
    """Code of an answer that a check runs has the process of that check alone."""
    contract = await rig.contract(MISLED)
    forged = json.dumps(
        {"kind": "judged", "cell": 4, "line": 30, "hidden": False, "state": "judged"}
        | {"reason": "", "claims": [], "calls": []}
        | {"labels": [{"label": "Q2", "key": "Q2", "earned": 1.0, "total": 1.0, "passed": True}]}
    )
    program = TAKES_OVER % f'\n{forged}\n{{"kind": "end"}}\n'
    code = f"data = marshal.dumps(compile({program!r}, 'answer', 'exec'))"
    text = notebook(f"import marshal\n{code}", "y = 4")
    soon = replace(DEADLINES, check=10.0)  # what is left of the answer keeps its check to the end
    result = await rig.judge(MISLED, text, contract, soon)
    assert not result.problem, result.problem
    assert earned(result)["Q2"] == (0.0, 1.0)
    right = await rig.judge(MISLED, text.replace("y = 4", "y = 5"), contract, soon)
    assert earned(right)["Q2"] == (1.0, 1.0), of(right, "Q2")
