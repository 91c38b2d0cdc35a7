"""Calls of an answer's functions and methods from a check, for ``stand_ins.py``."""

from __future__ import annotations

import contextlib
import copy
import functools
import hashlib
import importlib
import inspect
import random
import struct
import sys
import time
from collections.abc import Callable
from typing import Any

import answer_log  # type: ignore[import-not-found]  # in this file's directory
import answer_rules as rules  # type: ignore[import-not-found]
import answer_session  # type: ignore[import-not-found]
import argument_pickle  # type: ignore[import-not-found]
import codec_rules  # type: ignore[import-not-found]
import value_encoder  # type: ignore[import-not-found]


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
        """Return the result of calling an object."""
        return self._ask(("call", number), path, args, keywords)

    def special(self, value: object, name: str, args: tuple[Any, ...]) -> Any:
        """Return the result of a special method of an instance."""
        number = self._stand_ins.number_of(value)
        path = f"{self._stand_ins.owner_of(value)}.{name}"
        self._stand_ins.claims.add(path)
        self._stand_ins.book.note(f"{path}()")  # also if it raises
        if name == "__next__":
            return self._next(number, f"{path}()")
        if name == "__exit__":
            args = (None, None, None)
        return self._ask(("special", number, name), path, args, {})

    def _next(self, number: int, path: str) -> Any:
        """Return the next item of an instance that is an iterator, which may end a loop."""
        reply = self._stand_ins.session.ask("next", number)
        if self._stand_ins.outcome(reply, "stop") == "stop":
            raise StopIteration
        return self._stand_ins.value(reply, path)

    def carried(self, value: object) -> bytes:
        """Return a value as the worker gets it; ``NotJudgeable`` if it cannot be carried."""
        try:
            data: bytes = argument_pickle.dumps(value, self._stand_ins.number_of)
        except Exception as error:  # noqa: BLE001 - whatever an author's object raises
            reason = f"An argument cannot be carried to the answer: {error}"
            raise answer_session.NotJudgeable(reason[: rules.TEXT]) from None
        return data

    def _ask(
        self, request: tuple[Any, ...], path: str, args: tuple[Any, ...], keywords: dict[str, Any]
    ) -> Any:
        stand_ins, book = self._stand_ins, self._stand_ins.book
        given: dict[int | str, Any] = dict(enumerate(args))
        given.update(keywords)
        wanted = [each for each in _wanted(book, path, given) if _is_mutable(given[each])]
        before = {each: _written(given[each]) for each in wanted} if book.records else {}
        shown = answer_log.shown_call(path, args, keywords)
        started = time.perf_counter()
        data = self.carried((args, keywords, self._seeded()))
        reply = stand_ins.session.ask(*request, wanted, data=data)
        stand_ins.log.called(shown, reply.status, time.perf_counter() - started)
        if stand_ins.outcome(reply, "unsupported") == "unsupported":
            if request[0] != "special":
                raise stand_ins.unexpected()
            return NotImplemented
        result, changed, same = self._parts(reply, f"{path}()", len(wanted), len(args))
        self._put_back(path, {each: given[each] for each in wanted}, changed, before)
        book.note(f"{path}()", example=answer_log.described(result))
        honoured = book.records or same in book.use(path).same
        if same >= 0 and honoured and _is_mutable(args[same]):
            stand_ins.claims.add(f"{path}() is its argument")
            book.note(path, same=same)
            return args[same]
        stand_ins.log.returned(result)
        return result

    def _parts(self, reply: Any, path: str, wanted: int, given: int) -> tuple[Any, list[Any], int]:
        value = self._stand_ins.decoded(reply, path)
        if type(value) is not tuple or len(value) != 3:
            raise self._stand_ins.unexpected()
        result, changed, same = value
        if type(changed) is not list or len(changed) != wanted:
            raise self._stand_ins.unexpected()
        if type(same) is not int or not -1 <= same < given:
            raise self._stand_ins.unexpected()
        return result, changed, same

    def _put_back(
        self, path: str, given: dict[int | str, Any], new: list[Any], before: dict[int | str, Any]
    ) -> None:
        """Change the arguments as the answer has; of a recording, those that differ now."""
        book = self._stand_ins.book
        for place, value in zip(given, new, strict=True):
            if book.records:
                if _written(value) == before[place]:
                    continue
                book.note(path, changes=(place,))
            argument = given[place]
            self._before.setdefault(id(argument), (argument, copy.copy(argument)))
            _replace(argument, value, path)

    def put_back(self) -> None:
        """Give changed arguments the contents that they had before the first change.

        One whose type or form the check itself has changed since stays as it is.
        """
        for argument, before in self._before.values():
            with contextlib.suppress(answer_session.NotJudgeable, ValueError, BufferError):
                _replace(argument, before, "")
        self._before.clear()

    def _seeded(self) -> dict[str, Any] | None:
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
        return now


def dress(function: Any, facts: Any) -> None:
    """Give a function the name, the text and the signature that the worker claims."""
    if type(facts) is not tuple or len(facts) != 3:
        return
    name, text, parameters = facts
    if type(name) is str:
        function.__name__ = function.__qualname__ = name
    function.__doc__ = text if type(text) is str else None
    with contextlib.suppress(TypeError, ValueError):
        if type(parameters) is list:
            function.__signature__ = inspect.Signature([_parameter(*each) for each in parameters])


def _parameter(name: str, kind: int, has_default: bool, default: object) -> inspect.Parameter:
    empty = inspect.Parameter.empty
    kinds = tuple(inspect._ParameterKind)
    if type(kind) is not int or not 0 <= kind < len(kinds):
        raise ValueError("no kind of parameter")
    return inspect.Parameter(name, kinds[kind], default=default if has_default is True else empty)


def _wanted(book: Any, path: str, given: dict[int | str, Any]) -> list[int | str]:
    return [each for each in given if book.records or each in book.use(path).changes]


def _is_mutable(value: object) -> bool:
    kind = type(value)
    return kind.__name__ in (*rules.MUTABLE, "ndarray") and kind.__module__ in (
        *("builtins", "collections", "numpy"),
    )


def _written(value: object) -> object:
    """Return a value's encoding, to compare it with a later one without asking it.

    None if it has none: such an argument counts as unchanged.
    """
    try:
        return value_encoder.encode(value, _no_handle)
    except codec_rules.Unencodable:
        return None


def _no_handle(value: object) -> Any:
    """Every object is alike: only data counts."""
    return _Same


class _Same:
    number, kind, class_name, names = 0, "opaque", "", ()


def _replace(old: Any, new: Any, path: str) -> None:
    """Give an argument the contents of its new value, if it is of the same type."""
    if type(old) is not type(new):
        raise answer_session.NotJudgeable(f"`{path}` changed the type of its argument.")
    kind = type(old).__name__
    if kind in ("list", "bytearray"):
        old[:] = new
    elif kind == "ndarray":
        if old.shape != new.shape or old.dtype != new.dtype:
            raise answer_session.NotJudgeable(f"`{path}` changed the form of its argument.")
        old[...] = new
    else:
        old.clear()
        _extender(old)(new)


def _extender(container: Any) -> Callable[[Any], Any]:
    extend: Callable[[Any], Any] = getattr(container, "extend", None) or container.update
    return extend


def _random_states() -> dict[str, Any]:
    numpy = None
    if "numpy" in sys.modules:
        numpy = importlib.import_module("numpy.random").get_state()
    return {"random": random.getstate(), "numpy": numpy}


def seed_random(text: str) -> None:
    """Seed the random numbers of the standard library and of numpy."""
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
