"""Calls of an answer's functions and methods from a check, for ``stand_ins.py``.

What they raise is raised in the judge as the nearest builtin exception, with its text as data.
Reports say in words which calls were made and what they gave.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import copy
import functools
import hashlib
import importlib
import inspect
import itertools
import linecache
import pickle
import random
import reprlib
import struct
import sys
import time
from typing import Any

import answer_session  # type: ignore[import-not-found]  # in this file's directory
import carried_files  # type: ignore[import-not-found]
import codec_rules as rules  # type: ignore[import-not-found]
import shared_objects  # type: ignore[import-not-found]

MODULE = "answer"
"""The module of all classes that are made for an answer."""
_MOST_CLASSES = 256
ALLOWED: dict[str, type[Exception]] = {
    name: each
    for name, each in vars(builtins).items()
    if isinstance(each, type)
    and issubclass(each, Exception)
    and name == each.__name__
    and name not in ("StopIteration", "StopAsyncIteration", "ExceptionGroup", "MemoryError")
    and not issubclass(each, UnicodeDecodeError | UnicodeEncodeError | UnicodeTranslateError)
}
"""Never ``StopIteration``, which would end ``all(map(answer, …))`` early, nor one that is no error.

``MemoryError`` is none of them either: in the judge it means that the judge has no more memory.
"""

_ENDS = frozenset(
    ("StopIteration", "StopAsyncIteration", "GeneratorExit", "SystemExit", "KeyboardInterrupt")
)


_LIBRARY_ERRORS = {
    "FrozenInstanceError": "dataclasses",
    "InvalidOperation": "decimal",
    "JSONDecodeError": "json",
    "LinAlgError": "numpy.linalg",
}
"""Classes of libraries by their names, and the modules that have them."""


class Errors:
    """The classes of an answer's exceptions, made here below the nearest builtin."""

    def __init__(self) -> None:
        self.given: dict[str, type[Exception]] = {}
        """The author's own, by name; an answer may raise them, and derive its own from them."""
        self._made: dict[str, type[Exception]] = {}

    def made(
        self, name: str, above: tuple[type, ...], built_in: list[Any]
    ) -> type[Exception] | None:
        """Return the class for one of the interface, None if it is no class of exceptions."""
        if name in self.given:
            return self.given[name]
        bases = tuple(each for each in above if issubclass(each, Exception))
        known = (each for each in built_in if type(each) is str and each in ALLOWED)
        nearest = next((ALLOWED[each] for each in known), None)
        if not bases and nearest is None:
            return None
        self._made[name] = type(name, bases or (nearest or Exception,), {"__module__": MODULE})
        return self._made[name]

    def error(self, names: object, text: str) -> Exception:
        """Return the exception for the names of an exception's classes, nearest first.

        A name with a dot before it is that of a class of the answer, which may be called as a
        builtin is without being one.
        """
        if type(names) is not list or not all(type(each) is str for each in names):
            return RuntimeError(text)
        name = names[0].removeprefix(".") if names else "exception"
        nearest = next(filter(None, map(self._known, names)), None)
        if nearest is None or not _ENDS.isdisjoint(names):
            return RuntimeError(f"{name}: {text}")
        named = nearest.__name__ == name
        if not named and name.isidentifier() and len(self._made) < _MOST_CLASSES:
            nearest = self._made[name] = type(name, (nearest,), {"__module__": MODULE})
        if all(each.__module__ in ("builtins", MODULE) for each in nearest.__mro__):
            return nearest(text)
        return nearest.__new__(nearest, text)  # whatever arguments an author's class takes

    def _known(self, name: str) -> type[Exception] | None:
        if not name.startswith("."):
            return ALLOWED.get(name)
        own = name[1:]
        module = sys.modules.get(_LIBRARY_ERRORS.get(own, ""))
        return self._made.get(own) or self.given.get(own) or getattr(module, own, None)


_MOST_CALLS = 200
_MOST_SHOWN = 200


class CallLog:
    """The first calls of one check."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self._open = False

    def called(self, shown: str, status: str, seconds: float) -> None:
        self._open = len(self.calls) < _MOST_CALLS
        if self._open:
            milliseconds = round(seconds * 1000, 2)
            self.calls.append({"call": shown, "status": status, "milliseconds": milliseconds})

    def returned(self, result: object) -> None:
        if self._open:
            self.calls[-1]["result"] = shown(result)


def shown_call(path: str, args: tuple[Any, ...], keywords: dict[str, Any]) -> str:
    given = [shown(each) for each in args[:8]]
    given += [f"{name}={shown(each)}" for name, each in list(keywords.items())[:8]]
    return f"{path}({', '.join(given)})"[:_MOST_SHOWN]


def shown(value: object) -> str:
    """Return a short text of a value, which is not asked for it if it is no plain data."""
    with contextlib.suppress(Exception):
        return _SHORT.repr(value)[:_MOST_SHOWN].encode("utf-8", "replace").decode()
    return f"<{type(value).__name__}>"


class _Short(reprlib.Repr):
    def repr_instance(self, x: Any, level: int) -> str:
        kind = type(x)
        shape = x.shape if kind.__module__.partition(".")[0] in ("numpy", "pandas") else ""
        if kind.__module__ == "numpy" and shape == ():
            return repr(x)
        return f"<{kind.__name__}{f' {shape}' if shape else ''}>"

    def repr1(self, x: Any, level: int) -> str:
        if x is None or type(x) in (bool, float, complex):
            return repr(x)
        if type(x).__module__ == "builtins" and type(x).__name__ != "function":
            return super().repr1(x, level)
        return self.repr_instance(x, level)


_SHORT = _Short()


def described(value: object) -> str:
    """Return in words what a value is ("a number", "a list"); nothing is asked of it."""
    kind = type(value)
    if kind in (int, float, complex):
        return "a number"
    plain = {bool: "true or false", str: "a text", type(None): "nothing"}
    if kind in plain:
        return plain[kind]
    if kind.__module__ == MODULE:
        return f"an object of class {kind.__name__}"
    if kind.__module__.startswith("sympy."):
        return "an expression of sympy"
    return with_article("array" if kind.__name__ == "ndarray" else kind.__name__)


def with_article(noun: str) -> str:
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"


class Calls:
    """Calls by the stand-ins of one check.

    Random numbers: once the check's own code has seeded or drawn some, the state goes to the worker
    with the next call, which continues from there. No state ever comes back, since an answer could
    choose the check's later inputs by it: the check's own draws then differ from those in one
    process with the answer.
    """

    def __init__(self, stand_ins: Any, secret: str) -> None:
        """``secret`` is the judge's own: from it come the random numbers after a state was sent."""
        self._stand_ins = stand_ins
        self._secret = secret
        self._sent = 0
        self._states = _random_states() if stand_ins.book.seeds else None
        self._before: dict[int, tuple[Any, Any]] = {}
        """The arguments that answers have changed, and copies of them from before, by id."""

    def call(self, number: int, path: str, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        return self._ask(("call", number), path, args, keywords)

    def special(self, value: object, name: str, args: tuple[Any, ...]) -> Any:
        number = self._stand_ins.number_of(value)
        owner = self._stand_ins.owner_of(value)
        self._stand_ins.claims.add(f"{owner}.{name}")
        known = self._stand_ins.known_method(owner, name, rules.SAME_RESULT)
        path = f"{owner}.{known or name}"
        self._stand_ins.book.note(f"{path}()")  # also if it raises
        if name == "__next__":  # which may end a loop
            reply = self._stand_ins.request("next", number)
            if self._stand_ins.outcome(reply, "stop") == "stop":
                raise StopIteration
            return self._stand_ins.value(reply, f"{path}()")
        if name == "__exit__":
            args = (None, None, None)
        return self._ask(("special", number, name), path, args, {})

    def _ask(
        self, request: tuple[Any, ...], path: str, args: tuple[Any, ...], keywords: dict[str, Any]
    ) -> Any:
        stand_ins, book = self._stand_ins, self._stand_ins.book
        given: dict[int | str, Any] = dict(enumerate(args))
        given.update(keywords)
        changeable = [each for each in given if self._changeable(book, path, each, given[each])]
        wanted = [] if stand_ins.sharing else changeable
        before = {each: shared_objects.deep_digest(given[each]) for each in wanted if book.records}
        files = {place: at for place, each in given.items() if (at := carried_files.named(each))}
        shown = shown_call(path, args, keywords)
        started = time.perf_counter()
        sent = (args, keywords, self._seeded(), _contents(files))
        reply = stand_ins.request(*request, wanted, value=sent)
        stand_ins.log.called(shown, reply.status, time.perf_counter() - started)
        if stand_ins.outcome(reply, "unsupported") == "unsupported":
            if request[0] != "special":
                raise stand_ins.unexpected()
            return NotImplemented
        allowed = {id(given[each]) for each in changeable}
        result, changed, same, made = self._parts(reply, path, len(wanted), args, allowed)
        self._make_files(path, files, made)
        self._put_back(path, {each: given[each] for each in wanted}, changed, before)
        book.note(f"{path}()", example=described(result))
        honoured = book.records or stand_ins.sharing or same in book.use(path).same
        if same >= 0 and honoured and shared_objects.kind_of(args[same]):
            stand_ins.claims.add(f"{path}() is its argument")
            book.note(path, same=(same,))
            return args[same]
        stand_ins.log.returned(result)
        return result

    def _changeable(self, book: Any, path: str, place: int | str, value: object) -> bool:
        """Whether an argument can be changed, and may be by the contract."""
        if self._stand_ins.number_of(value) is not None or not shared_objects.kind_of(value):
            return False
        return book.records or place in book.use(path).changes

    def _parts(
        self, reply: Any, path: str, wanted: int, args: tuple[Any, ...], allowed: set[int]
    ) -> tuple[Any, tuple[Any, ...], int, dict[str, Any]]:
        may_be = [args[each] for each in self._stand_ins.book.use(path).same if each < len(args)]
        value = self._stand_ins.decoded(reply, f"{path}()", changes=allowed, same=may_be)
        if type(value) is not tuple or len(value) != 4 or type(value[3]) is not dict:
            raise self._stand_ins.unexpected()
        result, changed, same, made = value
        if type(changed) is not tuple or len(changed) != wanted:
            raise self._stand_ins.unexpected()
        if type(same) is not int or not -1 <= same < len(args):
            raise self._stand_ins.unexpected()
        if self._stand_ins.sharing:  # an argument is known by its number
            same = next((n for n, each in enumerate(args) if each is result), -1)
        return result, changed, same, made

    def _make_files(self, path: str, files: dict[int | str, str], made: dict[str, Any]) -> None:
        """Make of the files that arguments name what an answer has, where the contract lets it."""
        book = self._stand_ins.book
        for place, each in files.items():
            if each not in made or not (book.records or place in book.use(path).changes):
                continue
            try:
                carried_files.check(made[each])
            except ValueError:
                raise self._stand_ins.unexpected() from None
            carried_files.make(each, made[each])
            book.note(path, changes=(place,))

    def _put_back(
        self,
        path: str,
        given: dict[int | str, Any],
        new: tuple[Any, ...],
        before: dict[int | str, Any],
    ) -> None:
        """Change the arguments as the answer has; of a recording, those that differ now."""
        book = self._stand_ins.book
        for place, contents in zip(given, new, strict=True):
            argument = given[place]
            self._before.setdefault(id(argument), (argument, _kept(argument)))
            _refill(argument, contents, path)
            if book.records and shared_objects.deep_digest(argument) != before[place]:
                book.note(path, changes=(place,))

    def put_back(self) -> None:
        """Give changed arguments the contents that they had before the first change.

        One whose type or form the check itself has changed since stays as it is.
        """
        for argument, before in self._before.values():
            with contextlib.suppress(answer_session.NotJudgeable, BufferError):
                _refill(argument, before, "")
        self._before.clear()

    def _seeded(self) -> bytes | None:
        """Return the random numbers' state if the check has changed it; pickled, as no argument."""
        if self._states is None:
            return None
        now = _random_states()
        if now["random"] == self._states["random"] and _same(now["numpy"], self._states["numpy"]):
            return None
        # Another state, so that seeding the same again is seen as a change; not one that follows
        # from what was sent, since an answer could then foresee the check's later inputs.
        self._sent += 1
        seed_random(f"{self._secret}:{self._sent}")
        self._states = _random_states()
        self._stand_ins.book.note_seeds()
        return pickle.dumps(now)


def _contents(files: dict[int | str, str]) -> dict[str, Any]:
    """Return what arguments name; ``NotJudgeable`` if that is too large."""
    try:
        return {each: carried_files.content(each) for each in files.values()}
    except ValueError as error:
        raise answer_session.NotJudgeable(f"The arguments name {error}.") from None


def place_of(path: str) -> str:
    """Return the name of the file in which an answer's function stands, for ``inspect``."""
    return f"<answer {path}>"


def know_texts(texts: dict[str, str]) -> None:
    """Let ``inspect.getsource`` find these texts of answers, by their names."""
    for name, text in texts.items():
        place = place_of(name)
        linecache.cache[place] = (len(text), None, text.splitlines(keepends=True), place)


def dress(function: Any, facts: Any) -> bool:
    """Give a function what the worker claims of it; return whether it has own attributes."""
    if type(facts) is not tuple or len(facts) != 5:
        return False
    name, text, parameters, returned, attributes = facts
    if type(name) is str:
        function.__name__ = function.__qualname__ = name
    function.__doc__ = text if type(text) is str else None
    with contextlib.suppress(TypeError, ValueError):
        if type(parameters) is list:
            found = [_parameter(*each) for each in parameters]
            signature = inspect.Signature(found, return_annotation=_annotation(returned))
            function.__signature__ = signature
            told = {each.name: each.annotation for each in found} | {
                "return": signature.return_annotation
            }
            empty = inspect.Parameter.empty
            function.__annotations__ = {n: each for n, each in told.items() if each is not empty}
    return attributes is True


def _parameter(
    name: str, kind: int, has_default: bool, default: object, annotation: object
) -> inspect.Parameter:
    given = default if has_default is True else inspect.Parameter.empty
    # ``ValueError`` for another number. No other value is compared: its comparison may raise more.
    known = inspect._ParameterKind(kind if type(kind) is int else -1)
    return inspect.Parameter(name, known, default=given, annotation=_annotation(annotation))


_TYPES: dict[str, Any] = {
    **{each.__name__: each for each in (bool, int, float, complex, str, bytes, object)},
    **{each.__name__: each for each in (list, tuple, dict, set, frozenset)},
    "None": None,
}


def _annotation(text: object) -> Any:
    """Return the annotation for a text such as ``list[int] | None``, of builtin types alone.

    No text is evaluated, nor kept as one, which `typing.get_type_hints` would evaluate.
    """
    empty = inspect.Parameter.empty
    if type(text) is not str or len(text) > rules.NAME:  # as long as the worker's end writes it
        return empty
    try:
        return _type_of(ast.parse(text, mode="eval").body)
    except (SyntaxError, ValueError, TypeError, KeyError, RecursionError, MemoryError):
        return empty


def _type_of(node: ast.expr) -> Any:
    match node:
        case ast.Name(id=name):
            return _TYPES[name]
        case ast.Constant(value=value) if value is None or value is ...:
            return value
        case ast.Subscript(value=ast.Name(id=name), slice=ast.Tuple(elts=parts)):
            return _TYPES[name][tuple(map(_type_of, parts))]
        case ast.Subscript(value=ast.Name(id=name), slice=part):
            return _TYPES[name][_type_of(part)]
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _type_of(left) | _type_of(right)
    raise ValueError("another annotation")


def _kept(value: object) -> Any:
    """Return the contents of an argument, to give them back to it later."""
    found = shared_objects.contents(value)
    if shared_objects.kind_of(value) == "function":
        return tuple(map(copy.copy, found))
    return copy.copy(found) if found is value else found


def _refill(argument: Any, contents: Any, path: str) -> None:
    """Give an argument the contents that it has at the worker's end."""
    try:
        shared_objects.refill(argument, contents)
    except (TypeError, ValueError, KeyError):
        raise answer_session.NotJudgeable(f"`{path}` changed the form of its argument.") from None


def _random_states() -> dict[str, Any]:
    given = "numpy" in sys.modules
    numpy = importlib.import_module("numpy.random").get_state() if given else None
    return {"random": random.getstate(), "numpy": numpy}


_seed = random.Random.seed


def seed_random(text: str) -> None:
    """Seed the random numbers of the standard library and of numpy, also those without a seed.

    What would come from the kernel comes from the text, too: else it could be asked for again until
    it suits an answer. numpy's generators and `secrets` ask a ``random.SystemRandom``.
    """
    count = itertools.count()

    def unseeded(size: int) -> bytes:
        return random.Random(f"{text}:{next(count)}").randbytes(size)  # noqa: S311 - of a secret

    def seed(generator: random.Random, a: Any = None, version: int = 2) -> None:
        _seed(generator, unseeded(32) if a is None else a, version)

    names = vars(random)
    names["_urandom"] = unseeded
    names["seed"] = functools.partial(seed, names["_inst"])
    random.Random.seed = seed  # type: ignore[assignment]
    random.seed(text)
    if (numpy_random := _numpy_random()) is not None:
        numpy_random.seed(struct.unpack("<8I", hashlib.sha256(text.encode()).digest()))


@functools.cache
def _numpy_random() -> Any:
    """Return numpy's module, imported now lest an author's cell imports it later, or None.

    It is looked for once, since a search in vain takes longer than the rest of a seeding.
    """
    with contextlib.suppress(ImportError):
        return importlib.import_module("numpy.random")
    return None


def _same(first: Any, second: Any) -> bool:
    if first is None or second is None:
        return first is second
    return first[2:] == second[2:] and bool((first[1] == second[1]).all())
