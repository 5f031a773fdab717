"""A tiny model and a forward pass without a cache, to hold the sampler against."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlscale_jax.models import Architecture, Model, decoder, logits

MAX_PROMPT = 20


@functools.cache
def _model(num_kv_heads: int) -> Model:
    architecture = Architecture(
        model_type="qwen2",
        vocab_size=64,
        hidden_size=32,
        num_layers=2,
        num_heads=4,
        num_kv_heads=num_kv_heads,
        head_dim=8,
        intermediate_size=48,
        rms_norm_eps=1e-6,
        rope_theta=10000.0,
        qkv_bias=True,
        tie_embeddings=True,
        max_positions=128,
    )
    params = decoder.init_params(architecture, 0)  # then larger: distributions must differ from position to position
    return Model(architecture, jax.tree.map(lambda a: 8 * a if a.ndim > 1 else a, params))


@pytest.fixture
def make_model():
    return _model


@pytest.fixture
def model() -> Model:
    return _model(2)


@pytest.fixture
def prompts() -> list[list[int]]:
    return [np.random.default_rng(7).integers(0, 64, length).tolist() for length in (3, MAX_PROMPT, 1, 11, 6)]


@pytest.fixture
def next_logits():
    def compute(model: Model, prompt: list[int], completions: np.ndarray) -> np.ndarray:
        """[G T V]: logits from which each token of the completions [G T] was chosen, by one forward over the whole."""
        num_samples, num_tokens = completions.shape
        rows = np.zeros((num_samples, MAX_PROMPT + num_tokens), np.int32)
        rows[:, : len(prompt)] = prompt
        rows[:, len(prompt) : len(prompt) + num_tokens] = completions
        full = logits(model, jnp.asarray(rows), jnp.full(num_samples, rows.shape[1]))
        return np.asarray(full)[:, len(prompt) - 1 : len(prompt) - 1 + num_tokens]

    return compute
