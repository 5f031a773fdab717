"""Zebra puzzles: the grid in the response's <answer> block against the solution, cell by cell."""

import ast
import json
import re

from rlscale_jax.rewards.verdict import OK, PARSE_FAIL, REFUSED, UNBOXED, WRONG, Verdict, failed

MAX_CHARS = 20_000  # an answer grid has about 2,000 characters
MAX_DEPTH = 8
_OPEN, _CLOSE = "<answer>", "</answer>"
_FENCE = re.compile(r"\A```[A-Za-z]{0,10}\s*\n?|```\s*\Z")


def grade(response: str, ground_truth: str) -> Verdict:
    """`correct`: every cell of every row; `score`: the share of right cells, 0 where the shape is another.

    Reads JSON (on one line or many) or a Python literal in the last <answer> block.
    """
    block = last_block(response)
    if block is None:
        return failed(UNBOXED)
    if len(block) > MAX_CHARS:
        return failed(REFUSED)
    answer, gold = read_grid(block), read_grid(ground_truth)
    if gold is None:
        raise ValueError(f"zebra ground truth is no grid with header and rows: {ground_truth[:200]!r}")
    if answer is None:
        return failed(PARSE_FAIL)
    accuracy = cell_accuracy(answer, gold)
    exact = accuracy == 1.0
    return Verdict(exact, accuracy, OK if exact else WRONG)


def quick(response: str, ground_truth: str) -> Verdict | None:
    return failed(UNBOXED) if last_block(response) is None else None


def last_block(text: str) -> str | None:
    """What stands between the last <answer> that is closed and its </answer>; linear in the text."""
    end = text.rfind(_CLOSE)
    start = text.rfind(_OPEN, 0, end) if end >= 0 else -1
    return text[start + len(_OPEN) : end].strip() if start >= 0 else None


def read_grid(text: str) -> tuple[list[str], list[list[str]]] | None:
    """(header, rows) of cleaned cells, or None where the text is no such grid."""
    value = _literal(_FENCE.sub("", text.strip()).strip())
    if not isinstance(value, dict) or not isinstance(value.get("header"), list | tuple):
        return None
    rows = value.get("rows")
    if not isinstance(rows, list | tuple) or not all(isinstance(row, list | tuple) for row in rows):
        return None
    return [_cell(c) for c in value["header"]], [[_cell(c) for c in row] for row in rows]


def cell_accuracy(answer: tuple[list[str], list[list[str]]], gold: tuple[list[str], list[list[str]]]) -> float:
    """Share of the gold grid's cells that stand at the same place in the answer (0 for another shape)."""
    (header, rows), (gold_header, gold_rows) = answer, gold
    if header != gold_header or [len(row) for row in rows] != [len(row) for row in gold_rows]:
        return 0.0
    pairs = [pair for row, gold_row in zip(rows, gold_rows, strict=True) for pair in zip(row, gold_row, strict=True)]
    return sum(a == b for a, b in pairs) / len(pairs) if pairs else 0.0


def _literal(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    if sum(text.count(bracket) for bracket in "([{") > 200:  # keeps Python's parser from deep recursion
        return None
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def _cell(value: object) -> str:
    return " ".join(str(value).split()).lower()
