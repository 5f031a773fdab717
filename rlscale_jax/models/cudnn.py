"""Attention for training on NVIDIA GPUs: cuDNN's kernel, with a prompt shared by its group.

`shared_prefix_attend` here computes what `attention.shared_prefix_attend` does, without ever holding scores: a
completion is one causal row of its prompt's real tokens, its own, and the prompt's padding behind them, where nothing
real looks at it. So the kernel needs no mask but the causal one. The prompt's own queries are made again for each
completion (a few percent of the scores); keys and values of the prompt are one copy, and get their gradient's sum.
Source: jax.nn.dot_product_attention.
"""

import dataclasses
import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from rlscale_jax.experiment.config import MeshConfig
from rlscale_jax.models import attention, hosts
from rlscale_jax.models.layers import Attend
from rlscale_jax.models.mesh import make_mesh

_TOLERANCE = 0.03  # of the largest value: bfloat16 has 8 bits


def shared_prefix_attend(
    prefix_lengths: jax.Array, num_prefix: int, num_samples: int, *, implementation: Literal["cudnn", "xla"] = "cudnn"
) -> Attend:
    """As `attention.shared_prefix_attend`, for 16-bit q, k and v; "xla" is the plain form of the kernel, for tests."""

    def attend(q, k, v, _):
        k, v = attention.even_heads(k, v)
        local = functools.partial(_rows, num_prefix=num_prefix, num_samples=num_samples, implementation=implementation)
        return attention.by_device(local, q, k, v, prefix_lengths), None

    return attend


def works(num_heads: int, num_kv_heads: int, head_dim: int, dtype: Any) -> bool:
    """Whether this machine's GPU and cuDNN compute these heads as the plain form does, values and gradients.

    Tried on a small case by every host, on one of its own; says why where not. All hosts give the same answer.
    """
    if jnp.dtype(dtype).itemsize != 2:
        return False
    with jax.set_mesh(make_mesh(MeshConfig(data=1, fsdp=1), jax.local_devices()[:1])):
        own = _works_here(num_heads, num_kv_heads, head_dim, dtype)
    return all(hosts.gather(own))


def _works_here(*heads_and_dtype: Any) -> bool:
    try:
        fused, plain = (jax.device_get(_try(attend, *heads_and_dtype)) for attend in _CONTENDERS)
    except Exception as error:  # XLA's errors are private types; the plain form needs none of this
        logging.warning("attention without cuDNN's kernel: %s", str(error).partition("\n")[0] or type(error).__name__)
        return False
    differences = [float(np.abs(a - b).max() / np.abs(b).max()) for a, b in zip(fused, plain, strict=True)]
    same = all(difference < _TOLERANCE for difference in differences)  # a NaN is not
    if not same:
        logging.warning("attention without cuDNN's kernel: it differs from the plain form by %s", differences)
    return same


_CONTENDERS = (shared_prefix_attend, attention.shared_prefix_attend)


def _try(make, num_heads: int, num_kv_heads: int, head_dim: int, dtype: Any) -> list[jax.Array]:
    """What comes out, and the gradients to q, k and v, where they are defined; float32."""
    num_prefix, num_samples, num_own = 72, 2, 201  # several tiles of a kernel, the last one not full
    lengths, length = jnp.array([72, 7]), num_prefix + num_samples * num_own
    real = (jnp.arange(length) >= num_prefix) | (jnp.arange(length) < lengths[:, None])
    keys = jax.random.split(jax.random.key(0), 4)
    sizes = (num_heads, num_kv_heads, num_kv_heads, num_heads)
    *qkv, target = (
        jax.random.normal(key, (2, length, size, head_dim), dtype) for key, size in zip(keys, sizes, strict=True)
    )

    def out_of(*qkv):
        out, _ = make(lengths, num_prefix, num_samples)(*qkv, None)
        out = jnp.where(real[..., None, None], out, 0)
        return (out * target).astype(jnp.float32).sum(), out

    (_, out), grads = jax.jit(jax.value_and_grad(out_of, argnums=(0, 1, 2), has_aux=True))(*qkv)
    return [a.astype(jnp.float32) for a in (out, *grads)]


def _rows(q, k, v, lengths, *, num_prefix: int, num_samples: int, implementation):
    """Prompts and completions of rows that lie on one device; q [P T N H], k and v [P T K H]."""
    places = _places(lengths, num_prefix, num_samples, (q.shape[1] - num_prefix) // num_samples)
    q, k, v = (_spread(a, places) for a in (q, k, v))
    out = jax.nn.dot_product_attention(q, k, v, is_causal=True, implementation=implementation)
    return _collect(out, places)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _Places:
    """Where the slots of a row [prompt | completions] lie in the kernel's rows [real prompt | own | padding], and back.

    spread [P G Tp+Tc]: the slot at each place. collect [P Tp+G*Tc]: the place of each slot, counted through the rows of
    all completions; a prompt's in the first one's.
    """

    spread: jax.Array
    collect: jax.Array
    num_prefix: int = dataclasses.field(metadata={"static": True})


def _places(lengths: jax.Array, num_prefix: int, num_samples: int, num_own: int) -> _Places:
    length, real = num_prefix + num_own, lengths[:, None, None]
    here, sample = jnp.arange(length), jnp.arange(num_samples)[:, None]
    own = num_prefix + sample * num_own + here - real
    spread = jnp.where(here < real, here, jnp.where(here < real + num_own, own, here - num_own))
    slots = jnp.arange(num_prefix)
    of_prompt = jnp.where(slots < lengths[:, None], slots, slots + num_own)
    of_own = (real + sample * length + jnp.arange(num_own)).reshape(lengths.shape[0], -1)
    return _Places(spread, jnp.concatenate([of_prompt, of_own], axis=1), num_prefix)


def _take(a: jax.Array, places: jax.Array) -> jax.Array:
    """a [P T heads H] at places [P ...] of its second axis."""
    flat = places.reshape(places.shape[0], -1, 1, 1)
    return jnp.take_along_axis(a, flat, axis=1, mode="promise_in_bounds")


# Gradients are written out: they are look-ups too, where automatic ones would be scattered.
@jax.custom_vjp
def _spread(a: jax.Array, places: _Places) -> jax.Array:
    """[P Tp+G*Tc heads H] -> [P*G Tp+Tc heads H], the prompt in every completion's row."""
    return _take(a, places.spread).reshape(-1, places.spread.shape[2], *a.shape[2:])


def _spread_backward(places, grad):
    num_prompts, num_samples, length = places.spread.shape
    rows = grad.reshape(num_prompts, num_samples * length, *grad.shape[2:])
    of_prompt, of_own = jnp.split(places.collect, [places.num_prefix], axis=1)
    copies = of_prompt[:, None] + length * jnp.arange(num_samples)[:, None]  # [P G Tp]
    copies = _take(rows, copies).reshape(*copies.shape, *grad.shape[2:])
    prompt = copies.sum(axis=1, dtype=jnp.float32).astype(grad.dtype)
    return jnp.concatenate([prompt, _take(rows, of_own)], axis=1), None


_spread.defvjp(lambda a, places: (_spread(a, places), places), _spread_backward)


@jax.custom_vjp
def _collect(a: jax.Array, places: _Places) -> jax.Array:
    """[P*G Tp+Tc heads H] -> [P Tp+G*Tc heads H], the prompt from the first completion's row."""
    return _take(a.reshape(places.spread.shape[0], -1, *a.shape[2:]), places.collect)


def _collect_backward(places, grad):
    num_samples = places.spread.shape[1]
    is_copy = (places.spread < places.num_prefix) & (jnp.arange(num_samples) > 0)[:, None]
    rows = _take(grad, places.spread).reshape(-1, places.spread.shape[2], *grad.shape[2:])
    return jnp.where(is_copy.reshape(*rows.shape[:2], 1, 1), 0, rows), None


_collect.defvjp(lambda a, places: (_collect(a, places), places), _collect_backward)
