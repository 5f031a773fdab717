"""Rotary positions: frequencies in float32, Llama 3's stretching of the slow ones.

Source: Su et al. 2021 (RoPE), in the half-split layout of the published checkpoints; rope_type "llama3" as in
Meta's Llama 3.1 release. Tables stay in float32: bfloat16 cannot tell position 256 from 257.
"""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from rlscale_jax.models.architecture import Architecture, RopeScaling


def inverse_frequencies(architecture: Architecture) -> np.ndarray:
    """Radians per position for each of the H/2 rotated pairs, float32.

    Rounded to float32 where the reference implementation rounds: at position 10^4 one unit in the last place of a
    frequency is already 1e-3 radians.
    """
    h = architecture.head_dim
    exponents = np.arange(0, h, 2, dtype=np.float32) / np.float32(h)
    powers = architecture.rope_theta ** exponents.astype(np.float64)
    freqs = np.float32(1) / powers.astype(np.float32)
    return _stretch(freqs, architecture.rope_scaling) if architecture.rope_scaling else freqs


def _stretch(freqs: np.ndarray, scaling: RopeScaling) -> np.ndarray:
    """Divides slow frequencies by the factor, keeps fast ones, blends between."""
    turns = scaling.original_max_position / (2 * math.pi / freqs)  # full turns within the original context
    blend = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
    blend = np.clip(blend, 0.0, 1.0)
    return ((1 - blend) * freqs / scaling.factor + blend * freqs).astype(np.float32)


def tables(
    architecture: Architecture, positions: Int[Array, "*rows T"]
) -> tuple[Float[Array, "*rows T half"], Float[Array, "*rows T half"]]:
    """Cosines and sines, float32, of each position and pair."""
    angles = positions[..., None].astype(jnp.float32) * inverse_frequencies(architecture)
    return jnp.cos(angles), jnp.sin(angles)


def rotate(x: Float[Array, "*rows T heads H"], cos: Array, sin: Array) -> Float[Array, "*rows T heads H"]:
    """Rotates the pairs (x[i], x[i + H/2]); computed in float32, returned in x's dtype."""
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    cos, sin = cos[..., None, :], sin[..., None, :]
    rotated = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return rotated.astype(x.dtype)
