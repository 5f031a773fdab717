"""Order and subsets: stable, stratified, nested or independent."""

import collections
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlscale_jax.data import curriculum


def test_easy_to_hard_keeps_the_order_given_among_equals(make_problem):
    problems = [make_problem(i, difficulty=d) for i, d in enumerate([0.5, 0.0, 0.5, 1.0, 0.0, 0.25])]
    assert curriculum.easy_to_hard(problems).tolist() == [1, 4, 5, 0, 2, 3]


def test_without_difficulties_the_order_given_is_the_curriculum(make_problem):
    assert curriculum.easy_to_hard([make_problem(i) for i in range(9)]).tolist() == list(range(9))


def test_difficulties_that_are_partly_unknown_are_refused(make_problem):
    with pytest.raises(ValueError, match="1 of 2 problems have no difficulty"):
        curriculum.easy_to_hard([make_problem(0, difficulty=0.5), make_problem(1)])


@settings(max_examples=100, deadline=None)
@given(
    levels=st.lists(st.integers(0, 16), min_size=1, max_size=300),
    share=st.floats(0.01, 1),
    seed=st.integers(0, 99),
    nested=st.booleans(),
)
def test_every_level_gets_its_share(make_problem, levels, share, seed, nested):
    problems = [make_problem(i, difficulty=level / 16) for i, level in enumerate(levels)]
    size = max(1, int(share * len(levels)))
    chosen = curriculum.stratified_subset(problems, size, seed=seed, nested=nested)
    assert len(set(chosen.tolist())) == size
    assert chosen.tolist() == sorted(chosen)
    have, all_levels = collections.Counter(levels[i] for i in chosen), collections.Counter(levels)
    slack = 3 if nested else 1
    for level, count in all_levels.items():
        assert abs(have[level] - count * size / len(levels)) <= slack


def test_continuous_difficulties_are_stratified_too(make_problem):
    draw = np.random.default_rng(0).random(2000)
    problems = [make_problem(i, difficulty=float(d)) for i, d in enumerate(draw)]
    for nested in (False, True):
        chosen = curriculum.stratified_subset(problems, 100, seed=1, nested=nested)
        gaps = np.diff(np.sort(draw[chosen]))
        assert gaps.max() < 0.04  # a simple random sample of 100 leaves a gap beyond this in 4 of 5 cases


@pytest.mark.parametrize("seed", range(3))
def test_nested_subsets_contain_each_other(graded, seed):
    problems = graded(400)
    sizes = (7, 50, 51, 200, 399, 400)
    subsets = [set(curriculum.stratified_subset(problems, n, seed=seed, nested=True).tolist()) for n in sizes]
    for smaller, larger in itertools.pairwise(subsets):
        assert smaller < larger


@pytest.mark.parametrize("seed", range(3))
def test_independent_subsets_overlap_as_chance_has_it(make_problem, seed):
    problems = [make_problem(i, difficulty=0.5) for i in range(1000)]
    # Drawn at even distances from one and the same order, 250 would lie within 500 or beside them.
    small, large = (set(curriculum.stratified_subset(problems, n, seed=seed).tolist()) for n in (250, 500))
    assert abs(len(small & large) - 125) < 4 * math.sqrt(250 * 0.5 * 0.5)


def test_equally_difficult_problems_are_drawn_at_random(make_problem):
    problems = [make_problem(i, difficulty=0.5) for i in range(1000)]
    for nested in (False, True):
        chosen = curriculum.stratified_subset(problems, 200, seed=0, nested=nested)
        assert len(set(np.diff(chosen).tolist())) > 10  # not every fifth


def test_seeds_give_different_subsets_and_the_same_seed_the_same(graded):
    problems = graded(200)
    for nested in (False, True):
        a, again, b = (
            curriculum.stratified_subset(problems, 50, seed=seed, nested=nested).tolist() for seed in (0, 0, 1)
        )
        assert a == again != b


@pytest.mark.parametrize("size", [0, -1, 11])
def test_impossible_sizes_are_refused(graded, size):
    with pytest.raises(ValueError, match="out of 10; ask for 1 to 10"):
        curriculum.stratified_subset(graded(10), size, seed=0)
