"""Rollouts against a full forward pass without a cache: greedy tokens, log-probabilities, ends."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from rlscale_jax.models import Model, runtime
from rlscale_jax.sampler import FINISH_EOS, FINISH_LENGTH, generate, lay_out, programs

EOS = 5


@pytest.mark.parametrize("num_kv_heads", [1, 2, 4])
def test_greedy_tokens_equal_a_forward_without_cache(make_model, num_kv_heads, prompts, next_logits):
    model = make_model(num_kv_heads)
    rollouts = generate(model, prompts, num_samples=2, max_new_tokens=40, temperature=0.0, eos_ids=(), seed=0)
    assert (rollouts.lengths == 40).all() and (rollouts.finish == FINISH_LENGTH).all()
    for prompt, tokens, logprobs in zip(prompts, rollouts.tokens, rollouts.logprobs, strict=True):
        expected = next_logits(model, prompt, tokens)
        np.testing.assert_array_equal(tokens, expected.argmax(-1))
        np.testing.assert_allclose(logprobs, scipy.special.log_softmax(expected, -1).max(-1), atol=1e-4)
    np.testing.assert_array_equal(rollouts.tokens[:, 0], rollouts.tokens[:, 1])
    assert not rollouts.sampling_logprobs.any()


@pytest.mark.parametrize("num_samples", [1, 2])
def test_weights_in_tiles(model, prompts, next_logits, monkeypatch, num_samples):
    """As large models are laid out for few sequences on CPUs."""
    monkeypatch.setattr(runtime, "CPU_CACHE_BYTES", 0)
    assert lay_out(model, rows=num_samples).params["lm_head"]["kernel"].ndim == 3
    monkeypatch.delattr(programs, "prefill")  # the one that joins kernels in order takes its place
    rollouts = generate(
        model, prompts[:1], num_samples=num_samples, max_new_tokens=20, temperature=0.0, eos_ids=(), seed=0
    )
    expected = next_logits(model, prompts[0], rollouts.tokens[0])
    np.testing.assert_array_equal(rollouts.tokens[0], expected.argmax(-1))


@pytest.mark.parametrize("settings", [{}, {"temperature": 0.6}, {"temperature": 1.3, "top_k": 9, "top_p": 0.8}])
def test_logprobs_equal_teacher_forcing(model, prompts, next_logits, settings):
    settings = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, **settings}
    fixed = {"num_samples": 3, "max_new_tokens": 36, "eos_ids": (EOS,), "seed": 1}
    rollouts = generate(model, prompts, **fixed, **settings)
    for i, prompt in enumerate(prompts):
        logits = next_logits(model, prompt, rollouts.tokens[i])
        real = np.arange(36) < rollouts.lengths[i][:, None]
        plain, cut = scipy.special.log_softmax(logits, -1), _cut(logits, **settings)
        for expected, found in ((plain, rollouts.logprobs[i]), (cut, rollouts.sampling_logprobs[i])):
            chosen = np.take_along_axis(expected, rollouts.tokens[i][..., None], -1)[..., 0]
            np.testing.assert_allclose(found[real], chosen[real], atol=1e-4)


def _cut(logits, *, temperature, top_k, top_p):
    """Log-probabilities of the sampling distribution, by sorting."""
    logits = logits.astype(np.float64) / temperature
    if top_k:
        least = np.sort(logits, -1)[..., -top_k, None]
        logits = np.where(logits >= least, logits, -np.inf)
    ordered = np.sort(scipy.special.softmax(logits, -1), -1)[..., ::-1]
    before = np.cumsum(ordered, -1) - ordered
    least = np.min(np.where(before < top_p, ordered, 2.0), -1, keepdims=True)
    logits = np.where(scipy.special.softmax(logits, -1) >= least, logits, -np.inf)
    return scipy.special.log_softmax(logits, -1)


def test_an_eos_ends_a_completion_and_counts(model, prompts):
    settings = {"num_samples": 4, "max_new_tokens": 36, "temperature": 1.0, "seed": 2}
    free = generate(model, prompts, eos_ids=(), **settings)
    ended = generate(model, prompts, eos_ids=(EOS, 6), **settings)
    stops = np.isin(free.tokens, (EOS, 6))
    expected = np.where(stops.any(-1), stops.argmax(-1) + 1, 36)
    np.testing.assert_array_equal(ended.lengths, expected)
    np.testing.assert_array_equal(ended.finish, np.where(stops.any(-1), FINISH_EOS, FINISH_LENGTH))
    assert 0 < np.sum(ended.finish == FINISH_EOS) < ended.finish.size  # both happen here
    real = np.arange(36) < ended.lengths[..., None]
    np.testing.assert_array_equal(ended.tokens, np.where(real, free.tokens, 0))
    assert not ended.logprobs[~real].any() and not ended.sampling_logprobs[~real].any()


def test_each_sample_has_its_limit(model, prompts):
    limits = np.array([[1, 2], [36, 1], [3, 3], [7, 20], [1, 1]])
    settings = {"num_samples": 2, "temperature": 1.0, "eos_ids": (), "seed": 3}
    limited = generate(model, prompts, max_new_tokens=limits, **settings)
    free = generate(model, prompts, max_new_tokens=36, **settings)
    np.testing.assert_array_equal(limited.lengths, limits)
    real = np.arange(36) < limits[..., None]
    np.testing.assert_array_equal(limited.tokens, np.where(real, free.tokens, 0))


def test_one_token_needs_no_decode_step(model, prompts):
    settings = {"num_samples": 2, "temperature": 1.0, "eos_ids": (), "seed": 3}
    rollouts = generate(model, prompts, max_new_tokens=1, **settings)
    assert rollouts.tokens.shape == (len(prompts), 2, 1)
    assert rollouts.stats.num_steps == 0


def test_every_completion_ends_at_its_first_token(model, prompts):
    settings = {"num_samples": 3, "max_new_tokens": 36, "temperature": 1.0, "seed": 4}
    rollouts = generate(model, prompts, eos_ids=tuple(range(64)), **settings)
    assert (rollouts.lengths == 1).all() and (rollouts.finish == FINISH_EOS).all()
    assert rollouts.stats.num_steps == 0


def test_groups_that_end_at_once_make_room_for_others(model, prompts, next_logits):
    """In waves of one group: each of the first tokens that are likely ends its completion."""
    first = {int(next_logits(model, prompt, np.zeros((1, 1), int))[0, 0].argmax()) for prompt in prompts[:3]}
    settings = {"num_samples": 2, "max_new_tokens": 20, "temperature": 0.0, "eos_ids": tuple(first), "seed": 0}
    waves, whole = (generate(model, prompts, wave_sequences=size, **settings) for size in (2, 0))
    np.testing.assert_array_equal(waves.tokens, whole.tokens)
    assert (waves.lengths[:3] == 1).all() and (waves.lengths[3:] > 1).any()


@pytest.mark.parametrize("temperature", [1e-6, 1e-30, 1e-45, 1e-300])
def test_a_temperature_near_zero_is_greedy(model, prompts, temperature):
    settings = {"num_samples": 2, "max_new_tokens": 12, "eos_ids": (), "seed": 5}
    greedy, cold = (generate(model, prompts, temperature=t, **settings) for t in (0.0, temperature))
    np.testing.assert_array_equal(cold.tokens, greedy.tokens)
    np.testing.assert_allclose(cold.sampling_logprobs, 0, atol=1e-6)
    np.testing.assert_allclose(cold.logprobs, greedy.logprobs, atol=1e-6)


def test_bfloat16_stays_near_float32(model, prompts):
    """The rate at which bfloat16 and float32 part is a measured property, not equality: see benchmarks/NOTES.md."""
    settings = {"num_samples": 4, "max_new_tokens": 36, "temperature": 1.0, "eos_ids": (), "seed": 4}
    wide, narrow = (generate(lay_out(model, dtype=d), prompts, **settings) for d in (jnp.float32, jnp.bfloat16))
    together = np.cumprod(wide.tokens == narrow.tokens, axis=-1).astype(bool)
    assert together[..., 0].mean() > 0.8
    assert np.abs(wide.logprobs - narrow.logprobs)[together].max() < 1.0


def test_weights_are_arguments_not_constants(model, prompts):
    """Another policy version gives other tokens through the same compiled programs."""
    settings = {"num_samples": 2, "max_new_tokens": 36, "temperature": 0.0, "eos_ids": (), "seed": 0}
    before = generate(model, prompts, **settings)
    moved = {**model.params, "embed": {"embedding": model.params["embed"]["embedding"][::-1]}}
    after = generate(Model(model.architecture, moved), prompts, **settings)
    assert (before.tokens != after.tokens).any()
