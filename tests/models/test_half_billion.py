"""The 0.5B shape with random weights: written, loaded, run forward and backward on this machine (slow)."""

import functools
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlscale_jax import models
from rlscale_jax.models import Model, attention, decoder

GOLDEN = pathlib.Path(__file__).parent.parent / "golden"


@pytest.mark.slow
def test_forward_and_gradient_of_the_smallest_published_shape(tmp_path):
    config = json.loads((GOLDEN / "published.json").read_text())["Qwen2.5-0.5B"]["config"]
    architecture = models.from_hf_config(config)
    models.save_pretrained(Model(architecture, decoder.init_params(architecture, 0)), tmp_path, dtype="bfloat16")
    model = models.load_pretrained(tmp_path, dtype="float32")
    tokens = np.random.default_rng(0).integers(0, architecture.vocab_size, (2, 64)).astype(np.int32)

    @functools.partial(jax.value_and_grad, has_aux=True)
    def loss(params, dtype):
        positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
        hidden, _ = decoder.hidden_states(
            architecture, params, tokens, positions, attention.causal_attend(), compute_dtype=dtype, remat="full"
        )
        logprobs = jax.nn.log_softmax(decoder.unembed(params, hidden)[:, :-1])
        chosen = jnp.take_along_axis(logprobs, tokens[:, 1:, None], axis=-1)[..., 0]
        return -chosen.mean(), chosen

    run = jax.jit(loss, static_argnums=1)
    (value, exact), grads = run(model.params, jnp.float32)
    assert float(value) == pytest.approx(np.log(architecture.vocab_size), rel=0.02)  # a fresh model knows nothing
    assert all(bool(jnp.isfinite(g).all()) and float(jnp.abs(g).max()) > 0 for g in jax.tree.leaves(grads))
    distance = np.abs(np.asarray(run(model.params, jnp.bfloat16)[0][1]) - np.asarray(exact))
    print(f"bfloat16: mean |d log-prob| {distance.mean():.4f}, max {distance.max():.4f} at loss {float(value):.2f}")
    assert distance.mean() < 0.01
