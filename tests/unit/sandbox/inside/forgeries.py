"""Hostile notebooks, each an attempt to pass checks without an answer, and their source.

``noted()`` in a notebook notes the process in which its code runs, which must never be the judge.
"""

from __future__ import annotations

from tests.unit.sandbox.inside.judging import notebook

_GIVEN = "import numpy as np\nfrom mograder.runtime import check\n_marks = {'Q1': 1}"
SOURCE = notebook(
    _GIVEN,
    """
### BEGIN SOLUTION
def square(x):
    return x * x
def order(v):
    return sorted(v)
def unit(v):
    return v / np.linalg.norm(v)
def gen(n):
    return (i * i for i in range(n))
def root(x):
    if x < 0:
        raise ValueError("negative")
    return x ** 0.5
def same(v):
    return v
def nap(seconds):
    import time
    time.sleep(seconds)
class Rect:
    def __init__(self, w, h):
        self.w, self.h = w, h
    def area(self):
        return self.w * self.h
    def __eq__(self, other):
        return (self.w, self.h) == (other.w, other.h)
class Node:
    def itself(self):
        return self
total = 5050
text = "hello"
arr = np.arange(5.0)
items = [0, 1, 2, 3]
table = {"a": 1}
flat = np.full(4, 2.5)
named = "yes"
### END SOLUTION
""",
    "check('Q1', [(square(3) == 9, '3'), (square(-2) == 4, '-2')])",
    "### BEGIN HIDDEN TESTS\ncheck('Q1: hidden', [(square(12) == 144, '12'),\n"
    "    (all(map(lambda n: square(n) == n * n, [5, 7, 11])), 'map')])\n### END HIDDEN TESTS",
    "_data = [3, 1, 2]\n_r = order(_data)\ncheck('Q2', [(_r == sorted(_data), 'sorted')])",
    "check('Q3', [(total == 5050, 'total'), (total >= 5050 and total <= 5050, 'bounds')])",
    "check('Q4', [(np.allclose(arr, [0, 1, 2, 3, 4]) and len(arr) == 5, 'arr')])",
    "_e = np.abs(unit(np.array([3.0, 4.0])) - np.array([0.6, 0.8])).max()\n"
    "check('Q5', [(_e <= 1e-9, 'unit')])",
    "check('Q6', [(all(map(lambda n: square(n) == n * n, [5, 7])), 'map')])",
    "check('Q7', [(v == i, f'item {i}') for i, v in enumerate(items)])",
    "for _n in items:\n    check(f'Q8: {_n}', [(square(_n) == _n * _n, 'dynamic')])",
    "check('Q9', [(Rect(2, 3).area() == 6, 'area')])",
    "check('Q10', [(Rect(1, 2) == Rect(1, 2) and not Rect(1, 2) == Rect(2, 1), 'equal')])",
    "check('Q11', [(sum(gen(3)) == 5 and next(gen(1)) == 0, 'items')])",
    "def _raises():\n    try:\n        root(-1)\n    except ValueError:\n        return True\n"
    "    return False\ncheck('Q12', [(lambda: _raises() and root(4) == 2, 'error')])",
    "check('Q13', [(text == 'hello', 'equal'), (text.upper().startswith('HELL'), 'upper')])",
    "check('Q14', [(table['a'] == 1, 'key'), (dict(table) == {'a': 1}, 'whole')])",
    "_n = Node()\ncheck('Q16', [(_n.itself() == _n, 'the same object')])",
    "check('Q15', [(lambda: abs(square(3) - 9) < 1e-3, 'near'),\n"
    "    (lambda: float(total) == 5050, 'f')])",
    "check('Q17', [(flat.shape == (4,) and np.allclose(flat, 2.5), 'flat')])",
    "check('Q18', [(named is not ... and named, 'define it')])",
    "_list = [1]\ncheck('Q19', [(same(_list) is _list and same(2) == 2, 'the same')])",
    "import time as _time\n_start = _time.perf_counter()\nnap(0.2)\n"
    "check('Q20', [(_time.perf_counter() - _start >= 0.2, 'waited')])",
) + (
    "\n\n@app.cell\ndef test_Q1_square(square):\n    assert square(9) == 81\n"
    "    assert isinstance(square(2), int)\n    return\n"
)

EMPTY = """
def square(x): pass
def order(v): pass
def unit(v): pass
def gen(n): pass
def root(x): pass
def same(v): pass
def nap(seconds): pass
class Rect: pass
class Node: pass
total = ...
text = ...
arr = ...
items = ...
table = ...
flat = ...
named = ...
"""
TRACE = """
import numpy as np
import os, sys, time, json, threading, builtins
canary = "@CANARY@"
def noted(*args):
    with open(canary, "a") as file:
        file.write(f"{os.getpid()}\\n")
    return True
"""

_ALWAYS = "\n    ".join(
    f"def __{name}__(self, *a): noted(); return {result}"
    for name, result in {
        **dict.fromkeys(("eq", "ne", "lt", "le", "gt", "ge", "bool", "contains"), "True"),
        **dict.fromkeys(("sub", "rsub", "add", "mul", "abs", "getitem", "call", "truediv"), "self"),
        **dict.fromkeys(("radd", "rtruediv", "pow", "neg"), "self"),
        "len": "5",
        "float": "5050.0",
        "int": "5050",
        "index": "5050",
        "hash": "1",
        "iter": "iter([1])",
        "array": "np.arange(5.0)",
        "str": "'hello'",
        "repr": "'hello'",
        "reduce": "(noted, ())",
        "reduce_ex": "(noted, ())",
        "getattr": "self",
    }.items()
)
_EVIL = f"class Evil:\n    {_ALWAYS}\n"
_EVERYWHERE = """
def square(x): return Evil()
def order(v): return Evil()
def unit(v): return Evil()
def gen(n): return Evil()
def root(x): return Evil()
def same(v): return Evil()
Rect = Evil
total = text = arr = items = table = flat = named = Evil()
"""
_ALL_EQUAL = """
    def __eq__(self, other): noted(); return True
    def __ne__(self, other): noted(); return False
    def __lt__(self, other): noted(); return True
    def __le__(self, other): noted(); return True
    def __ge__(self, other): noted(); return True
    def __sub__(self, other): noted(); return self
    def __abs__(self): noted(); return self
    def __bool__(self): noted(); return True
    def __hash__(self): noted(); return 1
"""
_SUBCLASSES = f"""
class Int(int):{_ALL_EQUAL}
class Float(float):{_ALL_EQUAL}
class Str(str):{_ALL_EQUAL}
    def upper(self): noted(); return 'HELLO'
class List(list):{_ALL_EQUAL}
class Dict(dict):{_ALL_EQUAL}
    def __getitem__(self, key): noted(); return 1
def square(x): return Int(1)
def order(v): return List()
def unit(v): return Float(0)
def gen(n): return List([5])
total, text, items, table = Int(1), Str("x"), List([Int(7)] * 4), Dict()
arr = List([1] * 5)
"""
_ARRAYS = """
class Array(np.ndarray):
    def __array_ufunc__(self, *a, **k): noted(); return True
    def __array_function__(self, *a, **k): noted(); return True
    def max(self, *a): noted(); return 0.0
    def all(self, *a): noted(); return True
    def __eq__(self, other): noted(); return True
    def __le__(self, other): noted(); return True
    def __ge__(self, other): noted(); return True
    def __sub__(self, other): noted(); return self
    def __len__(self): noted(); return 5
_a = np.full(3, 77.0).view(Array)
def square(x): return _a
def order(v): return _a
def unit(v): return _a
def gen(n): return _a
def root(x): return _a
total = arr = _a
items = [_a] * 4
"""


def _worker(code: str) -> str:
    """Return code that changes the worker's own modules."""
    found = "import gc\n_all = [each for each in gc.get_objects() if type(each) is type(sys)]\n"
    for name, module in (("_S", "answer_server"), ("_F", "codec_rules")):
        found += f"{name} = next(each for each in _all if each.__name__ == '{module}')\n"
    return found + code


def _answers(head: str, buffers: str = "[]") -> str:
    """Return code that answers every request with a frame; ``n`` is the request's number."""
    return _worker(
        "def _answer(self, n, operation, *a):\n    noted()\n"
        f"    self._writer.write({head}, {buffers}, seconds=9)\n"
        "_S.AnswerServer._answer = _answer"
    )


def _raw(code: str) -> str:
    """Return code that writes bytes in place of an answer to a call; ``out`` is the pipe."""
    return _worker(
        "_old = _S.AnswerServer._answer\n"
        "def _answer(self, n, operation, *a):\n"
        "    if operation == 'pull': return _old(self, n, operation, *a)\n"
        "    noted()\n    out = self._writer._descriptor\n    os.set_blocking(out, True)\n"
        f"    {code}\n"
        "_S.AnswerServer._answer = _answer"
    )


def _raises(body: str) -> str:
    names = ("square", "order", "unit", "gen", "root")
    return body + "".join(f"\ndef {name}(*a): raise _error()" for name in names)


def _pickled(tree: str) -> str:
    """Return code that answers with a pickle, which would note the process that loads it."""
    pickle = "f\"cposix\\nsystem\\n(S'echo $PPID >> {canary}'\\ntR.\".encode()"
    return _answers(f"[n, 'value', {tree}, '']", f"[{pickle}]")


_HANDLE = "['h', 0, 'instance', 'int', []]"
_COLLIDING = "{(2**61 - 1) * k: 1 for k in range(3000)}"

EXPLOITS: dict[str, str] = {
    "1 object that equals everything": _EVIL + _EVERYWHERE,
    "2 subclasses of builtins": _SUBCLASSES,
    "3 array subclass": _ARRAYS,
    "4 spoofed class": _EVIL.replace("class Evil:", "class Evil:\n    __class__ = int")
    + _EVERYWHERE,
    "5 elements": _EVIL
    + "items = [Evil()] * 4\narr = np.array([Evil()] * 5, object)\ntable = {'a': Evil()}\n"
    "def order(v): return [Evil()] * 3\ndef unit(v): return np.array([Evil()] * 2, object)\n"
    "def gen(n): return [Evil()]\ndef square(x): return (Evil(),)",
    "6 NaN": "def unit(v): return np.array([np.nan, np.nan])\ntotal = float('nan')\n"
    "def square(x): return float('nan')",
    "7 empty values": "items = []\narr = np.array([])\ntable = {}\ntext = ''\n"
    "def order(v): return []\ndef unit(v): return np.array([])\ndef gen(n): return []",
    "8 a number for an array": "flat = 2.5",
    "8 one element for an array": "flat = np.full(1, 2.5)",
    "8 a column for an array": "flat = np.full((4, 1), 2.5)",
    "8 a table for an array": "flat = np.full((4, 4), 2.5)",
    "9 a truthy object": _EVIL + "named = Evil()",
    "9 a truthy function": "def named(): noted()",
    "10 reduce": "class P:\n    def __reduce__(self): noted(); return noted, ()\n"
    "    def __reduce_ex__(self, n): noted(); return noted, ()\n"
    "    def __getstate__(self): noted(); return {}\n"
    "items = [P()]\ntotal = P()\ndef square(x): return P()\ndef order(v): return [P()]",
    "11 pickle in an array of objects": _pickled("['np.a', '|O', [1]]"),
    "11 pickle for a loader": _pickled("['np.load']"),
    "12 texts beyond their buffer": _answers(
        "[n, 'value', ['pd.t', 'python', True], '']", "[b'\\xff\\xff\\xff\\x7f', b'hello']"
    ),
    "12 texts before their buffer": _answers(
        "[n, 'value', ['pd.t', 'python', True], '']", "[b'\\x00\\x00\\x00\\x80', b'hello']"
    ),
    "12 codes beyond the categories": _answers(
        "[n, 'value', ['pd.c', ['np.a', '<i8', [1]], ['pd.r', 0, 1, 1, None], True], '']",
        "[b'\\xff' * 7 + b'\\x7f']",
    ),
    "13 array of too many bytes": _answers("[n, 'value', ['np.a', '<f8', [2**40]], '']", "[b'x']"),
    "13 depth": "items = []\nfor _ in range(1000): items = [items]\ntotal = items",
    "13 huge number": "total = 10 ** 200000\ndef square(x): return total",
    "13 deep tree": _answers("[n, 'value', eval('[\"l\", [' * 80 + ']]' * 80), '']"),
    "13 NaN as a key": "table = {float('nan'): 1, 'a': 1}",
    "14 a header that is code": _answers(
        "[n, 'value', ['np.a', 'noted()', [1]], '']",
        "[b'\\x93NUMPY\\x01\\x00v\\x00' + b'noted()'.ljust(118)]",
    ),
    "14 a header as an array's type": _answers(
        "[n, 'value', ['np.a', '{\"descr\": noted(), \"shape\": ()}', [1]], '']", "[b'x' * 8]"
    ),
    "15 text that is code": "text = total = 'noted() or 5050'\nitems = ['noted()'] * 4\n"
    "arr = np.array(['noted()'] * 5)\ntable = {'noted()': 'noted()'}\n"
    'def square(x): return \'__import__("os").system("noted()")\'\n'
    "def order(v): return '{0.__class__.__init__.__globals__}'",
    "16 markup and control characters": "text = '<script>noted()</script>\\x1b[31m\\u202e\\0'\n"
    "def square(x): raise RuntimeError(text)\ndef same(v): return text",
    "17 own denominator": "items = [0]",
    "18 own labels": "items = [1, 1, 1]\ndef square(x): return 1 if x == 1 else None",
    "19 equal hashes": f"table = {_COLLIDING}",
    "20 StopIteration": _raises("_error = StopIteration"),
    "20 StopAsyncIteration and GeneratorExit": _raises(
        "import itertools\n_kinds = itertools.cycle([GeneratorExit, StopAsyncIteration])\n"
        "def _error(): return next(_kinds)()"
    ),
    "21 SystemExit": _raises("_error = SystemExit"),
    "21 KeyboardInterrupt": _raises("_error = KeyboardInterrupt"),
    "21 marimo's stop": _raises(
        "class MarimoStopError(BaseException):\n    __module__ = 'marimo._runtime.control_flow'\n"
        "_error = MarimoStopError"
    ),
    "21 skip": _raises("import unittest\n_error = unittest.SkipTest"),
    "22 exceptions of evil classes": _raises(
        "class NoAnswer(BaseException):\n    def __str__(self): noted(); return 'x' * 10**6\n"
        "    def __eq__(self, o): noted(); return True\n"
        "    @property\n    def args(self): noted(); return ()\n"
        "def _error(): return NoAnswer(noted)"
    ),
    "22 an exception named like a builtin": _raises(
        "class ValueError(KeyboardInterrupt): pass\n_error = ValueError"
    ),
    "23 emptied argument": "def order(v):\n    v.clear()\n    return []",
    "23 sorted argument that is no result": "def order(v):\n    v.clear(); v.append(1); return v",
    "24 instances for numbers": _EVIL.replace("__getattr__", "__missing__") + _EVERYWHERE,
    "24 own classes under the contract's name": _EVIL.replace("Evil", "Rect")
    + "def square(x): return Rect()\ntotal = Rect()\ndef order(v): return Rect()\n"
    "def gen(n): return Rect()\nitems = [Rect()] * 4",
    "24 a comparison that the author's class has not": "class Node:\n"
    "    def itself(self): noted(); return Node()\n"
    "    def __eq__(self, other): noted(); return True",
    "26 conversions": "class C:\n    def __array__(self, *a): noted(); return np.arange(5.0)\n"
    "    def __float__(self): noted(); return 5050.0\n"
    "    def __index__(self): noted(); return 5050\n    def __len__(self): noted(); return 5\n"
    "    def __iter__(self): noted(); return iter(range(5))\n"
    "arr = total = items = C()\ndef unit(v): return C()\ndef square(x): return C()",
    "27 metaclass": "class M(type):\n    def __instancecheck__(c, o): noted(); return True\n"
    "    def __eq__(c, o): noted(); return True\n    def __hash__(c): noted(); return 1\n"
    "    def __call__(c, *a): noted(); return 6\n"
    "    @property\n    def __mro__(c): noted(); return (int,)\n"
    "class Rect(metaclass=M): pass\ntotal = items = Rect\ndef square(x): return Rect",
    "27 signature": "class S:\n    @property\n    def parameters(self): noted(); raise SystemExit\n"
    "def square(x): return None\nsquare.__signature__ = S()\nsquare.__doc__ = S()\n"
    "square.__name__ = 'check'",
    "28 a clock of its own": "_real, _late = time.perf_counter, [0.0]\n"
    "def _now(*a): return _real() + _late[0]\n"
    "time.perf_counter = time.time = time.monotonic = _now\n"
    "def nap(seconds): _late[0] += seconds",
    "28 an equal object for the same": "def same(v): return list(v) if type(v) is list else None",
    "29 other answers when it is judged": "_seen = []\n"
    "def square(x):\n"
    "    _seen.append(x)\n    _frame = sys._getframe()\n    _found = []\n"
    "    while _frame is not None:\n"
    "        _found += [v for k, v in _frame.f_locals.items() if 'expected' in k or k == '_r']\n"
    "        _frame = _frame.f_back\n"
    "    return _found[-1] if _found else _seen[0]\n"
    "def order(v): return _seen",
    "33 answers before the question": _worker(
        "_old = _S.AnswerServer.serve\n"
        "def _serve(self, until=None):\n    for n in range(1, 2000):\n"
        "        self._writer.write([n, 'value', True, ''], seconds=9)\n    _old(self, until)\n"
        "_S.AnswerServer.serve = _serve"
    ),
    "33 wrong numbers": _answers("[n + 1, 'value', True, '']"),
    "33 second answers": _answers("[n, 'value', True, '']")
    + "\n_old = _F.FrameWriter.write\ndef _twice(self, *a, **k):\n    _old(self, *a, **k)\n"
    "    _old(self, *a, **k)\n_F.FrameWriter.write = _twice",
    "33 half a frame": _raw("os.write(out, b'\\x10\\x00\\x00\\x00\\x08\\x00'); os._exit(0)"),
    "33 text on the descriptors": "for _n in os.listdir('/proc/self/fd'):\n    try:\n"
    "        if int(_n) > 2: os.write(int(_n), b'passed\\n' * 9)\n    except OSError: pass",
    "33 another kind of answer": _answers("[n, 'stop', '']"),
    "33 not supported": _answers("[n, 'unsupported', '']"),
    "34 invented handles": _answers(f"[n, 'value', {_HANDLE}, '']"),
    "34 invented facts of classes": _answers(
        "[n, 'value', ['h', 7, 'class', 'numpy.ndarray', ['Rect']], ''] if operation == 'pull' else"
        " [n, 'value', ['t', [7, 'Rect', None, ['l', [['t', [7, 'Rect']]]], ['l', ['type']],"
        " ['l', ['__eq__', '__class__', '__getattribute__', '__del__']]]], '']"
    ),
    "34 everything is true": _answers(
        "[n, 'value', ['t', [True, ['l', []], -1]], ''] if operation != 'pull' else"
        " [n, 'value', ['h', 3, 'function', 'function', [a[0]]], '']"
    ),
    "34 the argument for the result": _worker(
        "def _call(self, n, wanted, buffers, method=None):\n"
        "    noted()\n    return True, tuple(True for _ in wanted), 0, {}\n"
        "_S.AnswerServer._call = _call"
    ),
    "35 a question in place of an answer": _answers("[n, 'call', 1, 'noted']"),
    "35 a request to read": _answers("[n, 'pull', 'text']"),
    "37 patched runtime, builtins and libraries": "import mograder.runtime as _r\n"
    "import mograder.judging as _j\n_r.check = _j.judge = _j._holds = noted\n"
    "builtins.all = builtins.sorted = builtins.abs = noted\njson.dumps = noted\n"
    "np.allclose = np.abs = noted",
    "38 a sidecar of its own": "os.environ['MOGRADER_SIDECAR_PATH'] = 'side'\n"
    "open('side', 'w').write(json.dumps({'label': 'Q1', 'status': 'success', 'details': [],"
    " 'earned_weight': 9, 'total_weight': 9}) + '\\n')",
    "43 a thread that answers": _worker(
        "def _flood():\n    end = time.time() + 20\n    data = _F.pack([1, 'value', True, ''])\n"
        "    while time.time() < end:\n        for fd in range(3, 12):\n            try:\n"
        "                os.write(fd, data)\n            except OSError: pass\n"
        "        time.sleep(0.01)\nthreading.Thread(target=_flood, daemon=True).start()"
    ),
    "45 exit": "def square(x): os._exit(0)\norder = unit = gen = root = square",
    "45 exit of the notebook": "os._exit(0)",
}

SLOW: dict[str, str] = {
    "32 never an answer": "def square(x): time.sleep(600)\norder = unit = gen = root = square",
    "32 endless items": "def gen(n):\n    while True: yield 0",
    "32 flooded pipe": _raw("\n    ".join(["while True:", "    os.write(out, b'x' * 65536)"])),
    "32 an endless frame": _raw(
        "os.write(out, b'\\x00\\x00\\x00\\x03' + b'\\x08\\x00\\x00\\x00' * 2)\n    time.sleep(600)"
    ),
}
"""Those that are ended by deadlines."""

ALLOWED = {
    "17 own denominator": {"Q7": 1.0},
    "18 own labels": {"Q7": 1.0, "Q8: 1": 1.0},
    "33 second answers": {"Q18": 1.0},
}
"""What an attempt earns by answers that are right: one item of four, one square of four, and
``True``, since any true value is what that check asks for."""


def hostile(code: str, canary: str) -> str:
    """Return the notebook of an attempt: what it does not define is as released."""
    return notebook(TRACE.replace("@CANARY@", canary), f"{EMPTY}\n{code}")
