"""Decode attention: one new token a row meets its unit's prompt, its history and its segment, each read once.

The softmax spans the parts without joining them: partial maxima, sums and outputs are combined.
On CPU products with few queries are written as multiply-and-sum, which XLA fuses and vectorises; a batched dot there
is a loop of tiny matrix products. Elsewhere they are einsums.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rlscale_jax.sampler import cache
from rlscale_jax.sampler.cache import KeysValues, LayerCache, Visible

MASKED = -1e30  # finite: a part without a visible slot weighs exp(-1e30 - max) = 0, never NaN


def decode_attend(visible: Visible):
    """The decoder's `attend` for one step: tokens are the B rows, `layer_input` is a LayerCache.

    Returns the step's output [B N H] and the segment's cache with the new token written.
    """

    def attend(q, k, v, caches: LayerCache):
        recent = jax.lax.optimization_barrier(cache.write(caches.recent, k, v, visible.recent))
        own = q.reshape(q.shape[0], k.shape[1], -1, q.shape[2])  # [B K R H]
        parts = [_own_part(own, recent, visible.recent + 1)]
        if caches.history.keys.shape[3]:
            parts.append(_own_part(own, caches.history, visible.history[:, None, None, None]))
        parts.append(_prefix_part(own, caches.prefix, visible.prefix))
        return _combine(parts).reshape(q.shape).astype(q.dtype), recent

    return attend


def _combine(parts):
    high = parts[0][0]
    for part in parts[1:]:
        high = jnp.maximum(high, part[0])
    scales = [jnp.exp(part[0] - high) for part in parts]
    total = sum(part[1] * scale for part, scale in zip(parts, scales, strict=True))
    out = sum(part[2] * scale[..., None] for part, scale in zip(parts, scales, strict=True))
    return (out / total[..., None]).astype(parts[0][2].dtype)


def _own_part(q: Float[Array, "B K R H"], part: KeysValues, filled):
    """(max [B K R], sum [B K R], unnormalised output [B K R H]) over one part of each row's own cache."""
    scores = _dot_keys(q, part.keys) * q.shape[-1] ** -0.5
    index = jnp.arange(part.keys.shape[3])
    scores = jnp.where(index < filled, scores, MASKED)
    high = jnp.max(scores, axis=-1)
    weights = jnp.exp(scores - high[..., None])
    return high, jnp.sum(weights, axis=-1), _dot_values(weights, part.values)


def _prefix_part(q, part: KeysValues, filled):
    """The same over the prompt: all lanes of a unit are queries of one product."""
    num_units, heads, head_dim, _ = part.keys.shape
    lanes = q.reshape(num_units, -1, *q.shape[1:])  # [U W K R H]
    merged = jnp.moveaxis(lanes, 2, 1).reshape(num_units, heads, -1, head_dim)  # [U K W*R H]
    results = _own_part(merged, part, filled[:, None, None, None])

    def split(a):
        a = a.reshape(num_units, heads, lanes.shape[1], lanes.shape[3], *a.shape[3:])
        return jnp.moveaxis(a, 2, 1).reshape(q.shape[0], heads, lanes.shape[3], *a.shape[4:])

    return tuple(split(a) for a in results)


def _dot_keys(q, keys):
    """[rows K R H] x [rows K H S] -> [rows K R S] float32."""

    def products(q, keys):
        return jnp.sum(q[..., None].astype(jnp.float32) * keys[:, :, None].astype(jnp.float32), axis=3)

    def dots(q, keys):
        return jnp.einsum("bkrh,bkhs->bkrs", q, keys, preferred_element_type=jnp.float32)

    return _by_platform(q, keys, products=products, dots=dots)


def _dot_values(weights, values):
    """[rows K R S] x [rows K S H] -> [rows K R H] float32."""

    def products(weights, values):
        return jnp.sum(weights[..., None] * values[:, :, None].astype(jnp.float32), axis=3)

    def dots(weights, values):
        return jnp.einsum("bkrs,bksh->bkrh", weights.astype(values.dtype), values, preferred_element_type=jnp.float32)

    return _by_platform(weights, values, products=products, dots=dots)


def _by_platform(first, second, *, products, dots):
    if first.shape[2] > MOST_PRODUCT_QUERIES:
        return dots(first, second)
    return jax.lax.platform_dependent(first, second, cpu=products, default=dots)


MOST_PRODUCT_QUERIES = 0
