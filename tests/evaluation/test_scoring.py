"""Scores of a tiny model: draws keyed by problem, and verdicts with the answers they belong to."""

import numpy as np

from rlscale_jax.data.problems import Problem
from rlscale_jax.evaluation import scoring


def problem(name: str) -> Problem:
    return Problem(problem_id=name, data_source="math", messages=({"role": "user", "content": "?"},), ground_truth="1")


def test_a_problem_that_occurs_again_is_drawn_anew():
    a, b = problem("a"), problem("b")
    first, again, other, third = scoring.prompt_ids([a, a, b, a])
    assert len({first, again, other, third}) == 4
    assert scoring.prompt_ids([b, a]) == [other, first]
    assert sorted(scoring.prompt_ids([a, b, a, a])) == sorted([first, again, other, third])
    assert all(0 <= number < 2**32 for number in (first, again, other, third))


def test_numbers_stay_apart_over_a_training_set():
    ids = scoring.prompt_ids([problem(f"train_12800/{index:05d}") for index in range(12_800)] * 2)
    assert len(np.unique(ids)) >= len(ids) - 2  # of 32 bits, one or two may meet by chance
