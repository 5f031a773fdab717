r"""Reads a normalised answer's outer form: lists, sets, tuples, intervals, unions, matrices, relations, text."""

import re
from dataclasses import dataclass

MAX_ITEMS = 200
MAX_DEPTH = 8

_TOKEN = re.compile(r"\\text\{[^{}]*\}|\\[A-Za-z]+|\\.|.", re.DOTALL)
_JOIN = re.compile(
    r"(?i)\s*\\text\{\s*(?:,? ?(?:and|or|、))\s*\}\s*|(?<![A-Za-z\\])(?:and|or)(?![A-Za-z])|\\(?:lor|vee)\b"
)
_AND = re.compile(r"(?i)\\text\{\s*and\s*\}|\\(?:land|wedge)(?![A-Za-z])")
_RELATIONS = frozenset(["=", "<", ">", r"\le", r"\ge", r"\ne", r"\approx", r"\equiv", r"\sim"])
_MATRIX = re.compile(r"(.{0,80}?)\\begin\{([pbvBV]?(?:small)?matrix|array)\}(?:\{[^{}]*\})?(.*)\\end\{\2\}", re.DOTALL)
_CASES = re.compile(r"\\begin\{(cases|aligned|gathered)\}(.*)\\end\{\1\}", re.DOTALL)
_SEPARATOR = re.compile(r"(?i)\A\s*\\text\{\s*(?:if|for|when)\s*\}|[,;.\s]+\Z")
_WORDS = re.compile(r"(?i)\(?(?:\\text\{[^{}]*\}|[a-z]{2,}(?:[' -]+[a-z]+)*|[a-z])\)?\.?")


_NOTHING = re.compile(
    r"(?i)(?:there (?:is|are|exists?|exist) )?(?:\\emptyset|(?:the )?empty set|no (?:real |such |integer )*"
    r"(?:solutions?|roots?|values?|numbers?|integers?)(?: exists?| exist)?|none)"
)
_CONDITION = re.compile(r"[<>]|\\(?:le|ge|ne|in)(?![A-Za-z])")
_BUILDER = re.compile(r"[^=<>\[\](){}]{1,20}\\in ?\\mathbb\{R\}|[^=<>\[\](){}]{1,20}")


@dataclass(frozen=True)
class Scalar:
    text: str


@dataclass(frozen=True)
class Words:
    """A text answer; `text` is lower-case with single spaces. `product`: a bare xy as it stands, else ""."""

    text: str
    product: str = ""


@dataclass(frozen=True)
class Group:
    """kind: "list" (bare, comma-separated), "set" ({...}, order and repeats do not count), "tuple" (ordered),
    "both" (conditions joined by "and")."""

    kind: str
    items: tuple


@dataclass(frozen=True)
class Interval:
    low: Scalar
    high: Scalar
    low_open: bool
    high_open: bool


@dataclass(frozen=True)
class Union:
    parts: tuple


@dataclass(frozen=True)
class Difference:
    """What is in the first set and not in the second."""

    whole: "Node"
    taken: "Node"


@dataclass(frozen=True)
class Matrix:
    """kind: "matrix", "det" (between bars), or "cases" (value and condition in every row)."""

    rows: tuple[tuple, ...]
    kind: str = "matrix"


@dataclass(frozen=True)
class Relation:
    """A chain: sides[0] ops[0] sides[1] ops[1] ..."""

    sides: tuple[str, ...]
    ops: tuple[str, ...]


Node = Scalar | Words | Group | Interval | Union | Difference | Matrix | Relation


def read(text: str, depth: int = 0) -> Node:
    """The form of `text`, read from the outside in; what has no form is a Scalar."""
    text = text.strip(" .;")
    if depth > MAX_DEPTH:
        return Scalar(text)
    text = re.sub(r"\[ ?\\cup ?\]", r")\\cup(", text)
    if text[:1] == "]":  # ]1, 2[ is the French (1, 2)
        text = "(" + text[1:]
    if text[-1:] == "[":
        text = text[:-1] + ")"
    if (matrix := _environment(text, depth)) is not None:
        return matrix
    if r"\begin" not in text:
        text = text.replace("\\\\", ";")  # lines below each other
    if match := re.fullmatch(r"(?!\\\{|-)(?:\([a-z](?:, ?[a-z])+\) ?|[^=<>,;]{1,40}?)\\in ?(?=[\\({\[\]])(.+)", text):
        return read(match[1], depth + 1)
    if len(steps := re.split(r"\\(?:Rightarrow|implies|therefore|Longrightarrow)(?![A-Za-z])", text)) > 1:
        return read(steps[-1], depth + 1)  # the last step is the answer
    if (parts := _split_list(text)) is not None:
        return _joined(text, parts, depth)
    if len(parts := split_top(text, (r"\cup",))) > 1:
        nodes = tuple(read(part, depth + 1) for part in parts)
        sets = [node for node in nodes if isinstance(node, Group) and node.kind == "set"]
        if len(sets) == len(nodes):
            return Group("set", tuple(item for one in sets for item in one.items))
        return Union(nodes)
    if len(parts := split_top(text, (r"\setminus",))) == 2:
        return Difference(*(read(part, depth + 1) for part in parts))
    if (relation := _relation(text)) is not None:
        return relation
    if (node := _bracketed(text, depth)) is not None:
        return node
    if r"\pm" in text or r"\mp" in text:
        signs = ((r"\pm", "+", "-"), (r"\mp", "-", "+"))
        return Group("set", tuple(Scalar(_with_signs(text, signs, k)) for k in (1, 2)))
    return words(text) or Scalar(text)


def words(text: str) -> Words | None:
    """A text answer: \\text{...}, or a bare word of two letters and more; "(C)" is "c"."""
    if not _WORDS.fullmatch(text):
        return None
    inner = re.sub(r"\\text|[{}().]", "", text)
    inner = re.sub(r"\A(?:(?:an?|the) (?=\w\w)|(?:option|choice) (?=[a-j]\Z))", "", " ".join(inner.lower().split()))
    if re.search(r"\d", inner):  # March 5, 4:00 PM
        return None
    if len(inner) < 2 and not text.startswith((r"\text", "(", "Option", "Choice")):
        return None
    return Words(inner, text if re.fullmatch(r"[A-Za-z]{2,4}", text) else "")


def split_top(text: str, separators: tuple[str, ...]) -> list[str]:
    """`text` cut at the separators that stand outside all brackets."""
    parts, depth, current = [], 0, []
    for match in _TOKEN.finditer(text):
        token = match.group()
        depth += token in ("(", "[", "{", r"\{") or token == r"\begin"
        depth -= token in (")", "]", "}", r"\}") or token == r"\end"
        if depth <= 0 and token in separators:
            parts.append("".join(current))
            current = []
        else:
            current.append(token)
    return [*parts, "".join(current)]


def _split_list(text: str) -> list[str] | None:
    joined = _JOIN.sub(" ; ", text) if _JOIN.search(text) and not re.fullmatch(r"\\text\{[^{}]*\}", text) else text
    parts = [part.strip() for part in split_top(joined, (",", ";"))]
    parts = [part for part in parts if part]
    return parts if 1 < len(parts) <= MAX_ITEMS else None


def _joined(text: str, parts: list[str], depth: int) -> Node:
    """A list; inequalities joined by "or" are a union, by "and" their intersection is left as a list."""
    nodes = tuple(read(part, depth + 1) for part in parts)
    kinds = (Relation, Interval, Union)
    ordered = [node for node in nodes if isinstance(node, kinds) and not _is_equation(node)]
    if len(ordered) == len(nodes) and not _AND.search(text) and "," not in text:
        return Union(nodes)
    both = len(ordered) == len(nodes) and _AND.search(text) is not None
    return Group("both" if both else "list", nodes)


def _is_equation(node: Node) -> bool:
    return isinstance(node, Relation) and set(node.ops) <= {"=", r"\approx"}


def _relation(text: str) -> Relation | None:
    sides, ops, current, depth = [], [], [], 0
    for match in _TOKEN.finditer(text):
        token = match.group()
        depth += token in ("(", "[", "{", r"\{")
        depth -= token in (")", "]", "}", r"\}")
        if depth <= 0 and token in _RELATIONS:
            sides.append("".join(current).strip())
            ops.append(token)
            current = []
        else:
            current.append(token)
    sides.append("".join(current).strip())
    if not ops or not sides[-1]:
        return None
    return Relation(tuple(sides), tuple(ops))


def _bracketed(text: str, depth: int) -> Node | None:
    if text.startswith(r"\{") and text.endswith(r"\}") and _closes_at_end(text):
        return _set(text[2:-2], depth)
    if text[:1] in ("(", "[") and text[-1:] in (")", "]") and _closes_at_end(text):
        inner = text[1:-1]
        parts = split_top(inner, (",", ";"))
        if text.startswith("[[") and len(parts) > 1 and all(re.fullmatch(r" ?\[.*\] ?", part) for part in parts):
            rows = [split_top(part.strip()[1:-1], (",",)) for part in parts]
            return Matrix(tuple(tuple(read(cell, depth + 1) for cell in row) for row in rows))
        if len(parts) == 1:
            return read(inner, depth + 1) if text[0] == "(" and text[-1] == ")" else None
        if len(parts) > MAX_ITEMS or not all(part.strip() for part in parts):
            return None
        if len(parts) == 2 and (text[0], text[-1]) != ("(", ")"):
            low, high = (Scalar(part.strip()) for part in parts)
            return Interval(low, high, text[0] != "[", text[-1] != "]")
        return Group("tuple", tuple(read(part, depth + 1) for part in parts))
    if _NOTHING.fullmatch(re.sub(r"\\text|[{}]", "", text).strip()):
        return Group("set", ())
    return None


def _set(inner: str, depth: int) -> Node:
    """{1, 2}, or a set-builder {x | condition}: then the condition."""
    builder = split_top(inner, ("|", ":"))
    if len(builder) == 2 and _BUILDER.fullmatch(builder[0].strip()) and _CONDITION.search(builder[1]):
        return read(builder[1], depth + 1)
    node = read(inner, depth + 1) if inner.strip() else Group("set", ())
    if isinstance(node, Group) and node.kind in ("list", "set") and (node.items or not inner.strip()):
        return Group("set", node.items)
    return Group("set", (node,))  # {{}} is not {}


def _closes_at_end(text: str) -> bool:
    depth = 0
    tokens = [match.group() for match in _TOKEN.finditer(text)]
    for place, token in enumerate(tokens):
        depth += token in ("(", "[", "{", r"\{")
        depth -= token in (")", "]", "}", r"\}")
        if depth == 0:
            return place == len(tokens) - 1
    return False


def _bare(text: str) -> str:
    """Without one pair of brackets around a matrix."""
    if text[:1] in ("(", "[") and text[-1:] in (")", "]") and r"\begin" in text[:9]:
        return text[1:-1].strip()
    return text


def _environment(text: str, depth: int) -> Node | None:
    """A matrix, perhaps with a factor before it; the cases of a function; a system of equations."""
    if match := _CASES.fullmatch(text):
        rows = [[_SEPARATOR.sub("", cell) for cell in row] for row in _rows(match[2])]
        if match[1] != "cases":  # there & only aligns
            rows = [["".join(row)] for row in rows]
        if len(rows) == 1 == len(rows[0]):
            return read(rows[0][0], depth + 1)
        if all(len(row) == 1 for row in rows):
            return Group("list", tuple(read(row[0], depth + 1) for row in rows))
        return Matrix(tuple(tuple(read(cell, depth + 1) for cell in row) for row in rows), "cases")
    if not (match := _MATRIX.fullmatch(_bare(text))):
        return None
    factor = match[1].strip()
    if rf"\begin{{{match[2]}}}" in match[3]:  # two of them
        return None
    if factor and (not re.fullmatch(r"[^=<>,]+", factor) or factor[-1] in r"+-*("):
        return None
    cells = [[f"({factor})({cell})" if factor else cell for cell in row] for row in _rows(match[3])]
    if match[2] == "array" and len(cells) == 1 == len(cells[0]):
        return read(cells[0][0], depth + 1)
    kind = "det" if match[2] in ("vmatrix", "Vmatrix") else "matrix"
    return Matrix(tuple(tuple(read(cell, depth + 1) for cell in row) for row in cells), kind)


def _rows(body: str) -> list[list[str]]:
    body = re.sub(r"\\hline|\\(?:,|;|!)", " ", body)
    rows = [row for row in re.split(r"\\\\(?:\[[^\]]*\])?", body) if row.strip()]
    return [row.split("&") for row in rows[:MAX_ITEMS]]


def _with_signs(text: str, signs: tuple, choice: int) -> str:
    for sign in signs:
        text = text.replace(sign[0], sign[choice])
    return text.lstrip("+ ")
