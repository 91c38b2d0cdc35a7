"""Builds values from the trees and buffers of a hostile worker, in the judge.

The grammar, complete and strict; an array begins with its tag, and buffers are taken in order:

- ``null``, ``true``, ``false``, text up to ``INLINE`` characters, integers of 64 bits;
- ``["..."]``, ``["i", hex]``, ``["f", hex]``, ``["c", hex, hex]``, ``["s"]`` (text in a buffer),
  ``["b" or "B", hex or null]`` (bytes, bytearray; null for a buffer);
- ``["l", items]`` list, ``"t"`` tuple, ``"S"`` set, ``"F"`` frozenset, ``["q", length, items]``
  deque, ``["nt", name, fields, items]`` namedtuple;
- ``["d", [key, value, key, …]]`` dict, ``"C"`` Counter, ``"O"`` OrderedDict, ``"D"`` defaultdict
  (decoded without a factory);
- ``["r", start, stop, step]``, ``["da", text]``, ``["ti" or "dt", text, fold, zone]``,
  ``["td", days, seconds, microseconds]``, ``["de", text]``, ``["fr", numerator, denominator]``,
  ``["u", hex]``; a zone is ``null``, ``["o", microseconds, name or null]`` or ``["z", key]``;
- ``["h", number, kind, class name]`` a handle, given to the caller's hook;
- ``["@", number]`` for an object that was complete before: those with a tag of ``NUMBERED`` are
  numbered in that order, unless they are part of a frame, as -1, -2 and so on;
- tags with a library's prefix, in ``numpy_values.py`` and its siblings.

Nothing here evaluates text, resolves a name or unpickles. Limits come before allocations. Any
fault gives ``Undecodable``.
"""

from __future__ import annotations

import collections
import datetime
import decimal
import fractions
import functools
import re
import struct
import uuid
import zoneinfo
from collections.abc import Callable
from typing import Any

import codec_rules as rules  # type: ignore[import-not-found]  # in this file's directory
import own_modules  # type: ignore[import-not-found]

Hook = Callable[[Any], object]
"""Receives valid ``HandleFacts`` and returns what stands for the object in the judge.

Where that is a key, it is hashed and compared while decoding: by identity, never by asking the
worker.
"""

_LIBRARIES = {"np": "numpy", "pd": "pandas", "pl": "polars", "sp": "scipy", "sy": "sympy"}
_WHOLE = ("pd.", "pl.", "sp.", "sy.")
_MOST_CLASSES = 256
_HEX_INT = re.compile(rf"-?[0-9a-f]{{1,{rules.INT_BITS // 4}}}")
_HEX_FLOAT = re.compile(r"-?0x[01]\.[0-9a-f]{1,13}p[+-][0-9]{1,4}|-?inf|nan")
_HEX_BYTES = re.compile(r"(?:[0-9a-f]{2})*")
_UUID = re.compile(r"[0-9a-f]{32}")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME = re.compile(r"[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{6})?")
_DECIMAL = re.compile(
    r"-?(?:[0-9]{1,5000}(?:\.[0-9]{1,5000})?(?:E[+-][0-9]{1,5})?|Infinity|s?NaN[0-9]{0,20})"
)


def decode(
    tree: object,
    buffers: list[bytearray],
    hook: Hook,
    allows: Callable[[str], bool] = lambda trait: True,
    links: Any = None,
) -> Any:
    """Return the value of a tree that uses all of the buffers; otherwise ``Undecodable``.

    ``allows`` is asked for each trait of ``codec_rules.TRAITS`` that the value has; ``Refused`` is
    raised for one that is not allowed, except that integers are then made signed ones of 64 bits.
    With the ``links`` of both ends, the value is a pair: that of the tree, and the contents that
    shared objects have now, by their numbers.
    """
    decoder = Decoder(buffers, hook, allows, links)
    try:
        value = decoder.value(tree, 0) if links is None else decoder.with_changes(tree)
    except rules.Undecodable:
        raise
    except Exception as error:  # noqa: BLE001  # whatever a library raises
        raise rules.Undecodable(f"the value cannot be built ({type(error).__name__})") from None
    if decoder.buffers:
        raise rules.Undecodable("a buffer too many")
    if decoder.refused:
        raise rules.Refused(rules.TRAITS[min(decoder.refused)])
    return value


class Decoder:
    def __init__(
        self,
        buffers: list[bytearray],
        hook: Hook,
        allows: Callable[[str], bool],
        links: Any = None,
    ) -> None:
        self.allows = allows
        if links is None:
            links = own_modules.load("shared_objects").Links()
        self._links = links
        self._mark = links.mark
        self._changes = False
        self.reads_positions = False
        """Whether the next integers are codes or indices (``numpy_values.positions_of``)."""
        self._whole = 0
        """How many frames and the like we are in, whose parts have no number."""
        self._deepest = 0
        self.refused: set[str] = set()
        self.buffers = buffers[::-1]
        """Those that are left, the next one at the end."""
        self._hook = hook
        self._nodes = 0
        self._texts = 0

    def note(self, trait: str, present: bool = True) -> None:
        """Refuse the whole value in the end if it has a trait that is not allowed.

        The contents of a shared object are not refused, but the trait is noted.
        """
        if present and not self.allows(trait):
            (self._links.traits if self._changes else self.refused).add(trait)

    def keeps(self, trait: str) -> bool:
        """Whether integers keep their type, which is a trait of them.

        They do in shared objects, which are what they are at the other end.
        """
        if self.reads_positions:
            return trait == "narrow"
        if self._changes:
            self.note(trait)
        return self._changes or self.allows(trait)

    def value(self, tree: object, depth: int) -> Any:
        self._nodes += 1
        if self._nodes > rules.NODES or depth > rules.DEPTH:
            raise rules.Undecodable("too many parts, or nested too deep")
        kind = type(tree)
        if tree is None or kind is bool:
            return tree
        if kind is str:
            return text(tree, rules.INLINE)
        if kind is int:
            return integer(tree, -(2**63), 2**63 - 1)
        if type(tree) is not list or not tree or type(tree[0]) is not str:
            raise rules.Undecodable("not a tree")
        tag, *arguments = tree
        arity, function = _DECODERS.get(tag) or _of_library(tag)
        if len(arguments) != arity:
            raise rules.Undecodable("a wrong number of parts")
        return self._numbered(tag, function, depth, arguments)

    def _numbered(
        self, tag: str, function: Callable[..., Any], depth: int, arguments: list[Any]
    ) -> Any:
        nodes, deepest, self._deepest = self._nodes, self._deepest, depth
        whole = tag[:3] in _WHOLE or tag in ("np.m", "np.x")
        self._whole += whole
        value = function(self, depth, *arguments)
        self._whole -= whole
        if tag in rules.NUMBERED and not self._whole:
            self._links.sent(value, self._nodes - nodes + 1, self._deepest - depth)
        self._deepest = max(deepest, self._deepest)
        return value

    def reference(self, depth: int, number: object) -> object:
        """Return the object of a number; its parts count each time it occurs."""
        known = integer(number, -(2**53), 2**53)
        try:
            value = self._links.get(known)
        except KeyError:
            raise rules.Undecodable("no object of this number") from None
        if known >= self._mark:
            self._links.met.add(known)
        size, height = self._links.size(known)
        self._nodes += size - 1
        self._deepest = max(self._deepest, depth + height)
        if self._nodes > rules.NODES or self._deepest > rules.DEPTH:
            raise rules.Undecodable("too many parts, or nested too deep")
        if self._whole:
            raise rules.Undecodable("a part of a frame that is another object")
        return value

    def with_changes(self, tree: object) -> tuple[Any, dict[int, Any]]:
        if type(tree) is not list or len(tree) != 2 or type(tree[1]) is not list:
            raise rules.Undecodable("not a value with changes")
        value, changes = self.value(tree[0], 0), {}
        self._changes = True
        for each in tree[1]:
            if type(each) is not list or len(each) != 2 or type(each[0]) is not int:
                raise rules.Undecodable("not a change")
            self._links.get(each[0])
            changes[each[0]] = self._contents(each[1])
        self._links.settle(self._mark)
        return value, changes

    def _contents(self, tree: object) -> object:
        """Return the contents of a shared object, which has no number itself here."""
        whole = type(tree) is list and bool(tree) and tree[0] in rules.NUMBERED
        self._whole += whole
        value = self.value(tree, 0)
        self._whole -= whole
        return value

    def items(self, trees: object, depth: int) -> list[Any]:
        if type(trees) is not list:
            raise rules.Undecodable("not a list of trees")
        return [self.value(each, depth + 1) for each in trees]

    def buffer(self) -> bytearray:
        """Return the next buffer; each is returned once, and may be built upon."""
        if not self.buffers:
            raise rules.Undecodable("a buffer is missing")
        return self.buffers.pop()

    def texts(self) -> list[str | None]:
        """Return the texts of the next two buffers, lengths and UTF-8."""
        table, data = self.buffer(), memoryview(self.buffer())
        if len(table) % 4:
            raise rules.Undecodable("half a length")
        self._texts += len(table) // 4
        if self._texts > rules.PACKED_TEXTS:
            raise rules.Undecodable("too many texts")
        found: list[str | None] = []
        start = 0
        for (length,) in struct.iter_unpack("<i", table):
            if not -1 <= length <= len(data) - start:
                raise rules.Undecodable("a text beyond its buffer")
            end = start + max(length, 0)
            found.append(None if length < 0 else str(data[start:end], "utf-8"))
            start = end
        if start != len(data):
            raise rules.Undecodable("bytes after the last text")
        return found

    def handle(self, depth: int, number: object, kind: object, class_name: object) -> object:
        if type(kind) is not str or kind not in rules.KINDS:
            raise rules.Undecodable("no kind of handle")
        where = integer(number, 0, 2**31 - 1)
        return self._hook(rules.HandleFacts(where, kind, text(class_name, rules.NAME)))


def text(value: object, most: int) -> str:
    if type(value) is not str or len(value) > most:
        raise rules.Undecodable("not a text, or too long")
    if not value.isascii():
        value.encode()  # a surrogate cannot be encoded
    return value


def integer(value: object, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise rules.Undecodable("not an integer, or too large")
    return value


def flag(value: object) -> bool:
    if type(value) is not bool:
        raise rules.Undecodable("neither true nor false")
    return value


def zone(tree: object) -> datetime.tzinfo | None:
    """Return the time zone of its tree; a key must be that of an installed zone."""
    if tree is None:
        return None
    if type(tree) is not list or len(tree) not in (2, 3):
        raise rules.Undecodable("not a time zone")
    if tree[0] == "z" and len(tree) == 2:
        key = text(tree[1], rules.NAME)
        if key not in _zones():
            raise rules.Undecodable("not an installed time zone")
        return zoneinfo.ZoneInfo(key)
    if tree[0] != "o" or len(tree) != 3:
        raise rules.Undecodable("not a time zone")
    day = 86_400_000_000
    offset = datetime.timedelta(microseconds=integer(tree[1], 1 - day, day - 1))
    if tree[2] is None:
        return datetime.timezone(offset)
    return datetime.timezone(offset, text(tree[2], rules.NAME))


def matched(value: object, pattern: re.Pattern[str]) -> str:
    if type(value) is not str or not pattern.fullmatch(value):
        raise rules.Undecodable("not written as the encoder writes it")
    return value


@functools.cache
def _zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())


def _of_library(tag: str) -> tuple[int, Callable[..., Any]]:
    library = _LIBRARIES.get(tag[:2]) if tag[2:3] == "." else None
    if library is None:
        raise rules.Undecodable("no such tag")
    _DECODERS.update(own_modules.load(f"{library}_values").DECODERS)
    if tag not in _DECODERS:
        raise rules.Undecodable("no such tag")
    return _DECODERS[tag]


def _whole(tree: object) -> int:
    """An integer that stands inside another value: 64 bits, or more as hex."""
    if type(tree) is list and len(tree) == 2 and tree[0] == "i":
        return int(matched(tree[1], _HEX_INT), 16)
    return integer(tree, -(2**63), 2**63 - 1)


def _float(digits: object) -> float:
    return float.fromhex(matched(digits, _HEX_FLOAT))


def _str(decoder: Decoder, depth: int) -> str:
    data = decoder.buffer()
    if len(data) > rules.TEXT_BYTES:
        raise rules.Undecodable("a text too long")
    return data.decode()


def _bytearray(decoder: Decoder, depth: int, digits: object) -> bytearray:
    if digits is None:
        return decoder.buffer()
    if type(digits) is str and len(digits) > 2 * rules.INLINE:
        raise rules.Undecodable("bytes that belong into a buffer")
    return bytearray.fromhex(matched(digits, _HEX_BYTES))


def _deque(decoder: Decoder, depth: int, length: object, trees: object) -> object:
    items = decoder.items(trees, depth)
    most = None if length is None else integer(length, 0, 2**63 - 1)
    if most is not None and most < len(items):
        raise rules.Undecodable("a deque longer than its length")
    return collections.deque(items, most)


def _keys(keys: list[Any]) -> list[Any]:
    """Return keys that are hashable and equal to themselves, and few of them of one hash.

    Hashes of numbers are no secret: 100,000 integers with one hash would take minutes.
    """
    hashes: dict[int, int] = {}
    for key in keys:  # one by one: since 3.12, Fraction keeps its hashes in a dictionary itself
        found = hash(key)
        hashes[found] = hashes.get(found, 0) + 1
        if hashes[found] > rules.EQUAL_HASHES:
            raise rules.Undecodable("too many keys with one hash")
    if not all(map(_equals_itself, keys)):
        raise rules.Undecodable("a key that does not equal itself")
    return keys


def _equals_itself(key: Any) -> bool:
    if isinstance(key, tuple | frozenset):  # these compare their items by identity first
        return all(map(_equals_itself, key))
    return bool(key == key)  # noqa: PLR0124  # false for NaN and NaT


def _set(decoder: Decoder, depth: int, trees: object) -> set[Any]:
    keys = _keys(decoder.items(trees, depth))
    built = set(keys)
    if len(built) != len(keys):
        raise rules.Undecodable("two equal elements of a set")
    return built


def _dict(decoder: Decoder, depth: int, trees: object) -> dict[Any, Any]:
    flat = decoder.items(trees, depth)
    if len(flat) % 2:
        raise rules.Undecodable("a key without a value")
    keys = _keys(flat[::2])
    built = dict(zip(keys, flat[1::2], strict=True))
    if len(built) != len(keys):
        raise rules.Undecodable("two equal keys")
    return built


def _after(function: Callable[..., Any], make: Callable[[Any], Any]) -> Callable[..., Any]:
    return lambda *arguments: make(function(*arguments))


def _time(decoder: Decoder, depth: int, written: object, fold: object, where: object) -> object:
    value = datetime.time.fromisoformat(matched(written, _TIME))
    return value.replace(fold=integer(fold, 0, 1), tzinfo=zone(where))


def _datetime(decoder: Decoder, depth: int, written: object, fold: object, where: object) -> object:
    if type(written) is not str or written[10:11] != "T":
        raise rules.Undecodable("not a date and time")
    matched(written[:10], _DATE), matched(written[11:], _TIME)
    value = datetime.datetime.fromisoformat(written)
    return value.replace(fold=integer(fold, 0, 1), tzinfo=zone(where))


def _timedelta(decoder: Decoder, depth: int, days: object, seconds: object, rest: object) -> object:
    return datetime.timedelta(
        integer(days, -999_999_999, 999_999_999),
        integer(seconds, 0, 86_399),
        integer(rest, 0, 999_999),
    )


def _decimal(decoder: Decoder, depth: int, written: object) -> decimal.Decimal:
    value = decimal.Decimal(matched(written, _DECIMAL))
    if value.is_finite() and abs(value.adjusted()) > rules.DECIMAL_EXPONENT:
        raise rules.Undecodable("a Decimal too large")
    return value


def _namedtuple(
    decoder: Decoder, depth: int, name: object, fields: object, trees: object
) -> object:
    """Return a namedtuple, of the one class of this name and these fields.

    ``namedtuple`` evaluates the fields' names, which is why they are identifiers by now; it refuses
    duplicates and fields with an underscore itself.
    """
    if type(fields) is not list or len(fields) > rules.NAMES:
        raise rules.Undecodable("too many fields")
    title, names = identifier(name), tuple(map(identifier, fields))
    if (title, names) not in _classes:
        if len(_classes) >= _MOST_CLASSES:
            raise rules.Undecodable("too many classes of namedtuples")
        made = collections.namedtuple(title, names, module="__main__")  # type: ignore[misc]
        _classes[title, names] = made
    return _classes[title, names]._make(decoder.items(trees, depth))


def identifier(value: object) -> str:
    """Return a text that may name a namedtuple, a field of one, or a function."""
    name = text(value, rules.NAME)
    if not rules.is_name(name):
        raise rules.Undecodable("not a name")
    return name


_classes: dict[tuple[str, tuple[str, ...]], Any] = {}


def know_namedtuple(kind: Any) -> None:
    """Build values of this name and these fields as of the author's own class."""
    _classes[kind.__name__, tuple(kind._fields)] = kind


_DECODERS: dict[str, tuple[int, Callable[..., Any]]] = {
    "...": (0, lambda decoder, depth: Ellipsis),
    "i": (1, lambda decoder, depth, digits: int(matched(digits, _HEX_INT), 16)),
    "f": (1, lambda decoder, depth, digits: _float(digits)),
    "c": (2, lambda decoder, depth, *parts: complex(*map(_float, parts))),
    "s": (0, _str),
    "b": (1, _after(_bytearray, bytes)),
    "B": (1, _bytearray),
    "l": (1, lambda decoder, depth, trees: decoder.items(trees, depth)),
    "t": (1, lambda decoder, depth, trees: tuple(decoder.items(trees, depth))),
    "S": (1, _set),
    "F": (1, _after(_set, frozenset)),
    "q": (2, _deque),
    "d": (1, _dict),
    "C": (1, _after(_dict, collections.Counter)),
    "O": (1, _after(_dict, collections.OrderedDict)),
    "D": (1, _after(_dict, lambda built: collections.defaultdict(None, built))),
    "r": (3, lambda decoder, depth, *bounds: range(*map(_whole, bounds))),
    "da": (1, lambda decoder, depth, written: datetime.date.fromisoformat(matched(written, _DATE))),
    "ti": (3, _time),
    "dt": (3, _datetime),
    "td": (3, _timedelta),
    "de": (1, _decimal),
    "fr": (2, lambda decoder, depth, top, bottom: fractions.Fraction(_whole(top), _whole(bottom))),
    "u": (1, lambda decoder, depth, digits: uuid.UUID(matched(digits, _UUID))),
    "nt": (3, _namedtuple),
    "h": (3, Decoder.handle),
    "@": (1, Decoder.reference),
}
