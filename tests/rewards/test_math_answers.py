r"""Equality of mathematical answers: our own hand-decided cases, and the peers' where the files are there."""

import collections
import json
import pathlib

import pytest

from rlscale_jax.rewards import math_answer
from rlscale_jax.rewards.boxed import last_boxed

CASES = [
    line.split("\t")
    for line in (pathlib.Path(__file__).parent / "math_cases.tsv").read_text(encoding="utf8").split("\n")
    if line and not line.startswith("#")
]


@pytest.mark.parametrize(("category", "mark", "gold", "answer"), CASES)
def test_hand_decided_cases(category, mark, gold, answer):
    verdict = math_answer.grade(rf"So \boxed{{{answer}}}.", gold)
    assert verdict.correct == (mark == "="), category


@pytest.mark.parametrize(
    ("gold", "response", "status"),
    [
        ("5", "\\boxed{\n5\n}", "ok"),
        ("5", r"boxed{5}", "unboxed"),
        ("5", r"\boxed{5\}", "unboxed"),
        ("5", r"\boxed{5} it is, not \boxed{6", "ok"),
        ("5", r"\boxed{5}. Now once more: \boxed{}", "parse_fail"),
        ("5", r"\boxed{7} or \boxed{5}", "ok"),
        ("7", r"\boxed{7} or \boxed{5}", "wrong"),
        ("7", r"Is it 7? \boxed{\text{I do not know}}", "wrong"),
        ("5", r"\boxed{The answer is 5.}", "ok"),
        ("5", r"\boxed{\text{The answer is }5}", "ok"),
        ("5", r"\boxed{\textbf{Answer: 5}}", "ok"),
        ("5", r"\boxed{\text{The answer is 6}}", "wrong"),
        ("5", r"\boxed{\text{The answer is not 5}}", "wrong"),
        ("5", r"\boxed{\text{The answer is 5 or 6}}", "wrong"),
        ("x=1,y=2", r"\boxed{\begin{aligned}x&=1\\y&=2\end{aligned}}", "ok"),
        ("18", r"\boxed{\$18.00 per day}", "ok"),
        ("70000", r"\boxed{\$70{,}000.00}", "ok"),
        ("3", r"\boxed{3\text{ hours and }0\text{ minutes}}", "ok"),
        ("073", r"\boxed{m+n=73}", "ok"),
        ("5", r"\boxed{\textbf{(A)}\ 5}", "ok"),
        (r"\text{(A)}", r"\boxed{\textbf{(A)}\ 5}", "ok"),
        ("5", r"\boxed{\text{A}}", "wrong"),
    ],
)
def test_whole_responses(gold, response, status):
    assert math_answer.grade(response, gold).status == status


def test_peers_cases_are_right(shared_data):
    """At least 97 % of what other graders' own tests agree on, at most 1 % false positives."""
    rows = [json.loads(line) for line in (shared_data / "grading" / "math_peers.jsonl").read_text().splitlines()]
    rows = [row for row in rows if not row["contested"]]
    outcomes = collections.Counter(
        (row["expected"], math_answer.grade(row["response"], row["gold"]).correct) for row in rows
    )
    right = outcomes[True, True] + outcomes[False, False]
    assert right >= 0.97 * len(rows), outcomes
    assert outcomes[False, True] <= 0.01 * len(rows), outcomes


@pytest.mark.parametrize(
    ("response", "box"),
    [
        (r"first \boxed{1}, then \boxed{2}", "2"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{1} and \boxed{2", "1"),
        (r"\boxed{\boxed{3}}", "3"),
        (r"\boxed {4}", "4"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\fbox{5}", "5"),
        ("the answer is 5", None),
        (r"\boxed 5", None),
        ("", None),
        (r"\boxed{" * 100_000 + "5}", "5"),
        ("{" * 100_000 + r"\boxed{6}", "6"),
    ],
)
def test_the_last_balanced_box(response, box):
    assert last_boxed(response) == box
