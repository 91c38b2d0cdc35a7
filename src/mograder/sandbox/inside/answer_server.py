"""Answers the judge's requests with a notebook's objects; in the worker, beside hostile code.

Nothing here is a boundary: student code can do all that this module does. The judge's side
(``answer_session.py``) believes none of it. Objects that stay in the worker are numbered; of what
kind each of them is, is found without calling a method of the object or of its class.
"""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import functools
import importlib
import inspect
import io
import json
import os
import pickle
import random
import select
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any

import carried_files  # type: ignore[import-not-found]  # in this file's directory
import cell_runner  # type: ignore[import-not-found]
import codec_rules as rules  # type: ignore[import-not-found]
import own_modules  # type: ignore[import-not-found]
import shared_objects  # type: ignore[import-not-found]
import value_encoder  # type: ignore[import-not-found]

_MOST_OBJECTS = 100_000
_mro = type.__dict__["__mro__"].__get__
_name = type.__dict__["__name__"].__get__
_namespace = type.__dict__["__dict__"].__get__
_module = type.__dict__["__module__"].__get__
_WRAPPERS = (type(functools.cache(len)), functools.partial)
"""Functions around a function, with attributes of their own such as ``cache_info``."""
_FUNCTIONS = frozenset(
    map(
        id,
        (
            types.FunctionType,
            types.BuiltinFunctionType,
            types.MethodDescriptorType,
            types.WrapperDescriptorType,
            types.MethodWrapperType,
            *_WRAPPERS,
        ),
    )
)
_OF_ITERATORS = frozenset(("builtins", "itertools", "_csv"))
"""The modules whose objects with ``__next__`` are iterators and nothing more."""


class HandleTable:
    """The objects of one worker with a number each; an object keeps its number while it lives."""

    def __init__(self) -> None:
        self._objects: list[object] = []
        self._numbers: dict[int, int] = {}

    def facts(self, value: object) -> Any:
        """Return the ``HandleFacts`` of an object, which is kept from now on."""
        number = self._numbers.get(id(value))
        if number is None:
            if len(self._objects) >= _MOST_OBJECTS:
                raise rules.Unencodable(f"more than {_MOST_OBJECTS} objects that are not data")
            number = self._numbers[id(value)] = len(self._objects)
            self._objects.append(value)
        class_name = value_encoder.short(_name(type(value)))
        return rules.HandleFacts(number, _kind(value), class_name)

    def object(self, number: int) -> Any:
        """Return the object of a number; ``IndexError`` if it has none."""
        if number < 0:
            raise IndexError(number)
        return self._objects[number]


def _kind(value: object) -> str:
    kind = type(value)
    classes = _mro(kind)
    if any(each is type for each in classes):
        return "class"
    if kind is types.MethodType or id(kind) in _FUNCTIONS:
        return "function"
    module = _module(kind)
    known = type(module) is str and module in _OF_ITERATORS
    if known and any("__next__" in _namespace(each) for each in classes):
        return "iterator"
    return "opaque" if kind is types.ModuleType else "instance"


FOREVER = 10**6
"""Seconds; the judge has the deadlines."""
_WITHOUT_LIMIT = 2**62


class Snapshots:
    """The interface's values when their cells ended, encoded; the objects stay here."""

    def __init__(self) -> None:
        self.table = HandleTable()
        self.values: dict[str, tuple[Any, list[bytes]] | str] = {}
        self.missing: dict[str, str] = {}
        """Why a name has no value."""
        self.given: dict[str, bytes] = {}
        """What tells given objects apart from later ones, by name, when their cells ended."""
        self.names: dict[str, Any] = {}
        """The notebook's own names, as they are now."""

    def look_at(self, name: str, value: object) -> None:
        """Note what a name's value is that is no answer, if it can be shared."""
        if shared_objects.kind_of(value) and shared_objects.is_small(value):
            with contextlib.suppress(Exception):  # whatever a library raises for odd contents
                self.given[name] = shared_objects.deep_digest(value)

    def take(self, name: str, value: object) -> None:
        """Keep a name's value, or the sentence that says why it cannot be carried."""
        try:
            self.values[name] = value_encoder.encode(value, self.table.facts)
        except rules.Unencodable as error:
            self.values[name] = f"`{name}` cannot be carried: {error}."

    def value(self, name: str) -> object:
        """Return a name's value as it was; ``KeyError`` for one that has none."""
        found = self.values[name]
        if isinstance(found, str):
            raise KeyError(name)
        tree, buffers = found
        decoder: Any = own_modules.load("value_decoder")
        copied = [bytearray(each) for each in buffers]
        hook = self.table.object
        # Through JSON, since the decoder takes no tuples.
        return decoder.decode(json.loads(json.dumps(tree)), copied, lambda each: hook(each.number))


class AnswerServer:
    """Serves requests one by one, until it is killed or the judge's end is closed."""

    def __init__(self, snapshots: Snapshots, requests: int, answers: int) -> None:
        self._snapshots = snapshots
        self._table = snapshots.table
        self._requests, self._answers = requests, answers
        self.renew()
        self._operations: dict[str, Callable[..., Any]] = {
            "call": self._call,
            "special": self._special,
            "attribute": lambda number, name, buffers: getattr(
                self._object_of(number, buffers), name
            ),
            "set": self._set,
            "next": self._next,
            "await": lambda *given: asyncio.run(self._object_of(*given)),
            "describe": self._describe,
            "kinds": lambda name, buffers: self._junk.kinds_of(self._snapshots.value(name)),
            "replace": self._replace,
            "replaced": lambda buffers: bool(self._trial.counts),
            "share": self._share,
            "changes": lambda buffers: None,
        }
        self._links: Any = None
        """The objects that both ends have."""
        self._shares = False
        """Whether the request that is being answered, and its answer, tell changes of them."""
        self._trial: Any = None
        self._original: tuple[str, Any] | None = None

    def renew(self) -> None:
        """Begin with the next frame, after one that was not read or written to its end."""
        self._reader = rules.FrameReader(self._requests, total_bytes=_WITHOUT_LIMIT)
        self._writer = rules.FrameWriter(self._answers)

    def serve(self, until: int | None = None) -> None:
        """Answer requests; return once the descriptor ``until`` can be read."""
        while True:
            if until is not None and until in select.select([until, self._requests], [], [])[0]:
                return
            frame = self._reader.read(FOREVER)
            self._answer(*frame.head, frame.buffers)

    def serve_value(self) -> None:
        """Answer one request for a value; ``rules.FrameError`` for any other."""
        number, operation, _, *arguments = self._reader.read(FOREVER).head
        if operation != "pull":
            raise rules.FrameError("a request to a process that was not begun")
        self._pull(number, *arguments)

    def _answer(self, number: int, operation: str, shares: bool, *arguments: Any) -> None:
        if operation == "pull":
            self._pull(number, arguments[0])
            return
        self._shares = shares
        printed = _Printed()
        try:
            with contextlib.redirect_stdout(printed.stream), cell_runner.in_cell()("call"):
                value = self._operations[operation](*arguments)
        except BaseException as error:  # noqa: BLE001 - a student's code may raise anything
            if operation == "next" and type(error) is StopIteration:
                self._say([number, "stop", printed.text()])
            else:
                text = cell_runner.error_text(error)[: rules.TEXT].encode("utf-8", "replace")
                self._say([number, "error", _classes(error), text.decode(), printed.text()])
            return
        if operation == "special" and value[0] is NotImplemented:
            self._say([number, "unsupported", printed.text()])
            return
        links = self._links if self._shares else None
        changes = [] if links is None else links.changed()
        try:
            tree, buffers = value_encoder.encode(value, self._table.facts, links, changes)
            self._say([number, "value", tree, printed.text()], buffers)
        except rules.Unencodable as error:
            self._say([number, "refused", f"The result cannot be carried: {error}."])

    def _pull(self, number: int, name: str) -> None:
        found = self._snapshots.values.get(name)
        if found is None:
            reason = self._snapshots.missing.get(name, "no cell that ran defines it")
            self._say([number, "missing", reason[: rules.TEXT]])
        elif isinstance(found, str):
            self._say([number, "refused", found[: rules.TEXT]])
        else:
            self._say([number, "value", found[0], ""], found[1])

    def _say(self, head: list[Any], buffers: Sequence[bytes] = ()) -> None:
        try:
            self._writer.write(head, buffers, seconds=FOREVER)
        except rules.FrameError as error:  # over a limit, or the pipe failed, which raises again
            sentence = f"The result cannot be carried: {error}."
            self._writer.write([head[0], "refused", sentence], seconds=FOREVER)

    def _special(self, number: int, name: str, wanted: list[Any], buffers: list[bytearray]) -> Any:
        owner = self._table.object(number)
        return self._call(number, wanted, buffers, (getattr(type(owner), name), owner))

    def _call(
        self, number: int, wanted: list[Any], buffers: list[bytearray], method: Any = ()
    ) -> Any:
        """Return a call's result, the wanted arguments' new values, and which one the result is.

        At last, the files that arguments name and that are others now, by their paths. ``method``
        is a special one, which is None where a class has withdrawn it, and its first argument.
        """
        function, *first = method or (self._table.object(number),)
        args, keywords, states, files = self._given(buffers)
        _set_random(states)
        for path, content in files.items():
            if content is not None or not os.path.lexists(path):  # a file of the notebook's stays
                carried_files.make(path, content)
        result = function(*first, *args, **keywords)
        made = {path: carried_files.content(path) for path in files}
        made = {path: content for path, content in made.items() if content != files[path]}
        given = [args[each] if type(each) is int else keywords[each] for each in wanted]
        same = next((place for place, each in enumerate(args) if each is result), -1)
        return result, tuple(map(shared_objects.contents, given)), same, made

    def _set(self, number: int, name: str, buffers: list[bytearray]) -> None:
        value = self._given(buffers)
        setattr(self._table.object(number), name, value)

    def _next(self, number: int, buffers: list[bytearray]) -> Any:
        value = self._given(buffers)
        iterator = self._table.object(number)
        return next(iterator) if value is None else iterator.send(value)

    def _object_of(self, number: int, buffers: list[bytearray]) -> Any:
        self._given(buffers)
        return self._table.object(number)

    def _given(self, buffers: list[bytearray]) -> Any:
        """Return a request's value, after what the judge has changed of shared objects."""
        links = self._links
        if not self._shares:
            return shared_objects.loads(buffers[0], self._table.object) if buffers[0] else None
        request = shared_objects.loads(buffers[0], self._table.object, links.get)
        for number, contents in request["changes"]:
            shared_objects.refill(links.get(number), contents)
        links.scattered.update(request["scattered"])
        for number, value in enumerate(request["new"], request["first"]):
            links.given(value, number)
        for number, _ in request["changes"]:
            links.told(number)
        for number in request["dropped"]:
            links.drop(number)
        return request["value"]

    def _share(self, buffers: list[bytearray]) -> dict[str, str]:
        """Share objects with the judge, from now on; at first the notebook's own of some names.

        Return for each name whether all that it consists of is shared, or only the object itself,
        since it is not what it was when its cell ended.
        """
        linked = {}
        self._links = shared_objects.Links()
        offers = shared_objects.loads(buffers[0], self._table.object)
        for name, (kind, numbers) in offers.items():
            value, names = self._snapshots.names.get(name), self._snapshots.given
            if name not in names or type(value).__name__ != kind:
                continue
            parts = shared_objects.reachable([value], lambda _: False)
            same = shared_objects.deep_digest(value) == names[name]
            if same and len(parts) == len(numbers):
                for number, each in zip(numbers, parts, strict=True):
                    self._links.given(each, number)
                linked[name] = "all"
            elif not same and parts and parts[-1] is value:
                self._links.given(value, numbers[-1], b"as it was")
                linked[name] = "top"
        return linked

    @property
    def _junk(self) -> Any:
        """The junk for an author's own notebook, which is not asked of others."""
        return own_modules.load("junk_answers")

    def _replace(self, name: str, kind: str, buffers: list[bytearray]) -> None:
        """Put junk in place of a name's value, until other junk is."""
        values = self._snapshots.values
        if self._original is not None:
            values[self._original[0]] = self._original[1]
        self._original = (name, values[name])
        self._trial = self._junk.junk_for(self._snapshots.value(name), kind)
        self._snapshots.take(name, self._trial.value)

    def _describe(self, number: int, buffers: list[bytearray]) -> Any:
        value = self._table.object(number)
        if isinstance(value, type):
            return self._class_facts(value)
        facts = self._table.facts(value)
        if facts.kind == "instance":
            return self._class_facts(type(value))
        name, text = getattr(value, "__name__", None), getattr(value, "__doc__", None)
        own = value.__dict__ if type(value) is types.FunctionType else ()
        has_attributes = type(value) in _WRAPPERS or any(not n.startswith("__") for n in own)
        return name, text, *_signature(value), has_attributes

    def _class_facts(self, kind: type) -> Any:
        """Return what ``stand_ins.py`` makes a class of, in the order of its ``_CLASS_FACTS``."""
        classes = [each for each in _mro(kind) if each is not object]
        bases = [each for each in kind.__bases__ if each.__module__ == kind.__module__]
        told = [(self._table.facts(each).number, _name(each)) for each in bases]
        built_in = [_name(each) for each in classes if each.__module__ == "builtins"]
        special = [
            name
            for name in sorted(rules.SPECIAL_METHODS)
            if any(name in each.__dict__ and each.__dict__[name] is not None for each in classes)
        ]
        number = self._table.facts(kind).number
        fields = list(getattr(kind, "__dataclass_fields__", ()))[: rules.NAMES]
        text = kind.__dict__.get("__doc__")
        names = (_name(kind), text if type(text) is str else None)
        module = value_encoder.short(kind.__module__)
        return number, *names, told, built_in[: rules.CLASSES], special, fields, module


class _Printed(io.RawIOBase):
    """The bytes behind the standard output of one call, which is ``stream``; the first are kept."""

    def __init__(self) -> None:
        self._kept = bytearray()
        self.stream = io.TextIOWrapper(io.BufferedWriter(self), encoding="utf-8", errors="replace")

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        self._kept += view[: max(4 * rules.PRINTED - len(self._kept), 0)]
        return len(view)

    def text(self) -> str:
        """Return the first ``PRINTED`` characters of what was printed."""
        with contextlib.suppress(Exception):  # a student may have closed it
            self.stream.flush()
        return self._kept.decode("utf-8", "replace")[: rules.PRINTED]


def _set_random(pickled: bytes | None) -> None:
    """Continue with the judge's random numbers, if its code has seeded them."""
    if pickled is None:
        return
    states = pickle.loads(pickled)  # noqa: S301 - the judge's, which is trusted
    random.setstate(states["random"])
    if states["numpy"] is not None and "numpy" in sys.modules:
        importlib.import_module("numpy.random").set_state(states["numpy"])


def _signature(value: Any) -> tuple[list[tuple[Any, ...]] | None, str | None]:
    """Return the names, kinds, defaults and annotations of a function's parameters, and its own."""
    try:
        found = inspect.signature(value)
    except (TypeError, ValueError):
        return None, None
    empty, plain = inspect.Parameter.empty, (int, float, str, bool, bytes)
    told = [
        (
            *(each.name, int(each.kind), each.default is not empty),
            each.default if type(each.default) in plain else None,
            _annotation(each.annotation),
        )
        for each in list(found.parameters.values())[: rules.PARAMETERS]
    ]
    return told, _annotation(found.return_annotation)


def _annotation(value: Any) -> str | None:
    """Return an annotation as a text, None for one that is missing, itself a text, or too long."""
    if value is inspect.Parameter.empty or isinstance(value, str):
        return None
    text = inspect.formatannotation(value)
    return text if len(text) <= rules.NAME else None


def _classes(error: BaseException) -> list[str]:
    """Return the names of an exception's classes, with a dot before those that are no builtins."""
    classes = _mro(type(error))[: rules.CLASSES]
    return [
        ("" if vars(builtins).get(_name(each)) is each else ".") + value_encoder.short(_name(each))
        for each in classes
    ]


def drain(descriptor: int) -> None:
    """Discard what a killed process has not read of a pipe."""
    os.set_blocking(descriptor, False)
    with contextlib.suppress(BlockingIOError):
        while os.read(descriptor, 1 << 16):
            pass
