"""Decode attention: one new token a row meets its unit's prompt, its history and its segment, each read once.

The softmax spans the parts without joining them: partial maxima, sums and outputs are combined.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from rlscale_jax.sampler import cache
from rlscale_jax.sampler.cache import KeysValues, LayerCache, Visible

MASKED = -1e30  # finite: a part without a visible slot weighs exp(-1e30 - max) = 0, never NaN


def decode_attend(visible: Visible):
    """The decoder's `attend` for one step: tokens are the B rows, `layer_input` is a LayerCache.

    Returns the step's output [B N H] and the segment's cache with the new token written.
    """

    def attend(q, k, v, caches: LayerCache):
        recent = cache.write(caches.recent, k, v, visible.recent)
        own = q.reshape(*recent.keys.shape[:-2], -1, q.shape[2])  # [B K R H]
        parts = [_part(_apart(own), recent, visible.recent + 1)]
        if caches.history.keys.shape[-1]:
            parts.append(_part(own, caches.history, visible.history))
        parts.append(_prefix_part(own, caches.prefix, visible.prefix))
        return _combine(parts).reshape(q.shape).astype(q.dtype), recent

    return attend


def _apart(q: jax.Array) -> jax.Array:
    """q, for a product of its own: XLA for GPUs joins products of one array, and would copy all of the history behind
    the segment at every step, two thirds of what a step moves."""
    return jax.lax.platform_dependent(q, cuda=jax.lax.optimization_barrier, default=lambda q: q)


class Part(NamedTuple):
    """A softmax over one part of the cache, unfinished, in float32."""

    high: jax.Array  # [*rows R] greatest score
    total: jax.Array  # [*rows R] sum of exp(score - high)
    out: jax.Array  # [*rows R H] values summed by exp(score - high)


def _combine(parts: list[Part]) -> jax.Array:
    high = functools.reduce(jnp.maximum, [part.high for part in parts])
    scales = [jnp.exp(part.high - high) for part in parts]
    total = sum(part.total * scale for part, scale in zip(parts, scales, strict=True))
    out = sum(part.out * scale[..., None] for part, scale in zip(parts, scales, strict=True))
    return jnp.asarray(out) / jnp.asarray(total)[..., None]


def _part(q: Float[Array, "*rows R H"], part: KeysValues, filled: jax.Array) -> Part:
    """`filled`, for all or for each of the leading rows, says how many slots are visible."""
    scores = _product(q, jnp.asarray(part.keys)) * q.shape[-1] ** -0.5
    filled = filled.reshape(*filled.shape, *[1] * (scores.ndim - filled.ndim))
    scores = jnp.where(jnp.arange(scores.shape[-1]) < filled, scores, MASKED)
    high = jnp.max(scores, axis=-1)
    weights = jnp.exp(scores - high[..., None])
    out = _product(weights.astype(part.values.dtype), jnp.asarray(part.values))
    return Part(high, jnp.sum(weights, axis=-1), out)


FEW_QUERIES = 3  # up to here a CPU multiplies them by a row's cache faster one at a time


def _product(vectors: Float[Array, "*rows R n"], matrices: Float[Array, "*rows n m"]) -> Float[Array, "*rows R m"]:
    """Each row's vectors times its matrix, in float32.

    For one vector at a time XLA's CPU compiler emits a loop over the matrix where it lies; a product of several is a
    library call for every row, which copies the matrix first.
    """

    def together(vectors, matrices):
        return jnp.einsum("...rn,...nm->...rm", vectors, matrices, preferred_element_type=jnp.float32)

    def one_by_one(vectors, matrices):
        each = [jnp.einsum("...n,...nm->...m", vectors[..., i, :], matrices) for i in range(vectors.shape[-2])]
        return jnp.stack(each, axis=-2).astype(jnp.float32)

    if vectors.shape[-2] > FEW_QUERIES or vectors.dtype != jnp.float32:
        return together(vectors, matrices)
    return jax.lax.platform_dependent(vectors, matrices, cpu=one_by_one, default=together)


def _prefix_part(q: Float[Array, "*rows R H"], part: KeysValues, filled: Int[Array, " U"]) -> Part:
    """The same over the prompt: all lanes of a unit are queries of one product."""
    num_units, heads = part.keys.shape[0], part.keys.shape[1:-2]
    queries = q.shape[-2:]
    lanes = q.reshape(num_units, -1, *heads, *queries)  # [U W K R H]
    merged = jnp.moveaxis(lanes, 1, -3).reshape(num_units, *heads, -1, queries[1])  # [U K W*R H]

    def split(a):  # [U K W*R ...] -> [B K R ...]
        rest = a.shape[1 + len(heads) + 1 :]
        a = a.reshape(num_units, *heads, lanes.shape[1], queries[0], *rest)
        return jnp.moveaxis(a, 1 + len(heads), 1).reshape(q.shape[0], *heads, queries[0], *rest)

    return Part(*(split(a) for a in _part(merged, part, filled)))
