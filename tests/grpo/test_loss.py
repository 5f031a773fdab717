"""The objective term by term: hand-computed constants, a float64 reference, finite differences, the options."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlscale_jax.experiment.config import GrpoConfig
from rlscale_jax.grpo import loss

CONFIG = GrpoConfig()


def losses_at(*, ratio, advantage, config=CONFIG):
    one = jnp.ones(())
    return loss.token_losses(
        config, jnp.log(ratio * one), old_logprobs=0.0 * one, ref_logprobs=None, advantages=advantage * one
    )


@pytest.mark.parametrize(
    ("ratio", "advantage", "policy", "clipped", "lower"),
    [
        (1.0, 2.0, -2.0, 0, 0),
        (1.5, 2.0, -2.4, 1, 0),  # clipped at 1.2
        (0.5, 2.0, -1.0, 0, 0),  # a ratio below 0.8 stays when that is worse
        (1.5, -2.0, 3.0, 0, 0),
        (0.5, -2.0, 1.6, 1, 0),  # clipped at 0.8
        (4.0, -2.0, 6.0, 0, 1),  # dual clip: at most 3 |A|
        (4.0, 0.0, 0.0, 0, 0),
    ],
)
def test_clipped_surrogate(ratio, advantage, policy, clipped, lower):
    losses = losses_at(ratio=ratio, advantage=advantage)
    np.testing.assert_allclose(losses.policy, policy, rtol=1e-6)
    assert (losses.clipped, losses.clipped_lower) == (clipped, lower)


def test_clip_low_and_high_are_apart():
    config = dataclasses.replace(CONFIG, clip_low=0.1, clip_high=0.28)
    np.testing.assert_allclose(losses_at(ratio=2.0, advantage=1.0, config=config).policy, -1.28, rtol=1e-6)
    np.testing.assert_allclose(losses_at(ratio=0.2, advantage=-1.0, config=config).policy, 0.9, rtol=1e-6)


def test_dual_clip_off():
    config = dataclasses.replace(CONFIG, dual_clip=0.0)
    np.testing.assert_allclose(losses_at(ratio=4.0, advantage=-2.0, config=config).policy, 8.0, rtol=1e-6)


@pytest.mark.parametrize(
    ("difference", "expected", "slope"),
    [
        (0.0, 0.0, 0.0),
        (1.0, math.e - 2.0, 1.0 - math.e),
        (-1.0, math.exp(-1.0), 1.0 - math.exp(-1.0)),
        (5.0, 10.0, 0.0),
        (-30.0, 10.0, 0.0),
        (1e4, 10.0, 0.0),  # exp would overflow: the clamp's zero gradient must not become NaN
    ],
)
def test_k3_and_its_slope(difference, expected, slope):
    value, gradient = jax.value_and_grad(functools.partial(loss.k3, clamp=10.0))(0.0, jnp.float32(difference))
    np.testing.assert_allclose([value, gradient], [expected, slope], rtol=1e-5, atol=1e-6)


def tokens_of(rng, shape=(3, 4, 5), **changes):
    """Random token inputs with a ragged mask, and log-probabilities near the old ones."""
    lengths = rng.integers(1, shape[-1] + 1, shape[:-1])
    mask = (np.arange(shape[-1]) < lengths[..., None]).astype(np.float64)
    old = -rng.exponential(size=shape)
    fields = {
        "advantages": np.broadcast_to(rng.normal(size=shape[:-1])[..., None], shape),
        "mask": mask,
        "weight": mask,
        "sampler_logprobs": old + 0.3 * rng.normal(size=shape),
        "old_logprobs": old,
        "ref_logprobs": old + 0.5 * rng.normal(size=shape),
    }
    logprobs = old + 0.7 * rng.normal(size=shape)
    return logprobs, loss.TokenInputs(**(fields | changes))


def reference_loss(config, logprobs, tokens):
    """PROTOCOL section 3 written as a loop over tokens in Python floats."""
    total = 0.0
    for place in np.ndindex(logprobs.shape):
        if not tokens.mask[place]:
            continue
        advantage, ratio = tokens.advantages[place], math.exp(logprobs[place] - tokens.old_logprobs[place])
        bounded = min(max(ratio, 1 - config.clip_low), 1 + config.clip_high)
        policy = -min(ratio * advantage, bounded * advantage)
        if advantage < 0 and config.dual_clip:
            policy = min(policy, -config.dual_clip * advantage)
        if config.importance_cap:
            policy *= min(math.exp(tokens.old_logprobs[place] - tokens.sampler_logprobs[place]), config.importance_cap)
        difference = tokens.ref_logprobs[place] - logprobs[place]
        kl = min(math.exp(difference) - difference - 1, config.kl_clamp)
        total += tokens.weight[place] * (policy + config.kl_coef * kl)
    return total


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"importance_cap": 1.1},
        {"kl_coef": 0.5, "kl_clamp": 0.2, "clip_high": 0.5},
        {"dual_clip": 1.3, "clip_low": 0.1, "clip_high": 0.28},
        {"dual_clip": 0.0, "kl_coef": 0.0},
        {"aggregation": "sequence_mean"},
    ],
)
def test_loss_equals_the_reference_and_its_finite_differences(changes):
    config = dataclasses.replace(CONFIG, **changes)
    with jax.enable_x64(True):
        logprobs, tokens = tokens_of(np.random.default_rng(1))
        tokens = dataclasses.replace(tokens, weight=loss.token_weights(config, tokens.mask))
        value, gradient = jax.value_and_grad(lambda lp: loss.policy_loss(config, lp, lp, tokens)[0])(logprobs)
        np.testing.assert_allclose(value, reference_loss(config, logprobs, tokens), rtol=1e-12)
        expected = np.zeros(logprobs.shape)
        for place in np.ndindex(logprobs.shape):
            step = np.zeros(logprobs.shape)
            step[place] = 1e-6
            ends = [reference_loss(config, logprobs + sign * step, tokens) for sign in (1, -1)]
            expected[place] = (ends[0] - ends[1]) / 2e-6
        np.testing.assert_allclose(gradient, expected, atol=1e-8)


def test_masked_tokens_count_nowhere_even_as_nan():
    logprobs, tokens = tokens_of(np.random.default_rng(2))
    out = tokens.mask == 0
    assert out.any()
    broken = dataclasses.replace(
        tokens,
        **{
            name: np.where(out, np.nan, getattr(tokens, name))
            for name in ("sampler_logprobs", "old_logprobs", "ref_logprobs")
        },
    )

    def run(lp, inputs):
        return loss.policy_loss(CONFIG, lp, lp, inputs)

    (clean, sums), gradient = jax.value_and_grad(run, has_aux=True)(logprobs, tokens)
    (other, other_sums), other_gradient = jax.value_and_grad(run, has_aux=True)(np.where(out, np.nan, logprobs), broken)
    assert clean == other
    assert not np.asarray(gradient)[out].any()
    np.testing.assert_array_equal(gradient, other_gradient)
    jax.tree.map(np.testing.assert_array_equal, sums, other_sums)


def test_exactly_on_policy_equals_old_logprobs_that_are_the_current_ones():
    """Ratio 1 everywhere, and the policy gradient is still there."""
    logprobs, tokens = tokens_of(np.random.default_rng(3))
    given = dataclasses.replace(tokens, old_logprobs=logprobs)
    absent = dataclasses.replace(tokens, old_logprobs=None)
    results = [
        jax.value_and_grad(lambda lp, t=t: loss.policy_loss(CONFIG, lp, lp, t)[0])(logprobs) for t in (given, absent)
    ]
    np.testing.assert_allclose(results[0][0], results[1][0], rtol=1e-6)
    np.testing.assert_allclose(results[0][1], results[1][1], rtol=1e-6)
    assert np.abs(results[1][1]).max() > 0.1


def test_sequence_mean_gives_each_sequence_the_same_weight():
    config = dataclasses.replace(CONFIG, aggregation="sequence_mean")
    mask = np.array([[[1, 1, 1, 1], [1, 0, 0, 0], [0, 0, 0, 0]]], np.float32)
    weight = loss.token_weights(config, mask)
    np.testing.assert_allclose(weight.sum(-1), [[1, 1, 0]])
    np.testing.assert_allclose(loss.token_weights(CONFIG, mask), mask)


def test_metrics_are_means_over_counted_tokens():
    """Three counted tokens by hand: ratios 1, 2, 1/2; sampler probabilities off by 0, .1, .2."""
    old = np.log([0.2, 0.3, 0.4, 0.5])
    tokens = loss.TokenInputs(
        advantages=np.array([1.0, 1.0, -1.0, 9.0]),
        mask=np.array([1.0, 1.0, 1.0, 0.0]),
        weight=np.array([1.0, 1.0, 1.0, 0.0]),
        sampler_logprobs=np.log([0.2, 0.4, 0.6, 0.1]),
        old_logprobs=old,
        ref_logprobs=None,
    )
    ratios, entropies = np.array([1.0, 2.0, 0.5, 7.0]), np.array([1.0, 2.0, 6.0, 100.0])
    _, sums = loss.policy_loss(CONFIG, old + np.log(ratios), entropies, tokens)
    metrics = loss.finalize(CONFIG, sums)
    expected = {
        "actor/pg_loss": (-1.0 - 1.2 + 0.8) / 3,
        "actor/kl_loss": 0.0,
        "actor/ppo_kl": 0.0,  # -(0 + log 2 - log 2) / 3
        "actor/pg_clipfrac": 2 / 3,
        "actor/pg_clipfrac_lower": 0.0,
        "actor/entropy": 3.0,
        "training/rollout_probs_diff_mean": 0.1,
        "training/rollout_probs_diff_max": 0.2,
        "training/rollout_probs_diff_std": math.sqrt((0.01 + 0.0 + 0.01) / 3),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(metrics[name], value, rtol=2e-5, atol=1e-7, err_msg=name)


def test_sums_of_parts_are_the_sums_of_the_whole():
    logprobs, tokens = tokens_of(np.random.default_rng(4))
    _, whole = loss.policy_loss(CONFIG, logprobs, logprobs, tokens)
    parts = loss.zero_sums()
    for rows in (slice(0, 1), slice(1, 3)):
        part = jax.tree.map(lambda a, rows=rows: a[rows], tokens)
        parts = loss.add_sums(parts, loss.policy_loss(CONFIG, logprobs[rows], logprobs[rows], part)[1])
    assert parts.keys() == whole.keys()
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), parts, whole)


def test_importance_weights_are_capped():
    weights = loss.importance_weights(jnp.log(jnp.array([0.2, 0.8])), jnp.log(jnp.array([0.4, 0.1])), cap=2.0)
    np.testing.assert_allclose(weights, [0.5, 2.0], rtol=1e-6)
