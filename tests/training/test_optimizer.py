"""The learning rate, the clipping of gradients, and AdamW's step by hand (PyTorch's is in test_update.py)."""

import dataclasses

import jax
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


CONFIG = OptimizerConfig(learning_rate=0.1, weight_decay=0.5)
TRUE, ONE = jnp.array(True), jnp.float32(1.0)


def test_first_step_is_the_rate_against_the_sign_plus_decay():
    """m / sqrt(v) of the first step is the gradient's sign; decay is decoupled and reaches every parameter."""
    params = {"kernel": jnp.array([2.0, -4.0]), "scale": jnp.array([1.0])}
    gradient = {"kernel": jnp.array([0.3, -7.0]), "scale": jnp.array([0.0])}
    moments = optimizer.adamw(CONFIG).init(params)
    stepped, _ = optimizer.apply_adamw(CONFIG, params, gradient, moments, scale=ONE, use=TRUE)
    np.testing.assert_allclose(stepped["kernel"], [2.0 - 0.1 - 0.1, -4.0 + 0.1 + 0.2], rtol=1e-5)
    np.testing.assert_allclose(stepped["scale"], [0.95], rtol=1e-6)


def test_steps_in_place_are_optaxs():
    """Several steps with warm-up and scaled gradients; state and parameters after each."""
    config = dataclasses.replace(CONFIG, warmup_steps=3, b1=0.8, b2=0.95, eps=1e-3)
    reference, rng = optimizer.adamw(config), np.random.default_rng(0)
    params = theirs = {"a": jnp.asarray(rng.normal(size=(3, 4)), jnp.float32), "b": jnp.ones(2)}
    state = their_state = reference.init(params)
    for _ in range(5):
        gradient = jax.tree.map(lambda p: jnp.asarray(rng.normal(size=p.shape), jnp.float32), params)
        params, state = optimizer.apply_adamw(config, params, gradient, state, scale=jnp.float32(0.25), use=TRUE)
        scaled = jax.tree.map(lambda g: 0.25 * g, gradient)
        updates, their_state = reference.update(scaled, their_state, theirs)
        theirs = optax.apply_updates(theirs, updates)
        assert jax.tree.structure(state) == jax.tree.structure(their_state)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-6), (params, state), (theirs, their_state))


def test_bfloat16_stays_bfloat16():
    """A step's rate is a float32: a sum with it would widen the parameters, and no checkpoint of them be restored."""
    params = {"a": jnp.array([2.0, -4.0], jnp.bfloat16)}
    state = optimizer.adamw(CONFIG).init(params)
    for _ in range(2):
        gradient = {"a": jnp.array([0.3, -7.0])}
        params, state = optimizer.apply_adamw(CONFIG, params, gradient, state, scale=ONE, use=TRUE)
    np.testing.assert_allclose(params["a"].astype(jnp.float32), [1.61, -3.415], rtol=8e-3)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype(jnp.bfloat16)}
    assert {leaf.dtype for leaf in jax.tree.leaves((state[0].mu, state[0].nu))} == {jnp.dtype(jnp.bfloat16)}


def test_an_unused_step_changes_nothing_not_even_for_nan():
    params = {"a": jnp.arange(3.0)}
    moments = optimizer.adamw(CONFIG).init(params)
    params, moments = optimizer.apply_adamw(CONFIG, params, params, moments, scale=ONE, use=TRUE)
    nan = {"a": jnp.full(3, jnp.nan)}
    after = optimizer.apply_adamw(CONFIG, params, nan, moments, scale=ONE, use=jnp.array(False))
    jax.tree.map(np.testing.assert_array_equal, after, (params, moments))


def test_the_step_holds_no_second_copy_of_anything():
    """Donated, every array is updated in place: the compiled program needs less than its smallest array beside them."""
    params = {"a": jax.ShapeDtypeStruct((256, 256), jnp.float32), "b": jax.ShapeDtypeStruct((64, 1024), jnp.float32)}

    def step(params, state, gradient):
        norm = optimizer.global_norm(gradient)
        return optimizer.apply_adamw(CONFIG, params, gradient, state, scale=1 / norm, use=jnp.isfinite(norm))

    state = jax.eval_shape(optimizer.adamw(CONFIG).init, params)
    memory = jax.jit(step, donate_argnums=(0, 1)).lower(params, state, params).compile().memory_analysis()
    assert memory.alias_size_in_bytes > 6 * 256 * 1024
    assert memory.temp_size_in_bytes < 256 * 1024


def test_norm_is_the_length_of_all_arrays_together():
    gradient = {"a": jnp.full((2, 2), 2.0), "b": jnp.array([3.0]), "c": jnp.zeros((5, 7))}
    np.testing.assert_allclose(optimizer.global_norm(gradient), 5.0, rtol=1e-6)


@pytest.mark.parametrize(("limit", "expected"), [(1.0, 0.2), (10.0, 1.0)])
def test_clipping_scales_only_long_gradients(limit, expected):
    np.testing.assert_allclose(optimizer.clip_scale(jnp.float32(5.0), limit), expected, rtol=1e-5)
