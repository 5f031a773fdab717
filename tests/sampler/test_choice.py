"""Draws follow the distribution; thresholds equal those found by sorting."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from rlscale_jax.sampler import generate
from rlscale_jax.sampler.choice import choose, draw, method_and_parameters, uniforms


@pytest.mark.parametrize("size", [3, 5, 64, 300])
def test_draws_follow_the_weights(size):
    """At a fixed seed. A token without weight is never drawn."""
    num = 20_000
    weights = np.random.default_rng(size).gamma(0.3, size=size).astype(np.float32)
    weights[size // 2] = 0
    keys = jax.random.key_data(jax.random.split(jax.random.key(3), num))
    found = draw(jnp.broadcast_to(weights, (num, size)), uniforms(keys, jnp.zeros(num, jnp.int32)))
    counts = np.bincount(np.asarray(found), minlength=size)
    assert counts[size // 2] == 0 and counts.sum() == num
    assert _plausible(counts, weights)


def _plausible(counts, weights) -> bool:
    """Chi-square of counts against weights; cells that expect few are joined."""
    expected = weights.astype(np.float64) / weights.sum(dtype=np.float64) * counts.sum()
    rare = expected < 5
    joined = [np.append(a[~rare], a[rare].sum()) for a in (counts, expected)]
    counts, expected = (a[joined[1] > 0] for a in joined)
    assert len(counts) > 1
    return scipy.stats.chisquare(counts, expected).pvalue > 1e-3


def test_generated_tokens_follow_the_model(model, next_logits):
    """First and second tokens of many samples of one prompt."""
    prompt, num = [4, 17, 33], 4096
    chosen = {"temperature": 0.8, "top_k": 12, "eos_ids": (), "seed": 5}
    tokens = generate(model, [prompt], num_samples=num, max_new_tokens=2, **chosen).tokens[0]
    first = next_logits(model, prompt, tokens[:1])[0, 0]
    assert _fits(tokens[:, 0], first)
    common = np.bincount(tokens[:, 0]).argmax()
    after = tokens[tokens[:, 0] == common]
    assert len(after) > 500
    assert _fits(after[:, 1], next_logits(model, prompt, after[:1])[0, 1])


def _fits(tokens, logits) -> bool:
    kept = np.argsort(logits)[-12:]
    probabilities = scipy.special.softmax(logits[kept].astype(np.float64) / 0.8)
    counts = np.array([(tokens == token).sum() for token in kept])
    assert counts.sum() == len(tokens)
    return _plausible(counts, probabilities)


@pytest.mark.parametrize(("top_k", "top_p"), [(1, 1.0), (7, 1.0), (0, 0.5), (0, 0.999), (7, 0.7), (100, 1.0)])
def test_truncation_keeps_what_sorting_keeps(top_k, top_p):
    logits = 3 * np.random.default_rng(0).normal(size=(50, 40)).astype(np.float32)
    method, parameters = method_and_parameters(1.0, top_k, top_p)
    num = 150
    draws = jax.random.uniform(jax.random.key(0), (50 * num, 2))
    chosen = choose(method, parameters, jnp.repeat(logits, num, axis=0), draws)
    kept = [set(tokens.tolist()) for tokens in np.asarray(chosen.token).reshape(50, num)]
    for row, seen in zip(logits, kept, strict=True):
        order = np.argsort(-row)[: top_k or None]
        probabilities = scipy.special.softmax(row[order].astype(np.float64))
        num_kept = int(np.sum(np.cumsum(probabilities) - probabilities < top_p))
        assert seen <= set(order[:num_kept].tolist())
        assert int(order[0]) in seen


compiled = jax.jit(choose, static_argnums=0)
VALUES = st.sampled_from([-1e4, -60.0, -2.0, -1.0, -1.0, 0.0, 0.5, 0.5, 1.0, 2.0, 30.0, 1e4])


@given(
    st.lists(VALUES, min_size=2, max_size=24),
    st.integers(0, 30),
    st.sampled_from([1e-6, 0.01, 0.3, 0.5, 0.9, 0.999999, 1.0]),
    st.sampled_from([0.3, 1.0, 4.0, 1e6]),
)
@example([-60.0, -2.0], 0, 1.0, 1.0)  # a draw of 0 is the first token with any probability
@settings(max_examples=150, deadline=None)
def test_extreme_and_equal_logits_are_cut_as_by_sorting(values, top_k, top_p, temperature):
    """The normaliser shows exactly which tokens were kept."""
    logits = np.full(24, -3e4, np.float32)  # one shape: compiled once a method
    logits[: len(values)] = values
    scaled = (logits - logits.max()).astype(np.float64) / temperature
    ordered = np.sort(scaled)[::-1]
    if top_k:
        ordered = ordered[ordered >= ordered[min(top_k, 24) - 1]]
    before = np.cumsum(scipy.special.softmax(ordered)) - scipy.special.softmax(ordered)
    assume(top_p == 1 or np.abs(before - top_p).min() > 1e-5)  # else float32 decides
    # 1 keeps all, of which float64 would lose what comes after a probability that rounds to 1
    kept = scaled >= ordered[(before < top_p) | (top_p == 1)].min()
    method, parameters = method_and_parameters(temperature, top_k, top_p)
    draws = jnp.linspace(0, 1, 64 * 2, endpoint=False).reshape(64, 2)[:, ::-1]
    chosen = compiled(method, parameters, jnp.broadcast_to(logits, (64, 24)), draws)
    assert kept[np.asarray(chosen.token)].all()
    expected = scaled - scipy.special.logsumexp(scaled[kept])
    np.testing.assert_allclose(chosen.sampling_logprob, expected[np.asarray(chosen.token)], atol=1e-4, rtol=1e-5)
    plain = scipy.special.log_softmax(logits.astype(np.float64))
    np.testing.assert_allclose(chosen.logprob, plain[np.asarray(chosen.token)], atol=1e-4, rtol=1e-5)


def test_equal_logits_are_equally_likely():
    method, parameters = method_and_parameters(1.0, 2, 1.0)
    draws = jax.random.uniform(jax.random.key(0), (3000, 2))
    chosen = choose(method, parameters, jnp.broadcast_to(jnp.float32([1.0, 1.0, 1.0, -5.0]), (3000, 4)), draws)
    counts = np.bincount(np.asarray(chosen.token), minlength=4)
    assert counts[3] == 0 and scipy.stats.chisquare(counts[:3]).pvalue > 1e-3
    np.testing.assert_allclose(chosen.sampling_logprob, np.log(1 / 3), atol=1e-6)
