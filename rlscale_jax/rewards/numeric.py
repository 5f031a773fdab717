"""Decides equality of expression trees by evaluating them, at exact points and at two precisions.

Two expressions are equal when, wherever both can be evaluated, their difference shrinks with the working
precision; they differ when it stays. The precision follows from the numbers at hand, so that neither
1/2004! and 1/2006! nor 10^-30 and 2*10^-30 nor 10^100 and 10^100 + 1 are taken for one another.
Magnitudes beyond reach are never expanded: 9^(9^(9^9)) costs nothing.
"""

import hashlib
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any, TypeAlias

import mpmath

from rlscale_jax.rewards.trees import canonical, symbols, with_real_roots

Value: TypeAlias = Any  # mpmath's mpf or mpc

BASE_DIGITS, EXTRA_DIGITS = 40, 40
MAX_DIGITS = 20_000  # working precision beyond which sums of such different terms are not compared
MAX_LOG2_EXPONENT = 60  # exponents and factorials' arguments up to 2^60
INTEGER_NAMES = frozenset("nkmj")


class TooLarge(ValueError):
    """The value is beyond what is worth representing."""


class Undefined(ValueError):
    """No finite value at this point."""


def equal(gold: tuple, answer: tuple) -> bool | None:
    """True or False where numbers decide; None where they cannot."""
    if canonical(gold) == canonical(answer):
        return True
    same = _equal(gold, answer)
    real = with_real_roots(gold), with_real_roots(answer)
    if same is False and real != (gold, answer):  # the cube root of -8 is -2, in the reals at least
        return _equal(*real)
    return same


def _equal(gold: tuple, answer: tuple) -> bool | None:
    names = sorted(symbols(gold) | symbols(answer))
    if not names:
        return _equal_at(gold, answer, {}, real_only=False)
    num_equal = 0
    for point, real_only in _points(names):
        outcome = _equal_at(gold, answer, point, real_only)
        if outcome is False:
            return set(names) <= INTEGER_NAMES and _equal_for_integers(gold, answer, names)
        num_equal += outcome is True
    return True if num_equal >= 2 else None


def _equal_for_integers(gold: tuple, answer: tuple, names: list[str]) -> bool:
    """(-1)^n is cos(n pi) where n is an integer, as n, m, k and j are by custom."""
    return all(_equal_at(gold, answer, point, real_only=False) for point in _integer_points(names))


def factor(gold: tuple, answer: tuple) -> float | None:
    """The constant c != 0 with answer = c * gold at every point (then gold = 0 and answer = 0 are one equation)."""
    names = sorted(symbols(gold) | symbols(answer))
    points = [point for point, _ in _points(names)][:4]
    ratios = []
    for point in points:
        try:
            bottom = _value(gold, point, BASE_DIGITS)
            ratios.append(_value(answer, point, BASE_DIGITS) / bottom)
        except (Undefined, TooLarge, ZeroDivisionError):
            continue
    if len(ratios) < 2 or any(isinstance(ratio, mpmath.mpc) for ratio in ratios):
        return None
    spread = max(abs(ratio - ratios[0]) for ratio in ratios)
    constant = ratios[0] != 0 and spread <= abs(ratios[0]) * mpmath.mpf(10) ** (-BASE_DIGITS // 2)
    return float(ratios[0]) if constant else None


def approximate(tree: tuple) -> Fraction | None:
    """The real value of a constant tree to about 40 digits, or None."""
    try:
        value = _value(tree, {}, BASE_DIGITS)
    except (Undefined, TooLarge):
        return None
    if isinstance(value, mpmath.mpc):
        if abs(value.imag) > abs(value) * mpmath.mpf(10) ** -30:
            return None
        value = value.real
    if value and abs(mpmath.mag(value)) > 5_000:
        return None
    sign, mantissa, exponent, _ = value._mpf_
    return Fraction(-mantissa if sign else mantissa) * Fraction(2) ** exponent


def _equal_at(gold: tuple, answer: tuple, point: dict, real_only: bool) -> bool | None:
    try:
        digits = BASE_DIGITS + max(_digits_needed(gold, point), _digits_needed(answer, point))
        if digits > MAX_DIGITS:
            return None
        coarse = [_value(tree, point, digits) for tree in (gold, answer)]
        if real_only and any(isinstance(value, mpmath.mpc) and value.imag for value in coarse):
            return None
        fine = [_value(tree, point, digits + EXTRA_DIGITS) for tree in (gold, answer)]
    except Undefined:
        return None
    except TooLarge:
        if not all(_is_large(tree, point) for tree in (gold, answer)):
            return False
        if gold[0] == answer[0] == "pow":  # a^b and c^d by b ln a and d ln c
            first, second = (("mul", power, ("call", "ln", base)) for _, base, power in (gold, answer))
            return _equal_at(first, second, point, real_only=True)
        return None
    with mpmath.workdps(digits + EXTRA_DIGITS):
        if fine[0] == fine[1]:
            return True
        before, after = abs(coarse[0] - coarse[1]), abs(fine[0] - fine[1])
        rounding = max(map(abs, fine)) * mpmath.mpf(10) ** (-digits - EXTRA_DIGITS // 4)
        return bool(after < before * mpmath.mpf(10) ** (-EXTRA_DIGITS // 2) or after < rounding)


def _is_large(tree: tuple, point: dict) -> bool:
    try:
        _value(tree, point, 15)
    except TooLarge:
        return True
    except Undefined:
        return False
    return False


def _value(tree: tuple, point: dict, digits: int) -> Value:
    with mpmath.workdps(digits + 10):
        value = _Evaluator(point).run(tree)
        if mpmath.isnan(value):
            raise Undefined("not a number")
        return +value


def _digits_needed(tree: tuple, point: dict) -> int:
    """Decimal digits of its longest number, or between the largest and the smallest term of any of its sums."""
    with mpmath.workdps(20):
        evaluator = _Evaluator(point)
        evaluator.run(tree)
        return int(evaluator.spread * 0.302) + 1


class _Evaluator:
    """Values of a tree at one point, at the current precision; `spread`: the bits that exactness needs."""

    def __init__(self, point: dict):
        self.point = point
        self.spread = 0

    def run(self, tree: tuple) -> Value:
        kind = tree[0]
        if kind == "num":
            self.spread = max(self.spread, tree[1].numerator.bit_length(), tree[1].denominator.bit_length())
            return mpmath.mpf(tree[1].numerator) / tree[1].denominator
        if kind == "const":
            return _CONSTANTS[tree[1]]()
        if kind == "sym":
            if tree[1] not in self.point:
                raise Undefined(f"no value for {tree[1]}")
            return mpmath.mpf(self.point[tree[1]].numerator) / self.point[tree[1]].denominator
        if kind == "call":
            return self.call(tree[1], [self.run(part) for part in tree[2:]])
        values = [self.run(part) for part in tree[1:]]
        if kind == "add":
            return self.add(*values)
        return _OPERATIONS[kind](*values)

    def add(self, a: Value, b: Value) -> Value:
        if a and b and not mpmath.isinf(a) and not mpmath.isinf(b):
            self.spread = max(self.spread, abs(mpmath.mag(a) - mpmath.mag(b)))
        return a + b

    def call(self, name: str, values: list) -> Value:
        if name in ("f", "g", "h"):
            return mpmath.cos(_seed(name) + sum((k + 2) * value for k, value in enumerate(values)))
        try:
            return _FUNCTIONS[name](*values)
        except (ValueError, ZeroDivisionError, TypeError, OverflowError) as error:
            if isinstance(error, TooLarge):
                raise
            raise Undefined(f"{name} has no value here") from error


def _power(base: Value, exponent: Value) -> Value:
    if base == 0:
        if mpmath.re(exponent) <= 0:
            raise Undefined("zero to a power that is not positive")
        return base
    if mpmath.isinf(base) or mpmath.isinf(exponent):
        raise Undefined("a power of infinity")
    if exponent and mpmath.mag(exponent) + _log2_mag(base) > MAX_LOG2_EXPONENT:
        raise TooLarge("a tower of powers")
    if abs(mpmath.mag(base)) > 200 and mpmath.mag(exponent) > 40:
        raise TooLarge("a power of a power")
    return mpmath.power(base, exponent)


def _root(base: Value, index: Value) -> Value:
    return _power(base, _divide(mpmath.mpf(1), index))


def _real_power(base: Value, exponent: Value) -> Value:
    """base^(p/q) with q odd for a negative base, where q is small enough to be recognised."""
    if mpmath.im(base) == 0 and mpmath.re(base) < 0 and not mpmath.isint(exponent):
        for q in (3, 5, 7, 9):
            p = mpmath.nint(exponent * q)
            if abs(exponent * q - p) < mpmath.eps * 100:
                return _power(-base, exponent) * (-1) ** int(p)
    return _power(base, exponent)


def _log2_mag(base: Value) -> int:
    """Roughly log2 |log2 |base||: how much the base adds to the size of the result's exponent."""
    return max(0, int(abs(mpmath.mag(base))).bit_length())


def _divide(a: Value, b: Value) -> Value:
    if b == 0:
        raise Undefined("division by zero")
    if mpmath.isinf(b):
        raise Undefined("division by infinity")
    return a / b


def _factorial(n: Value) -> Value:
    if n and mpmath.mag(n) > 40:
        raise TooLarge("a factorial of a large number")
    return mpmath.factorial(n)


def _double_factorial(n: Value) -> Value:
    if n and mpmath.mag(n) > 40:
        raise TooLarge("a factorial of a large number")
    return mpmath.fac2(n)


def _binomial(n: Value, k: Value) -> Value:
    if max(mpmath.mag(n) if n else 0, mpmath.mag(k) if k else 0) > 40:
        raise TooLarge("a binomial of large numbers")
    return mpmath.binomial(n, k)


def _exp(x: Value) -> Value:
    return _power(+mpmath.e, x)


def _log(x: Value, base: Value | None = None) -> Value:
    return mpmath.log(x) / (mpmath.log(10) if base is None else mpmath.log(base))


def _whole(function: Callable[..., int]) -> Callable:
    """An integer function (gcd, lcm) on values that are integers."""

    def apply(*values):
        if any(not mpmath.isint(value) or (value and mpmath.mag(value) > 400) for value in values):
            raise Undefined("integers only")
        return mpmath.mpf(function(*(int(value) for value in values)))

    return apply


def _modulo(a: Value, b: Value) -> Value:
    if b == 0 or (a and mpmath.mag(a) > 400):
        raise Undefined("no remainder")
    return mpmath.fmod(a, b)


def _trig(function: Callable) -> Callable:
    """A function whose argument must be small enough to be reduced modulo pi."""

    def apply(x):
        if x and mpmath.mag(x) > 2_000:
            raise TooLarge("an angle too large")
        return function(x)

    return apply


_CONSTANTS = {
    "pi": lambda: +mpmath.pi,
    "e": lambda: +mpmath.e,
    "i": lambda: mpmath.mpc(0, 1),
    "inf": lambda: mpmath.inf,
    "deg": lambda: mpmath.pi / 180,
}
_OPERATIONS = {
    "neg": lambda a: -a,
    "mul": lambda a, b: a * b,
    "div": _divide,
    "pow": _power,
}
_FUNCTIONS = {
    "sin": _trig(mpmath.sin), "cos": _trig(mpmath.cos), "tan": _trig(mpmath.tan), "cot": _trig(mpmath.cot),
    "sec": _trig(mpmath.sec), "csc": _trig(mpmath.csc), "arcsin": mpmath.asin, "arccos": mpmath.acos,
    "arctan": mpmath.atan, "arccot": lambda x: mpmath.pi / 2 - mpmath.atan(x), "arcsec": mpmath.asec,
    "arccsc": mpmath.acsc, "cis": _trig(mpmath.expj), "double_factorial": _double_factorial,
    "sinh": _trig(mpmath.sinh), "cosh": _trig(mpmath.cosh), "tanh": _trig(mpmath.tanh),
    "root": _root, "real_power": _real_power,
    "ln": mpmath.log, "log": _log, "lg": _log, "exp": _exp, "abs": abs, "factorial": _factorial,
    "binomial": _binomial, "floor": mpmath.floor, "ceil": mpmath.ceil, "max": max, "min": min, "mod": _modulo,
    "gcd": _whole(math.gcd), "lcm": _whole(math.lcm), "sgn": mpmath.sign,
}  # fmt: skip


def _points(names: list[str]) -> list[tuple[dict[str, Fraction], bool]]:
    """Three points with positive coordinates, then two with mixed signs where only real values count."""
    positive = [({name: _coordinate(name, k) for name in names}, False) for k in range(3)]
    mixed = [({name: _coordinate(name, k) * (-1) ** (k + j) for j, name in enumerate(names)}, True) for k in (3, 4)]
    return positive + mixed


def _integer_points(names: list[str]) -> list[dict[str, Fraction]]:
    """Seven points from 2 to 8, each name in an order of its own, so that no difference stays the same."""
    return [{name: Fraction(2 + (j + 1) * k % 7) for j, name in enumerate(names)} for k in range(7)]


def _coordinate(name: str, index: int) -> Fraction:
    """A fixed number between 0.25 and 3.25 for this name."""
    digest = hashlib.sha256(f"{name}/{index}".encode()).digest()
    return Fraction(1, 4) + Fraction(int.from_bytes(digest[:4], "big"), 1 << 32) * 3


def _seed(name: str) -> Value:
    return mpmath.mpf(ord(name)) / 7
