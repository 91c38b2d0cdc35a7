"""Ordinary checks of Python courses, each with a right, some honestly wrong and hostile answers.

An honest answer must earn with judge and worker what it earns in one process with its check.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Question:
    """A check with its answers; ``given`` is code of the author's beside it.

    ``check`` are the conditions, each an expression in a line of its own after ``before``.
    """

    name: str
    right: str
    wrong: tuple[str, ...]
    conditions: tuple[str, ...]
    before: str = ""
    given: str = ""
    hostile: tuple[str, ...] = ()


ALIASES = (
    Question(
        "sorted copy",
        "def sorted_copy(v):\n    return sorted(v)",
        (
            "def sorted_copy(v):\n    v.sort()\n    return v",
            "def sorted_copy(v):\n    v.sort()\n    return list(v)",
            "def sorted_copy(v):\n    return v",
            "def sorted_copy(v):\n    v.clear()\n    return []",
        ),
        ("_r == [1, 2, 3]", "_v == [3, 1, 2]", "_r is not _v"),
        before="_v = [3, 1, 2]\n_r = sorted_copy(_v)",
        hostile=(
            "def sorted_copy(v):\n    import sys\n    sys._getframe(1).f_globals.clear()\n    return 1",
            "class _E(list):\n    __eq__ = lambda s, o: True\ndef sorted_copy(v):\n    return _E()",
        ),
    ),
    Question(
        "normalise",
        "def normalise(a):\n    return a / a.sum()",
        (
            "def normalise(a):\n    a /= a.sum()\n    return a",
            "def normalise(a):\n    a[:] = a / a.sum()\n    return a.copy()",
            "def normalise(a):\n    return a",
            "def normalise(a):\n    return a / a.max()",
        ),
        ("np.allclose(_n.sum(), 1)", "_a.tolist() == [1.0, 3.0]"),
        before="_a = np.array([1.0, 3.0])\n_n = normalise(_a)",
    ),
    Question(
        "clip",
        "def clip_high(a):\n    return np.where(a > 5, 5, a)",
        (
            "def clip_high(a):\n    a[a > 5] = 5\n    return a",
            "def clip_high(a):\n    b = a[:]\n    b[b > 5] = 5\n    return b",
            "def clip_high(a):\n    return a",
            "def clip_high(a):\n    return np.minimum(a, 4)",
        ),
        ("_c.tolist() == [1, 5, 5]", "_h.tolist() == [1, 9, 5]", "not np.shares_memory(_c, _h)"),
        before="_h = np.array([1, 9, 5])\n_c = clip_high(_h)",
    ),
    Question(
        "pair",
        "def extended(pair, x):\n    return (pair[0] + [x], pair[1])",
        (
            "def extended(pair, x):\n    pair[0].append(x)\n    return pair",
            "def extended(pair, x):\n    pair[0].append(x)\n    return (list(pair[0]), pair[1])",
            "def extended(pair, x):\n    return (pair[0], pair[1])",
            "def extended(pair, x):\n    return (pair[0] + [x], 0)",
        ),
        ("extended(_pair, 3) == ([1, 2, 3], 'a')", "_pair == ([1, 2], 'a')"),
        before="_pair = ([1, 2], 'a')",
    ),
    Question(
        "by second",
        "def by_second(rows):\n    return sorted(rows, key=lambda r: r[1])",
        (
            "def by_second(rows):\n    rows.sort(key=lambda r: r[1])\n    return rows",
            "def by_second(rows):\n    return sorted(rows)",
            "def by_second(rows):\n    return rows[::-1]",
            "def by_second(rows):\n    for r in rows:\n        r.reverse()\n    return sorted(rows)",
        ),
        ("by_second(_rows) == [[2, 1], [1, 2]]", "_rows == [[1, 2], [2, 1]]"),
        before="_rows = [[1, 2], [2, 1]]",
    ),
    Question(
        "total column",
        "def with_total(t):\n    return t.assign(total=t.a + t.b)",
        (
            "def with_total(t):\n    t['total'] = t.a + t.b\n    return t",
            "def with_total(t):\n    t['total'] = t.a + t.b\n    return t.copy()",
            "def with_total(t):\n    return t",
            "def with_total(t):\n    return t.assign(total=t.a * t.b)",
        ),
        ("with_total(_t).total.tolist() == [4, 6]", "list(_t.columns) == ['a', 'b']"),
        before="_t = pd.DataFrame({'a': [1, 2], 'b': [3, 4]})",
    ),
    Question(
        "filled gaps",
        "def filled(t):\n    return t.assign(x=t.x.fillna(0))",
        (
            "def filled(t):\n    t['x'] = t['x'].fillna(0)\n    return t",
            "def filled(t):\n    t.loc[t.x.isna(), 'x'] = 0\n    return t",
            "def filled(t):\n    return t.dropna()",
            "def filled(t):\n    return t.assign(x=t.x.fillna(1))",
        ),
        ("filled(_g).x.tolist() == [1.0, 0.0]", "_g.x.isna().sum() == 1"),
        before="_g = pd.DataFrame({'x': [1.0, np.nan]})",
    ),
    Question(
        "polars column",
        "def doubled(t):\n    return t.with_columns(pl.col('a') * 2)",
        (
            "def doubled(t):\n    return t.replace_column(0, t['a'] * 2)",
            "def doubled(t):\n    t.replace_column(0, t['a'] * 2)\n    return t.clone()",
            "def doubled(t):\n    return t",
            "def doubled(t):\n    return t.with_columns(pl.col('a') + 2)",
        ),
        ("doubled(_p)['a'].to_list() == [2, 4]", "_p['a'].to_list() == [1, 2]"),
        before="_p = pl.DataFrame({'a': [1, 2]})",
    ),
    Question(
        "stock",
        "def low():\n    return [n for n, k in STOCK.items() if k < 3]",
        (
            "def low():\n    found = [n for n, k in STOCK.items() if k < 3]\n    STOCK.clear()\n"
            "    return found",
            "def low():\n    return [STOCK.popitem()[0] for _ in range(1)]",
            "def low():\n    STOCK['pear'] = 0\n    return ['plum']",
            "def low():\n    return list(STOCK)",
        ),
        ("low() == ['plum']", "STOCK == {'apple': 5, 'plum': 2}"),
        given="STOCK = {'apple': 5, 'plum': 2}",
    ),
    Question(
        "configuration",
        "def is_strict():\n    return CONFIG['strict'] and len(CONFIG['rules']) == 1",
        (
            "CONFIG['strict'] = False\ndef is_strict():\n    return True",
            "def is_strict():\n    CONFIG['rules'].append('b')\n    return True",
            "def is_strict():\n    CONFIG['rules'] = []\n    return True",
            "def is_strict():\n    return False",
        ),
        ("is_strict() is True", "CONFIG['strict'] is True", "CONFIG['rules'] == ['a']"),
        given="CONFIG = {'strict': True, 'rules': ['a']}",
    ),
    Question(
        "sensor",
        "def mean_of(sensor):\n    return sum(sensor.read() for _ in range(3)) / 3",
        (
            "def mean_of(sensor):\n    return sum(sensor.read() for _ in range(900)) / 900",
            "def mean_of(sensor):\n    return sensor.read()",
            "def mean_of(sensor):\n    return 2.0",
            "def mean_of(sensor):\n    sensor.reads = -1\n    return 2.0",
        ),
        ("mean_of(_sensor) == 2.0", "_sensor.reads == 3"),
        before="_sensor = Sensor()",
        given="class Sensor:\n    def __init__(self):\n        self.reads = 0\n"
        "    def read(self):\n        self.reads += 1\n        return 2.0",
    ),
    Question(
        "log",
        "def write_twice(log):\n    log.write('a')\n    log.write('b')\n    log.close()",
        (
            "def write_twice(log):\n    log.write('a')\n    log.write('b')",
            "def write_twice(log):\n    log.write('ab')\n    log.close()",
            "def write_twice(log):\n    log.close()",
            "def write_twice(log):\n    pass",
        ),
        ("_log.lines == ['a', 'b']", "_log.closed"),
        before="_log = Log()\nwrite_twice(_log)",
        given="class Log:\n    def __init__(self):\n        self.lines, self.closed = [], False\n"
        "    def write(self, line):\n        self.lines.append(line)\n"
        "    def close(self):\n        self.closed = True",
    ),
    Question(
        "first of an iterator",
        "def first_of(it):\n    return next(it)",
        (
            "def first_of(it):\n    return list(it)[0]",
            "def first_of(it):\n    next(it)\n    return 1",
            "def first_of(it):\n    return 1",
            "def first_of(it):\n    return max(it)",
        ),
        ("first_of(_it) == 1", "list(_it) == [2, 3]"),
        before="_it = iter([1, 2, 3])",
    ),
    Question(
        "few questions",
        "def search(less, high):\n    low = 0\n    while low < high:\n        mid = (low + high) // 2\n"
        "        if less(mid):\n            low = mid + 1\n        else:\n            high = mid\n"
        "    return low",
        (
            "def search(less, high):\n    n = 0\n    while less(n):\n        n += 1\n    return n",
            "def search(less, high):\n    return sum(map(less, range(high)))",
            "def search(less, high):\n    return 77",
            "def search(less, high):\n    return high",
        ),
        ("search(less_than, 1000) == 700", "0 < len(asked) <= 11"),
        before="asked = []\ndef less_than(n):\n    asked.append(n)\n    return n < 700",
    ),
    Question(
        "count with nonlocal",
        "def apply_all(f, values):\n    return [f(v) for v in values]",
        (
            "def apply_all(f, values):\n    [f(v) for v in values]\n    return [f(v) for v in values]",
            "def apply_all(f, values):\n    return [f(values[0])] * len(values)",
            "def apply_all(f, values):\n    return [v + 1 for v in values]",
            "def apply_all(f, values):\n    return list(map(f, values))[:1]",
        ),
        ("apply_all(_f, [1, 2]) == [2, 3]", "_count() == 2"),
        before="_f, _count = counted()",
        given="def counted():\n    count = 0\n    def f(v):\n        nonlocal count\n        count += 1\n"
        "        return v + 1\n    return f, lambda: count",
    ),
    Question(
        "zeros",
        "def zeros(n):\n    return [[0] * n for _ in range(n)]",
        (
            "def zeros(n):\n    return [[0] * n] * n",
            "def zeros(n):\n    row = [0] * n\n    return [row for _ in range(n)]",
            "def zeros(n):\n    return [[0] * n]",
            "def zeros(n):\n    return [0] * n",
        ),
        ("_z == [[0, 0], [0, 0]]", "changed(_z) == [[1, 0], [0, 0]]"),
        before="_z = zeros(2)\ndef changed(z):\n    z[0][0] = 1\n    return z",
    ),
    Question(
        "groups",
        "def groups(names):\n    return {name: [] for name in names}",
        (
            "def groups(names):\n    return dict.fromkeys(names, [])",
            "def groups(names):\n    return dict.fromkeys(names)",
            "def groups(names):\n    empty = []\n    return {name: empty for name in names}",
            "def groups(names):\n    return {}",
        ),
        ("set(_groups) == {'a', 'b'}", "added(_groups) == {'a': [1], 'b': []}"),
        before="_groups = groups(['a', 'b'])\ndef added(g):\n    g['a'].append(1)\n    return g",
    ),
    Question(
        "deep copy",
        "def copied(v):\n    return [list(each) for each in v]",
        (
            "def copied(v):\n    return list(v)",
            "def copied(v):\n    return v",
            "def copied(v):\n    return v[:]",
            "def copied(v):\n    return []",
        ),
        (
            "_copy == [[1], [2]]",
            "_copy is not _orig",
            "all(a is not b for a, b in zip(_copy, _orig))",
        ),
        before="_orig = [[1], [2]]\n_copy = copied(_orig)",
    ),
    Question(
        "fresh list",
        "def fresh():\n    return []",
        (
            "_kept = []\ndef fresh():\n    return _kept",
            "def fresh(kept=[]):\n    return kept",
            "def fresh():\n    return ()",
            "def fresh():\n    return [1]",
        ),
        ("fresh() == []", "fresh() is not fresh()", "(fresh().append(1), fresh())[1] == []"),
    ),
    Question(
        "inner list",
        "class Stack:\n    def __init__(self):\n        self._items = []\n"
        "    def push(self, v):\n        self._items.append(v)\n"
        "    def items(self):\n        return list(self._items)",
        (
            "class Stack:\n    def __init__(self):\n        self._items = []\n"
            "    def push(self, v):\n        self._items.append(v)\n"
            "    def items(self):\n        return self._items",
            "class Stack:\n    _items = []\n"
            "    def push(self, v):\n        self._items.append(v)\n"
            "    def items(self):\n        return self._items",
            "class Stack:\n    def push(self, v):\n        pass\n"
            "    def items(self):\n        return []",
            "class Stack:\n    def push(self, v):\n        self.v = v\n"
            "    def items(self):\n        return [self.v]",
        ),
        ("_stack.items() == [1]", "(_stack.items().append(2), _stack.items())[1] == [1]"),
        before="_stack = Stack()\n_stack.push(1)",
    ),
    Question(
        "upper half view",
        "def upper(a):\n    return a[len(a) // 2:].copy()",
        (
            "def upper(a):\n    return a[len(a) // 2:]",
            "def upper(a):\n    return a",
            "def upper(a):\n    return a[:len(a) // 2].copy()",
            "def upper(a):\n    return a[len(a) // 2:].tolist()",
        ),
        (
            "_u.tolist() == [3, 4]",
            "isinstance(_u, np.ndarray)",
            "set_first(_u, _w) == [1, 2, 3, 4]",
        ),
        before="_w = np.arange(1, 5)\n_u = upper(_w)\ndef set_first(u, w):\n    u[0] = 0\n"
        "    return w.tolist()",
    ),
    Question(
        "generator",
        "def evens(n):\n    for k in range(0, n, 2):\n        yield k",
        (
            "def evens(n):\n    return iter([k for k in range(n) if k % 2 == 0])",
            "def evens(n):\n    return [k for k in range(0, n, 2)]",
            "def evens(n):\n    for k in range(1, n, 2):\n        yield k",
            "def evens(n):\n    yield 0",
        ),
        ("list(evens(5)) == [0, 2, 4]", "inspect.isgenerator(evens(5))"),
    ),
    Question(
        "in place",
        "def remove_all(v, x):\n    v[:] = [each for each in v if each != x]",
        (
            "def remove_all(v, x):\n    v = [each for each in v if each != x]",
            "def remove_all(v, x):\n    return [each for each in v if each != x]",
            "def remove_all(v, x):\n    for each in v:\n        if each == x:\n            v.remove(each)",
            "def remove_all(v, x):\n    v.clear()",
        ),
        ("remove_all(_list, 2) is None", "_list == [1, 3]", "_also is _list"),
        before="_list = _also = [1, 2, 2, 3]",
    ),
    Question(
        "error leaves it alone",
        "def set_all(d, keys):\n    if any(k not in d for k in keys):\n        raise KeyError(keys)\n"
        "    for k in keys:\n        d[k] = 1",
        (
            "def set_all(d, keys):\n    for k in keys:\n        if k not in d:\n"
            "            raise KeyError(k)\n        d[k] = 1",
            "def set_all(d, keys):\n    raise KeyError",
            "def set_all(d, keys):\n    for k in keys:\n        d[k] = 1",
            "def set_all(d, keys):\n    pass",
        ),
        (
            "raised(lambda: set_all(_d, ['a', 'x']))",
            "_d == {'a': 0, 'b': 0}",
            "good(_d) == {'a': 1, 'b': 0}",
        ),
        before="_d = {'a': 0, 'b': 0}\ndef good(d):\n    set_all(d, ['a'])\n    return d",
        given="def raised(f):\n    try:\n        f()\n    except KeyError:\n        return True\n    return False",
    ),
)
