"""The judge's representations of objects that live in the worker, for one check.

Functions become Python functions that ask the worker, classes become classes made here, instances
objects of those; the names, signatures, bases and special methods are what the worker claims. An
object that the author's solution did not give by that path (``grading_contract.py``) is opaque:
every operation on it raises ``NotJudgeable`` with a sentence for the student.

No name of the worker's is resolved here, and only data is decoded. The author's own classes are
known to both ends by their names: a class that an answer claims to have derived from one is derived
from it here, too, which is a claim like its other bases, and members of the author's enumerations
and values of the author's named tuples are the judge's own.

Of objects that both ends have (``shared_objects.py``) the worker gets, with each request, what the
check has changed of them, and with each answer the judge gets what the answer has. What a check
then sees is what it would see in one process. None of it has to be believed: ``beyond`` says
whether anything came of it that the contract does not allow, and then the check is judged again
without sharing.
"""

from __future__ import annotations

import abc
import copy
import dataclasses
import enum
import functools
import itertools
import sys
import types
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

import answer_calls  # type: ignore[import-not-found]  # in this file's directory
import answer_session  # type: ignore[import-not-found]
import codec_rules as rules  # type: ignore[import-not-found]
import shared_objects  # type: ignore[import-not-found]
import value_decoder  # type: ignore[import-not-found]
import value_encoder  # type: ignore[import-not-found]


class Sharing:
    def __init__(self, number_of: Callable[[object], int | None]) -> None:
        """``number_of`` finds the objects of the worker that stand-ins stand for."""
        self._is_the_workers = lambda value: number_of(value) is not None
        self.links = shared_objects.Links()
        self.beyond = False
        self._number_of = number_of
        self._last = 0

    def packed(self, value: object) -> bytes:
        """Return a request's value, with all that has changed; raises what pickle raises."""
        dropped = self.links.unused()
        changed = self.links.changed()
        contents = [shared_objects.contents(self.links.get(number)) for number in changed]
        found = shared_objects.reachable([value, *contents], self._is_the_workers)
        new = [each for each in found if self.links.number(each) is None]
        request = {
            "value": value,
            "first": self._last + 1,
            "new": new,
            # Instead of the object itself a number would be pickled.
            "changes": [
                (number, each if self.links.number(each) is None else copy.copy(each))
                for number, each in zip(changed, contents, strict=True)
            ],
            "dropped": dropped,
            "scattered": [
                number
                for number, each in enumerate(new, self._last + 1)
                if type(each).__name__ == "ndarray" and not each.flags.c_contiguous
            ],
        }
        data: bytes = shared_objects.dumps(request, self._number_of, self.links.number)
        for number in dropped:
            self.links.drop(number)
        self._give(new)
        return data

    def offered(self, names: dict[str, Any]) -> dict[str, tuple[str, list[int]]]:
        """Give numbers to the author's own objects of these names; return types and numbers."""
        offers = {}
        for name, value in names.items():
            parts = shared_objects.reachable([value], self._is_the_workers)
            if parts and parts[-1] is value:
                offers[name] = type(value).__name__, self._give(parts)
        return offers

    def withdrawn(self, offers: dict[str, tuple[str, list[int]]], linked: object) -> None:
        """Forget the objects of names that the worker has not linked; the others' tops alone."""
        for name, (_, numbers) in offers.items():
            whole = type(linked) is dict and linked.get(name)
            for number in [] if whole == "all" else numbers[:-1] if whole == "top" else numbers:
                self.links.drop(number)

    def changes(self, found: dict[int, Any], allowed: Collection[int] = ()) -> None:
        """Change shared objects as the answer has; ``allowed`` are the ids of some that it may.

        One that it may not change, and whose change cannot be carried, stays a copy as it was.
        """
        self.beyond |= bool(self.links.traits)
        for number, contents in found.items():
            value = self.links.get(number)
            self.beyond |= id(value) not in allowed
            before = shared_objects.contents(value)
            try:
                shared_objects.refill(value, contents)
            except (ValueError, TypeError, KeyError, BufferError) as error:
                if id(value) in allowed:
                    raise answer_session.NotJudgeable(
                        f"An argument was changed in a way that cannot be carried: {error}."
                    ) from None
                if before is not value:  # it may be half changed
                    shared_objects.refill(value, before)
            self.links.told(number)

    def met(self, allowed: Iterable[object] = ()) -> None:
        """Note whether the last answer referred to objects that were there before."""
        known = {self.links.number(each) for each in allowed}
        self.beyond |= not self.links.met <= known
        self.links.met = set()

    def _give(self, objects: list[Any]) -> list[int]:
        """Share objects under the next numbers, and return these."""
        first = self._last + 1
        self._last += len(objects)
        for number, each in enumerate(objects, first):
            self.links.given(each, number)
        return list(range(first, self._last + 1))


_ITEMS = ("__iter__()[]", "__getitem__()", "__next__()")
"""The ends of the paths by which an object gives its items."""
_WIDGETS = ("number", "text")
"""Classes of `mo.ui` that are called as we call plain values (``answer_calls.described``)."""
_CLASS_FACTS: tuple[Any, ...] = (int, str, (str, type(None)), list, list, list, list, str)


class StandIns:
    def __init__(
        self,
        session: Any,
        book: Any,
        interface: frozenset[str],
        secret: str,
        *,
        shares: bool = False,
    ) -> None:
        """``secret`` is a text of the judge's own, from which it draws further random numbers.

        With ``shares``, arguments and results are one object at both ends.
        """
        self.session = session
        self.sharing: Any = Sharing(self.number_of) if shares else None
        self.book = book
        self.log = answer_calls.CallLog()
        self.claims: set[str] = set()
        self._interface = interface
        self._offers: dict[str, tuple[str, list[int]]] | None = {} if shares else None
        """What to share before the first request; None if that is done, or nothing is shared."""
        self.calls = answer_calls.Calls(self, secret)
        self._errors = answer_calls.Errors()
        self._numbers: dict[int, int] = {}
        self._owners: dict[int, str] = {}
        self._kept: list[object] = []
        self._objects: dict[int, object] = {}
        self._classes: dict[tuple[int, str], type] = {}
        self._class_facts: dict[int, Any] = {}
        self._by_name: dict[tuple[str, str], type] = {}
        self._making: set[int] = set()
        self._given: dict[str, type] = {}
        self._decodes = self._hashes = False
        self._meta = _metaclass(self)

    @functools.cached_property
    def _abstract_meta(self) -> Any:
        """The class of the classes that answers derive from abstract ones of the author's."""
        return type("AnswerClass", (self._meta, abc.ABCMeta), {})

    def know(self, names: dict[str, Any]) -> None:
        """Take the author's own classes from the names of the template."""
        own = (each for each in names.values() if isinstance(each, type))
        self._given = {each.__name__: each for each in own if each.__module__ == "__main__"}
        for name, each in self._given.items():
            if type(each) is type and issubclass(each, Exception):
                self._errors.given[name] = each
            elif issubclass(each, tuple) and hasattr(each, "_fields"):
                value_decoder.know_namedtuple(each)

    def pull(self, name: str) -> tuple[bool, object]:
        """Return whether the notebook has a name, and its value, or the reason why it has none."""
        reply = self.session.ask("pull", name)
        if reply.status == "value":
            # This value shares nothing with a later one of the name.
            shares, self.sharing = self.sharing, None
            try:
                return True, self.value(reply, name)
            except answer_session.NotJudgeable as error:
                return True, self._opaque(None, str(error))
            finally:
                self.sharing = shares
        if reply.status == "refused":
            return True, self._opaque(None, reply.parts[0])
        if reply.status == "missing":
            return False, reply.parts[0]
        raise self.unexpected()

    def request(self, operation: str, *arguments: object, value: object = None) -> Any:
        """Return the answer to a request with a value; ``NotJudgeable`` if it cannot be carried.

        None is what the worker takes for no value. An answer without a value, such as an error, is
        followed by what it has changed.
        """
        if self._offers is not None:
            self._share(self._offers)
        try:
            if self.sharing is not None:
                data = self.sharing.packed(value)
            else:
                data = b"" if value is None else shared_objects.dumps(value, self.number_of)
        except Exception as error:  # noqa: BLE001 - whatever an author's object raises
            reason = f"An argument cannot be carried to the answer: {error}"
            raise answer_session.NotJudgeable(reason[: rules.TEXT]) from None
        reply = self._ask(operation, *arguments, data=data)
        if self.sharing is not None and reply.status in ("error", "stop", "unsupported"):
            self._value_of(self._ask("changes", data=b""))
        return reply

    def _ask(self, operation: str, *arguments: object, data: bytes) -> Any:
        shares = self.sharing is not None
        return self.session.ask(operation, *arguments, data=data, shares=shares)

    def _value_of(self, reply: Any) -> Any:
        if reply.status != "value":
            raise self.unexpected()
        return self.decoded(reply, "")

    def share(self, names: dict[str, Any]) -> None:
        """Share the author's own objects of these names, from the first request on."""
        self._offers = self.sharing.offered(names)

    def _share(self, offers: dict[str, tuple[str, list[int]]]) -> None:
        self._offers = None
        reply = self._ask("share", data=shared_objects.dumps(offers, self.number_of))
        self.sharing.withdrawn(offers, self._value_of(reply))

    def value(self, reply: Any, path: str) -> Any:
        value = self.decoded(reply, path)
        self.book.note(path, example=answer_calls.described(value))
        return value

    def decoded(
        self, reply: Any, path: str, changes: Collection[int] = (), same: Iterable[object] = ()
    ) -> Any:
        """Return the value of an answer without a note of what it is.

        ``changes`` are the ids of objects that the contract lets it change, and ``same`` those that
        it may be. Raises ``NotJudgeable`` if it has a trait of ``rules.TRAITS`` that the
        author's solution does not have there: such a value could be equal to much that it is not.
        """
        links = None if self.sharing is None else self.sharing.links
        before, self._decodes = self._decodes, True
        try:
            found = self.session.decode(
                reply.parts[0],
                reply.buffers,
                lambda facts: self._stand_in(facts, path),
                lambda trait: self.book.allows(path, trait),
                links,
            )
        except rules.Refused as refused:
            raise answer_session.NotJudgeable(f"`{path}` {refused}.") from None
        finally:
            self._decodes = before
            hashed, self._hashes = self._hashes, False
        if hashed:
            told = "has keys, or elements of a set, that only the notebook can hash"
            raise answer_session.NotJudgeable(f"`{path}` {told}.")
        if self.sharing is None:
            return found
        self.sharing.met(same)
        self.sharing.changes(found[1], changes)
        return found[0]

    def number_of(self, value: object) -> int | None:
        """Return the number of the object that a stand-in stands for, None for anything else."""
        return self._numbers.get(id(value))

    def owner_of(self, value: object) -> str:
        """Return the path of a class or of an instance's class, to which members are added."""
        return self._owners[id(value) if isinstance(value, type) else id(type(value))]

    def outcome(self, reply: Any, *allowed: str) -> str:
        """Print what an answer printed, and return its status; raise what it raised."""
        if reply.status == "refused":
            raise answer_session.NotJudgeable(reply.parts[0])
        if reply.status not in ("value", "error", *allowed):
            raise self.unexpected()
        sys.stdout.write(reply.parts[-1])
        if reply.status == "error":
            raise self._errors.error(reply.parts[0], reply.parts[1])
        status: str = reply.status
        return status

    def unexpected(self) -> BaseException:
        """Break the session off because of an answer that fits to another request."""
        self.session.break_off("no answer: not an answer to this request")
        error: BaseException = answer_session.NoAnswer(self.session.broken)
        return error

    def attribute(self, value: object, name: str) -> Any:
        number, path = self._number(value), f"{self.owner_of(value)}.{name}"
        reply = self.request("attribute", number, name)
        self.outcome(reply)
        return self.value(reply, path)

    def set_attribute(self, value: object, name: str, new: object) -> None:
        reply = self.request("set", self._number(value), name, value=new)
        self.outcome(reply)
        self._value_of(reply)

    def _number(self, value: object) -> int:
        number = self.number_of(value)
        if number is None:
            raise answer_session.NotJudgeable("A copy of the answer's object cannot be judged")
        return number

    def _keep(self, value: Any, number: int) -> Any:
        self._kept.append(value)  # its id stays its own
        self._numbers[id(value)] = number
        return value

    def _stand_in(self, facts: Any, path: str) -> object:
        number, kind = facts.number, facts.kind
        if kind == "opaque" or not self.book.allows(path, kind):
            other = self._another_way(number, path, kind)
            if other is None:
                return self._opaque(number, self._sentence(path, kind, facts))
            path, kind = other
        if kind == "class":
            described = self._described_class(number)
            return self._class_of(described, self.book.owner(path, described[1]))
        if facts.class_name == "coroutine":
            return self._coroutine(number, path)
        if kind == "iterator":  # not kept: the object itself may be one of its own class, too
            return self._keep(self._iterator(number, path, facts), number)
        if number not in self._objects:
            makers = {"function": self._function, "instance": self._instance}
            made = (makers | {"callable": self._callable})[kind](number, path, facts)
            self._objects[number] = self._keep(made, number)
        return self._objects[number]

    def _another_way(self, number: int, path: str, kind: str) -> tuple[str, str] | None:
        """Return the author's path and kind that an object of an answer's stands in for, or None.

        That is what Python takes for the same: what is called as a function is (`f = np.sqrt`; a
        call is all that it can do then, and it is no function to `inspect`), an iterator of a class
        of its own, items by `__getitem__` for those by `__iter__`, a list of objects for an
        iterator. It is held to that path; one that gave the author's solution data gives no object.
        """
        allows, knows = self.book.allows, self.book.knows
        if kind == "opaque":
            return None
        if kind in ("instance", "class") and allows(path, "function"):
            return (path, "callable") if kind == "class" or self._has(number, "__call__") else None
        called = f"{self.book.owner(path, '')}.__call__"
        if kind == "function" and allows(path, "instance") and knows(f"{called}()"):
            return called, kind
        goes_on = kind == "iterator" or (kind == "instance" and self._has(number, "__next__"))
        if goes_on and (path.endswith(".__iter__()") or allows(path, "iterator")):
            return path, "iterator"
        owner = next((path.removesuffix(each) for each in _ITEMS if path.endswith(each)), "")
        others = [owner + each for each in _ITEMS] if owner and not knows(path) else [f"{path}[]"]
        return next(((each, kind) for each in others if allows(each, kind)), None)

    def _has(self, number: int, name: str) -> bool:
        """Whether an instance has a special method, as the worker claims."""
        return name in self._class(self._facts(number))[5]

    def _sentence(self, path: str, kind: str, facts: Any) -> str:
        expected = self.book.use(path).example
        what = {"instance": f"an object of class {facts.class_name}"}.get(
            kind, answer_calls.with_article(kind)
        )
        if kind == "instance" and expected == answer_calls.with_article(facts.class_name):
            if facts.class_name in _WIDGETS:
                what = f"{what} (of a widget, give its `.value`)"
            else:  # a value of a library, of which it is not told what it lacks
                column = ", such as a column," if "Frame" in facts.class_name else ""
                what = f"{expected} with a part{column} that cannot be carried"
                expected = ""
        if not path.endswith("()"):
            wanted = f" instead of {expected}" if expected else ""
            return f"`{path}` is {what}{wanted}."
        wanted = f"should return {expected}; it" if expected else "is called, and"
        return f"`{path[:-2]}` {wanted} returned {what}."

    def _opaque(self, number: int | None, sentence: str) -> object:
        opaque = Opaque(sentence)
        return opaque if number is None else self._keep(opaque, number)

    def _facts(self, number: int) -> Any:
        """Return what the worker claims of an object."""
        found = self.session.ask_plainly("describe", number)
        if found is None:
            raise self.unexpected()
        return found

    def _function(self, number: int, path: str, facts: Any) -> object:
        calls = self.calls

        def answer(*args: Any, **keywords: Any) -> Any:
            return calls.call(number, path, args, keywords)

        # Else `inspect.getsource` would return this function's text as that of the answer.
        place = answer_calls.place_of(path)
        answer.__code__ = answer.__code__.replace(co_filename=place, co_firstlineno=1)
        if not answer_calls.dress(answer, self._facts(number)):
            return answer
        kind = _function_with_attributes(self, answer)
        self._owners[id(kind)] = path
        return kind()

    def _callable(self, number: int, path: str, facts: Any) -> object:
        calls = self.calls

        def call(_: object, *args: Any, **keywords: Any) -> Any:
            return calls.call(number, path, args, keywords)

        names = {"__module__": answer_calls.MODULE, "__slots__": (), "__call__": call}
        return type("Answer", (), names)()

    def _iterator(self, number: int, path: str, facts: Any) -> Iterator[Any]:
        """Return a generator for a generator, else another iterator, as the worker claims."""

        def items() -> Iterator[Any]:
            sent = None
            while True:
                reply = self.request("next", number, value=sent)
                if self.outcome(reply, "stop") == "stop":
                    return
                sent = yield self.value(reply, f"{path}[]")

        made = items()
        return made if facts.class_name == "generator" else itertools.chain(made)

    async def _coroutine(self, number: int, path: str) -> Any:
        """Let the worker run a coroutine to its end, as soon as the check awaits it."""
        reply = self.request("await", number)
        self.outcome(reply)
        return self.value(reply, f"{path} awaited")

    def _instance(self, number: int, path: str, facts: Any) -> object:
        name = facts.class_name
        if (member := self._member(number, self._given.get(name))) is not None:
            return member
        owner = name if name in self._interface else self.book.owner(path, name)
        made = self._by_name.get((name, owner))
        if made is None:
            made = self._class_of(self._class(self._facts(number)), owner)
            self._by_name[name, owner] = made
        self.claims.add(f"class {made.__name__}")
        if name == "property":
            return property()
        if isinstance(made, type) and issubclass(made, BaseException):
            return made.__new__(made)
        return object.__new__(made)

    def _member(self, number: int, kind: type | None) -> object:
        """Return the member of an enumeration of the author's, None for any other object."""
        if kind is None or not issubclass(kind, enum.Enum):
            return None
        name = self.session.ask_plainly("attribute", number, "name")
        return kind.__members__.get(name) if type(name) is str else None

    def _described_class(self, number: int) -> Any:
        if number not in self._class_facts:
            self._class_facts[number] = self._class(self._facts(number))
        return self._class_facts[number]

    def _class(self, found: Any) -> Any:
        """Return the facts of a class, if they have the form of ``AnswerServer``'s."""
        if type(found) is not tuple or len(found) != len(_CLASS_FACTS):
            raise rules.Undecodable("not the facts of a class")
        if not all(isinstance(each, kind) for each, kind in zip(found, _CLASS_FACTS, strict=True)):
            raise rules.Undecodable("not the facts of a class")
        self._class_facts[found[0]] = found
        return found

    def _class_of(self, facts: Any, path: str) -> type:
        number, claimed, _, bases, built_in, *_ = facts
        name = claimed if claimed.isidentifier() else "Answer"
        owner = name if name in self._interface else path
        if (number, owner) in self._classes:
            return self._classes[number, owner]
        if number in self._making:
            raise rules.Undecodable("a class below itself")
        self._making.add(number)
        above = tuple(self._class_of(self._described_class(base), owner) for base, _ in bases)
        self._making.discard(number)
        error = self._errors.made(name, above, built_in)
        made = error or self._plain_class(name, above, owner, facts)
        self._classes[number, owner] = self._keep(made, number)
        self._owners[id(made)] = owner
        self.claims.add(f"class {name}")
        return made

    def _plain_class(self, name: str, above: tuple[type, ...], owner: str, facts: Any) -> type:
        _, claimed, text, _, _, special, fields, module = facts
        names: dict[str, Any] = {
            "__module__": answer_calls.MODULE,
            "__doc__": text,
            "__slots__": (),
        }
        for each in special:
            if type(each) is str and each in rules.SPECIAL_METHODS and self._may_have(owner, each):
                names[each] = self.special_method(each)
        if fields:  # what ``dataclasses`` looks for in a class of these fields
            known = [each for each in fields if type(each) is str and rules.is_name(each)]
            like: Any = dataclasses.make_dataclass("Answer", dict.fromkeys(known))
            names["__dataclass_fields__"] = dict(like.__dataclass_fields__)
        if (library := _library_class(module, claimed)) is not None:
            # For isinstance; the object has none of that class's methods here.
            names["__class__"] = property(lambda _: library)
        meta, bases = self._meta, above or (self._meta.base,)
        given = self._given.get(name)
        if given is not None and _can_be_a_base(given):
            meta = self._abstract_meta if isinstance(given, abc.ABCMeta) else meta
            bases = (*bases, given)
        made: type = meta(name, bases, names)
        if isinstance(made, abc.ABCMeta):  # the worker has objects of it, so nothing is missing
            made.__abstractmethods__ = frozenset()
        return made

    def _may_have(self, owner: str, name: str) -> bool:
        """Whether a class may have a special method: the author's has it, or one that it replaces.

        A check can ask for one without a call of it (``hasattr``, ``isinstance(v, Iterable)``). So
        all of the author's are noted, without the parentheses of those that were called.
        """
        self.book.note(f"{owner}.{name}")
        has = self.book.knows(f"{owner}.{name}")
        return has or bool(self.known_method(owner, name, rules.FALL_BACKS))

    def known_method(self, owner: str, name: str, groups: dict[str, list[str]]) -> str:
        """Return the special method of the author's solution by which one is allowed, or "".

        That is the method itself, or one of its group that Python takes in its place: an answer may
        have ``__str__`` where the author's class has ``__repr__``.
        """
        alike = (name, *groups.get(name, ()))
        return next((each for each in alike if self.book.knows(f"{owner}.{each}()")), "")

    def special_method(self, name: str) -> Callable[..., Any]:
        """Return a special method that asks the worker."""

        def method(value: object, *args: Any) -> Any:
            if self._decodes and name in ("__hash__", "__eq__"):  # of a key, for now by identity
                self._hashes = True
                return object.__hash__(value) if name == "__hash__" else NotImplemented
            return self.calls.special(value, name, args)

        method.__name__ = name
        return method


def _library_class(module: str, name: str) -> type | None:
    """Return the class of a library that the judge has imported, too, None for any other.

    Never one whose values are data, nor one of the standard library, whose classes read private
    attributes of what they take for their own.
    """
    root = module.partition(".")[0]
    is_package = hasattr(sys.modules.get(root), "__path__")
    if not is_package or root in sys.stdlib_module_names:
        return None
    found = vars(sys.modules.get(module, types)).get(name)
    if not isinstance(found, type) or issubclass(found, type | BaseException):
        return None
    return None if value_encoder.is_of_data(found) else found


def _can_be_a_base(given: type) -> bool:
    """Whether a class of the author's, and all above it, consist of what notebooks define."""
    own = (each for each in given.__mro__ if each not in (object, abc.ABC))
    return type(given) in (type, abc.ABCMeta) and all(each.__module__ == "__main__" for each in own)


class Opaque:
    """An object of the answer that checks cannot judge; all that is done with it says why."""

    __slots__ = ("_sentence",)

    def __init__(self, sentence: str) -> None:
        object.__setattr__(self, "_sentence", sentence)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise answer_session.NotJudgeable(self._sentence)

    def __repr__(self) -> str:
        return "<an object of the answer>"

    __hash__ = object.__hash__


def _refuse(self: Opaque, *args: object) -> Any:
    raise answer_session.NotJudgeable(object.__getattribute__(self, "_sentence"))


for _each in sorted(rules.SPECIAL_METHODS | {"__array__", "__index__"}):
    if _each not in ("__str__", "__repr__", "__format__", "__call__", "__next__"):
        setattr(Opaque, _each, _refuse)


def _function_with_attributes(stand_ins: StandIns, function: Any) -> type:
    """Return a class of one object, which is called as a function and has attributes.

    The attributes are asked of the worker at each use, since they may count calls.
    """

    def ask(value: object, name: str) -> Any:
        if name.startswith("__"):
            return getattr(function, name)
        stand_ins.claims.add(f"{stand_ins.owner_of(value)}.{name}")
        return stand_ins.attribute(value, name)

    names = {
        "__module__": "builtins",
        "__call__": lambda _, *args, **keywords: function(*args, **keywords),
        "__getattribute__": ask,
        "__setattr__": stand_ins.set_attribute,
    }
    return type("function", (), names)


def _metaclass(stand_ins: StandIns) -> Any:
    """Return the class of the classes of one check, with the base of those as ``base``."""

    class AnswerClass(type):
        base: type

        def __call__(cls, *args: Any, **keywords: Any) -> Any:
            number = stand_ins.number_of(cls)
            return stand_ins.calls.call(number, stand_ins.owner_of(cls), args, keywords)

        def __getattribute__(cls, name: str) -> Any:
            inside = name.startswith(("__", "_abc_")) or stand_ins.number_of(cls) is None
            return super().__getattribute__(name) if inside else stand_ins.attribute(cls, name)

        def __bool__(cls) -> bool:
            return True

        def __instancecheck__(cls, value: object) -> bool:
            """A plain namedtuple is data, of whose class the judge has the name."""
            kind = type(value)
            named = kind.__name__ == cls.__name__ and hasattr(kind, "_fields")
            return (named and issubclass(kind, tuple)) or super().__instancecheck__(value)

    for each in ("__len__", "__iter__", "__getitem__", "__contains__", "__reversed__"):
        setattr(AnswerClass, each, stand_ins.special_method(each))  # of an enumeration
    AnswerClass.base = _base(stand_ins, AnswerClass)
    return AnswerClass


def _base(stand_ins: StandIns, meta: Any) -> type:
    """Return the base of the classes of one check; it hides what an author's class defines."""

    class Answer(metaclass=meta):  # type: ignore[metaclass]  # it differs by check
        __slots__ = ()

        def __init_subclass__(cls) -> None:
            """Do nothing; that of an author's class has run in the worker already."""

        def __getattribute__(self, name: str) -> Any:
            if name.startswith("__") and name != "__dict__":
                return super().__getattribute__(name)
            return stand_ins.attribute(self, name)

        def __setattr__(self, name: str, value: object) -> None:
            stand_ins.set_attribute(self, name, value)

        def __repr__(self) -> str:
            return f"<{type(self).__name__} of the answer>"

        __eq__ = object.__eq__
        __hash__ = object.__hash__

    return Answer
