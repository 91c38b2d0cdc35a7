"""Mutable objects that both ends have, so that a check sees changes and identity as in one process.

A list that a check hands to an answer is one object in one process. Here it is two: the judge's and
the worker's. Both ends number such objects alike, and tell each other with every request and answer
which of them have changed since. A number also stands for an object wherever it occurs again, in
arguments and in results.

Shared are the builtin containers, arrays, series and frames, text buffers, iterators over data,
objects of the author's own plain classes, and the author's functions with what they close over.
Nothing here is needed for a mark to be safe: what holds only because of what an answer has changed
is judged again without sharing (``answer_judge.py``).

Arguments travel from the judge to the worker in pickle, with the author's functions by value. The
worker unpickles, which is safe for the judge: it is the student's process. Never the other way. A
function that the notebook itself defines travels as its code, its defaults, its closure and those
globals that it names, since an answer may be given one (``apply(lambda v: v + 1, data)``). An
object that lives in the worker travels as its number. Classes of the notebook travel by name; the
worker's notebook has the given ones, too. The answer can read all of this.

Runs inside both sandboxes; imports only the standard library and the encoder.
"""

from __future__ import annotations

import builtins
import hashlib
import importlib
import io
import itertools
import marshal
import math
import operator
import pickle
import sys
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import value_encoder  # type: ignore[import-not-found]  # in this file's directory

MOST = 200
"""Objects that are compared with each request; the oldest are forgotten first."""
MOST_ITEMS = 20_000
MOST_BYTES = 1 << 20
"""Larger objects are not shared: comparing them with each request would take too long."""

_CONTAINERS = {
    **dict.fromkeys(("list", "deque", "set"), "items"),
    **dict.fromkeys(("dict", "OrderedDict", "Counter", "defaultdict"), "pairs"),
    "bytearray": "bytes",
}
_BY_VALUE = {
    ("numpy", "ndarray"),
    *(("pandas", name) for name in ("Series", "DataFrame")),
    *(("polars", name) for name in ("Series", "DataFrame")),
}
_ITERATORS = frozenset(map(type, (iter([]), iter(()), iter(""), iter(range(0)))))
_ATOMS = frozenset((int, float, complex, bool, str, bytes, type(None), type(...)))
_MAIN = "__main__"
_SLOT = 2
"""A slot of a function is ``c`` for a cell or ``g`` for a global, and its name."""


def kind_of(value: object) -> str:
    """Return how a value is shared, "" if it is not.

    "items", "pairs", "bytes", "data", "text", "iterator", "fields" or "function".
    """
    kind = type(value)
    name, module = kind.__name__, kind.__module__
    if type(name) is not str or type(module) is not str:  # a student's metaclass
        return ""
    if module in ("builtins", "collections") and name in _CONTAINERS:
        return _CONTAINERS[name]
    if (module.partition(".")[0], name) in _BY_VALUE:
        return "data"
    if kind in (io.StringIO, io.BytesIO):
        return "text"
    if kind in _ITERATORS:
        return "iterator"
    if kind is types.FunctionType:
        return "function" if is_by_value(value) and any(_slots(value)) else ""
    if module == _MAIN and _is_plain(kind):
        return "fields"
    return ""


def _is_plain(kind: type) -> bool:
    return (
        kind.__dictoffset__ != 0
        and not issubclass(kind, BaseException | type)
        and kind.__reduce_ex__ is object.__reduce_ex__
        and kind.__setattr__ is object.__setattr__
        and all(base is object or base.__module__ == _MAIN for base in kind.__mro__)
    )


def is_by_value(function: Any) -> bool:
    """Whether a function travels as its code, being the notebook's own."""
    return function.__module__ == _MAIN or "<" in function.__qualname__


def names_of(function: Any) -> Iterator[str]:
    """Yield the globals that a function or a function within it may read."""
    waiting = [function.__code__]
    seen: set[str] = set()
    while waiting:
        code = waiting.pop()
        waiting += [each for each in code.co_consts if isinstance(each, types.CodeType)]
        for name in code.co_names:
            if name in function.__globals__ and name not in seen and not name.startswith("__"):
                seen.add(name)
                yield name


def _slots(function: Any) -> Iterator[tuple[str, object]]:
    """Yield the slots of a function that can change, and what they hold."""
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            held = cell.cell_contents
        except ValueError:  # empty
            continue
        if type(held) in _ATOMS or kind_of_data(held):
            yield f"c {name}", held
    for name in names_of(function):
        held = function.__globals__[name]
        if type(held) in _ATOMS or kind_of_data(held):
            yield f"g {name}", held


def kind_of_data(value: object) -> str:
    """Return as ``kind_of``, "" for a function."""
    return "" if type(value) is types.FunctionType else kind_of(value)


def contents(value: Any) -> Any:
    """Return what a shared object consists of; its parts are the objects themselves.

    A tuple of items, of keys and values in turn, or of slots and values in turn; bytes; the object
    itself for arrays and frames; text and position, or None for a closed buffer; for an iterator
    how many items are left.
    """
    kind = kind_of(value)
    return _KINDS[kind][0](value) if kind else value


def refill(value: Any, new: Any) -> None:
    """Set a shared object's contents; ``ValueError``, ``TypeError``, ``KeyError`` for others."""
    _, allowed, fill = _KINDS[kind_of(value)]
    if allowed and type(new) not in allowed:
        raise TypeError("no contents of this object")
    fill(value, new)


def _refill_fields(value: Any, new: Any) -> None:
    """Set attributes, but none in place of a method or another attribute of the class."""
    own, fields = vars(value), dict(_pairs(new))
    for name in own.keys() - fields.keys():
        del own[name]
    for name, held in fields.items():
        if name in own or (type(name) is str and not hasattr(type(value), name)):
            own[name] = held


def _pairs(new: Any) -> Iterator[tuple[Any, Any]]:
    return zip(new[::2], new[1::2], strict=True)


def _refill_pairs(value: Any, new: Any) -> None:
    value.clear()
    for key, held in _pairs(new):  # a Counter's update would count
        value[key] = held


def _refill_iterator(value: Any, left: int) -> None:
    for _ in range(operator.length_hint(value) - max(left, 0)):
        next(value, None)


def _refill_items(value: Any, new: Any) -> None:
    if type(value) is set:
        value.clear()
        value.update(new)
    elif type(value) in (list, bytearray):
        value[:] = new
    else:
        value.clear()
        value.extend(new)


def _refill_text(value: Any, new: Any) -> None:
    if new is None:
        value.close()
        return
    text, position = new
    if not 0 <= position <= len(text):  # else writing there would fill the judge's memory
        raise ValueError("a place outside of the text")
    value.seek(0)
    value.truncate()
    value.write(text)
    value.seek(position)


def _refill_function(function: Any, new: Any) -> None:
    """Set what a function closes over, where that is data before as after.

    An object that something else may refer to stays, and gets the new one's contents.
    """
    slots, known = dict(_pairs(new)), dict(_slots(function))
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    for slot in known.keys() & slots.keys():
        name, held = slot[_SLOT:], slots[slot]
        if held is not known[slot] and type(held) is type(known[slot]) and kind_of_data(held):
            refill(known[slot], contents(held))
        elif slot.startswith("c "):
            cells[name].cell_contents = held
        else:
            function.__globals__[name] = held


def _refill_data(value: Any, new: Any) -> None:
    if type(value) is not type(new):
        raise TypeError("another type")
    module = type(value).__module__.partition(".")[0]
    if module == "numpy":
        # The judge may have wider integers.
        kinds = {value.dtype.kind, new.dtype.kind}
        if value.shape != new.shape or not (value.dtype == new.dtype or kinds <= {"i", "u"}):
            raise ValueError("another form")
        value[...] = new
    elif module == "pandas":
        value._update_inplace(new)
    elif hasattr(value, "_df"):
        value._df = new._df
    else:
        value._s = new._s


def _flat(pairs: Iterable[tuple[Any, Any]]) -> tuple[Any, ...]:
    return tuple(itertools.chain.from_iterable(pairs))


_KINDS: dict[str, tuple[Callable[[Any], Any], tuple[type, ...], Callable[[Any, Any], None]]] = {
    "items": (tuple, (tuple,), _refill_items),
    "pairs": (lambda value: _flat(value.items()), (tuple,), _refill_pairs),
    "bytes": (bytes, (bytes,), _refill_items),
    "text": (
        lambda value: None if value.closed else (value.getvalue(), value.tell()),
        (tuple, type(None)),
        _refill_text,
    ),
    "iterator": (operator.length_hint, (int,), _refill_iterator),
    "fields": (lambda value: _flat(vars(value).items()), (tuple,), _refill_fields),
    "function": (lambda value: _flat(_slots(value)), (tuple,), _refill_function),
    "data": (lambda value: value, (), _refill_data),
}
"""Of each kind: how its contents are read, of which types they are, and how they are set."""


def is_small(value: Any) -> bool:
    """Whether a shared object may be compared with each request."""
    kind = kind_of(value)
    if kind in ("items", "pairs"):
        return len(value) <= MOST_ITEMS
    if kind == "bytes":
        return len(value) <= MOST_BYTES
    if kind == "data":
        if type(value).__name__ == "ndarray" and value.dtype.kind != "O":
            return bool(value.nbytes <= MOST_BYTES)
        items: int = math.prod(value.shape)
        return items <= MOST_ITEMS
    return bool(kind)


class Links:
    """The numbers of shared objects, alike at both ends, and what they were when last told.

    A negative number is given by the worker to an object that it has sent, a positive one by the
    judge. An object is kept until it is dropped, so that its ``id`` stays its own.
    """

    def __init__(self) -> None:
        self._objects: dict[int, Any] = {}
        self._numbers: dict[int, int] = {}
        self._digests: dict[int, bytes] = {}
        self._sizes: dict[int, tuple[int, int]] = {}
        self.mark = 0
        """The last number that the worker gave; for ``settle`` and ``take_back``."""
        self.met: set[int] = set()
        """Objects that were met again in a later frame than the one that they came with."""
        self.scattered: set[int] = set()
        """Arrays whose elements are not one after another at the judge's end."""
        self.traits: set[str] = set()
        """Traits of contents that the contract does not allow (``codec_rules.TRAITS``)."""

    def number(self, value: object) -> int | None:
        return self._numbers.get(id(value))

    def size(self, number: int) -> tuple[int, int]:
        """Return how many parts an object had when it was sent, and how deep they were nested."""
        return self._sizes.get(number, (1, 0))

    def get(self, number: int) -> Any:
        return self._objects[number]

    def given(self, value: Any, number: int, digest: bytes | None = None) -> None:
        """Share an object under a number of the judge's; ``digest`` is what it was before."""
        self._put(number, value)
        self._digests[number] = self.digest(value) if digest is None else digest

    def arrays(self) -> Iterator[tuple[int, Any]]:
        """Yield the arrays that were given, except for those that have another layout there."""
        for number, value in self._objects.items():
            if number > 0 and type(value).__name__ == "ndarray" and number not in self.scattered:
                yield number, value

    def sent(self, value: Any, parts: int, height: int) -> None:
        """Share an object that the worker sends, under its next number."""
        self.mark -= 1
        self._put(self.mark, value)
        self._sizes[self.mark] = (parts, height)

    def settle(self, after: int) -> None:
        """Note what the objects sent with numbers below ``after`` are, once all are complete."""
        for number in range(self.mark, after):
            if number in self._objects:
                self._digests[number] = self.digest(self._objects[number])

    def take_back(self, mark: int) -> None:
        """Forget what was sent since a mark, which the other end does not get."""
        for number in range(self.mark, mark):
            self.drop(number)
        self.mark = mark

    def _put(self, number: int, value: Any) -> None:
        self._objects[number] = value
        self._numbers[id(value)] = number

    def drop(self, number: int) -> None:
        value = self._objects.pop(number, None)
        if self._numbers.get(id(value)) == number:
            del self._numbers[id(value)]
        self._digests.pop(number, None)
        self._sizes.pop(number, None)

    def unused(self) -> list[int]:
        """Return the numbers of objects that nothing else refers to, and of the oldest too many."""
        found = [n for n, each in self._objects.items() if sys.getrefcount(each) <= _OWN_REFERENCES]
        more = len(self._objects) - len(found) - MOST
        if more > 0:
            rest = [number for number in self._objects if number not in set(found)]
            found += rest[:more]
        return found

    def changed(self) -> list[int]:
        """Return the numbers of objects that have changed since they were last told."""
        found = []
        for number, value in self._objects.items():
            now = self.digest(value)
            if now != self._digests.get(number):
                self._digests[number] = now
                found.append(number)
        return found

    def told(self, number: int) -> None:
        self._digests[number] = self.digest(self._objects[number])

    def digest(self, value: Any) -> bytes:
        """Return what tells an object's contents apart from others; b"" for one too large."""
        if not is_small(value):
            return b""
        found = hashlib.blake2b(digest_size=16)
        try:
            self._add(found, contents(value), 0)
        except Exception as error:  # noqa: BLE001 - whatever a library raises for odd contents
            return type(error).__name__.encode()
        return found.digest()

    def _add(self, found: Any, part: Any, depth: int) -> None:
        kind = type(part)
        if kind in _ATOMS:
            found.update(marshal.dumps(part, 2))
        elif kind is tuple and depth <= _DEPTH:
            if _ATOMS.issuperset(map(type, part)):
                found.update(marshal.dumps(part, 2))
                return
            found.update(b"(%d" % len(part))
            for each in part:
                self._add(found, each, depth + 1)
        elif depth == 0 and kind_of(part) == "data":
            found.update(value_encoder.data_bytes(part))
        else:
            number = self._numbers.get(id(part))
            found.update(b"#%d" % (id(part) if number is None else number))


_OWN_REFERENCES = next(sys.getrefcount(each) for _, each in {0: object()}.items())
"""Of an object in a dictionary alone, while a loop looks at it."""
_DEPTH = 20


def reachable(values: Iterable[object], skip: Callable[[object], bool]) -> list[Any]:
    """Return the shared objects that values consist of, those inside before those around them.

    ``skip`` is asked for what is no data, and has no such parts.
    """
    found: dict[int, Any] = {}
    seen: set[int] = set()
    left = [MOST_ITEMS]

    def walk(value: object, depth: int) -> None:
        if type(value) in _ATOMS or id(value) in seen or depth > _DEPTH or left[0] <= 0:
            return
        seen.add(id(value))
        kind = kind_of(value)
        if kind in ("", "fields", "function") and skip(value):
            return
        parts: Any = value if type(value) in (tuple, frozenset) else ()
        small = bool(kind) and is_small(value)
        if small and kind in ("items", "pairs", "fields", "function"):
            parts = contents(value)
        left[0] -= len(parts)
        if not _ATOMS.issuperset(map(type, parts)):
            for each in parts:
                walk(each, depth + 1)
        if small and len(found) < MOST:
            found[id(value)] = value

    for value in values:
        walk(value, 0)
    return list(found.values())


def deep_digest(value: object) -> bytes:
    """Return what tells a shared object, with all that it consists of, apart from others."""
    links = Links()
    found = hashlib.blake2b(digest_size=16)
    for number, each in enumerate(reachable([value], lambda _: False), 1):
        links.given(each, number, b"")
        found.update(links.digest(each))
    return found.digest()


_SHARED = "shared"


def dumps(
    value: object,
    number_of: Callable[[object], int | None],
    shared: Callable[[object], int | None] = lambda value: None,
) -> bytes:
    """Return a pickle; ``number_of`` finds the worker's objects, ``shared`` those of both ends.

    Raises what pickle raises for an object that cannot be carried, such as an open file.
    """
    stream = io.BytesIO()
    pickler = _Pickler(stream, protocol=5)
    pickler.number_of, pickler.shared = number_of, shared
    pickler.dump(value)
    return stream.getvalue()


def loads(
    data: bytes | bytearray,
    object_of: Callable[[int], object],
    shared: Callable[[int], object] | None = None,
) -> Any:
    """Return the value of ``dumps``; ``object_of`` finds the objects that live here."""
    unpickler = _Unpickler(io.BytesIO(data))
    unpickler.object_of, unpickler.shared = object_of, shared or object_of
    return unpickler.load()


class _Pickler(pickle.Pickler):
    number_of: Callable[[object], int | None]
    shared: Callable[[object], int | None]

    def persistent_id(self, obj: object) -> Any:
        if (name := _OWN_NAMES.get(id(obj))) is not None:
            return name
        if (number := self.number_of(obj)) is not None:
            return number
        number = self.shared(obj)
        return None if number is None else (_SHARED, number)

    def reducer_override(self, obj: Any) -> Any:
        if type(obj) is types.ModuleType:
            return importlib.import_module, (obj.__name__,)
        if (made := _of_database(obj)) is not None:
            return made
        if type(obj) is not types.FunctionType or not is_by_value(obj):
            return NotImplemented
        code = marshal.dumps(obj.__code__)
        given = (obj.__name__, obj.__defaults__, obj.__kwdefaults__, obj.__doc__)
        inner = [each.cell_contents for each in obj.__closure__ or ()]
        named = {name: obj.__globals__[name] for name in names_of(obj)}
        return make_function, (code, len(inner)), (given, inner, named), None, None, fill_function


def _of_database(value: Any) -> Any:
    """Return how a connection of sqlite3 is made again, with a copy of its database; else None."""
    sqlite3: Any = sys.modules.get("sqlite3")
    if sqlite3 is None or type(value) is not sqlite3.Connection:
        return None
    return make_database, (value.serialize(), value.isolation_level, value.row_factory)


def make_database(data: bytes, isolation_level: str | None, row_factory: Any) -> Any:
    """Return a connection of sqlite3 to a database in memory with this content."""
    connection = importlib.import_module("sqlite3").connect(":memory:")
    connection.deserialize(data)
    connection.isolation_level, connection.row_factory = isolation_level, row_factory
    return connection


class _Unpickler(pickle.Unpickler):
    object_of: Callable[[int], object]
    shared: Callable[[int], object]

    def persistent_load(self, pid: Any) -> object:
        if type(pid) is tuple:
            return self.shared(pid[1])
        own = _OWN.get(pid)
        return self.object_of(pid) if own is None else own


def make_function(code: bytes, cells: int) -> types.FunctionType:
    """Return a function of its code, without the values that ``fill_function`` gives to it."""
    closure = tuple(types.CellType() for _ in range(cells))
    names = {"__builtins__": builtins, "__name__": _MAIN}
    return types.FunctionType(marshal.loads(code), names, closure=closure)  # noqa: S302


def fill_function(function: types.FunctionType, state: Any) -> None:
    """Set what a function refers to, which may be the function itself."""
    (name, defaults, keywords, text), inner, named = state
    function.__name__ = name
    function.__defaults__, function.__kwdefaults__ = defaults, keywords
    function.__doc__ = text
    for cell, value in zip(function.__closure__ or (), inner, strict=True):
        cell.cell_contents = value
    function.__globals__.update(named)


_OWN: dict[Any, Any] = {"make": make_function, "fill": fill_function, "database": make_database}
"""The functions of this module travel by these names, since the module itself is hidden."""
_OWN_NAMES = {id(each): name for name, each in _OWN.items()}
