"""AdamW as in the study: constant rate (after an optional warm-up), decoupled decay of every parameter, clipping."""

import math

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from rlscale_jax.experiment.config import OptimizerConfig
from rlscale_jax.models.mesh import traced_under

_NORM_SLICES = 64


def learning_rate(config: OptimizerConfig, step: ArrayLike) -> jax.Array:
    """The rate of update number `step` (from 0): rising linearly over the warm-up, then constant."""
    if config.warmup_steps == 0:
        return jnp.float32(config.learning_rate)
    return config.learning_rate * jnp.minimum(1.0, (jnp.asarray(step) + 1) / config.warmup_steps)


def adamw(config: OptimizerConfig) -> optax.GradientTransformation:
    """Decay reaches every parameter, norms and biases too, as torch's AdamW does in the study's code."""
    return optax.adamw(
        lambda count: learning_rate(config, count),
        b1=config.b1,
        b2=config.b2,
        eps=config.eps,
        weight_decay=config.weight_decay,
    )


def apply_adamw(config: OptimizerConfig, params, gradient, opt_state, *, scale: jax.Array, use: jax.Array):
    """(params, opt_state) after one step of `adamw` on scale * gradient; as they were where `use` is False.

    Written out because every array is then read and written once, in place. With the transformation's own update the
    moments are held twice: as they are kept if the step is used, and as the step needs them.
    Computed in float32; every array keeps its dtype.
    """
    adam, decay, schedule = opt_state
    count = adam.count + 1
    rate, used = learning_rate(config, adam.count), use.astype(adam.count.dtype)
    first, second = 1 - config.b1**count, 1 - config.b2**count

    def wide(a):
        return a.astype(jnp.float32)

    def leaf(p, g, m, v):
        g = wide(g) * scale
        m = jnp.where(use, (config.b1 * wide(m) + (1 - config.b1) * g).astype(m.dtype), m)
        v = jnp.where(use, (config.b2 * wide(v) + (1 - config.b2) * g * g).astype(v.dtype), v)
        change = (wide(m) / first) / (jnp.sqrt(wide(v) / second) + config.eps) + config.weight_decay * wide(p)
        return jnp.where(use, (wide(p) - rate * change).astype(p.dtype), p), m, v

    moved = jax.tree.map(leaf, params, gradient, adam.mu, adam.nu)
    params, mu, nu = jax.tree.transpose(jax.tree.structure(params), jax.tree.structure((0, 0, 0)), moved)
    adam = adam._replace(count=adam.count + used, mu=mu, nu=nu)
    return params, (adam, decay, schedule._replace(count=schedule.count + used))


def global_norm(gradient) -> jax.Array:
    """The length of a gradient, summed in float32."""
    return jnp.sqrt(sum(_sum_of_squares(g.astype(jnp.float32)) for g in jax.tree.leaves(gradient)))


def _sum_of_squares(g: jax.Array) -> jax.Array:
    """On one device in slices: XLA's CPU compiler holds every square of a plain sum, and takes eight times as long."""
    if traced_under().size > 1:  # a reshape would gather what is sharded
        return jnp.sum(g * g)
    slices = g.reshape(math.gcd(g.size, _NORM_SLICES), -1)
    return jax.lax.map(lambda part: jnp.vdot(part, part), slices).sum()


def clip_scale(norm: jax.Array, limit: float) -> jax.Array:
    """What a gradient of that norm is multiplied by so that it is no longer than `limit`."""
    return jnp.minimum(1.0, limit / (norm + 1e-6))  # torch's clip_grad_norm_ adds the same 1e-6
