"""Hand-written backward passes against automatic differentiation, and the dtype of a kernel's gradient."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from rlscale_jax.models import Architecture, rotary
from rlscale_jax.models.backward import dense, swiglu
from rlscale_jax.models.layers import Block


def gradients(function, *args):
    out = function(*args)
    direction = jax.random.normal(jax.random.key(9), out.shape).astype(out.dtype)
    return jax.grad(lambda *a: (function(*a) * direction).astype(jnp.float32).sum(), argnums=(0, 1))(*args)


def assert_same(first, second):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), first, second)


def test_dense_equals_automatic_differentiation():
    x = jax.random.normal(jax.random.key(0), (2, 5, 3))
    kernel = jax.random.normal(jax.random.key(1), (3, 4))
    assert_same(dense(x, kernel), x @ kernel)
    assert_same(gradients(dense, x, kernel), gradients(lambda x, kernel: x @ kernel, x, kernel))


def test_swiglu_equals_automatic_differentiation_far_out_too():
    gate = jnp.array([[-90.0, -3.0, -0.1, 0.0], [0.2, 1.5, 4.0, 90.0]])
    up = jax.random.normal(jax.random.key(1), gate.shape)
    plain = lambda gate, up: jax.nn.silu(gate) * up  # noqa: E731
    assert_same(swiglu(gate, up), plain(gate, up))
    assert_same(gradients(swiglu, gate, up), gradients(plain, gate, up))


def test_kernel_gradient_of_bfloat16_activations_is_summed_in_float32():
    """1024 rows of 1 and one of 1/256: bfloat16 would lose the last."""
    x = jnp.ones((1025, 1), jnp.bfloat16).at[-1].set(1 / 256)
    kernel_grad = jax.grad(lambda kernel: dense(x, kernel).astype(jnp.float32).sum())(jnp.ones((1, 1)))
    assert kernel_grad.dtype == jnp.float32
    np.testing.assert_allclose(kernel_grad, [[1024 + 1 / 256]], rtol=1e-7)


def test_of_the_wide_activations_a_block_keeps_gate_and_up_alone():
    sizes = {"num_layers": 1, "hidden_size": 8, "num_heads": 2, "num_kv_heads": 1, "head_dim": 4, "vocab_size": 16}
    family = {"model_type": "qwen2", "rms_norm_eps": 1e-6, "rope_theta": 1e4, "qkv_bias": True, "tie_embeddings": True}
    architecture = Architecture(**sizes, **family, intermediate_size=23)
    block, cos_sin = Block(architecture, rngs=nnx.Rngs(0)), rotary.tables(architecture, jnp.arange(5)[None])
    attend = lambda q, k, v, _: (q, None)  # noqa: E731

    def run(x):
        return block(x, cos_sin, attend, None)[0]

    _, pull = jax.vjp(run, jnp.ones((1, 5, 8)))
    wide = [leaf.shape for leaf in jax.tree.leaves(pull) if leaf.shape[-1:] == (23,) and leaf.shape[0] != 8]
    assert wide == [(1, 5, 23)] * 2
