"""Expression trees (tuples, see `expression`): their symbols, one order of terms, real roots."""

from fractions import Fraction

UNKNOWN_FUNCTIONS = frozenset("fgh")


def symbols(tree: tuple) -> set[str]:
    """Names of the free symbols, unknown functions included."""
    if tree[0] == "sym":
        return {tree[1]}
    names = {tree[1] + "()"} if tree[0] == "call" and tree[1] in UNKNOWN_FUNCTIONS else set()
    return names.union(*(symbols(part) for part in tree[1:] if isinstance(part, tuple)))


def canonical(tree: tuple) -> tuple:
    """The tree with the terms of sums and the factors of products in one order: a - b is -b + a."""
    if tree[0] not in ("add", "mul"):
        return tuple(canonical(part) if isinstance(part, tuple) else part for part in tree)
    return (tree[0], *sorted(map(canonical, _operands(tree, tree[0])), key=repr))


def _operands(tree: tuple, kind: str) -> list[tuple]:
    if tree[0] != kind:
        return [tree]
    return [part for side in tree[1:] for part in _operands(side, kind)]


def with_real_roots(tree: tuple) -> tuple:
    """The same tree, with odd roots of negative numbers taken in the reals."""
    parts = tuple(with_real_roots(part) if isinstance(part, tuple) else part for part in tree)
    if parts[:2] == ("call", "root"):
        return ("call", "real_power", parts[2], ("div", ("num", Fraction(1)), parts[3]))
    if parts[0] == "pow" and parts[2][0] in ("div", "num"):
        return ("call", "real_power", *parts[1:])
    return parts
