"""The learning rate, the clipping of gradients, and AdamW's step by hand (PyTorch's is in test_update.py)."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rlscale_jax.experiment.config import OptimizerConfig
from rlscale_jax.training import optimizer


def test_rate_is_constant_without_warmup():
    config = OptimizerConfig(learning_rate=1e-6)
    assert [float(optimizer.learning_rate(config, step)) for step in (0, 1, 1000)] == [pytest.approx(1e-6)] * 3


def test_warmup_rises_linearly_and_never_starts_at_zero():
    config = OptimizerConfig(learning_rate=1.0, warmup_steps=4)
    rates = [float(optimizer.learning_rate(config, step)) for step in range(6)]
    assert rates == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_first_step_is_the_rate_against_the_sign_plus_decay():
    """m / sqrt(v) of the first step is the gradient's sign; decay is decoupled and reaches every parameter."""
    adamw = optimizer.adamw(OptimizerConfig(learning_rate=0.1, weight_decay=0.5))
    params = {"kernel": jnp.array([2.0, -4.0]), "scale": jnp.array([1.0])}
    gradient = {"kernel": jnp.array([0.3, -7.0]), "scale": jnp.array([0.0])}
    updates, _ = adamw.update(gradient, adamw.init(params), params)
    stepped = optax.apply_updates(params, updates)
    np.testing.assert_allclose(stepped["kernel"], [2.0 - 0.1 - 0.1, -4.0 + 0.1 + 0.2], rtol=1e-5)
    np.testing.assert_allclose(stepped["scale"], [0.95], rtol=1e-6)


@pytest.mark.parametrize(("limit", "expected"), [(1.0, [0.6, 0.8]), (10.0, [3.0, 4.0])])
def test_clipping_scales_only_long_gradients(limit, expected):
    gradient = jnp.array([3.0, 4.0])
    np.testing.assert_allclose(optimizer.clip(gradient, jnp.float32(5.0), limit), expected, rtol=1e-5)
