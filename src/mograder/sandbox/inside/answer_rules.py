"""What the two ends of the requests agree on, beside the codec: limits, and special methods.

The judge asks one request at a time: a frame ``[id, operation, shares, …]``, with pickled arguments
in its buffer (``argument_pickle.py``); ``shares`` says whether they and the answer tell what has
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
        *("eq", "ne", "lt", "le", "gt", "ge", "bool", "str", "repr", "float", "int", "complex"),
        *("enter", "exit"),
    )
)
"""Those that a class of an answer may have in the judge; never ``__array__`` or ``__hash__``."""
