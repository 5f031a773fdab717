"""Test loss, its error and pass@k against the binomial formula and brute force."""

import itertools
import math

import numpy as np
import pytest

from rlscale_jax.evaluation import statistics


def test_one_sample_gives_the_binomial_error():
    correct = np.array([[True]] * 120 + [[False]] * 380)
    assert statistics.test_loss(correct) == pytest.approx(0.76)
    assert statistics.standard_error(correct) == pytest.approx(math.sqrt(0.76 * 0.24 / 499), rel=1e-9)


def test_pass_at_k_equals_the_share_of_subsets_with_a_right_sample():
    rng = np.random.default_rng(0)
    correct = rng.random((20, 6)) < 0.3
    for k in (1, 2, 5, 6):
        brute = np.mean([any(row[list(chosen)]) for row in correct for chosen in itertools.combinations(range(6), k)])
        assert statistics.pass_at_k(correct, k) == pytest.approx(brute)


def test_pass_at_1_is_the_accuracy():
    correct = np.random.default_rng(1).random((50, 4)) < 0.4
    assert statistics.pass_at_k(correct, 1) == pytest.approx(1 - statistics.test_loss(correct))


def test_k_out_of_range_is_refused():
    with pytest.raises(ValueError, match="pass@5"):
        statistics.pass_at_k(np.ones((3, 4), bool), 5)
