r"""Compares two scalars: text answers, numbers with units, percent and degree signs, ratios, other bases.

Numbers exactly (`exact`), expressions by their values (`expression`, `numeric`). What that grammar cannot read
(sums, integrals, limits) is left to math-verify.
"""

import logging
import re
from collections.abc import Callable
from fractions import Fraction
from functools import cache, lru_cache

from rlscale_jax.rewards import clock, exact, expression, numeric, units
from rlscale_jax.rewards.latex import compact
from rlscale_jax.rewards.structure import Scalar, Words

MAX_ALGEBRA_CHARS = 300
ALGEBRA_SECS = 2.5  # processor time for math-verify


def same_scalar(gold: Scalar | Words, answer: Scalar | Words) -> bool:
    if isinstance(gold, Words) or isinstance(answer, Words):
        return _same_words(gold, answer)
    return _same_quantity(gold.text, answer.text)


_WHOLE_LINE = {"all real numbers", "all reals", "real numbers", r"\mathbb{R}"}
_SHORT_WORDS = {"no", "on", "yes", "not", "odd", "all", "one", "two", "six", "ten"}


def _same_words(gold: Scalar | Words, answer: Scalar | Words) -> bool:
    if gold.text.strip("() ").casefold() == answer.text.strip("() ").casefold():
        return True
    both = {gold.text, answer.text}
    if both <= _WHOLE_LINE:
        return True
    if isinstance(gold, Words) and isinstance(answer, Words) and max(map(len, both)) <= 4 and not both & _SHORT_WORDS:
        return _same_quantity(gold.text, answer.text)  # "ab" and "ba" are products
    return False


@lru_cache(maxsize=8192)
def _same_quantity(gold: str, answer: str) -> bool:
    """Scalars with their units, percent and degree signs."""
    if compact(gold) == compact(answer):
        return True
    if (verdict := _same_numeral(gold, answer)) is not None:
        return verdict
    (gold, gold_unit, gold_factor), (answer, unit, factor) = units.split(gold), units.split(answer)
    ratio = units.ratio(gold_unit, unit)
    if ratio is None or (r"\degree" in gold + answer and {gold_unit, unit} - {"", "degree"}):
        return False
    if r"\degree" not in gold + answer or r"\pi" not in gold + answer:  # else 60 degrees are pi/3
        gold, answer = _without_degree(gold), _without_degree(answer)
    return _same_value(gold, answer, gold_factor, factor * ratio)


def _same_numeral(gold: str, answer: str) -> bool | None:
    """Ratios, times of day and numerals in another base; None where neither is one."""
    if ":" in gold or ":" in answer:
        return _same_ratio(gold.split(":"), answer.split(":"))
    numerals = [re.fullmatch(r"\(?(\w+)\)?_\{?(?:\\text\{)?(\w+)\}*", text) for text in (gold, answer)]
    if not any(numeral and numeral[1][:1].isdigit() for numeral in numerals):
        return None
    values = [
        _in_base(numeral[1], numeral[2]) if numeral else getattr(exact.read(text), "value", None)
        for numeral, text in zip(numerals, (gold, answer), strict=True)
    ]
    return None not in values and values[0] == values[1]


_BASE_NAMES = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10}


def _in_base(digits: str, base: str) -> Fraction | None:
    try:
        return Fraction(int(digits, _BASE_NAMES.get(base) or int(base)))
    except ValueError:
        return None


def _same_ratio(gold: list[str], answer: list[str]) -> bool:
    """Proportional parts: 2:4 is 1:2, and with two parts 1/2. With a zero (12:00) only the same parts are equal."""
    try:
        trees = [[expression.read(part) for part in parts] for parts in (gold, answer)]
    except expression.Unreadable:
        return False
    zero = ("num", Fraction(0))
    if len(gold) == len(answer):
        pairs = list(zip(*trees, strict=True))
        if zero in trees[0] or zero in trees[1]:
            return all(numeric.equal(a, b) for a, b in pairs)
        (a, b), rest = pairs[0], pairs[1:]
        return all(numeric.equal(("mul", c, b), ("mul", a, d)) for c, d in rest)
    long, short = sorted(trees, key=len, reverse=True)
    return len(long) == 2 and len(short) == 1 and bool(numeric.equal(("div", *long), short[0]))


def _without_degree(text: str) -> str:
    return re.sub(r"\s*(?:\\degree|degrees?)\s*[CF]?$", "", text)


def _same_value(gold: str, answer: str, gold_factor: Fraction, factor: Fraction) -> bool:
    numbers = exact.read(gold), exact.read(answer)
    if numbers[0] and numbers[1]:
        if gold_factor == factor == 1:
            return exact.equal(numbers[0], numbers[1])
        return numbers[0].value * gold_factor == numbers[1].value * factor
    try:
        trees = [
            ("num", number.value) if number else expression.read(text)
            for number, text in zip(numbers, (gold, answer), strict=True)
        ]
    except expression.TooLong:
        raise
    except expression.Unreadable:
        return gold_factor == factor and by_math_verify(gold, answer)
    if gold_factor != factor:
        trees = [("mul", ("num", by), tree) for by, tree in zip((gold_factor, factor), trees, strict=True)]
    for number, other in zip(numbers, trees[::-1], strict=True):
        if number and number.places > 0:
            value = numeric.approximate(other)
            return value is not None and (value == number.value or exact.approximates(number, value))
    return bool(numeric.equal(*trees))


_PROSE = re.compile(
    r"[^\x00-\x7f]|(?<![\\A-Za-z])[A-Za-z]{4,}|__|[`'\"#@&;]|[A-Za-z]{3,}\("
    r"|\\(?:[clv]?dots|math[a-z]+|text|equiv|pmod|mid|to|forall)(?![A-Za-z])"
)


def by_math_verify(gold: str, answer: str) -> bool:
    """math-verify's opinion on what our grammar does not read. Its own alarms are off: the clock is ours.

    Raises: expression.TooLong, OutOfTime.
    """
    if any(not _may_be_algebra(text) for text in (gold, answer)):
        return False
    if max(len(gold), len(answer)) > MAX_ALGEBRA_CHARS:
        raise expression.TooLong("for algebra")
    parse, verify = _math_verify()
    with clock.at_most(ALGEBRA_SECS):
        gold_value, value = parse(f"${gold}$", parsing_timeout=None), parse(f"${answer}$", parsing_timeout=None)
        return bool(gold_value and value) and verify(gold_value, value, timeout_seconds=None)


def _may_be_algebra(text: str) -> bool:
    """Readable, or unreadable only for a LaTeX command that may be an operator (a sum, an integral)."""
    try:
        expression.read(text)
    except expression.Unreadable:
        return "\\" in text and not _PROSE.search(text)
    return True


@cache
def _math_verify() -> tuple[Callable, Callable]:
    """(parse, verify); the import takes seconds, so it waits for the first need."""
    with clock.stopped():
        from math_verify import parse, verify
    logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns of the timeouts that we set ourselves
    return parse, verify
