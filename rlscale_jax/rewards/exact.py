r"""Numbers read exactly, without sympy: integers, decimals, fractions, mixed numbers, powers of ten, percent."""

import re
from dataclasses import dataclass
from fractions import Fraction

MAX_DIGITS = 300  # longer numerals and larger exponents are left to the symbolic layer
MIN_APPROX_DIGITS = 9  # significant digits from which a decimal may stand for a number that never ends

_INT = r"\d{1,3}(?:,\d{3})+|\d+"
_DECIMAL = re.compile(rf"([+-]?) ?({_INT})?(?:\.(\d*))?")
_FRACTION = re.compile(rf"([+-]?) ?(?:({_INT}) ?/ ?({_INT})|\\frac\{{([+-]?\d+)\}}\{{([+-]?\d+)\}})")
_MIXED = re.compile(r"([+-]?) ?(\d+) ?(?:(?<= )(\d+)/(\d+)|\\frac\{(\d+)\}\{(\d+)\})")
_REPEATING = re.compile(r"([+-]?) ?(\d*)\.(\d*)\\overline\{(\d+)\}")
_TIMES_TEN = re.compile(r"(.+?) ?(?:\\times|\\cdot|\*) ?10(?:\^|\*\*)(?:\{([+-]?\d+)\}|\(([+-]?\d+)\)|([+-]?\d+))")
_SCIENTIFIC = re.compile(r"([+-]?\d+(?:\.\d*)?|[+-]?\.\d+)[eE]([+-]?\d+)")
_POWER = re.compile(r"([+-]?)(\d+)(?:\^|\*\*)(?:\{([+-]?\d+)\}|([+-]?\d+))")
_PERCENT = re.compile(r"(.+?) ?(?:\\?%|percent|percentage|pct)")


@dataclass(frozen=True)
class Exact:
    """`places`: digits after the point of a plain decimal, -1 for every other form; `digits`: significant ones."""

    value: Fraction
    places: int = -1
    digits: int = 0
    percent: bool = False


def read(text: str) -> Exact | None:
    """The number that a normalised answer writes out in full, or None where it is not one (or too long)."""
    if not text or len(text) > MAX_DIGITS or not any(c.isdigit() for c in text):
        return None
    if percent := _PERCENT.fullmatch(text):
        number = _plain(percent[1])
        return number and Exact(number.value, number.places, number.digits, percent=True)
    return _plain(text)


def _plain(text: str) -> Exact | None:
    for pattern, reader in _FORMS:
        if match := pattern.fullmatch(text):
            return reader(match)
    return None


def _decimal(match: re.Match) -> Exact | None:
    sign, whole, tail = match[1], match[2] or "", match[3]
    if not whole and not tail:
        return None
    digits = whole.replace(",", "") + (tail or "")
    value = Fraction(int(digits), 10 ** len(tail or ""))
    return Exact(-value if sign == "-" else value, -1 if tail is None else len(tail), len(digits.lstrip("0")))


def _fraction(match: re.Match) -> Exact | None:
    top, bottom = (int((match[k] or match[k + 2]).replace(",", "")) for k in (2, 3))
    return _signed(match[1], top, bottom)


def _mixed(match: re.Match) -> Exact | None:
    whole, top, bottom = int(match[2]), int(match[3] or match[5]), int(match[4] or match[6])
    return _signed(match[1], whole * bottom + top, bottom) if top < bottom else None  # 5 3/2 is no mixed number


def _signed(sign: str, top: int, bottom: int) -> Exact | None:
    if bottom == 0:
        return None
    return Exact(Fraction(-top if sign == "-" else top, bottom))


def _repeating(match: re.Match) -> Exact:
    """0.1\\overline{6}: a sign, the whole part, digits that stand once, digits that repeat."""
    sign, whole, fixed, period = match.groups()
    nines = (10 ** len(period) - 1) * 10 ** len(fixed)
    value = Fraction(int((whole or "0") + fixed + period) - int((whole or "0") + fixed), nines)
    return Exact(-value if sign == "-" else value)


def _times_ten(match: re.Match) -> Exact | None:
    number = _plain(match[1])
    power = _power_of(Fraction(10), int(match[2] or match[3] or match[4]))
    return Exact(number.value * power) if number and power is not None else None


def _scientific(match: re.Match) -> Exact | None:
    number, power = _plain(match[1]), _power_of(Fraction(10), int(match[2]))
    return Exact(number.value * power) if number and power is not None else None


def _power(match: re.Match) -> Exact | None:
    value = _power_of(Fraction(int(match[2])), int(match[3] or match[4]))
    return None if value is None else Exact(-value if match[1] == "-" else value)


def _power_of(base: Fraction, exponent: int) -> Fraction | None:
    if abs(exponent) * max(1, len(str(base.numerator))) > MAX_DIGITS or (base == 0 and exponent <= 0):
        return None
    return base**exponent


_FORMS = (
    (_DECIMAL, _decimal),
    (_REPEATING, _repeating),
    (_FRACTION, _fraction),
    (_MIXED, _mixed),
    (_TIMES_TEN, _times_ten),
    (_SCIENTIFIC, _scientific),
    (_POWER, _power),
)


def equal(gold: Exact, answer: Exact) -> bool:
    """Equal as numbers. A percentage stands for p/100 and for p; a long decimal for what it rounds.

    "28%" is 28 (the question names the unit) or 0.28; 0.98039215686 is 50/51, but 0.142857 is not 1/7.
    """
    if gold.percent == answer.percent:
        return _same(gold, answer)
    percent, plain = (gold, answer) if gold.percent else (answer, gold)
    hundredth = Exact(percent.value / 100, percent.places + 2 if percent.places >= 0 else -1, percent.digits)
    return _same(percent, plain) or _same(hundredth, plain)


def _same(a: Exact, b: Exact) -> bool:
    return a.value == b.value or approximates(a, b.value) or approximates(b, a.value)


def approximates(decimal: Exact, value: Fraction) -> bool:
    """True where `decimal` is `value` rounded or cut to its places, with enough digits to be no guess."""
    if decimal.places < 1 or decimal.digits < MIN_APPROX_DIGITS:
        return False
    unit = Fraction(1, 10**decimal.places)
    finer = (value / unit).denominator != 1  # a value on the decimal's own grid is simply another number
    return finer and abs(decimal.value - value) < unit
