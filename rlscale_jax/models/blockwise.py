"""Exact softmax attention in blocks of queries, with its backward pass written out.

A block of queries meets only the keys up to its last one, so that half of a causal product is never made, and its
scores are small enough for a cache. The backward pass makes them again from the softmax's normaliser: none are kept.
(The arithmetic of Dao et al. 2022, arXiv 2205.14135, with whole rows of scores: no rescaling is needed.)
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

MASKED = -1e30  # finite: no infinity meets another one
_BLOCK = 128  # queries, in the few blocks that a short row has
_MAX_BLOCKS = 8  # each is compiled; beyond these, blocks grow


def causal_attention(
    q: Float[Array, "B T N H"],
    k: Float[Array, "B S K H"],
    v: Float[Array, "B S K H"],
    visible: Bool[Array, "B S"],
) -> Float[Array, "B T N H"]:
    """Queries are the last T of S places: each sees its own place and those before it which are `visible`.

    Scores and softmax are float32. Query head n reads key/value head n // (N / K).
    """
    num_rows, num_queries, _, size = q.shape
    k, v = (a.swapaxes(1, 2) for a in (k, v))
    q = jnp.moveaxis(q.reshape(num_rows, num_queries, k.shape[1], -1, size), 1, 3)  # [B K R T H]
    return jnp.moveaxis(_attention(q, k, v, visible), 3, 1).reshape(num_rows, num_queries, -1, size)


@jax.custom_vjp
def _attention(q, k, v, visible):
    return _forward(q, k, v, visible)[0]


def _forward(q, k, v, visible):
    """q [B K R T H]; k and v [B K S H]. Of every block's softmax, its logarithmic normaliser [B K R T] is kept."""
    outs, normalisers = [], []
    for start, stop in _blocks(q.shape[3]):
        block, keys, values = _block(start, stop, q, k, v)
        scores = _scores(block, keys, visible)
        top = scores.max(axis=-1)
        weights = jnp.exp(scores - top[..., None])
        total = weights.sum(axis=-1)
        out = _product(weights.astype(v.dtype), values, 3, 2) / total[..., None]
        outs.append(out.astype(q.dtype).reshape(block.shape))
        normalisers.append((top + jnp.log(total)).reshape(block.shape[:-1]))
    out, normaliser = jnp.concatenate(outs, axis=3), jnp.concatenate(normalisers, axis=3)
    return out, (q, k, v, visible, out, normaliser)


def _backward(saved, out_grad):
    q, k, v, visible, out, normaliser = saved
    own = (out.astype(jnp.float32) * out_grad.astype(jnp.float32)).sum(axis=-1)  # what a softmax's gradient takes off
    zeros = jnp.zeros(k.shape, jnp.float32).swapaxes(2, 3)
    q_grads, k_grad, v_grad = [], zeros, zeros  # [B K H S]: CPUs make these products three times as fast so
    for start, stop in _blocks(q.shape[3]):
        block, keys, values = _block(start, stop, q, k, v)
        num_keys = keys.shape[2]
        flat, block_grad = _rows(block), _rows(out_grad[:, :, :, start:stop])
        lowered, taken = (_rows(a[:, :, :, start:stop, None]) for a in (normaliser, own))
        weights = jnp.exp(_scores(block, keys, visible) - lowered)
        score_grad = weights * (_product(block_grad, values, 3, 3) - taken) * q.shape[-1] ** -0.5
        score_grad = score_grad.astype(q.dtype)
        q_grads.append(_product(score_grad, keys, 3, 2).reshape(block.shape))
        k_grad = k_grad.at[..., :num_keys].add(_product(flat, score_grad, 2, 2))
        v_grad = v_grad.at[..., :num_keys].add(_product(block_grad, weights.astype(v.dtype), 2, 2))
    k_grad, v_grad = (a.swapaxes(2, 3).astype(k.dtype) for a in (k_grad, v_grad))
    return jnp.concatenate(q_grads, axis=3).astype(q.dtype), k_grad, v_grad, None


_attention.defvjp(_forward, _backward)


def _blocks(num_queries: int) -> list[tuple[int, int]]:
    """First query of each block, and the one behind its last."""
    size = -(-num_queries // min(_MAX_BLOCKS, -(-num_queries // _BLOCK)))
    return [(start, min(start + size, num_queries)) for start in range(0, num_queries, size)]


def _block(start: int, stop: int, q, k, v):
    """A block's queries, with the keys and values that its last query can see."""
    num_keys = k.shape[2] - q.shape[3] + stop
    return q[:, :, :, start:stop], k[:, :, :num_keys], v[:, :, :num_keys]


def _rows(a):
    """[B K R T ...] -> [B K R*T ...]."""
    return a.reshape(*a.shape[:2], -1, *a.shape[4:])


def _scores(q, k, visible):
    """Scaled products [B K R*T S] of the last T of S places with all of them, MASKED where not seen."""
    num_queries, num_keys = q.shape[3], k.shape[2]
    scores = _product(_rows(q * q.shape[-1] ** -0.5), k, 3, 3).reshape(*q.shape[:4], num_keys)
    last = jnp.arange(num_keys - num_queries, num_keys)[:, None]  # a query's own place
    seen = (jnp.arange(num_keys) <= last) & visible[:, None, :num_keys]  # [B T S]
    return _rows(jnp.where(seen[:, None, None], scores, MASKED))


def _product(first, second, first_axis: int, second_axis: int):
    """Products for each row and head, over one axis of either, in float32."""
    precision = jax.lax.Precision.HIGHEST if first.dtype == jnp.float32 else jax.lax.Precision.DEFAULT
    axes = (((first_axis,), (second_axis,)), ((0, 1), (0, 1)))
    return jax.lax.dot_general(first, second, axes, precision=precision, preferred_element_type=jnp.float32)
