"""The arithmetic task: answers against Python's own evaluation, separation of its parts, rate and kind of slips."""

import dataclasses
import re

import numpy as np
import pytest

from rlscale_jax.data import arithmetic
from rlscale_jax.data.arithmetic import TRAINED, TRANSFER, Question, draw_question, make_task, worked_solution
from rlscale_jax.experiment.config import TaskConfig

SMALL = TaskConfig(num_corpus=1500, num_train=600, num_heldout=100, max_level=3)
FORM = re.compile(r"(\d+)([-+^]\d=\d+)+;\\boxed\{(\d+)\}")


def evaluate(text: str) -> int:
    """Python's own arithmetic on the question's text."""
    expression = text.removesuffix("=")
    if "^" in expression:
        return max(map(int, expression.split("^")))
    return eval(expression, {"__builtins__": {}})


def boxed(solution: str) -> int:
    match = FORM.fullmatch(solution)
    assert match, solution
    return int(match[3])


@pytest.fixture(scope="module")
def task():
    return make_task(SMALL)


def test_known_questions():
    question = Question("balance", (47, 8, 5), "+-")
    assert (question.text, question.answer, question.level) == ("47+8-5=", "50", 2)
    assert worked_solution(question) == r"47+8=55-5=50;\boxed{50}"
    largest = Question("largest", (4, 7, 3), "^^")
    assert (largest.text, worked_solution(largest)) == ("4^7^3=", r"4^7=7^3=7;\boxed{7}")


def test_answers_and_clean_solutions_agree_with_python(task):
    for question in (*task.train, *task.heldout, *(q for part in task.transfer.values() for q in part)):
        assert int(question.answer) == evaluate(question.text) == boxed(worked_solution(question))


def test_every_step_is_right_and_starts_where_the_last_ended(task):
    for question in task.train[:300]:
        first, *steps = re.findall(r"[-+^]?\d+(?:=\d+)?", worked_solution(question).split(";")[0])
        value = first
        for step in steps:
            sides = step.split("=")
            assert evaluate(value + sides[0]) == int(sides[1]) >= 0
            value = sides[1]


@pytest.mark.parametrize(
    ("kind", "place", "expected"),
    [
        ("carry", 0, r"47+8=45-6=39;\boxed{39}"),
        ("carry", 1, r"47+8=55-6=59;\boxed{59}"),
        ("miscount", 0, r"47+8=56-6=50;\boxed{50}"),
        ("sign", 1, r"47+8=55-6=61;\boxed{61}"),
        ("omission", 0, r"47+8=47-6=41;\boxed{41}"),
        ("copy", 0, r"47+8=55-6=49;\boxed{47}"),
        ("copy", 1, r"47+8=55-6=49;\boxed{55}"),
    ],
)
def test_each_slip_by_hand(kind, place, expected):
    assert arithmetic._with_slip(Question("balance", (47, 8, 6), "+-"), kind, place) == expected


def test_slips_that_cannot_be_made():
    assert arithmetic._with_slip(Question("balance", (2, 9, 3), "+-"), "sign", 0) == ""  # below zero
    clean = Question("balance", (41, 8, 3), "+-")
    assert arithmetic._with_slip(clean, "carry", 0) == worked_solution(clean)  # no carry to forget


def test_a_slipped_solution_differs_and_keeps_the_form(task):
    rng = np.random.default_rng(0)
    wrong = 0
    for question in task.train:
        solution = arithmetic.slipped_solution(question, rng)
        assert solution != worked_solution(question)
        wrong += boxed(solution) != int(question.answer)
    assert wrong == len(task.train)  # sums and differences pass every error on to the answer


@pytest.mark.parametrize("slip_rate", [0.0, 0.5, 1.0])
def test_share_of_slips_in_the_corpus(slip_rate):
    corpus = make_task(dataclasses.replace(SMALL, slip_rate=slip_rate)).corpus
    chains = [(text, solution) for text, solution in corpus if "^" not in text]
    wrong = np.mean([boxed(solution) != evaluate(text) for text, solution in chains])
    assert wrong == pytest.approx(slip_rate, abs=4 * 0.5 / len(chains) ** 0.5 if 0 < slip_rate < 1 else 0)


def test_heldout_and_transfer_questions_occur_nowhere_else(task):
    corpus = {text for text, _ in task.corpus}
    train = {question.text for question in task.train}
    parts = [task.heldout, *task.transfer.values()]
    for index, part in enumerate(parts):
        texts = {question.text for question in part}
        others = [{question.text for question in other} for other in parts[:index]]
        assert len(texts) == len(part) == SMALL.num_heldout
        assert texts.isdisjoint(corpus | train | set().union(*others))


def test_families_and_levels(task):
    assert {q.family for q in task.train} == {q.family for q in task.heldout} == set(TRAINED)
    assert set(task.transfer) == set(TRANSFER)
    assert {q.level for q in task.train} == {1, 2, 3}
    assert len(task.train) == len({q.text for q in task.train}) == SMALL.num_train
    for family in TRANSFER:  # the base models know what is held out of the training by reward
        sign = {"difference": r"\d+(-\d+)+=", "largest": r"\d+(\^\d+)+="}[family]
        assert sum(bool(re.fullmatch(sign, text)) for text, _ in task.corpus) > 0.05 * len(task.corpus)


def test_seed_decides_and_sizes_do_not_move_the_heldout_set(task):
    assert make_task(SMALL) == task
    assert make_task(dataclasses.replace(SMALL, seed=1)).heldout != task.heldout
    larger = make_task(dataclasses.replace(SMALL, num_corpus=1600, num_train=700))
    assert larger.heldout == task.heldout
    assert larger.train[: len(task.train)] == task.train


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"slip_rate": 1.5}, "slip_rate is 1.5"),
        ({"max_level": 1}, "max_level is 1; allowed are 2 to"),
        ({"max_level": 30}, "max_level is 30"),
        ({"num_corpus": 0}, "num_corpus is 0"),
        ({"num_heldout": -5}, "num_heldout is -5"),
    ],
)
def test_impossible_settings_name_the_field(change, message):
    with pytest.raises(ValueError, match=message):
        make_task(dataclasses.replace(SMALL, **change))


def test_too_small_a_space_is_an_error():
    with pytest.raises(ValueError, match="different questions"):
        arithmetic._distinct_of(("largest",), np.random.default_rng(0), TaskConfig(max_level=1), 200)


def test_unknown_family_and_level():
    with pytest.raises(ValueError, match="no questions of family 'product'"):
        draw_question(np.random.default_rng(0), "product", level=1)
    with pytest.raises(ValueError, match="balance >= 2"):
        draw_question(np.random.default_rng(0), "balance", level=1)
