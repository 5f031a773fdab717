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
    if (chosen := _CHOICE.fullmatch(answer.text)) and not _CHOICE.fullmatch(gold.text):
        return _same_choice(gold, chosen["letter"] or chosen["bare"], chosen["rest"])
    if isinstance(gold, Words) or isinstance(answer, Words):
        return _same_words(gold, answer)
    if r"\text" in gold.text + answer.text and re.search("[A-Za-z]{3}", gold.text.replace(r"\text", "")):
        plain = [_without_text(node.text).casefold() for node in (gold, answer)]
        return plain[0] == plain[1] or _same_quantity(gold.text, answer.text)
    return _same_quantity(gold.text, answer.text)


def _without_text(text: str) -> str:
    r"""March 5, be it \text{March 5} or \text{March }5."""
    return compact(re.sub(r"\\text\{([^{}]*)\}", r"\1", text))


# One choice with its content: \text{(C) }15, (C) 15, C. 15
_CHOICE = re.compile(
    r"(?:\\text\{ ?)?(?:\((?P<letter>[A-J])\)|(?P<bare>[A-J])[.):])(?:[ .:]*\}[ .:]*| +)(?P<rest>[^ ].*)"
)
_SHORT_WORDS = {"no", "on", "yes", "not", "odd", "all", "one", "two", "six", "ten", "even", "none", "true"}
_NUMBERS = {
    "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8",
    "nine": "9", "ten": "10", "eleven": "11", "twelve": "12", "thirteen": "13", "fourteen": "14", "fifteen": "15",
    "sixteen": "16", "seventeen": "17", "eighteen": "18", "nineteen": "19", "twenty": "20",
}  # fmt: skip
_SYNONYMS = (
    {"undefined", "dne", "does not exist", "not defined"},
    {r"\mathbb{Z}", "all integers", "integers", "any integer", "set of integers"},
    {"infinitely many", "infinitely many solutions", "infinite"},
)


def _same_choice(gold: Scalar | Words, letter: str, rest: str) -> bool:
    """Gold names the letter, or what stands behind it."""
    if re.search(r"\([A-J]\)|\\text\{ ?or", rest):
        return False
    if re.fullmatch(r"\(?[A-Ja-j]\)?", gold.text):
        return gold.text.strip("()").upper() == letter
    return not isinstance(gold, Words) and _same_quantity(gold.text, rest)


def _same_words(gold: Scalar | Words, answer: Scalar | Words) -> bool:
    if gold.text.strip("() ").casefold() == answer.text.strip("() ").casefold():
        return True
    both = {gold.text, answer.text}
    if any(both <= same for same in _SYNONYMS):
        return True
    if gold.text in _NUMBERS or answer.text in _NUMBERS:
        return _same_quantity(*(_NUMBERS.get(text, text) for text in (gold.text, answer.text)))
    products = [node.product if isinstance(node, Words) else node.text for node in (gold, answer)]
    if all(products) and not {product.lower() for product in products} & _SHORT_WORDS:
        return _same_quantity(*products)  # "ab" and "ba" are products
    return False


@lru_cache(maxsize=8192)
def _same_quantity(gold: str, answer: str) -> bool:
    """Scalars with their units, percent and degree signs."""
    gold, answer = (_DEGREES_MINUTES.sub(_in_degrees, text) for text in (gold, answer))
    if compact(gold) == compact(answer):
        return True
    if (verdict := _same_numeral(gold, answer)) is not None:
        return verdict
    (gold, gold_unit, gold_factor), (answer, unit, factor) = units.split(gold), units.split(answer)
    ratio = units.ratio(gold_unit, unit)
    degrees = r"\degree" in gold + answer
    if degrees and {gold_unit, unit} & {"radian", "rad"}:
        return (r"\degree" in gold) != (r"\degree" in answer) and _same_value(gold, answer, Fraction(1), Fraction(1))
    others = {unit for unit in (gold_unit, unit) if units.is_measure(unit)}
    scales = {match[1] for match in map(_DEGREE.search, (gold, answer)) if match} - {None}
    kinds = degrees + ("%" in gold + answer) + bool(others)
    if ratio is None or kinds > 1 or len(scales) > 1:
        return False
    if r"\degree" not in gold + answer or r"\pi" not in gold + answer:  # else 60 degrees are pi/3
        gold, answer = (text if _TRIGONOMETRIC.search(text) else _DEGREE.sub("", text) for text in (gold, answer))
    if ("%" in gold) != ("%" in answer) and not (exact.read(gold) and exact.read(answer)):
        without = gold.rstrip("% "), answer.rstrip("% ")
        return any(_same_value(*pair, gold_factor, factor * ratio) for pair in ((gold, answer), without))
    return _same_value(gold, answer, gold_factor, factor * ratio)


_DEGREE = re.compile(r"\s*\\degree\s*([CF](?![A-Za-z]))?")
_TRIGONOMETRIC = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc|cis)(?![A-Za-z])")
_DEGREES_MINUTES = re.compile(r"(\d+) ?\\degree ?(\d+) ?(?:'|\^ ?\{?\\prime\}?)(?: ?(\d+) ?(?:''|\"))?")


def _in_degrees(match: re.Match) -> str:
    """30 degrees 30 minutes as a fraction of degrees."""
    value = int(match[1]) + Fraction(int(match[2]), 60) + Fraction(int(match[3] or 0), 3600)
    return rf"\frac{{{value.numerator}}}{{{value.denominator}}}\degree"


def _same_numeral(gold: str, answer: str) -> bool | None:
    """Ratios, times of day and numerals in another base; None where neither is one."""
    gold_time, time = (_TIME.fullmatch(_without_text(text)) for text in (gold, answer))
    if gold_time and (time or gold_time[3]):
        return time is not None and _same_time(gold_time, time)
    gold, answer = (re.sub(r"(?<=\w) ?\\text\{ ?to ?\} ?(?=\w)|(?<=\d) to (?=\d)", ":", t) for t in (gold, answer))
    if ":" in gold or ":" in answer:
        return _same_ratio(gold.split(":"), answer.split(":"))
    numerals = [_numeral(text) for text in (gold, answer)]
    if not any(numerals):
        return None
    values = [
        _in_base(*numeral) if numeral else getattr(exact.read(text), "value", None)
        for numeral, text in zip(numerals, (gold, answer), strict=True)
    ]
    return None not in values and values[0] == values[1]


def _numeral(text: str) -> tuple[str, str] | None:
    """(digits, base) of 204_5, (204)_{5}, 1010_{\\text{two}}, A1_{16} or 204 (base 5)."""
    plain = re.sub(r"\\text|[{}() ]", "", text)
    match = re.fullmatch(r"([0-9A-Z.]+)(?:_(?:base)?|base)([0-9a-z]+)", plain)
    return (match[1], match[2]) if match and re.search(r"\d|[A-Z]{2}", match[1]) else None


_TIME = re.compile(r"(?i)(\d{1,2})(?: ?: ?([0-5]\d)|(?= ?[ap]\.? ?m))(?: ?([ap])\.? ?m\.?)?")


def _same_time(gold: re.Match, answer: re.Match) -> bool:
    """3:30 may be p.m.; 3:30 a.m. is not. Times are not ratios: 3:30 is not 1:10."""
    halves = {match[3].lower() for match in (gold, answer) if match[3]}
    same = (int(gold[1]), gold[2] or "00") == (int(answer[1]), answer[2] or "00")
    return same and len(halves) < 2


_BASE_NAMES = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10}


def _in_base(digits: str, base: str) -> Fraction | None:
    try:
        radix = _BASE_NAMES.get(base) or int(base)
        whole, _, tail = digits.partition(".")
        return Fraction(int(whole + tail, radix), radix ** len(tail))
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
    if numeric.equal(*trees):
        return True
    for number, other in zip(numbers, trees[::-1], strict=True):
        if number and number.places > 0:
            value = numeric.approximate(other)
            return value is not None and exact.approximates(number, value)
    return False


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
