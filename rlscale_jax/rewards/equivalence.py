r"""Decides whether two mathematical answers that differ as strings mean the same.

Both are brought to one spelling (`latex`), read from the outside in (`structure`) and compared part by part,
down to the scalars (`scalars`).
"""

import re

from rlscale_jax.rewards import exact, expression, numeric, phrasing
from rlscale_jax.rewards.boxed import last_boxed
from rlscale_jax.rewards.latex import compact, normalize
from rlscale_jax.rewards.regions import is_line, regions_equal
from rlscale_jax.rewards.scalars import by_math_verify, same_scalar
from rlscale_jax.rewards.structure import (
    Difference,
    Group,
    Interval,
    Matrix,
    Node,
    Relation,
    Scalar,
    Union,
    Words,
    read,
)
from rlscale_jax.rewards.trees import symbols
from rlscale_jax.rewards.verdict import PARSE_FAIL, REFUSED, Verdict, decided, failed

MAX_CHARS = 2_000
_NAME = re.compile(
    r"(?:\\[A-Za-z]+|[A-Za-z]'*\([\d., -]+\)|[A-Za-z|()\[\]:/' ,+*-]|\{[^{}\d]*\}|_(?:\{[^{}]*\}|.))+"
)  # a left side that only names what is asked for: x, f(x), f(3), |AB|, a+b, S_{1}:S
_THOUSANDS = re.compile(r"(?<![\d,.])\d{1,3}(?:,\d{3})+(?!,?\d)")


def equivalent(box: str, ground_truth: str) -> Verdict:
    """Whether the two answers, each without its \\boxed{}, are equal."""
    if len(box) > MAX_CHARS + len(ground_truth):
        return failed(REFUSED)
    answer, gold = normalize(box), normalize(_final(ground_truth))
    if not answer:
        return failed(PARSE_FAIL)
    if compact(answer) == compact(gold):
        return decided(True)
    gold_phrase = phrasing.bare(gold)
    phrase = phrasing.same_names(gold_phrase, phrasing.bare(answer))
    if gold_phrase.modulus and phrase.modulus and compact(gold_phrase.modulus) != compact(phrase.modulus):
        return decided(False)
    gold, answer = gold_phrase.text, phrase.text
    try:
        return decided(_same(_read(gold, answer), _read(answer, gold)))
    except expression.TooLong:
        return failed(REFUSED)


def _final(ground_truth: str) -> str:
    """The answer in a ground truth: its box, or in a whole solution the last formula."""
    if (box := last_boxed(ground_truth)) is not None:
        return box
    formulas = re.findall(r"\$([^$]+)\$", ground_truth) if len(ground_truth) > 300 else []
    return formulas[-1] if formulas else ground_truth


def _read(text: str, other: str) -> Node:
    """`text` as a node. "1,234" is a number, but a list where the other side is one."""
    if exact.read(text) and not ("," in text and ", " in other):
        return Scalar(text)
    if not text.startswith(("(", "[", r"\{")) and (", " in text or ", " not in other):
        text = _THOUSANDS.sub(lambda number: number[0].replace(",", ""), text)
    return read(text)


def _same(gold: Node, answer: Node) -> bool:
    gold, answer = _all_equal(gold, answer), _all_equal(answer, gold)
    gold, answer = _assigned_alike(gold, answer)
    if isinstance(gold, Scalar | Words) and isinstance(answer, Scalar | Words):
        return same_scalar(gold, answer) or (is_line(gold) and is_line(answer) and _same_region(gold, answer))
    if isinstance(gold, Matrix) or isinstance(answer, Matrix):
        return _same_matrix(gold, answer)
    if _is_region(gold) or _is_region(answer):
        return _same_region(gold, answer)
    if isinstance(gold, Relation) and isinstance(answer, Relation):
        return _same_relation(gold, answer)
    if isinstance(gold, Group) or isinstance(answer, Group):
        return _same_group(_as_group(gold), _as_group(answer))
    return False


def _all_equal(node: Node, other: Node) -> Node:
    """x = y = z = 1 as (1, 1, 1), beside a tuple of as many."""
    if not isinstance(node, Relation) or not isinstance(other, Group) or other.kind != "tuple":
        return node
    names = [side.strip() for side in node.sides[:-1]]
    if set(node.ops) != {"="} or len(names) != len(other.items) or not all(re.fullmatch("[a-z]", n) for n in names):
        return node
    return Group("tuple", (read(node.sides[-1]),) * len(names))


def _is_region(node: Node) -> bool:
    """Is it a set of real numbers for sure? A pair (1, 2) may be one beside one."""
    if isinstance(node, Group):
        return node.kind in ("list", "both") and all(map(_is_inequality, node.items))
    return isinstance(node, Interval | Union | Difference) or _is_inequality(node) or is_line(node)


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
    if re.search("[+-]", gold_name):  # x + y = 3 is an equation where it is the answer
        gold_name, gold_value = "", gold
    name, value = _assignment(answer)
    if any(isinstance(node, Relation) and _is_equation(node) for node in (gold_value, value)):
        return gold, answer
    if gold_name and name and not _same_name(compact(gold_name), compact(name)):
        return gold, answer
    return gold_value, value


def _same_name(gold: str, name: str) -> bool:
    """Equal; a tuple's names are its own affair; and y = ... is f(x) = ..."""
    if gold == name or (gold.startswith("(") and "," in gold):
        return True
    return "y" in (gold, name) and any(re.fullmatch(r"[fgh]\(x\)", other) for other in (gold, name))


def _assignment(node: Node) -> tuple[str, Node]:
    """(name, value) of "x = 5"; of a list, the name its first item carries ("n = 1, 2, 3")."""
    if isinstance(node, Relation) and _is_equation(node):
        left, right = node.sides[0], _stated(node)
        if _NAME.fullmatch(left):
            return left, read(right)
        if not any(map(_symbols, node.sides)):  # 2 + 3 = 5 states a value, 6 = 5 none
            true = all(same_scalar(Scalar(left), Scalar(side)) for side in node.sides[1:] if "=" in node.ops)
            return ("", read(right)) if true or r"\approx" in node.ops else ("", node)
    if isinstance(node, Group) and node.kind in ("list", "set"):
        names, values = zip(*map(_assignment, node.items), strict=True) if node.items else ((), ())
        if names and names[0] and len({compact(name) for name in names if name}) == 1:
            return names[0], Group(node.kind, values)
    return "", node


def _symbols(text: str) -> set[str]:
    try:
        return symbols(expression.read(text))
    except expression.Unreadable:
        return {text}


def _as_group(node: Node) -> Group:
    return node if isinstance(node, Group) else Group("single", (node,))


def _same_group(gold: Group, answer: Group) -> bool:
    """Tuples in order, sets and bare lists in any; a bare list may stand for a tuple, in its order."""
    if "tuple" in (gold.kind, answer.kind):
        kinds = {gold.kind, answer.kind}
        for one, other in ((gold, answer), (answer, gold)):
            if one.kind == "set" and len(one.items) == 1:  # {(1, 2)}
                return _same(one.items[0], other)
        gold, answer = _by_name(gold), _by_name(answer)
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


def _by_name(group: Group) -> Group:
    """A list of assignments to different names, y = 2, x = 1, in the names' order."""
    names = [_assignment(item)[0] for item in group.items]
    if group.kind != "list" or not all(names) or len(set(names)) < len(names):
        return group
    return Group("list", tuple(item for _, item in sorted(zip(names, group.items, strict=True), key=lambda p: p[0])))


def _distinct(group: Group) -> list[Node]:
    """The members, with plus-minus pairs opened and repeats dropped."""
    members: list[Node] = []
    for item in group.items:
        _, value = _assignment(item)
        opened = value.items if isinstance(value, Group) and value.kind == "set" and value.items else (item,)
        for member in opened:
            if not any(member == other or (len(members) < 8 and _same(other, member)) for other in members):
                members.append(member)
    return members


def _same_matrix(gold: Node, answer: Node) -> bool:
    if isinstance(gold, Group) != isinstance(answer, Group):  # (1, 2) stands for a vector, lying or standing
        gold, answer = _as_column(gold), _as_column(answer)
    if not isinstance(gold, Matrix) or not isinstance(answer, Matrix) or gold.kind != answer.kind:
        return False
    if gold.kind == "cases":
        return _same_group(*(Group("set", tuple(Group("tuple", row) for row in side.rows)) for side in (gold, answer)))
    if [len(row) for row in gold.rows] != [len(row) for row in answer.rows]:
        return False
    return all(all(map(_same, *rows)) for rows in zip(gold.rows, answer.rows, strict=True))


def _as_column(node: Node) -> Node:
    """A tuple, or a matrix of one row, as a column vector."""
    if isinstance(node, Group) and node.kind == "tuple":
        return Matrix(tuple((item,) for item in node.items))
    if isinstance(node, Matrix) and node.kind == "matrix" and len(node.rows) == 1:
        return Matrix(tuple((item,) for item in node.rows[0]))
    return node


def _same_region(gold: Node, answer: Node) -> bool:
    same = regions_equal(gold, answer, same_scalar)
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
            if all(same_scalar(Scalar(a), Scalar(b)) for a, b in pairs):
                return True
    if len(gold.ops) != 1 or len(answer.ops) != 1:
        return False
    trees = [_difference(relation) for relation in (gold, answer)]
    if trees[0] is not None and trees[1] is not None:
        factor = numeric.factor(trees[0], trees[1])
        if gold.ops == answer.ops and factor is not None:
            return factor > 0 or (factor < 0 and gold.ops[0] in ("=", r"\ne"))
        return factor is not None and factor < 0 and _MIRROR.get(gold.ops[0]) == answer.ops[0]
    return gold.ops == answer.ops == ("=",) and by_math_verify("=".join(gold.sides), "=".join(answer.sides))


def _difference(relation: Relation) -> tuple | None:
    try:
        left, right = (expression.read(side) for side in relation.sides)
    except expression.Unreadable:
        return None
    return ("add", left, ("neg", right))
