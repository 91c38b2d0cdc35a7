"""What judge and worker must agree on: the codec's limits, its exceptions, and the requests.

The worker runs a student's notebook; the judge runs the teacher's checks. Values travel from the
worker to the judge as frames (``frames.py``), written by ``value_encoder.py`` and read by
``value_decoder.py``. The encoder observes these limits so that an honest notebook is told early;
the decoder enforces them, because the worker is hostile.

The judge asks one request at a time: a frame ``[id, operation, shares, …]``, with pickled arguments
in its buffer (``shared_objects.py``); ``shares`` says whether they and the answer tell what has
changed of the objects that both ends have (``shared_objects.py``). The answer is a frame with the
same id:

- ``[id, "value", tree, printed]``: a value in the codec's grammar;
- ``[id, "error", [names of the exception's classes], text, printed]``;
- ``[id, "stop", printed]``: an iterator is at its end;
- ``[id, "unsupported", printed]``: a special method returned ``NotImplemented``;
- ``[id, "missing", text]``: the notebook has no such name;
- ``[id, "refused", sentence]``: the request cannot be answered, or its value cannot be carried;
- ``[0, "gone", text]``: the process that served this check has ended.

Before the first request the worker writes ``[0, "serving"]`` once it has run the notebook.

Runs inside both sandboxes; imports only the standard library.
"""

from __future__ import annotations

import keyword
import unicodedata
from dataclasses import dataclass

FRAME_BYTES = 64 << 20
SUBMISSION_BYTES = 256 << 20
HEAD_BYTES = 16 << 20
HEAD_ITEMS = 2_000_000
"""Items of a head, counted as ``[`` and ``,``, also inside text; at most 150 bytes each parsed."""
BUFFERS = 65_536

DEPTH = 60
NODES = 200_000
INT_BITS = 20_000
TEXT_BYTES = 16 << 20
INLINE = 200
"""Characters of text, or bytes, that stand in the head; longer ones get a buffer."""
PACKED_TEXTS = 2_000_000
"""Texts in columns of strings, which are no nodes, in one frame."""
DECIMAL_DIGITS = 5000
DECIMAL_EXPONENT = 6144
"""The largest power of ten of a Decimal: ``int(Decimal("1e999999999"))`` would fill the memory."""
EQUAL_HASHES = 16
"""Keys of one hash in a dictionary or set; more would make it quadratic."""
DIMENSIONS = 32
NAME = 200
"""Characters of the name of a class, function, field or time zone."""
NAMES = 64

KINDS = frozenset(("function", "class", "instance", "iterator", "opaque"))

NUMBERED = frozenset(
    [
        "l",
        "d",
        "S",
        "B",
        "q",
        "C",
        "O",
        "D",
        "np.a",
        "np.O",
        "np.T",
        "np.m",
        "pd.s",
        "pd.d",
        "pl.s",
        "pl.d",
    ]
)
"""Tags of the values that can change, which have a number, unless they are part of a frame."""

TRAITS = {
    "gaps": "has masked or missing elements",
    "half": "has numbers of half precision (float16), which hold three digits",
    "narrow": "has integers of fewer than 64 bits",
    "order": "has categories with an order of their own",
    "unitless": "has times without a unit",
    "unsigned": "has unsigned integers",
}
"""Traits by which a value is equal to much that it is not, or in order; with their sentences.

Libraries skip missing elements; numpy casts the number that it compares with to half precision, and
a time to any unit. Differences of unsigned integers are never negative, and those of narrow ones
wrap around: both are made signed ones of 64 bits, and only unsigned ones beyond that are refused.
"""

SERVING = "serving"
COPIES, SHARES, SHARES_FIRST = range(3)
"""Of a request: nothing is shared, objects are, or they are from this request of a check on."""
PRINTED = 10_000
"""Characters of printed text that come with an answer."""
TEXT = 2000
"""Characters of an exception's text, or of a sentence."""
CLASSES = 30
"""Names of an exception's classes."""
PARAMETERS = 64
CALLS = 1_000_000
"""Requests of one submission."""
NONCE = 16
"""Bytes of random data after which the judge reads on, once a check's process has been killed."""

SPECIAL_METHODS = frozenset(
    f"__{name}__"
    for name in (
        *("len", "getitem", "setitem", "delitem", "contains", "iter", "next", "call", "reversed"),
        *("add", "radd", "iadd", "sub", "rsub", "isub", "mul", "rmul", "imul", "matmul"),
        *("truediv", "rtruediv", "itruediv", "floordiv", "rfloordiv", "mod", "rmod", "pow", "rpow"),
        *("and", "rand", "or", "ror", "xor", "rxor", "neg", "pos", "abs", "invert", "round"),
        *("eq", "ne", "lt", "le", "gt", "ge", "hash", "bool", "str", "repr", "float", "int"),
        *("complex", "enter", "exit", "format"),
    )
)
"""Those that a class of an answer may have in the judge; never ``__array__``."""

_OPERATORS = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "and", "or", "xor")
_ALIKE: tuple[tuple[str, ...], ...] = (
    *(("str", "repr", "format"), ("lt", "gt"), ("le", "ge"), ("eq", "ne")),
    *((name, f"r{name}", f"i{name}") for name in _OPERATORS),
)
_COLLECTION = (("bool", "len"), ("iter", "getitem", "contains", "len", "reversed"))


def _grouped(groups: tuple[tuple[str, ...], ...]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for group in groups:
        for name in group:
            found.setdefault(f"__{name}__", []).extend(f"__{each}__" for each in group)
    return found


SAME_RESULT = _grouped(_ALIKE)
"""By special method, those that give the same result where Python takes one for another: an
operator's reflected and in-place form, ``__repr__`` for ``__str__``."""
FALL_BACKS = _grouped(_ALIKE + _COLLECTION)
"""As ``SAME_RESULT``, also those of other results: ``__len__`` for ``__bool__``."""


class Unencodable(Exception):
    """A value that exceeds a limit or refers to itself; the message says which, for the student."""


class NotData(Exception):
    """A value of a library that is not data for the codec; it becomes a handle."""


class Undecodable(Exception):
    """A tree or a buffer that the encoder would not have written."""


class Refused(Exception):
    """A value with a trait that is not allowed; the message says which."""


@dataclass(frozen=True, slots=True)
class HandleFacts:
    """What the worker claims of an object that stays there.

    ``number`` names the object in requests. ``class_name`` is at most ``NAME`` characters of the
    worker's choice: to be shown, never resolved.
    """

    number: int
    kind: str
    class_name: str


def is_name(text: str) -> bool:
    """Whether a text may name a namedtuple or a field of one."""
    return (
        len(text) <= NAME
        and text.isidentifier()
        and not keyword.iskeyword(text)
        and unicodedata.normalize("NFKC", text) == text
    )
