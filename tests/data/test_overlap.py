"""Which questions count as the same."""

import pytest

from rlscale_jax.data.overlap import duplicates, overlaps, question_key

OPENING = "You are a knowledgeable math assistant. Answer the following questions and think step by step. "
CLOSING = " Please output the final answer within \\boxed{}."


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (OPENING + "What is 1+1?" + CLOSING, "what is 1 + 1"),
        ("Let $x$ be \\( \\frac{1}{2} \\).", "Let \\[x\\] be $\\dfrac{1} {2}$"),
        ("Find\n\n  $a_{1}$, then $b$.", "Find $a_1$ then $b$"),
        ("ﬁnd \\left( x \\right)", "find (x)"),
        ("设 $x=1$ ，求 $y$。", "设 $x=1$, 求 $y$."),
        ("1,000 rooms", "1000 rooms"),
    ],
)
def test_spelling_does_not_matter(make_problem, one, other):
    assert question_key(make_problem(0, one)) == question_key(make_problem(1, other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Compute 2+3*4.", "Compute (2+3)*4."),
        ("Round 1.5", "Round 15"),
        ("\\frac{a}{bc}", "\\frac{ab}{c}"),
        ("2+3", "2-3"),
        ("x<y", "x>y"),
        ("a/b", "ab"),
        ("x^2", "x2"),
        ("|x|", "x"),
        ("?", "!"),
    ],
)
def test_other_questions_stay_apart(make_problem, one, other):
    assert question_key(make_problem(0, one)) != question_key(make_problem(1, other))


def test_duplicates_name_the_first_of_their_kind(make_problem):
    problems = [make_problem(i, text) for i, text in enumerate(["a b", "c", "A B!", "ab", "d"])]
    assert duplicates(problems) == [("p00002", "p00000"), ("p00003", "p00000")]


def test_overlaps_are_listed_by_evaluation_set(make_problem):
    train = [make_problem(i, text) for i, text in enumerate(["one", "two", "ONE", "three"])]
    evaluation = {"x": [make_problem(7, "one?"), make_problem(8, "nine")], "y": [make_problem(9, "Two")], "z": []}
    assert overlaps(train, evaluation) == {
        "x": [("p00000", "p00007"), ("p00002", "p00007")],
        "y": [("p00001", "p00009")],
        "z": [],
    }
