"""Makes problem sets for the tests of this folder."""

import math

import pytest

from rlscale_jax.data.record import Problem


@pytest.fixture(scope="session")
def make_problem():
    def make(index: int, text: str = "", difficulty: float = math.nan, **fields) -> Problem:
        messages = ({"role": "user", "content": text or f"question {index}"},)
        defaults = {"data_source": "math", "ground_truth": str(index), "provenance": f"test:{index}"}
        return Problem(problem_id=f"p{index:05d}", messages=messages, difficulty=difficulty, **(defaults | fields))

    return make


@pytest.fixture(scope="session")
def graded(make_problem):
    """num_problems problems of uneven difficulty levels k / 16, in no order of difficulty."""

    def make(num_problems: int) -> list[Problem]:
        return [make_problem(i, difficulty=(i * i % 7) / 16) for i in range(num_problems)]

    return make
