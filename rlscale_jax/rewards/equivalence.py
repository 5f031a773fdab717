r"""Decides whether two mathematical answers that differ as strings mean the same.

Both are brought to one spelling (`latex`), read from the outside in (`structure`) and compared part by part;
numbers exactly (`exact`), expressions by their values (`expression`, `numeric`). What that grammar cannot read
(sums, integrals, limits) is left to math-verify.
"""

import logging
import re
from collections.abc import Callable
from fractions import Fraction
from functools import cache, lru_cache

from rlscale_jax.rewards import clock, exact, expression, numeric, units
from rlscale_jax.rewards.boxed import last_boxed
from rlscale_jax.rewards.latex import compact, normalize
from rlscale_jax.rewards.regions import regions_equal
from rlscale_jax.rewards.structure import Group, Interval, Matrix, Node, Relation, Scalar, Union, Words, read
from rlscale_jax.rewards.verdict import PARSE_FAIL, REFUSED, Verdict, decided, failed

MAX_CHARS = 2_000
MAX_ALGEBRA_CHARS = 300
ALGEBRA_SECS = 2.5
_NAME = re.compile(
    r"(?:\\[A-Za-z]+|[A-Za-z|()\[\]:/' ,+*-]|\{[^{}\d]*\}|_(?:\{[^{}]*\}|.))+"
)  # a left side that only names what is asked for: x, f(x), |AB|, a+b, S_{1}:S


def equivalent(box: str, ground_truth: str) -> Verdict:
    """Whether the two answers, each without its \\boxed{}, are equal."""
    if len(box) > MAX_CHARS + len(ground_truth):
        return failed(REFUSED)
    answer, gold = normalize(box), normalize(last_boxed(ground_truth) or ground_truth)
    if not answer:
        return failed(PARSE_FAIL)
    if compact(answer) == compact(gold):
        return decided(True)
    try:
        return decided(_same(_read(gold, answer), _read(answer, gold)))
    except TooLong:
        return failed(REFUSED)


class TooLong(ValueError):
    """An answer that our grammar does not read, too long for math-verify."""


def _read(text: str, other: str) -> Node:
    """`text` as a node. "1,234" is a number, but a list where the other side is one."""
    if exact.read(text) and not ("," in text and ", " in other):
        return Scalar(text)
    return read(text)


def _same(gold: Node, answer: Node) -> bool:
    gold, answer = _assigned_alike(gold, answer)
    if isinstance(gold, Scalar | Words) and isinstance(answer, Scalar | Words):
        return _same_scalar(gold, answer)
    if isinstance(gold, Matrix) or isinstance(answer, Matrix):
        return _same_matrix(gold, answer)
    if _is_region(gold) or _is_region(answer):
        return _same_region(gold, answer)
    if isinstance(gold, Relation) and isinstance(answer, Relation):
        return _same_relation(gold, answer)
    if isinstance(gold, Group) or isinstance(answer, Group):
        return _same_group(_as_group(gold), _as_group(answer))
    return False


def _is_region(node: Node) -> bool:
    """Is it a set of real numbers for sure? A pair (1, 2) may be one beside one."""
    if isinstance(node, Group):
        return node.kind == "list" and all(map(_is_inequality, node.items))
    whole_line = isinstance(node, Scalar) and node.text.startswith(r"\mathbb{R}")
    return isinstance(node, Interval | Union) or _is_inequality(node) or whole_line


def _is_inequality(node: Node) -> bool:
    return isinstance(node, Relation) and not set(node.ops) <= {"=", r"\approx", r"\equiv", r"\sim"}


def _is_equation(node: Relation) -> bool:
    return set(node.ops) <= {"=", r"\approx"}


def _stated(node: Relation) -> str:
    """The side that holds the answer: the last one, but the exact one before an approximation of it."""
    if len(node.ops) > 1 or not _NAME.fullmatch(node.sides[0]):
        exact_sides = node.ops.index(r"\approx") if r"\approx" in node.ops else len(node.ops)
        return node.sides[exact_sides]
    return node.sides[-1]


def _assigned_alike(gold: Node, answer: Node) -> tuple[Node, Node]:
    """Drops "x =" where only one side has it, or both the same; keeps real equations."""
    gold_name, gold_value = _assignment(gold)
    name, value = _assignment(answer)
    if any(isinstance(node, Relation) and _is_equation(node) for node in (gold_value, value)):
        return gold, answer
    if gold_name and name and compact(gold_name) != compact(name) and not _is_tuple(gold_name):
        return gold, answer
    return gold_value, value


def _is_tuple(name: str) -> bool:
    return name.startswith("(") and "," in name


def _assignment(node: Node) -> tuple[str, Node]:
    """(name, value) of "x = 5"; of a list, the name its first item carries ("n = 1, 2, 3")."""
    if isinstance(node, Relation) and _is_equation(node):
        left, right = node.sides[0], _stated(node)
        if _NAME.fullmatch(left):
            return left, read(right)
        if not any(map(_symbols, node.sides)):  # 2 + 3 = 5 states a value
            return "", read(right)
    if isinstance(node, Group) and node.kind in ("list", "set"):
        names, values = zip(*map(_assignment, node.items), strict=True) if node.items else ((), ())
        if names and names[0] and len({compact(name) for name in names if name}) == 1:
            return names[0], Group(node.kind, values)
    return "", node


def _symbols(text: str) -> set[str]:
    try:
        return expression.symbols(expression.read(text))
    except expression.Unreadable:
        return {text}


def _as_group(node: Node) -> Group:
    return node if isinstance(node, Group) else Group("single", (node,))


def _same_group(gold: Group, answer: Group) -> bool:
    """Tuples in order, sets and bare lists in any; a bare list may stand for a tuple, in its order."""
    if "tuple" in (gold.kind, answer.kind):
        kinds = {gold.kind, answer.kind}
        if not kinds <= {"tuple", "list"} or len(gold.items) != len(answer.items):
            return False
        return all(map(_same, gold.items, answer.items))
    gold_items, items = _distinct(gold), _distinct(answer)
    if len(gold_items) != len(items):
        return False
    left = list(items)
    for item in gold_items:
        match = next((place for place, other in enumerate(left) if _same(item, other)), None)
        if match is None:
            return False
        del left[match]
    return True


def _distinct(group: Group) -> list[Node]:
    """The members, with plus-minus pairs opened and repeats dropped."""
    members: list[Node] = []
    for item in group.items:
        _, value = _assignment(item)
        opened = value.items if isinstance(value, Group) and value.kind == "set" else (item,)
        for member in opened:
            if member not in members:
                members.append(member)
    return members


def _same_matrix(gold: Node, answer: Node) -> bool:
    if not isinstance(gold, Matrix) or not isinstance(answer, Matrix):
        return False
    if [len(row) for row in gold.rows] != [len(row) for row in answer.rows]:
        return False
    return all(all(map(_same, *rows)) for rows in zip(gold.rows, answer.rows, strict=True))


def _same_region(gold: Node, answer: Node) -> bool:
    same = regions_equal(gold, answer, _same_scalar)
    if same is not None:
        return same
    if isinstance(gold, Relation) and isinstance(answer, Relation):
        return _same_relation(gold, answer)
    return False


_MIRROR = {"<": ">", ">": "<", r"\le": r"\ge", r"\ge": r"\le"}


def _same_relation(gold: Relation, answer: Relation) -> bool:
    """The same chain (or its mirror image), or one equation that is a multiple of the other."""
    mirrored = Relation(answer.sides[::-1], tuple(_MIRROR.get(op, op) for op in answer.ops[::-1]))
    for candidate in (answer, mirrored):
        if gold.ops == candidate.ops and len(gold.sides) == len(candidate.sides):
            pairs = zip(gold.sides, candidate.sides, strict=True)
            if all(_same_scalar(Scalar(a), Scalar(b)) for a, b in pairs):
                return True
    if len(gold.ops) != 1 or len(answer.ops) != 1:
        return False
    trees = [_difference(relation) for relation in (gold, answer)]
    if trees[0] is not None and trees[1] is not None:
        factor = numeric.factor(trees[0], trees[1])
        if gold.ops == answer.ops and factor is not None:
            return factor > 0 or (factor < 0 and gold.ops[0] in ("=", r"\ne"))
        return factor is not None and factor < 0 and _MIRROR.get(gold.ops[0]) == answer.ops[0]
    return gold.ops == answer.ops == ("=",) and _by_math_verify("=".join(gold.sides), "=".join(answer.sides))


def _difference(relation: Relation) -> tuple | None:
    try:
        left, right = (expression.read(side) for side in relation.sides)
    except expression.Unreadable:
        return None
    return ("add", left, ("neg", right))


def _same_scalar(gold: Scalar | Words, answer: Scalar | Words) -> bool:
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
    if ratio is None:
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
    except expression.Unreadable:
        return gold_factor == factor and _by_math_verify(gold, answer)
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


def _by_math_verify(gold: str, answer: str) -> bool:
    """math-verify's opinion on what our grammar does not read. Its own alarms are off: the clock is ours.

    Raises: TooLong, OutOfTime.
    """
    if "\\" not in gold + answer or _PROSE.search(gold) or _PROSE.search(answer):
        return False
    if max(len(gold), len(answer)) > MAX_ALGEBRA_CHARS:
        raise TooLong
    parse, verify = _math_verify()
    with clock.at_most(ALGEBRA_SECS):
        gold_value, value = parse(f"${gold}$", parsing_timeout=None), parse(f"${answer}$", parsing_timeout=None)
        return bool(gold_value and value) and verify(gold_value, value, timeout_seconds=None)


@cache
def _math_verify() -> tuple[Callable, Callable]:
    """(parse, verify); the import takes seconds, so it waits for the first need."""
    with clock.stopped():
        from math_verify import parse, verify
    logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns of the timeouts that we set ourselves
    return parse, verify
