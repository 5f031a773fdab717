"""Attention in blocks against a dense softmax, its gradients against automatic differentiation of that."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlscale_jax.models import attention
from rlscale_jax.models.blockwise import causal_attention


def dense(q, k, v, visible):
    """The definition: every query head with its own copy of its key head, all scores at once."""
    num_queries, num_keys = q.shape[1], k.shape[1]
    k, v = (jnp.repeat(a, q.shape[2] // k.shape[2], axis=2) for a in (k, v))
    scores = jnp.einsum("btnh,bsnh->bnts", q, k, precision="highest") / jnp.sqrt(q.shape[-1])
    seen = jnp.tril(jnp.ones((num_queries, num_keys), bool), num_keys - num_queries) & visible[:, None]
    weights = jax.nn.softmax(jnp.where(seen[:, None], scores, -jnp.inf), axis=-1)
    return jnp.einsum("bnts,bsnh->btnh", weights, v, precision="highest")


def case(num_queries, num_keys, *, heads=(4, 2), dtype=jnp.float32):
    rng = np.random.default_rng(num_keys)
    q = rng.normal(size=(2, num_queries, heads[0], 8))
    k, v = rng.normal(size=(2, 2, num_keys, heads[1], 8))
    visible = np.arange(num_keys) >= np.array([[0], [min(3, num_keys - num_queries)]])
    return [jnp.asarray(a, dtype) for a in (q, k, v)], jnp.asarray(visible)


def gradients(function, qkv, visible):
    def weighted(q, k, v):
        out = function(q, k, v, visible).astype(jnp.float32)
        return (out * jnp.cos(jnp.arange(out.size).reshape(out.shape))).sum()

    return jax.grad(weighted, argnums=(0, 1, 2))(*qkv)


@pytest.mark.parametrize(("num_queries", "num_keys"), [(1, 1), (5, 12), (130, 130), (300, 317)])
@pytest.mark.parametrize("heads", [(4, 2), (3, 1)])
def test_out_and_gradients_are_the_dense_softmaxs(num_queries, num_keys, heads):
    assert_dense(num_queries, num_keys, heads)


def test_blocks_grow_where_they_would_be_many():
    assert_dense(1100, 1100, (4, 2))


def assert_dense(num_queries, num_keys, heads):
    qkv, visible = case(num_queries, num_keys, heads=heads)
    np.testing.assert_allclose(causal_attention(*qkv, visible), dense(*qkv, visible), atol=2e-6)
    pairs = zip(gradients(causal_attention, qkv, visible), gradients(dense, qkv, visible), strict=True)
    for ours, expected in pairs:
        np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_bfloat16_keeps_scores_in_float32():
    """Against the exact result of the rounded inputs: off by bfloat16's rounding of weights and output alone."""
    qkv, visible = case(40, 48, dtype=jnp.bfloat16)
    wide = [a.astype(jnp.float32) for a in qkv]
    out = causal_attention(*qkv, visible)
    assert out.dtype == jnp.bfloat16
    np.testing.assert_allclose(out.astype(jnp.float32), dense(*wide, visible), atol=2e-2)
    for ours, expected in zip(gradients(causal_attention, qkv, visible), gradients(dense, wide, visible), strict=True):
        np.testing.assert_allclose(ours.astype(jnp.float32), expected, atol=6e-2)


def test_no_scores_are_kept_for_the_backward_pass():
    qkv, visible = case(512, 512)

    shapes = jax.eval_shape(lambda: jax.vjp(lambda *qkv: causal_attention(*qkv, visible), *qkv)[1])
    assert max(leaf.size for leaf in jax.tree.leaves(shapes)) <= qkv[0].size


def test_completions_meet_the_real_part_of_their_prompt_and_their_own_past():
    """A row of one prompt and two completions equals two plain sequences without padding."""
    rng = np.random.default_rng(0)
    lengths, num_prefix, num_own = [3, 5], 5, 4
    q, k, v = (jnp.asarray(rng.normal(size=(2, num_prefix + 2 * num_own, n, 8)), jnp.float32) for n in (4, 2, 2))
    out, _ = attention.shared_prefix_attend(jnp.array(lengths), num_prefix, 2)(q, k, v, None)
    for row, length in enumerate(lengths):
        for sample in range(2):
            own = np.arange(num_own) + num_prefix + sample * num_own
            places = np.concatenate([np.arange(length), own])
            alone = [a[row : row + 1, places] for a in (q, k, v)]
            expected, _ = attention.causal_attend()(*alone, None)
            np.testing.assert_allclose(out[row, own], expected[0, length:], atol=2e-6)
            np.testing.assert_allclose(out[row, :length], expected[0, :length], atol=2e-6)
