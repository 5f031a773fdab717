"""Group advantages: hand-computed values, and groups without signal."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlscale_jax.grpo.advantages import group_advantages, signal_metrics


def test_one_right_of_four():
    """Mean 1/4, variance with ddof 1 is (9 + 1 + 1 + 1) / 16 / 3 = 1/4."""
    advantages = group_advantages(jnp.array([[1.0, 0.0, 0.0, 0.0]]), eps=0.0, normalize_std=True)
    np.testing.assert_allclose(advantages, [[1.5, -0.5, -0.5, -0.5]], rtol=1e-6)


def test_eps_is_added_to_the_standard_deviation():
    advantages = group_advantages(jnp.array([[1.0, 0.0, 0.0, 0.0]]), eps=0.5, normalize_std=True)
    np.testing.assert_allclose(advantages, [[0.75, -0.25, -0.25, -0.25]], rtol=1e-6)


def test_without_normalisation_only_the_mean_leaves():
    advantages = group_advantages(jnp.array([[1.0, 0.0], [3.0, 1.0]]), eps=1e-6, normalize_std=False)
    np.testing.assert_allclose(advantages, [[0.5, -0.5], [1.0, -1.0]])


@pytest.mark.parametrize(("reward", "group", "normalize_std"), [(0.1, 8, True), (-0.7, 5, True), (1 / 3, 7, False)])
def test_equal_rewards_give_exactly_zero(reward, group, normalize_std):
    """0.1 summed and divided again is not 0.1 in float32; eps would turn the rounding error into an advantage."""
    advantages = group_advantages(jnp.full((1, group), reward), eps=1e-6, normalize_std=normalize_std)
    assert not np.asarray(advantages).any()


def test_groups_do_not_see_each_other_nor_their_order():
    rewards = jax.random.uniform(jax.random.key(0), (5, 8))
    whole = group_advantages(rewards, eps=1e-6, normalize_std=True)
    order = np.random.default_rng(0).permutation(8)
    alone = group_advantages(rewards[2:3, order], eps=1e-6, normalize_std=True)
    np.testing.assert_allclose(alone[0], whole[2, order], rtol=1e-5)


@pytest.mark.parametrize("shape", [(3, 1), (4,)])
def test_groups_of_one_are_refused(shape):
    with pytest.raises(ValueError, match="at least 2 samples"):
        group_advantages(jnp.zeros(shape), eps=1e-6, normalize_std=True)


def test_share_of_groups_without_signal():
    rewards = jnp.array([[1.0, 1.0], [0.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
    metrics = {name: float(value) for name, value in signal_metrics(rewards).items()}
    assert metrics == {"frac_reward_zero_std": 0.75, "frac_reward_all_right": 0.25, "frac_reward_all_wrong": 0.5}
