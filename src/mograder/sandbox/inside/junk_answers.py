"""Wrong values in place of an author's own answers, to find checks that give marks for them.

Runs in the worker's sandbox while ``generate`` tries the checks of a source, and only there: the
notebook is the author's own, which is trusted.

A kind of junk replaces data by other data. For a function it replaces what the function returns,
for a class what its methods return; some kinds are of functions or classes only. Only a value that
differs from the author's counts: kinds that leave data as it is do not apply to it, and a function
counts once one of its results has differed.
"""

from __future__ import annotations

import copy
import datetime
import functools
import importlib
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_NUMBERS = (bool, int, float, complex)
_HUGE = 1e300
_WRAPS = 2**32
"""An integer of 64 bits whose square is 0, and that wraps around in sums of squares."""
_ORDERS = ("__eq__", "__le__", "__ge__", "__lt__", "__gt__")


class Inapplicable(Exception):
    """A kind of junk makes nothing of a value."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of junk: its name, a predicate in words, and functions that make the junk.

    ``data`` replaces data, and ``function`` a function; None where the kind has no such junk.
    ``returns`` are the words for a function whose results are replaced by ``data``.
    """

    name: str
    words: str
    data: Callable[[Any], object] | None = None
    returns: str = ""
    function: Callable[[Any], Callable[..., object]] | None = None


@dataclass(slots=True)
class Trial:
    """Junk in place of one value; ``counts`` is whether it has differed from that value."""

    value: object
    counts: bool


def kinds_of(value: object) -> list[tuple[str, str]]:
    """Return the names of the kinds that apply to a value, with what each does, in words."""
    found = []
    for kind in KINDS:
        try:
            trial = junk_for(value, kind.name)
        except Exception:  # noqa: BLE001, S112 - whatever a library raises for such a value
            continue
        if trial.counts or callable(value):
            found.append((kind.name, _words(kind, value)))
    return found


def junk_for(value: object, name: str) -> Trial:
    """Return the junk of a kind; ``Inapplicable`` if there is none for the value."""
    while _undo:
        _undo.pop()()
    kind = _BY_NAME[name]
    if kind.name == "absent":
        if not callable(value):
            raise Inapplicable
        return Trial(None, counts=True)
    if isinstance(value, type):
        return _class_junk(kind, value)
    if not callable(value):
        if kind.data is None:
            raise Inapplicable
        made = kind.data(value)
        return Trial(made, _differs(made, value))
    if kind.function is not None and (kind.name == "changes" or _takes_arguments(value)):
        return Trial(functools.wraps(value)(kind.function(value)), counts=True)
    if kind.data is None:
        raise Inapplicable
    trial = Trial(None, counts=False)
    trial.value = _with_other_results(value, kind.data, trial)
    return trial


def _words(kind: Kind, value: object) -> str:
    if isinstance(value, type) and kind.returns:
        return f"has methods that each {kind.returns.replace('returns', 'return', 1)}"
    return (kind.returns or kind.words) if callable(value) else kind.words


def _differs(junk: Any, value: Any) -> bool:
    """Whether a value differs from the author's; numbers of different types may be equal."""
    if getattr(junk, "shape", ()) != getattr(value, "shape", ()):
        return True
    if isinstance(junk, _NUMBERS) != isinstance(value, _NUMBERS) and not hasattr(value, "shape"):
        return True
    if _skipped(junk) != _skipped(value) or (type(junk) is list) != (type(value) is list):
        return True
    try:
        same = (junk == value) | (_is_missing(junk) & _is_missing(value))
        for _ in range(2):  # a data frame's all() is a series, whose all() is a scalar
            same = same.all() if callable(getattr(same, "all", None)) else same
        return not same
    except Exception:  # noqa: BLE001 - a comparison of arrays, or of an author's own class
        return True


def _is_missing(value: Any) -> Any:
    """Return whether a value is NaN, element by element in an array, a series or a data frame."""
    return value != value  # noqa: PLR0124


def _skipped(value: Any) -> int:
    """Return the number of elements that a comparison skips."""
    if _is_masked(value):
        return int(value.mask.sum())
    return int(value.null_count()) if _is_series_of_polars(value) else 0


def _root(value: object) -> str:
    return type(value).__module__.partition(".")[0]


def _is_array(value: Any) -> bool:
    return _root(value) == "numpy" and getattr(value, "ndim", 0) > 0


def _is_masked(value: Any) -> bool:
    return _is_array(value) and type(value).__name__ == "MaskedArray"


def _is_series_of_polars(value: Any) -> bool:
    return _root(value) == "polars" and hasattr(value, "to_list")


def _is_number(value: object) -> bool:
    scalar = _root(value) == "numpy" and getattr(value, "ndim", 1) == 0
    return isinstance(value, _NUMBERS) or (scalar and getattr(value, "dtype", None) is not None)


# -- data ------------------------------------------------------------------------------------------


def _constant(junk: object) -> Callable[[Any], object]:
    return lambda value: copy.copy(junk)


def _filled(number: float) -> Callable[[Any], object]:
    def fill(value: Any) -> object:
        if _is_number(value):
            return number
        if _is_array(value):
            numpy: Any = importlib.import_module("numpy")
            if value.dtype.kind not in "biufc":
                raise Inapplicable
            whole = number in (0, 1) and math.copysign(1, number) > 0
            return numpy.full(value.shape, number, dtype=value.dtype if whole else None)
        if type(value) in (list, tuple) and value:
            return type(value)(map(fill, value))
        if type(value) is dict and value:
            return {key: fill(each) for key, each in value.items()}
        if _root(value) == "pandas" and not hasattr(value, "columns"):
            return type(value)([number] * len(value), index=value.index, name=value.name)
        if _root(value) == "pandas" and (names := list(value.select_dtypes("number").columns)):
            return value.assign(**dict.fromkeys(names, number))
        if _is_series_of_polars(value):
            return type(value)(value.name, [number] * len(value))
        raise Inapplicable

    return fill


def _first_only(value: Any) -> object:
    """Return a value with all elements missing but the first, which comparisons often skip."""
    if _is_masked(value) and value.size > 1:
        made = value.copy()
        made[...] = importlib.import_module("numpy").ma.masked
        made.reshape(-1)[0] = value.reshape(-1)[0]
        return made
    if _is_array(value) and value.size > 1 and value.dtype.kind in "biufc":
        made = value.astype(complex if value.dtype.kind == "c" else float)
        made.reshape(-1)[1:] = math.nan
        return made
    if type(value) in (list, tuple) and len(value) > 1 and all(map(_is_number, value)):
        return type(value)([value[0], *[math.nan] * (len(value) - 1)])
    if _root(value) == "pandas" and len(value) > 1:
        numbers = value.select_dtypes("number") if hasattr(value, "columns") else value
        if numbers.size:
            rest = numbers.astype(float)
            rest.iloc[1:] = math.nan
            return value.assign(**rest) if hasattr(value, "columns") else rest
    if _is_series_of_polars(value) and len(value) > 1:
        return type(value)(value.name, [value[0], *[None] * (len(value) - 1)])
    raise Inapplicable


def _empty(value: Any) -> object:
    if _is_array(value):
        return value[:0]
    if _root(value) == "pandas":
        return value.iloc[:0]
    if _root(value) == "polars":
        return value.clear()
    if type(value) in (list, tuple, dict, set, frozenset, str, bytes):
        return type(value)()
    raise Inapplicable


def _single(value: Any) -> object:
    """Return one number, which numpy compares with every element of an array."""
    if _is_array(value) and value.size > 1:
        return value.reshape(-1)[0]
    if type(value) in (list, tuple) and len(value) > 1:
        return value[0]
    if _root(value) == "pandas" and not hasattr(value, "columns") and len(value) > 1:
        return value.iloc[0]
    raise Inapplicable


def _column(value: Any) -> object:
    if _is_array(value) and value.ndim == 1 and value.size > 1:
        return value.reshape(-1, 1)
    raise Inapplicable


def _listed(value: Any) -> object:
    if _is_number(value):
        return [value, value]
    raise Inapplicable


def _longer(value: Any) -> object:
    if type(value) in (list, tuple) and value:
        return type(value)([*value, value[-1]])
    if type(value) is str and value:
        return value + value[-1]
    if _is_array(value) and value.ndim == 1 and value.size:
        numpy: Any = importlib.import_module("numpy")
        return numpy.append(value, value[-1:])
    raise Inapplicable


def _changed(value: Any) -> object:
    if isinstance(value, bool) or type(value).__name__ in ("bool_", "bool"):
        return type(value)(not value)
    if _is_number(value):
        step = type(value)(max(1, abs(value)))
        return step if _is_missing(value) else value + step
    if type(value) is str:
        return value[:-1] + ("?" if value[-1:] != "?" else "!")
    if type(value) in (list, tuple) and value:
        return type(value)([*value[:-1], _changed(value[-1])])
    if type(value) is dict and value:
        last = next(reversed(value))
        return {**value, last: _changed(value[last])}
    if type(value) in (set, frozenset):
        return value | {"?"}
    if isinstance(value, datetime.date):
        return value + datetime.timedelta(days=1)
    if _is_array(value) and value.size:
        made = value.copy()
        made.reshape(-1)[-1] = _changed(value.reshape(-1)[-1])
        return made
    if _root(value) == "pandas" and len(value):
        made = value.copy()
        place = (-1, len(value.columns) - 1) if hasattr(value, "columns") else -1
        made.iloc[place] = _changed(value.iloc[place])
        return made
    raise Inapplicable


# -- functions -------------------------------------------------------------------------------------


def _with_other_results(
    function: Any, make: Callable[[Any], object], trial: Trial
) -> Callable[..., object]:
    @functools.wraps(function)
    def junk(*args: Any, **keywords: Any) -> object:
        result = function(*args, **keywords)
        if result is None:  # its side effects are the answer, not its results
            return None
        made = make(result)
        trial.counts = trial.counts or _differs(made, result)
        return made

    return junk


def _always(junk: Callable[..., object]) -> Callable[[Any], Callable[..., object]]:
    """Return what makes a function of its own of the same junk for each function."""
    return lambda function: lambda *args, **keywords: junk(*args, **keywords)  # noqa: PLW0108


def _takes_arguments(function: Any) -> bool:
    """Whether a function has parameters; if not, its result is an answer as that of a name is."""
    try:
        return bool(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return True


def _raising(*args: Any, **keywords: Any) -> object:
    raise ValueError("nothing but an error")


def _identity(*args: Any, **keywords: Any) -> object:
    return (*args, *keywords.values())[0]


def _changing(function: Any) -> Callable[..., object]:
    """Return the function that then changes its arguments, and the notebook's lists it names."""

    def junk(*args: Any, **keywords: Any) -> object:
        result = copy.copy(function(*args, **keywords))
        names = getattr(getattr(function, "__code__", None), "co_names", ())
        known = getattr(function, "__globals__", {})
        given = [known[name] for name in names if type(known.get(name)) in (list, dict, set)]
        _undo.extend(functools.partial(_refill, each, copy.deepcopy(each)) for each in given)
        for each in (*args, *keywords.values(), *given):
            _change(each)
        return result

    return junk


_undo: list[Callable[[], None]] = []
"""Functions that restore the contents of the notebook's own objects before the next trial."""


def _refill(value: Any, before: Any) -> None:
    value.clear()
    (value.extend if type(value) is list else value.update)(before)


def _change(value: Any) -> None:
    """Change an object in place, with the lists inside; nothing that cannot be changed."""
    if _is_array(value) and value.size:
        value.reshape(-1)[-1:] += 1
    elif type(value) in (list, tuple, dict):
        for each in value.values() if type(value) is dict else value:
            _change(each)
        if type(value) is list:
            value.append(None)
        elif type(value) is dict:
            value.update({name: None for name, each in value.items() if type(each) is bool})
            value["?"] = None
    elif type(value) is set:
        value.add("?")
    elif _root(value) == "pandas" and hasattr(value, "columns"):
        for name in value.columns:
            value[name] = value[name].to_numpy()[::-1]
            value[name] = value[name].fillna(value[name].max())
        value["?"] = 0
    elif _root(value) == "polars" and hasattr(value, "replace_column") and value.width:
        value.replace_column(0, value.to_series(0).alias("?"))


def _keeping(function: Any) -> Callable[..., object]:
    """Return the function with equal lists, also those of later calls, as one object."""
    kept: dict[str, object] = {}

    def junk(*args: Any, **keywords: Any) -> object:
        return one(function(*args, **keywords))

    def one(value: Any) -> object:
        if type(value) is list:
            return kept.setdefault(repr(value), [one(each) for each in value])
        if type(value) is tuple:
            return tuple(map(one, value))
        if type(value) is dict:
            return {key: one(each) for key, each in value.items()}
        return value

    return junk


def _calling_twice(function: Any) -> Callable[..., object]:
    def twice(called: Any) -> Any:
        if not inspect.isfunction(called):
            return called

        @functools.wraps(called)
        def again(*args: Any, **keywords: Any) -> object:
            called(*args, **keywords)
            return called(*args, **keywords)

        return again

    def junk(*args: Any, **keywords: Any) -> object:
        given = {name: twice(each) for name, each in keywords.items()}
        return function(*map(twice, args), **given)

    return junk


def _emptying(*args: Any, **keywords: Any) -> object:
    first: Any = _identity(*args, **keywords)
    if _is_array(first):
        first[...] = 0
    else:
        first.clear()
    return first


# -- classes ---------------------------------------------------------------------------------------


def _class_junk(kind: Kind, value: type) -> Trial:
    trial = Trial(None, counts=False)
    if kind.name == "equal":
        trial.value = _equal_to_everything(value, trial)
        return trial
    if kind.data is None:
        raise Inapplicable
    found: dict[str, Any] = {}
    for each in reversed(value.__mro__[:-1]):
        found.update((n, m) for n, m in vars(each).items() if inspect.isfunction(m))
    methods = {
        name: _with_other_results(method, kind.data, trial)
        for name, method in found.items()
        if not name.startswith("_")
    }
    trial.value = _subclass(value, methods)
    return trial


def _subclass(value: type, names: dict[str, Any]) -> type:
    """Return a subclass that has the class's name; ``Inapplicable`` if it would change nothing."""
    if not names:
        raise Inapplicable
    more = {"__module__": value.__module__, "__qualname__": value.__qualname__}
    return type(value)(value.__name__, (value,), {**more, "__doc__": value.__doc__, **names})


def _equal_to_everything(value: type, trial: Trial) -> type:
    """Return a class whose instances are equal to everything; it counts once that was asked."""

    def holds(*args: object) -> bool:
        trial.counts = True
        return True

    own = {name for each in value.__mro__[:-1] for name in vars(each)}
    names: dict[str, Any] = {name: holds for name in _ORDERS if name in own}
    if "__eq__" in names:
        names["__ne__"] = lambda *args: not holds(*args)
    if "__hash__" in own:
        names["__hash__"] = value.__hash__
    return _subclass(value, names)


KINDS = (
    Kind("nan", "is NaN", _filled(math.nan), "returns NaN"),
    Kind("empty", "is empty", _empty, "returns an empty result"),
    Kind("single", "is a single number", _single, "returns a single number"),
    Kind("changed", "has a wrong last element", _changed, "returns a wrong last element"),
    Kind("zeros", "is zero", _filled(0), "returns zero"),
    Kind(
        "none", "is None", _constant(None), "returns None", _always(lambda *args, **keywords: None)
    ),
    Kind("changes", "changes its arguments", function=_changing),
    Kind("keeps", "returns equal lists as one object", function=_keeping),
    Kind("twice", "calls what it is given twice", function=_calling_twice),
    Kind("identity", "returns its argument", function=_always(_identity)),
    Kind("true", "returns True for everything", function=_always(lambda *args, **keywords: True)),
    Kind(
        "false", "returns False for everything", function=_always(lambda *args, **keywords: False)
    ),
    Kind("ones", "is one", _filled(1), "returns one"),
    Kind(
        "first",
        "has a first element and otherwise missing ones",
        _first_only,
        "returns a first element and otherwise missing ones",
    ),
    Kind("list", "is a list of two", _listed, "returns a list of two"),
    Kind("longer", "has one element too many", _longer, "returns one element too many"),
    Kind("column", "is a column of shape (n, 1)", _column, "returns a column of shape (n, 1)"),
    Kind("raises", "raises an error", function=_always(_raising)),
    Kind("empties", "empties its argument and returns it", function=_always(_emptying)),
    Kind("absent", "is no function or class, but None"),
    Kind("equal", "has instances that are equal to everything"),
    Kind("ellipsis", "is `...`", _constant(...), "returns `...`"),
    Kind("text", "is an empty text", _constant(""), "returns an empty text"),
    Kind("huge", "is 1e300", _filled(_HUGE), "returns 1e300"),
    Kind("wraps", "is 2**32", _filled(_WRAPS), "returns 2**32"),
    Kind("negative", "is -0.0", _filled(-0.0), "returns -0.0"),
)
"""All kinds, those that checks let pass most often first."""
_BY_NAME = {kind.name: kind for kind in KINDS}
