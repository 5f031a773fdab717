"""The decoder's modules (Flax NNX): linear, norm, block, and the whole with its layers stacked.

They define names, shapes and initial values; plain dicts of arrays cross every jit boundary
(`decoder.py` merges them inside the traced function).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from rlscale_jax.models import rotary, tiles
from rlscale_jax.models.architecture import Architecture
from rlscale_jax.models.backward import dense, swiglu
from rlscale_jax.models.mesh import constrain_residual, constrain_rows

# attend(q [..., T, N, H], k [..., T, K, H], v [..., T, K, H], layer_input) -> (out [..., T, N, H], layer_output)
Attend = Callable[[jax.Array, jax.Array, jax.Array, Any], tuple[jax.Array, Any]]

INIT_STDDEV = 0.02  # of the published configurations (initializer_range)


class Linear(nnx.Module):
    """x @ kernel + bias. A sampler may lay the kernel out in `tiles`."""

    def __init__(self, in_size: int, out_size: int, *, rngs: nnx.Rngs, bias: bool = False):
        self.out_size = out_size
        self.kernel = nnx.Param(nnx.initializers.normal(INIT_STDDEV)(rngs.params(), (in_size, out_size), jnp.float32))
        if bias:
            self.bias = nnx.Param(jnp.zeros((out_size,), jnp.float32))

    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.kernel[...]
        y = dense(x, kernel) if kernel.ndim == 2 else tiles.product(x, kernel, self.out_size)
        return y + self.bias[...].astype(x.dtype) if hasattr(self, "bias") else y


class RMSNorm(nnx.Module):
    def __init__(self, size: int, *, eps: float):
        self.scale = nnx.Param(jnp.ones((size,), jnp.float32))
        self.eps = eps

    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalises in float32; the product with the scale is in x's dtype, as in the published models."""
        wide = x.astype(jnp.float32)
        wide = wide * jax.lax.rsqrt(jnp.mean(wide * wide, axis=-1, keepdims=True) + self.eps)
        return wide.astype(x.dtype) * self.scale[...].astype(x.dtype)


class Embedding(nnx.Module):
    def __init__(self, vocab_size: int, size: int, *, rngs: nnx.Rngs):
        init = nnx.initializers.normal(INIT_STDDEV)
        self.embedding = nnx.Param(init(rngs.params(), (vocab_size, size), jnp.float32))


class Block(nnx.Module):
    """Pre-norm attention and SwiGLU. How queries meet keys is the caller's `attend`."""

    def __init__(self, architecture: Architecture, *, rngs: nnx.Rngs):
        a = architecture
        q, kv = a.num_heads * a.head_dim, a.num_kv_heads * a.head_dim
        self.head_dim = a.head_dim
        self.attn_norm = RMSNorm(a.hidden_size, eps=a.rms_norm_eps)
        self.q = Linear(a.hidden_size, q, bias=a.qkv_bias, rngs=rngs)
        self.k = Linear(a.hidden_size, kv, bias=a.qkv_bias, rngs=rngs)
        self.v = Linear(a.hidden_size, kv, bias=a.qkv_bias, rngs=rngs)
        self.o = Linear(q, a.hidden_size, bias=a.o_bias, rngs=rngs)
        self.mlp_norm = RMSNorm(a.hidden_size, eps=a.rms_norm_eps)
        self.gate = Linear(a.hidden_size, a.intermediate_size, rngs=rngs)
        self.up = Linear(a.hidden_size, a.intermediate_size, rngs=rngs)
        self.down = Linear(a.intermediate_size, a.hidden_size, rngs=rngs)

    def __call__(self, x: jax.Array, cos_sin: tuple[jax.Array, jax.Array], attend: Attend, layer_input: Any):
        """x [..., T, D] -> (x [..., T, D], attend's layer_output)."""
        y = self.attn_norm(x)
        q = constrain_rows(self._heads(self.q(y)), "heads", None)
        k, v = (constrain_rows(self._heads(part(y)), "kv_heads", None) for part in (self.k, self.v))
        q, k = rotary.rotate(q, *cos_sin), rotary.rotate(k, *cos_sin)
        out, layer_output = attend(q, k, v, layer_input)
        # the product itself is named, for its sum over `tensor` to be scattered; the TPU compiler still sums it whole
        x = x + constrain_residual(self.o(out.reshape(*x.shape[:-1], -1)))
        y = self.mlp_norm(x)
        down = jax.checkpoint(self._down, prevent_cse=False)  # makes the gated product again, cheaper than to keep it
        return x + constrain_residual(down(self.gate(y), self.up(y))), layer_output

    def _down(self, gate: jax.Array, up: jax.Array) -> jax.Array:
        return self.down(constrain_rows(swiglu(gate, up), "mlp"))

    def _heads(self, x: jax.Array) -> jax.Array:
        return x.reshape(*x.shape[:-1], -1, self.head_dim)


class Decoder(nnx.Module):
    """Every parameter of a model; `layers` is a Block whose arrays have a leading L axis."""

    def __init__(self, architecture: Architecture, *, rngs: nnx.Rngs):
        @nnx.split_rngs(splits=architecture.num_layers)
        @nnx.vmap(in_axes=0, out_axes=0)
        def stack(rngs: nnx.Rngs) -> Block:
            return Block(architecture, rngs=rngs)

        self.embed = Embedding(architecture.vocab_size, architecture.hidden_size, rngs=rngs)
        self.layers = stack(rngs)
        self.final_norm = RMSNorm(architecture.hidden_size, eps=architecture.rms_norm_eps)
        if not architecture.tie_embeddings:
            self.lm_head = Linear(architecture.hidden_size, architecture.vocab_size, rngs=rngs)
