"""Ordinary checks of Python courses, each with a right and four honestly wrong answers.

An honest answer must earn with judge and worker what it earns in one process with its check.
"""

# ruff: noqa: E501, ISC004 - one answer a line

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


GIVEN_CLASSES = (
    Question(
        "subclass",
        "class Dog(Animal):\n    def speak(self):\n        return 'Woof'",
        (
            "class Dog:\n    def __init__(self, name):\n        self.name = name\n"
            "    def speak(self):\n        return 'Woof'",
            "class Dog(Animal):\n    pass",
            "class Dog(Animal):\n    def speak(self):\n        return 'woof'",
            "class Dog(Animal):\n    def speak(self):\n        return 'Woof'\n"
            "    def describe(self):\n        return self.name",
        ),
        (
            "issubclass(Dog, Animal)",
            "isinstance(Dog('Rex'), Animal)",
            "Dog('Rex').describe() == 'Rex says Woof'",
        ),
        given="class Animal:\n    def __init__(self, name):\n        self.name = name\n"
        "    def speak(self):\n        return '...'\n"
        "    def describe(self):\n        return f'{self.name} says {self.speak()}'",
    ),
    Question(
        "abstract class",
        "class Square(Shape):\n    def __init__(self, side):\n        self.side = side\n"
        "    def area(self):\n        return self.side ** 2",
        (
            "class Square(Shape):\n    def __init__(self, side):\n        self.side = side",
            "class Square(Shape):\n    def __init__(self, side):\n        self.side = side\n"
            "    def area(self):\n        return 4 * self.side",
            "class Square:\n    def __init__(self, side):\n        self.side = side\n"
            "    def area(self):\n        return self.side ** 2",
            "def Square(side):\n    return side ** 2",
        ),
        ("isinstance(Square(2), Shape)", "total_area([Square(1), Square(3)]) == 10"),
        given="import abc\nclass Shape(abc.ABC):\n    @abc.abstractmethod\n    def area(self): ...\n"
        "def total_area(shapes):\n    return sum(each.area() for each in shapes)",
    ),
    Question(
        "given exception",
        "def pay(n):\n    if n > 3:\n        raise Missing(n - 3)\n    return 3 - n",
        (
            "def pay(n):\n    return 3 - n",
            "def pay(n):\n    raise Missing(n)",
            "def pay(n):\n    if n > 3:\n        raise ValueError(f'missing {n - 3}')\n    return 3 - n",
            "def pay(n):\n    if n > 3:\n        raise Missing(n)\n    return 3 - n",
        ),
        ("pay(1) == 2", "refused(pay, 5) == 'missing 2'"),
        given="class Missing(Exception):\n    def __init__(self, amount):\n        self.amount = amount\n"
        "        super().__init__(f'missing {amount}')\n"
        "def refused(f, n):\n    try:\n        f(n)\n    except Missing as error:\n        return str(error)",
    ),
    Question(
        "given dataclass",
        "def middle(p, q):\n    return Point((p.x + q.x) / 2, (p.y + q.y) / 2)",
        (
            "def middle(p, q):\n    return ((p.x + q.x) / 2, (p.y + q.y) / 2)",
            "def middle(p, q):\n    return Point(p.x + q.x, p.y + q.y)",
            "def middle(p, q):\n    p.x, p.y = (p.x + q.x) / 2, (p.y + q.y) / 2\n    return p",
            "def middle(p, q):\n    return p",
        ),
        (
            "middle(_p, _q) == Point(1, 2)",
            "_p == Point(0, 0)",
            "isinstance(middle(Point(0, 0), _q), Point)",
            "middle(Point(0, 0), Point(6, 8)).norm() == 5",
        ),
        before="_p, _q = Point(0, 0), Point(2, 4)",
        given="import dataclasses\n@dataclasses.dataclass\nclass Point:\n    x: float\n    y: float\n"
        "    def norm(self):\n        return (self.x ** 2 + self.y ** 2) ** 0.5",
    ),
    Question(
        "given enumeration",
        "def trumps(hand):\n    return [each for each in hand if each is Suit.SPADES]",
        (
            "def trumps(hand):\n    return [each.value for each in hand if each is Suit.SPADES]",
            "def trumps(hand):\n    return hand",
            "def trumps(hand):\n    return Suit.SPADES",
            "def trumps(hand):\n    return [Suit.HEARTS]",
        ),
        ("trumps(list(Suit)) == [Suit.SPADES]", "trumps([Suit.SPADES])[0] is Suit.SPADES"),
        given="import enum\nclass Suit(enum.Enum):\n    HEARTS = 'h'\n    SPADES = 's'",
    ),
    Question(
        "own enumeration",
        "class Colour(enum_.Enum):\n    RED = 1\n    BLUE = 2",
        (
            "class Colour(enum_.Enum):\n    BLUE = 2\n    RED = 1",
            "class Colour(enum_.Enum):\n    RED = 1",
            "class Colour:\n    RED = 1\n    BLUE = 2",
            "class Colour(enum_.Enum):\n    RED = 2\n    BLUE = 1",
        ),
        (
            "[each.name for each in Colour] == ['RED', 'BLUE']",
            "Colour(2) is Colour['BLUE']",
            "len(Colour) == 2 and Colour.RED in Colour",
        ),
        given="import enum as enum_",
    ),
    Question(
        "given named tuple",
        "def swapped(p):\n    return Pair(p.right, p.left)",
        (
            "def swapped(p):\n    return (p.right, p.left)",
            "def swapped(p):\n    return p",
            "def swapped(p):\n    return [p.right, p.left]",
            "def swapped(p):\n    return Pair(p.right, p.right)",
        ),
        ("swapped(Pair(1, 2)) == Pair(2, 1)", "type(swapped(Pair(1, 2))) is Pair"),
        given="import typing\nclass Pair(typing.NamedTuple):\n    left: int\n    right: int",
    ),
    Question(
        "coroutine",
        "async def doubled_later(n):\n    return 2 * n",
        (
            "def doubled_later(n):\n    return 2 * n",
            "async def doubled_later(n):\n    return n",
            "async def doubled_later(n):\n    raise ValueError(n)",
            "async def doubled_later(n):\n    return str(2 * n)",
        ),
        ("asyncio.run(doubled_later(4)) == 8",),
        given="import asyncio",
    ),
)


CLASSES = (
    Question(
        "hash",
        "class Key:\n    def __init__(self, n):\n        self.n = n\n    def __eq__(self, other):\n        return self.n == other.n\n"
        "    def __hash__(self):\n        return hash(self.n)",
        (
            "class Key:\n    def __init__(self, n):\n        self.n = n\n    def __eq__(self, other):\n        return self.n == other.n",
            "class Key:\n    def __init__(self, n):\n        self.n = n\n    def __hash__(self):\n        return hash(self.n)",
            "class Key:\n    def __init__(self, n):\n        self.n = n",
            "class Key:\n    def __init__(self, n):\n        self.n = n\n    def __eq__(self, other):\n        return self.n == other.n\n"
            "    def __hash__(self):\n        return id(self)",
        ),
        (
            "hash(_k1) == hash(_k2)",
            "len({Key(1), Key(1), Key(2)}) == 2",
            "{Key(1): 'a'}[Key(1)] == 'a'",
        ),
        before="_k1, _k2 = Key(3), Key(3)",
    ),
    Question(
        "own dataclass",
        "@dataclasses_.dataclass(frozen=True)\nclass Place:\n    x: int\n    y: int = 2",
        (
            "@dataclasses_.dataclass\nclass Place:\n    x: int\n    y: int = 2",
            "@dataclasses_.dataclass(frozen=True)\nclass Place:\n    y: int\n    x: int = 2",
            "class Place:\n    def __init__(self, x, y=2):\n        self.x, self.y = x, y",
            "class Place:\n    def __init__(self, x):\n        self.x = x",
        ),
        (
            "dataclasses_.asdict(Place(1)) == {'x': 1, 'y': 2}",
            "Place(1) == Place(1, 2) and Place(1) != Place(2)",
            "[each.name for each in dataclasses_.fields(Place)] == ['x', 'y']",
            "is_frozen(Place(1))",
        ),
        given="import dataclasses as dataclasses_\ndef is_frozen(place):\n    try:\n        place.x = 5\n"
        "    except dataclasses_.FrozenInstanceError:\n        return True\n    return False",
    ),
    Question(
        "attributes",
        "class Tank:\n    made = 0\n    def __init__(self, litres):\n        self.litres = litres\n"
        "    @property\n    def full(self):\n        return self.litres == 10",
        (
            "class Tank:\n    made = 0\n    def __init__(self, litres):\n        self.litres = litres\n"
            "    def full(self):\n        return self.litres == 10",
            "class Tank:\n    def __init__(self, litres):\n        self.litres = litres\n        self.full = litres == 10",
            "class Tank:\n    made = 0\n    def __init__(self, litres):\n        self.amount = litres\n"
            "    @property\n    def full(self):\n        return self.amount == 10",
            "class Tank:\n    made = 1\n    def __init__(self, litres):\n        self.litres = litres\n"
            "    @property\n    def full(self):\n        return False",
        ),
        (
            "vars(Tank(3)) == {'litres': 3}",
            "isinstance(Tank.full, property)",
            "Tank(10).full is True",
            "Tank.made == 0",
        ),
    ),
    Question(
        "sent to a generator",
        "def averager():\n    total, n, mean = 0, 0, None\n    while True:\n        total += yield mean\n        n += 1\n"
        "        mean = total / n",
        (
            "def averager():\n    while True:\n        mean = yield 0",
            "def averager():\n    total = 0\n    while True:\n        total += yield total",
            "def averager():\n    yield 0\n    yield 2",
            "def averager():\n    return [0, 2, 3]",
        ),
        ("sent(averager(), 2, 4) == 3",),
        given="def sent(generator, *values):\n    next(generator)\n    return [generator.send(each) for each in values][-1]",
    ),
    Question(
        "a class of a library",
        "def template(text):\n    return jinja2.Template(text)",
        (
            "def template(text):\n    return text",
            "def template(text):\n    return jinja2.Environment()",
            "class Template:\n    render = 'ab'.format\ndef template(text):\n    return Template()",
            "def template(text):\n    return jinja2.Template('c')",
        ),
        (
            "isinstance(template('a'), jinja2.Template)",
            "template('a{{ x }}').render(x='b') == 'ab'",
        ),
        given="import jinja2",
    ),
    Question(
        "a class of a library of data",
        "def numbers(seed):\n    return np.random.default_rng(seed)",
        (
            "def numbers(seed):\n    return np.random.RandomState(seed)",
            "def numbers(seed):\n    return np.random.default_rng(seed + 1)",
            "def numbers(seed):\n    return seed",
            "class Generator:\n    integers = lambda self, n: 0\ndef numbers(seed):\n    return Generator()",
        ),
        (
            "isinstance(numbers(3), np.random.Generator)",
            "numbers(3).integers(100) == np.random.default_rng(3).integers(100)",
        ),
    ),
    Question(
        "a matrix of numpy",
        "def power(m, n):\n    return np.matrix(m) ** n",
        (
            "def power(m, n):\n    return np.array(m) ** n",
            "def power(m, n):\n    return np.matrix(m) * n",
            "def power(m, n):\n    return np.matrix(m)",
            "def power(m, n):\n    return m",
        ),
        ("np.allclose(power([[1, 1], [1, 0]], 3), [[3, 2], [2, 1]])", "power([[2]], 2)[0, 0] == 4"),
    ),
    Question(
        "an error of a library",
        "def solved(a, b):\n    return np.linalg.solve(a, b)",
        (
            "def solved(a, b):\n    return np.linalg.lstsq(a, b)[0]",
            "def solved(a, b):\n    raise ValueError('Singular matrix')",
            "def solved(a, b):\n    return np.linalg.inv(a) * b",
            "def solved(a, b):\n    return b",
        ),
        (
            "singular(solved)",
            "np.allclose(solved(np.diag([1.0, 2.0]), np.array([1.0, 4.0])), [1, 2])",
        ),
        given="def singular(f):\n    try:\n        f(np.zeros((2, 2)), np.ones(2))\n"
        "    except np.linalg.LinAlgError:\n        return True\n    return False",
    ),
)


def _plain(name: str, right: str, wrong: str, *conditions: str, before: str = "") -> Question:
    """Return a question with a function of one expression; wrong ones are apart by a ``|``."""
    head = right.partition("return")[0]
    answers = tuple(f"{head}return {each.strip()}" for each in wrong.split(" | "))
    return Question(name, right, answers, conditions, before)


# fmt: off
VALUES = (
    _plain("absolute", "def absolute(x): return abs(x)", "x | -x | x ** 2 | str(abs(x))",
           "absolute(-3) == 3", "absolute(2.5) == 2.5", "absolute(0) == 0"),
    _plain("even", "def even(n): return n % 2 == 0", "n % 2 | n % 2 == 1 | True | n / 2",
           "even(4) is True", "even(3) is False"),
    _plain("mean", "def mean(v): return sum(v) / len(v)",
           "sum(v) // len(v) | sum(v) | max(v) | sum(v) / (len(v) - 1)",
           "abs(mean([1, 2, 4]) - 7 / 3) < 1e-9", "mean([5, 5]) == 5"),
    _plain("vowels", "def vowels(t): return sum(c in 'aeiou' for c in t.lower())",
           "t.count('a') | len(t) | sum(c in 'aeiou' for c in t) | None",
           "vowels('Banana') == 3", "vowels('AEI') == 3", "vowels('') == 0"),
    _plain("reverse words", "def words(t): return ' '.join(t.split()[::-1])",
           "t[::-1] | t | t.split()[::-1] | ' '.join(t.split())",
           "words('a b c') == 'c b a'", "words('one') == 'one'"),
    _plain("squares", "def squares(n): return [k * k for k in range(n)]",
           "[k * k for k in range(1, n)] | (k * k for k in range(n)) | [k * 2 for k in range(n)] | {}",
           "squares(3) == [0, 1, 4]", "squares(0) == []"),
    _plain("unique", "def unique(v): return sorted(set(v))",
           "set(v) | list(v) | sorted(v) | len(set(v))", "unique([2, 1, 2]) == [1, 2]"),
    _plain("inverse", "def inverse(d): return {v: k for k, v in d.items()}",
           "d | {k: v for v, k in d.items() if v} | dict(enumerate(d)) | list(d.values())",
           "inverse({'a': 1, 'b': 0}) == {1: 'a', 0: 'b'}"),
    _plain("count", "def counts(t): return collections.Counter(t)",
           "dict.fromkeys(t, 1) | len(t) | collections.Counter(t.upper()) | sorted(t)",
           "counts('aab')['a'] == 2", "counts('aab') == {'a': 2, 'b': 1}"),
    _plain("merge", "def merge(a, b): return {**a, **b}",
           "{**b, **a} | a.update(b) or a | dict(a) | a.update(b)",
           "merge({'x': 1}, {'x': 2, 'y': 3}) == {'x': 2, 'y': 3}", "_first == {'x': 1}",
           "merge(_first, {'x': 5}) == {'x': 5}", "_first == {'x': 1}", before="_first = {'x': 1}"),
    _plain("flatten", "def flatten(v): return [x for row in v for x in row]",
           "v | sum(v, [0]) | [row[0] for row in v] | v[0]", "flatten([[1, 2], [3]]) == [1, 2, 3]"),
    _plain("zip", "def pairs(a, b): return list(zip(a, b))",
           "zip(a, b) | [(x, y) for x in a for y in b] | list(zip(b, a)) | dict(zip(a, b))",
           "pairs([1, 2], 'ab') == [(1, 'a'), (2, 'b')]"),
    _plain("fraction", "def half(n): return fractions.Fraction(n, 2)",
           "n / 2 | n // 2 | fractions.Fraction(2, n) | str(n / 2)",
           "half(3) == fractions.Fraction(3, 2)", "isinstance(half(3), fractions.Fraction)"),
    _plain("date", "def next_day(d): return d + datetime.timedelta(days=1)",
           "d | d.replace(day=d.day + 1) | d + datetime.timedelta(hours=1) | str(d)",
           "next_day(datetime.date(2024, 2, 29)) == datetime.date(2024, 3, 1)"),
    _plain("leap", "def leap(y): return y % 4 == 0 and (y % 100 != 0 or y % 400 == 0)",
           "y % 4 == 0 | y % 400 == 0 | y % 4 | True", "leap(2000)", "not leap(1900)", "leap(2024)"),
    _plain("compose", "def compose(f, g): return lambda x: f(g(x))",
           "f | lambda x: g(f(x)) | lambda x: f(x) + g(x) | f(g(1))",
           "compose(lambda v: v + 1, lambda v: 2 * v)(3) == 7"),
    _plain("error", "def third(v): return v[2] if len(v) > 2 else int('none')",
           "v[2] | v[-1] | None | v[2:3]", "third([1, 2, 3]) == 3", "fails(third, [1])",
           before="def fails(f, v):\n    try:\n        f(v)\n    except ValueError:\n"
           "        return True\n    return False"),
    _plain("default", "def add(x, to=None): return [*(to or []), x]",
           "(to or []).append(x) | [x] | to | [*(to or []), x, x]",
           "add(1) == [1]", "add(1) == [1]", "add(2, [1]) == [1, 2]"),
    _plain("array mean", "def centred(a): return a - a.mean()",
           "a - a.sum() | a.mean() - a | a - np.median(a) | a",
           "np.allclose(centred(np.array([1.0, 2, 6])), [-2, -1, 3])", "centred(_data).shape == (3,)",
           before="_data = np.array([1.0, 2.0, 6.0])"),
    _plain("matrix", "def product(a, b): return a @ b",
           "a * b | b @ a | a.dot(b.T) | (a @ b).tolist()",
           "np.array_equal(product(_m, _k), [[2, 1], [4, 3]])", "isinstance(product(_m, _k), np.ndarray)",
           before="_m, _k = np.array([[1, 2], [3, 4]]), np.array([[0, 1], [1, 0]])"),
    _plain("mask", "def positive(a): return a[a > 0]",
           "a[a >= 0] | np.where(a > 0, a, 0) | a > 0 | abs(a)",
           "positive(np.array([-1, 0, 2])).tolist() == [2]"),
    _plain("dtype", "def as_whole(a): return a.astype(int)",
           "a | np.round(a) | a.astype(str) | a.tolist()",
           "as_whole(np.array([1.7])).dtype.kind == 'i'", "as_whole(np.array([1.7])).tolist() == [1]"),
    _plain("linspace", "def grid(n): return np.linspace(0, 1, n)",
           "np.arange(0, 1, 1 / n) | np.linspace(0, 1, n + 1) | np.linspace(0, n, n) | range(n)",
           "np.allclose(grid(5), [0, 0.25, 0.5, 0.75, 1])"),
    _plain("argmax", "def best(a): return int(np.argmax(a))",
           "np.max(a) | len(a) - 1 | int(np.argmin(a)) | a.tolist()",
           "best(np.array([1, 9, 3])) == 1", "type(best(np.array([1, 9, 3]))) is int"),
    _plain("nan", "def clean(a): return a[~np.isnan(a)]",
           "np.nan_to_num(a) | a | a[a == a][1:] | np.isnan(a)",
           "clean(np.array([1, np.nan, 2])).tolist() == [1, 2]"),
    _plain("axis", "def columns(a): return a.sum(axis=0)",
           "a.sum(axis=1) | a.sum() | a.mean(axis=0) | a",
           "columns(np.array([[1, 2], [3, 4]])).tolist() == [4, 6]"),
    _plain("seeded", "def dice(n): return np.random.default_rng(1).integers(1, 7, n)",
           "np.random.default_rng(2).integers(1, 7, n) | np.full(n, 3) | np.arange(n) | None",
           "dice(5).tolist() == np.random.default_rng(1).integers(1, 7, 5).tolist()"),
    _plain("series mean", "def by_group(t): return t.groupby('g').x.mean()",
           "t.groupby('g').x.sum() | t.x.mean() | t.groupby('x').x.mean() | t",
           "by_group(_tt).to_dict() == {'a': 2.0, 'b': 5.0}",
           before="_tt = pd.DataFrame({'g': ['a', 'a', 'b'], 'x': [1, 3, 5]})"),
    _plain("filter rows", "def large(t): return t[t.x > 1]",
           "t[t.x >= 1] | t.x > 1 | t.query('x < 1') | t.drop(index=0).drop(index=1)",
           "large(_tx).x.tolist() == [2, 3]", "list(large(_tx).columns) == ['x']",
           before="_tx = pd.DataFrame({'x': [1, 2, 3]})"),
    _plain("sort rows", "def ranked(t): return t.sort_values('x', ascending=False)",
           "t.sort_values('x') | t | t.sort_index() | t.sort_values('x', ascending=False).head(1)",
           "ranked(_ts).x.tolist() == [3, 2, 1]", "_ts.x.tolist() == [2, 3, 1]",
           before="_ts = pd.DataFrame({'x': [2, 3, 1]})"),
    _plain("join", "def joined(a, b): return a.merge(b, on='k')",
           "a | a.merge(b, how='cross') | pd.concat([a, b]) | a.merge(b, on='k').head(0)",
           "len(joined(_ja, _jb)) == 1", "joined(_ja, _jb).y.tolist() == [9]",
           before="_ja = pd.DataFrame({'k': [1, 2]})\n_jb = pd.DataFrame({'k': [2], 'y': [9]})"),
    _plain("month", "def months(t): return t.d.dt.month.tolist()",
           "t.d.dt.day.tolist() | t.d.tolist() | [1] | t.d.dt.month",
           "months(_td) == [1, 12]", before="_td = pd.DataFrame({'d': pd.to_datetime(['2024-01-31', '2024-12-01'])})"),
    _plain("polars sum", "def totals(t): return t.group_by('g').agg(pl.col('x').sum()).sort('g')",
           "t | t.group_by('g').agg(pl.col('x').mean()).sort('g') | t.sum() | t.select('g')",
           "totals(_pg)['x'].to_list() == [4, 5]", "totals(_pg)['g'].to_list() == ['a', 'b']",
           before="_pg = pl.DataFrame({'g': ['a', 'a', 'b'], 'x': [1, 3, 5]})"),
    _plain("polars filter", "def over(t): return t.filter(pl.col('x') > 1)",
           "t.filter(pl.col('x') >= 1) | t | t['x'] | t.filter(pl.col('x') > 2)",
           "over(_px)['x'].to_list() == [2, 3]", before="_px = pl.DataFrame({'x': [1, 2, 3]})"),
    _plain("derivative", "def slope(f, x): return sp.diff(f, x)",
           "f | sp.integrate(f, x) | sp.diff(f, x).subs(x, 1) | str(sp.diff(f, x))",
           "sp.simplify(slope(sp.sin(_x) ** 2, _x) - sp.sin(2 * _x)) == 0",
           "slope(sp.Integer(3), _x) == 0", before="_x = sp.Symbol('x')"),
    _plain("solutions", "def zeros_of(f, x): return sp.solve(f, x, dict=True)",
           "sp.solve(f, x) | [] | {x: 2} | sp.solve(f - 1, x, dict=True)",
           "{each[_y] for each in zeros_of(_y ** 2 - 2, _y)} == {-sp.sqrt(2), sp.sqrt(2)}",
           before="_y = sp.Symbol('y', real=True)"),
    _plain("inverse matrix", "def matrix_inverse(m): return m.inv()",
           "m | m.T | m ** 2 | m.det()",
           "sp.simplify(matrix_inverse(_sm) * _sm) == sp.eye(2)", "_sm[0, 1] == _sa",
           before="_sa = sp.Symbol('a')\n_sm = sp.Matrix([[1, _sa], [0, 2]])"),
    _plain("complex", "def roots(a): return [a ** 0.5, -(a ** 0.5)]",
           "[a ** 0.5] | a ** 0.5 | [-(a ** 0.5), a ** 0.5] | (a ** 0.5, -(a ** 0.5))",
           "roots(4) == [2.0, -2.0]", "type(roots(4)) is list"),
    _plain("nested", "def group_by_length(w): return {n: [x for x in w if len(x) == n] for n in {len(x) for x in w}}",
           "{len(x): [x] for x in w} | {len(x): x for x in w} | sorted(w, key=len) | {}",
           "group_by_length(['a', 'bb', 'c']) == {1: ['a', 'c'], 2: ['bb']}"),
)
# fmt: on
QUESTIONS = (*ALIASES, *GIVEN_CLASSES, *CLASSES, *VALUES)
