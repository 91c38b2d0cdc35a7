"""Ordinary checks that name files, ask databases, or look at functions themselves."""

# ruff: noqa: E501 - one answer a line

from __future__ import annotations

from tests.unit.sandbox.inside.ordinary_checks import Question

FILES = (
    Question(
        "a file is read",
        "def tally(path):\n    with open(path) as file:\n        return len(file.read().split())",
        (
            "def tally(path):\n    with open(path) as file:\n        return len(file.read())",
            "def tally(path):\n    return len(str(path).split())",
            "def tally(path):\n    open(path, 'w').close()\n    return 3",
            "def tally(path):\n    return 3",
        ),
        ("tally(_p) == 3", "tally(str(_q)) == 1", "_p.read_text() == 'a b c'"),
        before="_d = pathlib.Path(tempfile.mkdtemp())\n_p, _q = _d / 'p.txt', _d / 'q.txt'\n_p.write_text('a b c')\n_q.write_text('d')",
        given="import pathlib, tempfile",
    ),
    Question(
        "a file is written",
        "def save(path, lines):\n    with open(path, 'w') as file:\n        file.writelines(f'{each}\\n' for each in lines)",
        (
            "def save(path, lines):\n    with open(path, 'w') as file:\n        file.writelines(lines)",
            "def save(path, lines):\n    pass",
            "def save(path, lines):\n    with open(path, 'a') as file:\n        print(lines, file=file)",
            "def save(path, lines):\n    return '\\n'.join(lines)",
        ),
        ("save(_p, ['a', 'b']) is None and _p.read_text() == 'a\\nb\\n'",),
        before="_p = pathlib.Path(tempfile.mkdtemp()) / 'p.txt'",
    ),
    Question(
        "a folder is sorted",
        "def sort_in(folder):\n    for each in list(folder.iterdir()):\n        (folder / each.suffix[1:]).mkdir(exist_ok=True)\n        each.rename(folder / each.suffix[1:] / each.name)",
        (
            "def sort_in(folder):\n    for each in list(folder.iterdir()):\n        (folder / each.suffix[1:]).mkdir(exist_ok=True)",
            "def sort_in(folder):\n    for each in list(folder.iterdir()):\n        each.unlink()",
            "def sort_in(folder):\n    return [each.suffix for each in folder.iterdir()]",
            "def sort_in(folder):\n    (folder / 'txt').mkdir()",
        ),
        (
            "sort_in(_d) is None and (_d / 'txt' / 'p.txt').read_text() == 'p'",
            "not (_d / 'q.csv').exists()",
        ),
        before="_d = pathlib.Path(tempfile.mkdtemp())\n(_d / 'p.txt').write_text('p')\n(_d / 'q.csv').write_text('q')",
    ),
    Question(
        "a database is asked",
        "def average(database):\n    return database.execute('select avg(b) from t').fetchone()[0]",
        (
            "def average(database):\n    return database.execute('select sum(b) from t').fetchone()[0]",
            "def average(database):\n    return database.execute('select avg(b) from t')",
            "def average(database):\n    return 0",
            "def average(database):\n    return None",
        ),
        ("average(_b) == 3",),
        before="_b = sqlite3.connect(':memory:')\n_b.executescript('create table t (a, b); insert into t values (1, 2), (3, 4)')",
        given="import sqlite3",
    ),
)

FUNCTIONS = (
    Question(
        "calls are counted",
        "def tracked(f):\n    @functools.wraps(f)\n    def inner(*args):\n        inner.calls += 1\n        return f(*args)\n    inner.calls = 0\n    return inner",
        (
            "def tracked(f):\n    def inner(*args):\n        return f(*args)\n    inner.calls = 1\n    return inner",
            "def tracked(f):\n    return f",
            "def tracked(f):\n    def inner(*args):\n        inner.calls += 1\n    inner.calls = 0\n    return inner",
            "def tracked(f):\n    f.calls = 0\n    return f",
        ),
        (
            "_s(2) + _s(3) == 13",
            "_s.calls == 2",
            "_s.__name__.endswith('square')",
            "inspect.isfunction(_s)",
        ),
        before="def _square(n):\n    return n * n\n_s = tracked(_square)",
        given="import functools",
    ),
    Question(
        "annotations",
        "def ratio(a: int, b: int = 1) -> float | None:\n    return a / b if b else None",
        (
            "def ratio(a, b=1):\n    return a / b if b else None",
            "def ratio(a: int, b: int = 1) -> float:\n    return a / b",
            "def ratio(a: str, b: int = 1) -> float | None:\n    return a / b if b else None",
            "def ratio(a: float, b: list[int] = 1) -> float | None:\n    return 0",
        ),
        (
            "ratio.__annotations__ == {'a': int, 'b': int, 'return': float | None}",
            "typing.get_type_hints(ratio)['b'] is int",
            "inspect.signature(ratio).return_annotation == float | None",
            "ratio(1, 0) is None and ratio(1, 2) == 0.5",
        ),
    ),
    Question(
        "formatted",
        "class Money:\n    def __init__(self, amount):\n        self.amount = amount\n    def __format__(self, spec):\n        return format(self.amount, spec) + ' EUR'",
        (
            "class Money:\n    def __init__(self, amount):\n        self.amount = amount",
            "class Money:\n    def __init__(self, amount):\n        self.amount = amount\n    def __format__(self, spec):\n        return str(self.amount)",
            "class Money:\n    def __init__(self, amount):\n        self.amount = amount\n    def __str__(self):\n        return '2.50 EUR'",
            "class Money:\n    def __init__(self, amount):\n        self.amount = amount\n    def __format__(self, spec):\n        return spec",
        ),
        ("f'{Money(2.5):.2f}' == '2.50 EUR'",),
    ),
)
