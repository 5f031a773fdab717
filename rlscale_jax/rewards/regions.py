r"""Sets of real numbers: intervals, unions, single points and inequalities in one variable, compared as sets."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from rlscale_jax.rewards import expression, numeric
from rlscale_jax.rewards.latex import compact
from rlscale_jax.rewards.structure import Group, Interval, Node, Relation, Scalar, Union, read

_INFINITY = Fraction(10) ** 400
_FLIP = {"<": ">", ">": "<", r"\le": r"\ge", r"\ge": r"\le", r"\ne": r"\ne"}


@dataclass(frozen=True)
class Piece:
    """Numbers between two ends; the ends as text (for comparing) and as values (for ordering)."""

    low: str
    high: str
    low_open: bool
    high_open: bool
    at: Fraction


def regions_equal(gold: Node, answer: Node, same_scalar: Callable[[Scalar, Scalar], bool]) -> bool | None:
    """Whether both are the same set of numbers; None where one cannot be read as such a set."""
    regions = []
    names = set()
    for node in (gold, answer):
        try:
            name, pieces = _region(node)
        except ValueError:
            return None
        names.add(name)
        regions.append(sorted(pieces, key=lambda piece: (piece.at, piece.low_open)))
    if len(names - {""}) > 1 or len(regions[0]) != len(regions[1]):
        return False
    return all(
        (a.low_open, a.high_open) == (b.low_open, b.high_open)
        and same_scalar(Scalar(a.low), Scalar(b.low))
        and same_scalar(Scalar(a.high), Scalar(b.high))
        for a, b in zip(*regions, strict=True)
    )


def _region(node: Node) -> tuple[str, list[Piece]]:
    """(variable or "", pieces).

    Raises: ValueError where the node is no set of reals.
    """
    if isinstance(node, Interval):
        return "", [_piece(node.low.text, node.high.text, node.low_open, node.high_open)]
    if isinstance(node, Union):
        found = [_region(part) for part in node.parts]
        names = {name for name, _ in found} - {""}
        if len(names) > 1:
            raise ValueError("several variables")
        return "".join(names), [piece for _, pieces in found for piece in pieces]
    if isinstance(node, Group) and node.kind == "tuple" and len(node.items) == 2:
        low, high = node.items
        if isinstance(low, Scalar) and isinstance(high, Scalar):
            return "", [_piece(low.text, high.text, True, True)]
    if isinstance(node, Group) and node.kind in ("set", "list"):
        return _points_or_bounds(node)
    if isinstance(node, Relation):
        return _inequality(node)
    if isinstance(node, Scalar):
        return "", _named_set(node.text)
    raise ValueError("no set of real numbers")


def _points_or_bounds(node: Group) -> tuple[str, list[Piece]]:
    """{1, 2}, or "x > 1 and x < 3": two bounds of one variable."""
    if all(isinstance(item, Scalar) for item in node.items):
        return "", [_piece(item.text, item.text, False, False) for item in node.items]
    found = [_region(item) for item in node.items]
    names = {name for name, _ in found}
    if len(found) != 2 or len(names) != 1 or any(len(pieces) != 1 for _, pieces in found):
        raise ValueError("no bounds of one variable")
    first, second = sorted((pieces[0] for _, pieces in found), key=lambda piece: piece.at)
    if _position(second.low) > _position(first.high):  # "x < -2, x > 2" can only be meant as a union
        return names.pop(), [first, second]
    return names.pop(), [_piece(second.low, first.high, second.low_open, first.high_open)]


def _named_set(text: str) -> list[Piece]:
    r"""\mathbb{R}, and \mathbb{R} without points."""
    whole, _, rest = compact(text).partition(r"\setminus")
    if whole not in (r"\mathbb{R}", r"\textR") or (rest and not rest.startswith(r"\{")):
        raise ValueError("no named set")
    node = read(rest) if rest else Group("set", ())
    points = sorted((item.text for item in getattr(node, "items", ())), key=_position)
    ends = [r"-\infty", *points, r"\infty"]
    return [_piece(low, high, True, True) for low, high in itertools.pairwise(ends)]


def _inequality(node: Relation) -> tuple[str, list[Piece]]:
    sides, ops = node.sides, node.ops
    if len(ops) == 1 and ops[0] in _FLIP:
        if _is_variable(sides[0]):
            return compact(sides[0]), _half_line(ops[0], sides[1])
        if _is_variable(sides[1]):
            return compact(sides[1]), _half_line(_FLIP[ops[0]], sides[0])
    if len(ops) == 2 and _is_variable(sides[1]):
        if set(ops) <= {"<", r"\le"}:
            return compact(sides[1]), [_piece(sides[0], sides[2], ops[0] == "<", ops[1] == "<")]
        if set(ops) <= {">", r"\ge"}:
            return compact(sides[1]), [_piece(sides[2], sides[0], ops[1] == ">", ops[0] == ">")]
    raise ValueError("no inequality in one variable")


def _half_line(op: str, bound: str) -> list[Piece]:
    if op == r"\ne":
        return [_piece(r"-\infty", bound, True, True), _piece(bound, r"\infty", True, True)]
    if op in ("<", r"\le"):
        return [_piece(r"-\infty", bound, True, op == "<")]
    return [_piece(bound, r"\infty", op == ">", True)]


def _is_variable(text: str) -> bool:
    try:
        return expression.read(text)[0] == "sym" or (text[:2] in ("f(", "g(", "h(") and text.endswith(")"))
    except expression.Unreadable:
        return False


def _piece(low: str, high: str, low_open: bool, high_open: bool) -> Piece:
    return Piece(low.strip(), high.strip(), low_open, high_open, _position(low))


def _position(text: str) -> Fraction:
    """Where an end lies, for ordering only; symbolic ends keep their order of writing."""
    bare = compact(text)
    if r"\infty" in bare:
        return -_INFINITY if bare.startswith("-") else _INFINITY
    try:
        value = numeric.approximate(expression.read(text))
    except expression.Unreadable:
        value = None
    return Fraction(0) if value is None else value
