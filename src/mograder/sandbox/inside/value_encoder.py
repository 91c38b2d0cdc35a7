"""Turns values into trees of JSON and buffers, beside the objects of a hostile notebook.

A value is judged by its exact type, found by identity: a subclass, or an object that claims another
class, is not data, and no method of it is called. Objects that are not data become handles, from
a hook of the caller's. Methods of builtin and library types are called, so an answer that patches
numpy changes its own values, and gains nothing that it could not have computed.

The libraries' types are in ``numpy_values.py`` and its siblings, imported when a value of theirs
comes along. The tree's grammar is in ``value_decoder.py``.
"""

from __future__ import annotations

import collections
import datetime
import decimal
import fractions
import re
import struct
import sys
import uuid
import zoneinfo
from collections.abc import Callable, Iterable
from typing import Any

import codec_rules as rules  # type: ignore[import-not-found]  # in this file's directory
import own_modules  # type: ignore[import-not-found]

Hook = Callable[[object], Any]
"""Returns the ``HandleFacts`` of an object that stays in the worker."""

_LIBRARIES = ("numpy", "pandas", "polars", "scipy", "sympy")
"""Libraries whose values travel as data."""
_whole_types: set[int] = set()
"""Types whose values are one object for both ends, although they consist of arrays."""
_SURROGATE = re.compile("[\ud800-\udfff]")
_mro = type.__dict__["__mro__"].__get__
_module = type.__dict__["__module__"].__get__
_names = type.__dict__["__dict__"].__get__
_type_name = type.__dict__["__name__"].__get__
"""Read a class without asking its metaclass, which may be the student's."""

_NAMEDTUPLE = frozenset(
    (
        *vars(collections.namedtuple("_Empty", ())),
        *("__annotations__", "__annotate__", "__annotate_func__", "__annotations_cache__"),
        *("__orig_bases__", "__static_attributes__", "__firstlineno__", "__classdictcell__"),
    )
)
"""What a namedtuple's class holds beside its fields; with anything more it is not just data."""


def encode(
    value: object, hook: Hook, links: Any = None, changes: Iterable[int] = ()
) -> tuple[Any, list[bytes]]:
    """Return the tree and buffers of ``value``; ``Unencodable`` if it exceeds a limit.

    With the ``links`` of both ends (``shared_objects.py``) the tree is that of ``[value, changes]``
    with the present contents of the shared objects of these numbers.
    """
    encoder = Encoder(hook, links)
    mark = 0 if links is None else links.mark
    try:
        tree = encoder.value(value, 0)
        if links is not None:
            tree = [tree, [[each, encoder.contents(links.get(each))] for each in changes]]
            links.settle(mark)
            for each in changes:  # what they consist of has numbers now
                links.told(each)
    except Exception as error:
        if links is not None:
            links.take_back(mark)
        if isinstance(error, rules.Unencodable):
            raise
        reason = _type_name(type(error))
        raise rules.Unencodable(f"the value cannot be read ({reason})") from None
    return tree, encoder.buffers


def data_bytes(value: object) -> bytes:
    """Return what tells an array or a frame apart from others of other contents."""
    tree, buffers = encode(value, lambda _: rules.HandleFacts(0, "opaque", ""))
    return repr(tree).encode() + b"".join(buffers)


class Encoder:
    """The state of one encoding; library modules call ``value``, ``count`` and ``texts``.

    Values that are one object are numbered in the order in which they are complete, and the second
    time only the number is written. With ``links`` the numbers are those, and stay.
    """

    def __init__(self, hook: Hook, links: Any = None) -> None:
        self.buffers: list[bytes] = []
        self._hook = hook
        if links is None:
            links = own_modules.load("shared_objects").Links()
        self._links = links
        self._nodes = 0
        self._texts = 0
        self._path: set[int] = set()
        self._deepest = 0
        self._whole = 0
        """How many frames and the like we are in, whose parts have no number."""

    def value(self, value: object, depth: int) -> Any:
        self.count(depth)
        kind = type(value)
        if value is None or kind is bool:
            return value
        if id(kind) in _PLAIN:
            return _ENCODERS[id(kind)](self, value, depth)
        if (reference := self._reference(value, depth)) is not None:
            return reference
        found = _ENCODERS.get(id(kind)) or _of_library(kind)
        mark, nodes, known = len(self.buffers), self._nodes, self._links.mark
        deepest, self._deepest = self._deepest, depth
        whole = id(kind) in _whole_types
        self._whole += whole
        try:
            if found is not None:
                tree = found(self, value, depth)
                if self._whole == whole and tree[0] in rules.NUMBERED:
                    self._links.sent(value, self._nodes - nodes + 1, self._deepest - depth)
                return tree
            if _is_namedtuple(kind):
                return _namedtuple(self, value, depth)
        except rules.NotData:
            del self.buffers[mark:]
            self._links.take_back(known)
        finally:
            self._whole -= whole
            self._deepest = max(deepest, self._deepest)
        facts = self._hook(value)
        return ["h", facts.number, facts.kind, short(facts.class_name)]

    def contents(self, value: Any) -> Any:
        """Return the tree of a shared object's contents; False if they cannot be carried."""
        found = own_modules.load("shared_objects").contents(value)
        mark, known = len(self.buffers), self._links.mark
        self._whole += found is value
        try:
            return self.value(found, 0)
        except rules.Unencodable:
            del self.buffers[mark:]
            self._links.take_back(known)
            return False
        finally:
            self._whole -= found is value

    def _reference(self, value: object, depth: int) -> Any:
        """Return the tree of an object that the other end has already, None for any other.

        Its parts count each time, since whatever walks through the value meets them each time.
        """
        number = None if self._whole else self._links.number(value)
        if number is None:
            return None
        size, height = self._links.size(number)
        self._nodes += size - 2  # the first part was counted, and is now again
        self.count(depth + height)
        return ["@", number]

    def arrays(self) -> Iterable[tuple[int, Any]]:
        """Return the arrays of numpy's that the other end has, and may have views of."""
        return () if self._whole else self._links.arrays()

    def count(self, depth: int) -> None:
        self._nodes += 1
        self._deepest = max(self._deepest, depth)
        if self._nodes > rules.NODES:
            raise rules.Unencodable(f"it has more than {rules.NODES} parts")
        if depth > rules.DEPTH:
            raise rules.Unencodable(f"it is nested more than {rules.DEPTH} times")

    def items(self, owner: object, values: Iterable[object], depth: int) -> list[Any]:
        """Return the trees of a container's items; ``Unencodable`` if it contains itself."""
        if id(owner) in self._path:
            raise rules.Unencodable("it refers to itself")
        self._path.add(id(owner))
        try:
            return [self.value(each, depth + 1) for each in values]
        finally:
            self._path.discard(id(owner))

    def texts(self, values: list[str | None]) -> None:
        """Append two buffers: the byte lengths (-1 for none) and the texts in UTF-8."""
        self._texts += len(values)
        if self._texts > rules.PACKED_TEXTS:
            raise rules.Unencodable(f"it has more than {rules.PACKED_TEXTS} texts")
        if not all(each is None or type(each) is str for each in values):
            raise rules.NotData
        data = [None if each is None else _clean(each).encode() for each in values]
        lengths = [-1 if each is None else len(each) for each in data]
        self.buffers.append(struct.pack(f"<{len(lengths)}i", *lengths))
        self.buffers.append(b"".join(each for each in data if each))


def short(text: object) -> str:
    """Return a name as it may travel: bounded, valid UTF-8; "?" for what is not text."""
    return _clean(text[: rules.NAME]) if type(text) is str else "?"


def zone(value: object) -> Any:
    """Return the tree of a time zone: none, an offset or a key; ``NotData`` for any other."""
    if value is None:
        return None
    if type(value) is datetime.timezone:
        offset, *name = value.__getinitargs__()  # type: ignore[attr-defined]
        return ["o", offset // _MICROSECOND, short(name[0]) if name else None]
    if type(value) is not zoneinfo.ZoneInfo or type(value.key) is not str:
        raise rules.NotData
    return ["z", short(value.key)]


def _clean(text: str) -> str:
    if text.isascii():
        return text
    return _SURROGATE.sub("\ufffd", text)


def _of_library(kind: type) -> Callable[..., Any] | None:
    module = _module(kind)  # what the class claims; only a hint where to look for its type
    root = module.split(".", 1)[0] if type(module) is str else ""
    if root not in _LIBRARIES or root not in sys.modules:
        return None
    types = own_modules.load(f"{root}_values").ENCODERS
    if id(kind) not in _ENCODERS:
        _ENCODERS.update((id(each), function) for each, function in types.items())
        _whole_types.update(
            id(each) for each in types if root != "numpy" or _type_name(each) == "MaskedArray"
        )
    return _ENCODERS.get(id(kind))


def is_of_data(kind: type) -> bool:
    """Whether a class, or one above it, is of a library's values that are data."""
    return any(_of_library(each) is not None for each in _mro(kind))


def _is_namedtuple(kind: type) -> bool:
    if _mro(kind)[1:] != (tuple, object):
        return False
    own = _names(kind)
    fields = own.get("_fields")
    if type(fields) is not tuple or not all(type(each) is str for each in fields):
        return False
    if not all(rules.is_name(each) and each[0] != "_" for each in fields):
        return False
    if not rules.is_name(_type_name(kind)):
        return False
    return bool(len(fields) <= rules.NAMES and own.keys() - _NAMEDTUPLE <= frozenset(fields))


def _namedtuple(encoder: Encoder, value: Any, depth: int) -> Any:
    kind = type(value)
    fields = list(_names(kind)["_fields"])
    items = list(tuple.__iter__(value))
    if len(items) != len(fields):
        raise rules.NotData
    return ["nt", _type_name(kind), fields, encoder.items(value, items, depth)]


def _int(encoder: Encoder, value: int, depth: int) -> Any:
    if -(2**63) <= value < 2**63:
        return value
    if value.bit_length() > rules.INT_BITS:
        raise rules.Unencodable(f"an integer has more than {rules.INT_BITS} bits")
    return ["i", format(value, "x")]


def _str(encoder: Encoder, value: str, depth: int) -> Any:
    text = _clean(value)
    if len(text) <= rules.INLINE:
        return text
    data = text.encode()
    if len(data) > rules.TEXT_BYTES:
        raise rules.Unencodable(f"a text has more than {rules.TEXT_BYTES >> 20} MiB")
    encoder.buffers.append(data)
    return ["s"]


def _bytes(encoder: Encoder, value: bytes | bytearray, depth: int) -> Any:
    tag = "b" if type(value) is bytes else "B"
    if len(value) <= rules.INLINE:
        return [tag, value.hex()]
    encoder.buffers.append(bytes(value))
    return [tag, None]


def _items(tag: str) -> Callable[..., Any]:
    def encode_items(encoder: Encoder, value: Iterable[object], depth: int) -> Any:
        trees = encoder.items(value, tuple(value), depth)
        if tag in ("S", "F"):
            _check_keys(trees)
        return [tag, trees]

    return encode_items


def _deque(encoder: Encoder, value: collections.deque[object], depth: int) -> Any:
    return ["q", value.maxlen, encoder.items(value, tuple(value), depth)]


def _pairs(tag: str) -> Callable[..., Any]:
    def encode_pairs(encoder: Encoder, value: dict[object, object], depth: int) -> Any:
        flat = [each for pair in tuple(dict.items(value)) for each in pair]
        trees = encoder.items(value, flat, depth)
        _check_keys(trees[::2])
        return [tag, trees]

    return encode_pairs


def _ordered(encoder: Encoder, value: collections.OrderedDict[object, object], depth: int) -> Any:
    """In its own order, which is not that of the dict beneath it after ``move_to_end``.

    Its iterator hashes the keys, so the order beneath has to do if an object is among them.
    """
    if all(map(_is_plain_key, tuple(dict.keys(value)))):
        keys = tuple(value)
        pairs = [(key, dict.__getitem__(value, key)) for key in keys]
    else:
        pairs = list(dict.items(value))
    trees = encoder.items(value, [each for pair in pairs for each in pair], depth)
    _check_keys(trees[::2])
    return ["O", trees]


def _is_plain_key(key: object) -> bool:
    if type(key) is tuple:
        return all(map(_is_plain_key, key))
    return id(type(key)) in _PLAIN_KEYS


def _check_keys(trees: list[Any]) -> None:
    for tree in trees:
        if type(tree) is list and _has_nan(tree):
            raise rules.Unencodable("a key or an element of a set is not a number (NaN)")


def _has_nan(tree: Any) -> bool:
    """Whether a key's tree is a NaN, or a tuple or frozenset with one; decided by its tag."""
    if type(tree) is not list:
        return False
    if tree[0] in ("t", "F"):
        return any(map(_has_nan, tree[1]))
    if tree[0] == "np.g":
        (value,) = sys.modules["numpy"].frombuffer(bytes.fromhex(tree[2]), tree[1])
        return bool(value != value)  # noqa: PLR0124 - true for NaN and NaT
    return tree[0] in ("f", "c") and "nan" in tree[1:]


def _range(encoder: Encoder, value: range, depth: int) -> Any:
    return ["r", *(_int(encoder, each, depth) for each in (value.start, value.stop, value.step))]


def _time(encoder: Encoder, value: datetime.datetime | datetime.time, depth: int) -> Any:
    tag = "ti" if type(value) is datetime.time else "dt"
    return [tag, value.replace(tzinfo=None).isoformat(), value.fold, zone(value.tzinfo)]


def _timedelta(encoder: Encoder, value: datetime.timedelta, depth: int) -> Any:
    return ["td", value.days, value.seconds, value.microseconds]


def _decimal(encoder: Encoder, value: decimal.Decimal, depth: int) -> Any:
    digits = value.as_tuple().digits
    largest = abs(value.adjusted()) if value.is_finite() else 0
    if len(digits) > rules.DECIMAL_DIGITS or largest > rules.DECIMAL_EXPONENT:
        raise rules.Unencodable(
            f"a Decimal has more than {rules.DECIMAL_DIGITS} digits, or an exponent"
            f" beyond {rules.DECIMAL_EXPONENT}"
        )
    return ["de", str(value)]


def _fraction(encoder: Encoder, value: fractions.Fraction, depth: int) -> Any:
    parts = (value.numerator, value.denominator)
    if not all(type(each) is int for each in parts):
        raise rules.NotData
    return ["fr", *(_int(encoder, each, depth) for each in parts)]


def _uuid(encoder: Encoder, value: uuid.UUID, depth: int) -> Any:
    if type(value.int) is not int:
        raise rules.NotData
    return ["u", format(value.int, "032x")]


_MICROSECOND = datetime.timedelta(microseconds=1)
_TYPES: dict[type, Callable[..., Any]] = {
    int: _int,
    str: _str,
    float: lambda encoder, value, depth: ["f", value.hex()],
    complex: lambda encoder, value, depth: ["c", value.real.hex(), value.imag.hex()],
    type(Ellipsis): lambda encoder, value, depth: ["..."],
    bytes: _bytes,
    bytearray: _bytes,
    list: _items("l"),
    tuple: _items("t"),
    set: _items("S"),
    frozenset: _items("F"),
    dict: _pairs("d"),
    collections.Counter: _pairs("C"),
    collections.OrderedDict: _ordered,
    collections.defaultdict: _pairs("D"),
    collections.deque: _deque,
    range: _range,
    datetime.date: lambda encoder, value, depth: ["da", value.isoformat()],
    datetime.datetime: _time,
    datetime.time: _time,
    datetime.timedelta: _timedelta,
    decimal.Decimal: _decimal,
    fractions.Fraction: _fraction,
    uuid.UUID: _uuid,
}
_ENCODERS = {id(kind): function for kind, function in _TYPES.items()}
"""By identity: a lookup by class would hash it, which a student's metaclass may define."""
_PLAIN = frozenset(map(id, (int, str, float, complex, bytes)))
_PLAIN_KEYS = frozenset(map(id, (str, int, float, bool, bytes, type(None), datetime.date)))
