"""AdamW as in the study: constant rate (after an optional warm-up), decoupled decay of every parameter, clipping."""

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from rlscale_jax.experiment.config import OptimizerConfig


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


def clip(gradient, norm: jax.Array, limit: float):
    """The gradient scaled down to the norm `limit` where it is longer."""
    scale = jnp.minimum(1.0, limit / (norm + 1e-6))  # torch's clip_grad_norm_ adds the same 1e-6
    return jax.tree.map(lambda g: g * scale.astype(g.dtype), gradient)
