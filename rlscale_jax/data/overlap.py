"""The same question twice: within a set, or in training and in an evaluation set.

Questions are compared by a key that spelling does not change: the study's instruction sentences, white space,
case, LaTeX delimiters and sentence punctuation are left out; operators, brackets and decimal points stay, so that
2+3*4 and (2+3)*4 or 1.5 and 15 remain different questions.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence

from rlscale_jax.data.record import Problem

_INSTRUCTIONS = re.compile(
    r"You are a knowledgeable (?:math )?assistant\."
    r"|Answer the following questions and think step by step\."
    r"|Please output the final answer within \\boxed\{\}\."
    r"|Please solve step by step and put your final answer within \\boxed\{\}\."
)
_REWRITES = (
    (r"\\[()\[\]]|\\(?:left|right|displaystyle)(?![a-z])|\\[,;:!]", ""),  # delimiters and spacing of LaTeX
    (r"\\[dt]frac", r"\\frac"),
    (r"\}\s*\{", "/"),  # keeps \frac{a}{bc} and \frac{ab}{c} apart once braces go
    (r"(?<=\d)\.(?=\d)", "point"),
    (r"[^\w+\-=<>^/*()|]|_", ""),
)
_PATTERNS = tuple((re.compile(pattern), replacement) for pattern, replacement in _REWRITES)


def question_key(problem: Problem) -> str:
    """A text equal for two problems that ask the same question in another spelling."""
    text = _INSTRUCTIONS.sub("", problem.text)
    key = unicodedata.normalize("NFKC", text).casefold()
    for pattern, replacement in _PATTERNS:
        key = pattern.sub(replacement, key)
    return key or text  # a question of signs alone is compared as it stands


def duplicates(problems: Sequence[Problem]) -> list[tuple[str, str]]:
    """(id, id of the first with the same question) for every problem that repeats an earlier one."""
    first: dict[str, str] = {}
    found = []
    for problem in problems:
        original = first.setdefault(question_key(problem), problem.problem_id)
        if original != problem.problem_id:
            found.append((problem.problem_id, original))
    return found


def overlaps(train: Sequence[Problem], evaluation: Mapping[str, Sequence[Problem]]) -> dict[str, list[tuple[str, str]]]:
    """For each evaluation set, (training id, evaluation id) of every question that stands in both."""
    places = defaultdict(list)
    for name, problems in evaluation.items():
        for problem in problems:
            places[question_key(problem)].append((name, problem.problem_id))
    found: dict[str, list[tuple[str, str]]] = {name: [] for name in evaluation}
    for problem in train:
        for name, other in places.get(question_key(problem), ()):
            found[name].append((problem.problem_id, other))
    return found
