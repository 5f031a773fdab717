r"""Sets of real numbers: intervals, unions, differences, single points and inequalities, compared as sets."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction

from rlscale_jax.rewards import expression, numeric
from rlscale_jax.rewards.latex import compact
from rlscale_jax.rewards.structure import Difference, Group, Interval, Node, Relation, Scalar, Union, Words

_INFINITY = Fraction(10) ** 400
_FLIP = {"<": ">", ">": "<", r"\le": r"\ge", r"\ge": r"\le", r"\ne": r"\ne"}
_LINE_WORDS = {"all real numbers", "all reals", "real numbers", "reals", "all real x", "all real values"}
_LINES = {
    r"\mathbb{R}": (r"-\infty", r"\infty"),
    r"\textR": (r"-\infty", r"\infty"),
    r"\mathbb{R}^+": ("0", r"\infty"),
    r"\mathbb{R}_+": ("0", r"\infty"),
    r"\mathbb{R}_{>0}": ("0", r"\infty"),
    r"\mathbb{R}_{\ge0}": ("[0", r"\infty"),
    r"\mathbb{R}^-": (r"-\infty", "0"),
    r"\mathbb{R}_{<0}": (r"-\infty", "0"),
}


@dataclass(frozen=True)
class Piece:
    """Numbers between two ends; the ends as text (for comparing) and as values (for ordering; None: symbolic)."""

    low: str
    high: str
    low_open: bool
    high_open: bool
    start: Fraction | None
    stop: Fraction | None

    @property
    def measured(self) -> bool:
        return self.start is not None and self.stop is not None

    @property
    def empty(self) -> bool:
        return self.measured and (
            self.start > self.stop or (self.start == self.stop and (self.low_open or self.high_open))  # type: ignore
        )


def regions_equal(gold: Node, answer: Node, same_scalar: Callable[[Scalar, Scalar], bool]) -> bool | None:
    """Whether both are the same set of numbers; None where one cannot be read as such a set."""
    try:
        (gold_name, gold_pieces), (name, pieces) = _region(gold), _region(answer)
    except ValueError:
        return None
    if gold_name and name and gold_name != name:
        return None
    if len(gold_pieces) != len(pieces):
        return False
    return all(
        (a.low_open, a.high_open) == (b.low_open, b.high_open)
        and same_scalar(Scalar(a.low), Scalar(b.low))
        and same_scalar(Scalar(a.high), Scalar(b.high))
        for a, b in zip(gold_pieces, pieces, strict=True)
    )


def is_line(node: Node) -> bool:
    """Is it all real numbers, or one half of them, by name?"""
    if isinstance(node, Words):
        return node.text in _LINE_WORDS
    return isinstance(node, Scalar) and compact(node.text) in _LINES


def _region(node: Node) -> tuple[str, list[Piece]]:
    """(variable or "", pieces in order).

    Raises: ValueError where the node is no set of reals.
    """
    if isinstance(node, Interval):
        return "", [_piece(node.low.text, node.high.text, node.low_open, node.high_open)]
    if isinstance(node, Union):
        found = [_region(part) for part in node.parts]
        return _one_name(found), _merged([piece for _, pieces in found for piece in pieces])
    if isinstance(node, Difference):
        found = [_region(node.whole), _region(node.taken)]
        return _one_name(found), _without(found[0][1], found[1][1])
    if isinstance(node, Group) and node.kind == "tuple" and len(node.items) == 2:
        low, high = node.items
        if isinstance(low, Scalar) and isinstance(high, Scalar):
            return "", [_piece(low.text, high.text, True, True)]
    if isinstance(node, Group) and node.kind in ("set", "list", "both") and node.items:
        return _points_or_bounds(node)
    if isinstance(node, Relation):
        return _inequality(node)
    if isinstance(node, Scalar | Words) and is_line(node):
        low, high = _LINES.get(compact(node.text), (r"-\infty", r"\infty"))
        return "", [_piece(low.lstrip("["), high, not low.startswith("["), True)]
    raise ValueError("no set of real numbers")


def _one_name(found: list[tuple[str, list[Piece]]]) -> str:
    names = {name for name, _ in found} - {""}
    if len(names) > 1:
        raise ValueError("several variables")
    return "".join(names)


def _points_or_bounds(node: Group) -> tuple[str, list[Piece]]:
    """{1, 2}, or conditions on one variable: "x > 1 and x < 3", "x \\ne 1, x \\ne 2" or, for short, "x \\ne 1, 2"."""
    items = list(node.items)
    if all(isinstance(item, Scalar) for item in items):
        return "", _merged([_point(item.text) for item in items])
    first = items[0]
    if isinstance(first, Relation) and first.ops == (r"\ne",):
        items = [Relation((first.sides[0], i.text), first.ops) if isinstance(i, Scalar) else i for i in items]
    found = [_region(item) for item in items]
    name = _one_name(found)
    if not all(piece.measured for _, pieces in found for piece in pieces):
        raise ValueError("bounds that cannot be ordered")
    common = found[0][1]
    for _, pieces in found[1:]:
        common = _without(common, _without([_piece(r"-\infty", r"\infty", True, True)], pieces))
    if node.kind == "both":
        return name, common
    # "x < -2, x > 2" can only be meant as a union
    return name, common or _merged([piece for _, pieces in found for piece in pieces])


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
    if op == r"\ne" and r"\pm" in bound:
        return _without(_half_line(op, bound.replace(r"\pm", "")), [_point(bound.replace(r"\pm", "-"))])
    if op == r"\ne":
        return [_piece(r"-\infty", bound, True, True), _piece(bound, r"\infty", True, True)]
    if op in ("<", r"\le"):
        return [_piece(r"-\infty", bound, True, op == "<")]
    return [_piece(bound, r"\infty", op == ">", True)]


def _is_variable(text: str) -> bool:
    try:
        return expression.read(text)[0] == "sym" or re.fullmatch(r"[fgh]\([a-z]\)", text) is not None
    except expression.Unreadable:
        return False


def _point(text: str) -> Piece:
    return _piece(text, text, False, False)


def _piece(low: str, high: str, low_open: bool, high_open: bool) -> Piece:
    return Piece(low.strip(), high.strip(), low_open, high_open, _position(low), _position(high))


def _position(text: str) -> Fraction | None:
    """Where an end lies, to 40 digits and for ordering only; None for a symbolic end."""
    bare = compact(re.sub(r"\\degree|\+", "", text))
    if bare in (r"\infty", r"-\infty"):
        return -_INFINITY if bare.startswith("-") else _INFINITY
    try:
        return numeric.approximate(expression.read(text))
    except expression.Unreadable:
        return None


def _merged(pieces: list[Piece]) -> list[Piece]:
    """The same numbers in as few pieces as possible, in order. With symbolic or crossed ends: as written."""
    if any(not piece.measured or piece.empty for piece in pieces):
        return pieces
    done: list[Piece] = []
    for piece in sorted(pieces, key=lambda p: (p.start, p.low_open)):
        last = done[-1] if done else None
        if last is None or _apart(last, piece):
            done.append(piece)
        elif (piece.stop, not piece.high_open) > (last.stop, not last.high_open):
            done[-1] = replace(last, high=piece.high, high_open=piece.high_open, stop=piece.stop)
    return done


def _apart(last: Piece, following: Piece) -> bool:
    assert last.stop is not None and following.start is not None
    return following.start > last.stop or (following.start == last.stop and last.high_open and following.low_open)


def _without(whole: list[Piece], taken: list[Piece]) -> list[Piece]:
    """What is in `whole` and not in `taken`.

    Raises: ValueError for symbolic ends.
    """
    if not all(piece.measured for piece in whole + taken):
        raise ValueError("ends that cannot be ordered")
    for cut in taken:
        rest = []
        for piece in whole:
            if not _meet(piece, cut):
                rest.append(piece)
                continue
            left = replace(piece, high=cut.low, high_open=not cut.low_open, stop=cut.start)
            right = replace(piece, low=cut.high, low_open=not cut.high_open, start=cut.stop)
            rest += [part for part in (left, right) if not part.empty and _inside(part, piece)]
        whole = rest
    return _merged(whole)


def _meet(a: Piece, b: Piece) -> bool:
    first, second = (a, b) if (a.start, a.low_open) <= (b.start, b.low_open) else (b, a)  # type: ignore[operator]
    assert first.stop is not None and second.start is not None
    touching = second.start == first.stop and not (first.high_open or second.low_open)
    return second.start < first.stop or touching


def _inside(part: Piece, piece: Piece) -> bool:
    """Is a part that was cut from a piece really a part of it, at both ends?"""
    low = (part.start, part.low_open) >= (piece.start, piece.low_open)  # type: ignore[operator]
    high = (part.stop, not part.high_open) <= (piece.stop, not piece.high_open)  # type: ignore[operator]
    return low and high
