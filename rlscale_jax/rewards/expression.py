r"""Reads a scalar LaTeX expression into a small tree: a recursive-descent parser that is linear and depth-limited.

Trees are tuples: ("num", Fraction), ("sym", name), ("const", "pi" | "e" | "i" | "inf" | "deg"),
("add", a, b), ("mul", a, b), ("div", a, b), ("neg", a), ("pow", a, b), ("call", function, *arguments).
Sums, integrals, limits and the like raise `Unreadable`: they are left to math-verify.
"""

import re
from fractions import Fraction

from rlscale_jax.rewards import exact
from rlscale_jax.rewards.trees import UNKNOWN_FUNCTIONS

MAX_DEPTH = 40
MAX_TOKENS = 400  # also bounds the depth of trees: a chain of factors leans to the left
MAX_DIGITS = 2_000

_TOKEN = re.compile(
    r"\s*(?:(?P<repeat>\d*\.\d*\\overline\{\d+\})|(?P<num>\d+\.\d+|\d+\.?|\.\d+)"
    r"|(?P<cmd>\\[A-Za-z]+|\\[{}|])|(?P<char>.))",
    re.DOTALL,
)
_WORD = re.compile(r"(?<![\\A-Za-z])(?:[A-Za-z]{5,}|[A-Za-z]{3,}\()")
_GREEK = frozenset(
    [
        "alpha",
        "beta",
        "gamma",
        "delta",
        "epsilon",
        "varepsilon",
        "zeta",
        "eta",
        "theta",
        "vartheta",
        "iota",
        "kappa",
        "lambda",
        "mu",
        "nu",
        "xi",
        "rho",
        "sigma",
        "tau",
        "upsilon",
        "phi",
        "varphi",
        "chi",
        "psi",
        "omega",
        "Gamma",
        "Delta",
        "Theta",
        "Lambda",
        "Xi",
        "Pi",
        "Sigma",
        "Upsilon",
        "Phi",
        "Psi",
        "Omega",
        "ell",
        "hbar",
    ]
)
_FUNCTIONS = frozenset(
    [
        "sin",
        "cos",
        "tan",
        "cot",
        "sec",
        "csc",
        "arcsin",
        "arccos",
        "arctan",
        "arccot",
        "arcsec",
        "arccsc",
        "cis",
        "sinh",
        "cosh",
        "tanh",
        "ln",
        "log",
        "lg",
        "exp",
        "gcd",
        "lcm",
        "max",
        "min",
        "sgn",
    ]
)
_INVERSE = {"sin": "arcsin", "cos": "arccos", "tan": "arctan"}
_OPEN = {"(": ")", "[": "]", "{": "}"}
_STARTS = frozenset("({[|")


class Unreadable(ValueError):
    """The text is not an expression of this grammar."""


class TooLong(Unreadable):
    """It may be one, but nobody would write it as an answer."""


def read(text: str) -> tuple:
    """The tree of a normalised LaTeX (or calculator-style) expression.

    Raises: Unreadable.
    """
    if _WORD.search(text):
        raise Unreadable(f"words in {text[:80]!r}")
    reader = _Reader(text)
    if len(reader.tokens) > MAX_TOKENS:
        raise TooLong(f"{len(reader.tokens)} tokens")
    tree = reader.sum(0)
    if reader.place != len(reader.tokens):
        raise Unreadable(f"cannot read {text[:80]!r} from token {reader.place}")
    return tree


def _tokens(text: str) -> list[str]:
    return [match.group().strip() for match in _TOKEN.finditer(text) if match.group().strip()]


class _Reader:
    """Position in the tokens; every method reads one grammar rule, `depth` guards the recursion."""

    def __init__(self, text: str):
        self.tokens = _tokens(text)
        self.place = 0
        self.bars = 0  # open absolute values: inside one, "|" closes

    def peek(self, ahead: int = 0) -> str:
        place = self.place + ahead
        return self.tokens[place] if place < len(self.tokens) else ""

    def take(self, expected: str = "") -> str:
        token = self.peek()
        if not token or (expected and token != expected):
            raise Unreadable(f"expected {expected or 'more'}, found {token!r}")
        self.place += 1
        return token

    def sum(self, depth: int) -> tuple:
        if depth > MAX_DEPTH:
            raise Unreadable("nested too deeply")
        tree = self.product(depth + 1)
        while self.peek() in ("+", "-"):
            sign = self.take()
            term = self.product(depth + 1)
            tree = ("add", tree, ("neg", term) if sign == "-" else term)
        return tree

    def product(self, depth: int) -> tuple:
        tree = self.signed(depth)
        while True:
            token = self.peek()
            if token in ("*", r"\cdot", r"\times"):
                self.take()
                tree = ("mul", tree, self.signed(depth))
            elif token in ("/", r"\div"):
                self.take()
                tree = ("div", tree, self.signed(depth))
            elif token in (r"\bmod", r"\mod"):
                self.take()
                tree = ("call", "mod", tree, self.signed(depth))
            elif self.starts_factor():
                tree = ("mul", tree, self.factor(depth))
            else:
                return tree

    def signed(self, depth: int) -> tuple:
        if depth > MAX_DEPTH:
            raise Unreadable("too many signs")
        if self.peek() in ("+", "-"):
            sign = self.take()
            inner = self.signed(depth + 1)
            return ("neg", inner) if sign == "-" else inner
        return self.factor(depth)

    def starts_factor(self) -> bool:
        """Does the next token go on with an implicit product? A number after a number does not."""
        token = self.peek()
        if token == "|":
            return self.bars == 0
        if token[:1].isdigit() or token[:1] == ".":
            return not self.tokens[self.place - 1][:1].isdigit()
        if token.startswith("\\"):
            name = token[1:]
            return name in _GREEK or name in _FUNCTIONS or name in _COMMANDS or name in ("pi", "infty")
        return token in _STARTS or (len(token) == 1 and token.isascii() and token.isalpha())

    def factor(self, depth: int) -> tuple:
        tree = self.base(depth)
        while True:
            token = self.peek()
            if token == "^":
                self.take()
                tree = ("pow", tree, self.exponent(depth))
            elif token == "!":
                self.take()
                double = self.peek() == "!"
                if double:
                    self.take()
                tree = ("call", "double_factorial" if double else "factorial", tree)
            elif token == "%":
                self.take()
                tree = ("div", tree, ("num", Fraction(100)))
            elif token == r"\degree":
                self.take()
                tree = ("mul", tree, ("const", "deg"))
            else:
                return tree

    def exponent(self, depth: int) -> tuple:
        """What stands after ^: a braced group, or one signed atom; towers of ^ group to the right."""
        if self.peek() in ("+", "-"):
            return self.signed(depth + 1)
        tree = self.base(depth + 1)
        if self.peek() == "^":
            self.take()
            return ("pow", tree, self.exponent(depth + 1))
        return tree

    def base(self, depth: int) -> tuple:
        token = self.take()
        if depth > MAX_DEPTH:
            raise Unreadable("nested too deeply")
        if token[0].isdigit() or token[0] == ".":
            return self.number(token, depth)
        if token in _OPEN:
            tree = self.sum(depth + 1)
            self.take(_OPEN[token])
            return tree
        if token == "|":
            return self.absolute(depth)
        if token.startswith("\\"):
            return self.command(token[1:], depth)
        if len(token) == 1 and token.isascii() and token.isalpha():
            return self.symbol(token, depth)
        raise Unreadable(f"cannot read {token!r}")

    def number(self, token: str, depth: int) -> tuple:
        if len(token) > MAX_DIGITS:
            raise Unreadable("a number too long")
        if "overline" in token:
            number = exact.read(token)
            assert number
            return ("num", number.value)
        tree = ("num", Fraction(token.rstrip(".") or "0"))
        if token.isdigit() and self.peek() == r"\frac":  # 4\frac{4}{9} is a mixed number, 4\frac{x}{9} a product
            place = self.place
            part = self.base(depth + 1)
            if part[0] == "div" and part[1][0] == part[2][0] == "num" and part[1][1] < part[2][1]:
                return ("add", tree, part)
            self.place = place
        return tree

    def absolute(self, depth: int) -> tuple:
        self.bars += 1
        tree = self.sum(depth + 1)
        self.take("|")
        self.bars -= 1
        return ("call", "abs", tree)

    def symbol(self, letter: str, depth: int) -> tuple:
        if letter in ("e", "i") and self.peek() != "_":
            return ("const", letter)
        name = letter + self.subscript()
        while self.peek() == "'":
            name += self.take()
        if letter in UNKNOWN_FUNCTIONS and self.peek() == "(":
            return ("call", letter, *self.arguments(depth))
        return ("sym", name)

    def subscript(self) -> str:
        if self.peek() != "_":
            return ""
        self.take()
        if self.peek() != "{":
            return "_" + self.take()
        inner = []
        self.take("{")
        while self.peek() not in ("}", ""):
            inner.append(self.take())
        self.take("}")
        return "_" + "".join(inner)

    def arguments(self, depth: int) -> list[tuple]:
        close = {"(": ")", r"\{": r"\}"}[self.take()]
        found = [self.sum(depth + 1)]
        while self.peek() == ",":
            self.take()
            found.append(self.sum(depth + 1))
        self.take(close)
        return found

    def command(self, name: str, depth: int) -> tuple:
        if name == "pi":
            return ("const", "pi")
        if name == "infty":
            return ("const", "inf")
        if name in _GREEK:
            return ("sym", name + self.subscript())
        if name in _FUNCTIONS:
            return self.function(name, depth)
        if name in _COMMANDS:
            return _COMMANDS[name](self, depth + 1)
        raise Unreadable(f"unknown command \\{name}")

    def function(self, name: str, depth: int) -> tuple:
        base = self.subscript_tree(depth) if name == "log" and self.peek() == "_" else None
        power = None
        if self.peek() == "^":
            self.take()
            power = self.exponent(depth + 1)
        if power == ("neg", ("num", Fraction(1))) and name in _INVERSE:
            name, power = _INVERSE[name], None
        arguments = self.arguments(depth) if self.peek() in ("(", r"\{") else [self.bare_argument(depth)]
        if base is not None:
            arguments.append(base)
        tree = ("call", name, *arguments)
        return tree if power is None else ("pow", tree, power)

    def subscript_tree(self, depth: int) -> tuple:
        self.take("_")
        return self.base(depth + 1)

    def bare_argument(self, depth: int) -> tuple:
        r"""The argument of \sin 2x: factors up to a sign, an operator or another function."""
        tree = self.signed(depth + 1)
        while self.starts_factor() and self.peek()[1:] not in _FUNCTIONS:
            tree = ("mul", tree, self.factor(depth + 1))
        if self.peek() == "/" and self.peek(1)[:1].isdigit():
            self.take()
            tree = ("div", tree, self.factor(depth + 1))
        return tree

    def frac(self, depth: int) -> tuple:
        return ("div", self.base(depth), self.base(depth))

    def sqrt(self, depth: int) -> tuple:
        if self.peek() == "[":
            index = self.base(depth)
            return ("call", "root", self.base(depth), index)
        return ("pow", self.base(depth), ("num", Fraction(1, 2)))

    def binom(self, depth: int) -> tuple:
        return ("call", "binomial", self.base(depth), self.base(depth))

    def floor(self, depth: int) -> tuple:
        return self.enclosed("floor", r"\rfloor", depth)

    def ceil(self, depth: int) -> tuple:
        return self.enclosed("ceil", r"\rceil", depth)

    def enclosed(self, function: str, close: str, depth: int) -> tuple:
        tree = self.sum(depth)
        self.take(close)
        return ("call", function, tree)

    def named(self, _depth: int) -> tuple:
        r"""\overline{AB}, \vec{v}: one symbol by its spelling."""
        start = self.place
        self.take("{")
        while self.take() != "}":
            pass
        return ("sym", "".join(self.tokens[start - 1 : self.place]))


_COMMANDS = {
    "frac": _Reader.frac,
    "sqrt": _Reader.sqrt,
    "binom": _Reader.binom,
    "dbinom": _Reader.binom,
    "tbinom": _Reader.binom,
    "lfloor": _Reader.floor,
    "lceil": _Reader.ceil,
    "overline": _Reader.named,
    "bar": _Reader.named,
    "vec": _Reader.named,
    "hat": _Reader.named,
    "mathbf": _Reader.named,
}
