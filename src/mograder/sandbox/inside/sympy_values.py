"""sympy's values for the codec: expressions, sets, truth values and matrices, as trees.

``["sy.c", name]`` is a constant, ``["sy.q", numerator, denominator]`` a rational number,
``["sy.f", mantissa, exponent, bits]`` a Float, ``["sy.s", name, [[fact, flag], …]]`` a symbol with
its assumptions, ``["sy.e", class, parts]`` an expression, ``["sy.u", name, parts]`` an undefined
function's value inside one, ``["sy.m", class, rows, columns, parts]`` a matrix. Derivatives,
integrals, sums and limits that wait for their evaluation are not data: a check that simplifies
them would do the student's work. An expression is built as it was, without evaluation, and sympy
is never given a text other than a name, since it would run it as code.
"""

from __future__ import annotations

import re
from typing import Any

import codec_rules as rules  # type: ignore[import-not-found]  # in this file's directory
import sympy  # type: ignore[import-untyped]
import value_decoder  # type: ignore[import-not-found]
from sympy.core.function import UndefinedFunction  # type: ignore[import-untyped]
from sympy.functions.elementary.piecewise import ExprCondPair  # type: ignore[import-untyped]

_CONSTANTS = {
    str(each): each
    for each in (
        *(sympy.pi, sympy.E, sympy.I, sympy.oo, -sympy.oo, sympy.zoo, sympy.nan),
        *(sympy.GoldenRatio, sympy.EulerGamma, sympy.Catalan, sympy.true, sympy.false),
        *(sympy.S.EmptySet, sympy.S.Reals, sympy.S.Integers, sympy.S.Naturals, sympy.S.Naturals0),
        *(sympy.S.Rationals, sympy.S.Complexes),
    )
}
_EVALUATED: tuple[Any, ...] = (
    *(sympy.Add, sympy.Mul, sympy.Pow, sympy.exp, sympy.log, sympy.LambertW, sympy.Piecewise),
    *(sympy.sin, sympy.cos, sympy.tan, sympy.cot, sympy.sec, sympy.csc, sympy.sinc, sympy.atan2),
    *(sympy.asin, sympy.acos, sympy.atan, sympy.acot, sympy.asec, sympy.acsc),
    *(sympy.sinh, sympy.cosh, sympy.tanh, sympy.coth, sympy.sech, sympy.csch),
    *(sympy.asinh, sympy.acosh, sympy.atanh, sympy.acoth, sympy.asech, sympy.acsch),
    *(sympy.Abs, sympy.sign, sympy.re, sympy.im, sympy.arg, sympy.conjugate),
    *(sympy.floor, sympy.ceiling, sympy.frac, sympy.Mod, sympy.Max, sympy.Min),
    *(sympy.factorial, sympy.factorial2, sympy.binomial, sympy.gamma, sympy.erf, sympy.erfc),
    *(sympy.Heaviside, sympy.DiracDelta, sympy.KroneckerDelta),
    *(sympy.Eq, sympy.Ne, sympy.Lt, sympy.Le, sympy.Gt, sympy.Ge),
    *(sympy.And, sympy.Or, sympy.Not, sympy.Xor, sympy.Implies, sympy.Equivalent),
    *(sympy.FiniteSet, sympy.Union, sympy.Intersection, sympy.Complement),
)
"""Classes that evaluate their arguments unless they are told not to."""
_AS_WRITTEN: tuple[Any, ...] = (sympy.Interval, sympy.Tuple, ExprCondPair)
_CLASSES = {each.__name__: each for each in (*_EVALUATED, *_AS_WRITTEN)}
_MATRICES = {each.__name__: each for each in (sympy.Matrix, sympy.ImmutableMatrix)}
_SYMBOL = re.compile(r"\\?[^\W\d]\w*(?:[_^]?\{\w{1,50}\})?'{0,3}")
"""Names, also of TeX; with operators and parentheses, ``str`` would show an expression."""
_FACT = re.compile("[a-z_]{1,30}")
_DOUBLE = 53
"""Bits of a double number."""
_EXPONENT = 100_000
"""The largest power of two of a Float: ``int`` of a larger one would fill the memory."""
_BITS = 20_000


def _encode_rational(encoder: Any, value: Any, depth: int) -> Any:
    return ["sy.q", *(encoder.value(int(each), depth + 1) for each in (value.p, value.q))]


def _encode_float(encoder: Any, value: Any, depth: int) -> Any:
    sign, mantissa, exponent, _ = value._mpf_
    bits = int(value._prec)
    if abs(exponent) > _EXPONENT or bits > _BITS:
        raise rules.NotData
    number = encoder.value(int(-mantissa if sign else mantissa), depth + 1)
    return ["sy.f", number, int(exponent), bits]


def _encode_symbol(encoder: Any, value: Any, depth: int) -> Any:
    (name,), facts = value.__getnewargs_ex__()
    if type(name) is not str or len(name) > rules.NAME or not _SYMBOL.fullmatch(name):
        raise rules.NotData
    return ["sy.s", name, [[fact, facts[fact]] for fact in sorted(facts)]]


def _encode_expression(encoder: Any, value: Any, depth: int) -> Any:
    parts = [_part(encoder, each, depth + 1) for each in value.args]
    return ["sy.e", type(value).__name__, parts]


def _part(encoder: Any, value: Any, depth: int) -> Any:
    """Return the tree of an expression's argument, of a type of this module alone."""
    kind = type(value)
    if id(kind) in _KNOWN:
        return encoder.value(value, depth)
    name = kind.__name__
    if type(kind) is not UndefinedFunction or kind._kwargs or not rules.is_name(name):
        raise rules.NotData
    encoder.count(depth)
    return ["sy.u", name, [_part(encoder, each, depth + 1) for each in value.args]]


def _encode_matrix(encoder: Any, value: Any, depth: int) -> Any:
    parts = [_part(encoder, each, depth + 1) for each in value]
    return ["sy.m", type(value).__name__, int(value.rows), int(value.cols), parts]


def _named(table: dict[str, Any], name: object) -> Any:
    if type(name) is not str or name not in table:
        raise rules.Undecodable("a name that is not on the list")
    return table[name]


def _decode_constant(decoder: Any, depth: int, name: object) -> Any:
    found = _named(_CONSTANTS, name)
    decoder.note("gaps", found is sympy.nan)
    return found


def _decode_rational(decoder: Any, depth: int, top: object, bottom: object) -> Any:
    numerator, denominator = (_whole(decoder, each, depth) for each in (top, bottom))
    if denominator < 1:
        raise rules.Undecodable("not the denominator of a number")
    return sympy.Rational(numerator, denominator)


def _whole(decoder: Any, tree: object, depth: int) -> int:
    value = decoder.value(tree, depth + 1)
    if type(value) is not int:
        raise rules.Undecodable("not an integer")
    return value


def _decode_float(decoder: Any, depth: int, number: object, exponent: object, bits: object) -> Any:
    mantissa = _whole(decoder, number, depth)
    power = value_decoder.integer(exponent, -_EXPONENT, _EXPONENT)
    precision = value_decoder.integer(bits, 1, _BITS)
    # sympy compares in the lower precision of two numbers: with one bit, 4 is equal to 10/3.
    if precision < _DOUBLE and not decoder.allows("half"):
        precision = _DOUBLE
    if mantissa == 0:
        return sympy.Float(0.0, precision=precision)
    sign, size = int(mantissa < 0), abs(mantissa)
    return sympy.Float((sign, size, power, size.bit_length()), precision=precision)


def _decode_symbol(decoder: Any, depth: int, name: object, facts: object) -> Any:
    title = value_decoder.matched(value_decoder.text(name, rules.NAME), _SYMBOL)
    if type(facts) is not list or len(facts) > rules.NAMES:
        raise rules.Undecodable("not the assumptions of a symbol")
    known = {}
    for each in facts:
        if type(each) is not list or len(each) != 2:
            raise rules.Undecodable("not an assumption")
        known[value_decoder.matched(each[0], _FACT)] = value_decoder.flag(each[1])
    made = sympy.Symbol(title, **known)
    if not known.items() <= made.assumptions0.items():
        raise rules.Undecodable("not the assumptions of a symbol")
    return made


def _decode_expression(decoder: Any, depth: int, name: object, trees: object) -> Any:
    kind = _named(_CLASSES, name)
    parts = _decoded(decoder, depth, trees)
    made = kind(*parts) if kind in _AS_WRITTEN else kind(*parts, evaluate=False)
    if type(made) is not kind:
        raise rules.Undecodable("not the parts of this expression")
    return made


def _decoded(decoder: Any, depth: int, trees: object) -> list[Any]:
    """Return the parts; sympy would run a text among them as code."""
    parts: list[Any] = decoder.items(trees, depth)
    if not all(isinstance(each, sympy.Basic) for each in parts):
        raise rules.Undecodable("a part that is no object of sympy")
    return parts


def _decode_undefined(decoder: Any, depth: int, name: object, trees: object) -> Any:
    title = value_decoder.identifier(name)
    return sympy.Function(title)(*_decoded(decoder, depth, trees))


def _decode_matrix(
    decoder: Any, depth: int, name: object, rows: object, columns: object, trees: object
) -> Any:
    kind = _named(_MATRICES, name)
    shape = [value_decoder.integer(each, 0, rules.NODES) for each in (rows, columns)]
    parts = _decoded(decoder, depth, trees)
    if shape[0] * shape[1] != len(parts):
        raise rules.Undecodable("not the parts of this matrix")
    return kind(*shape, parts)


_RATIONALS = (
    sympy.Rational,
    sympy.Integer,
    *map(type, (sympy.S.Half, sympy.S(0), sympy.S(1), sympy.S(-1))),
)
ENCODERS: dict[type, Any] = {
    **dict.fromkeys(
        map(type, _CONSTANTS.values()), lambda encoder, value, depth: ["sy.c", str(value)]
    ),
    **dict.fromkeys(_RATIONALS, _encode_rational),
    **dict.fromkeys(_CLASSES.values(), _encode_expression),
    **dict.fromkeys(_MATRICES.values(), _encode_matrix),
    sympy.Float: _encode_float,
    sympy.Symbol: _encode_symbol,
}
_KNOWN = frozenset(map(id, ENCODERS))
"""By identity: a lookup by class would hash it, which a student's metaclass may define."""

DECODERS: dict[str, tuple[int, Any]] = {
    "sy.c": (1, _decode_constant),
    "sy.q": (2, _decode_rational),
    "sy.f": (3, _decode_float),
    "sy.s": (2, _decode_symbol),
    "sy.e": (2, _decode_expression),
    "sy.u": (2, _decode_undefined),
    "sy.m": (4, _decode_matrix),
}
