"""Attention for training on TPUs: the splash kernel, with a prompt shared by its group.

`shared_prefix_attend` here computes what `attention.shared_prefix_attend` does, without ever holding scores: a
completion's queries run over [prompt slots | own tokens] under one static causal mask shifted by the prompt's slots;
segment ids hide the prompt's padding. Heads are split over `tensor` and rows over the batch axes by `shard_map`,
since the compiler cannot split a kernel. Source: jax.experimental.pallas.ops.tpu.splash_attention.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as kernel
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks

from rlscale_jax.models import attention
from rlscale_jax.models.layers import Attend

_LANES = 128  # a kernel's blocks and a TPU's registers are this wide
_BLOCKS = (512, 256, 128)


def shared_prefix_attend(
    prefix_lengths: jax.Array, num_prefix: int, num_samples: int, *, interpret: bool = False
) -> Attend:
    """As `attention.shared_prefix_attend`; prompts or completions narrower than a block take its plain form.

    `interpret` runs the kernel's own program on the CPU (slowly, for tests).
    """
    plain = attention.shared_prefix_attend(prefix_lengths, num_prefix, num_samples)

    def attend(q, k, v, layer_input):
        num_own = (q.shape[1] - num_prefix) // num_samples
        if num_prefix % _LANES or num_own % _LANES:
            return plain(q, k, v, layer_input)
        q, (k, v) = q * jnp.asarray(q.shape[-1] ** -0.5, q.dtype), attention.even_heads(k, v)
        local = functools.partial(_rows, num_prefix=num_prefix, num_samples=num_samples, interpret=interpret)
        return attention.by_device(local, q, k, v, prefix_lengths), None

    return attend


def _rows(q, k, v, lengths, *, num_prefix: int, num_samples: int, interpret: bool):
    """Prompts and completions of rows that lie on one device; q [P T N H], k and v [P T K H]."""
    num_rows, repeats = q.shape[0], q.shape[2] // k.shape[2]
    q, k, v = (a.swapaxes(1, 2) for a in (q, k, v))  # [P heads T H]
    q = q.reshape(num_rows, k.shape[1], repeats, *q.shape[2:])  # [P K R T H]
    prompt_q, own_q = q[..., :num_prefix, :], _by_sample(q[..., num_prefix:, :], num_samples)  # own [P G K R Tc H]
    prompt = [a[:, :, :num_prefix] for a in (k, v)]
    own = [_by_sample(a[:, :, num_prefix:], num_samples) for a in (k, v)]  # [P G K Tc H]
    joined = [_behind_prompt(*pair) for pair in zip(prompt, own, strict=True)]  # [P G K Tp+Tc H]

    of_prompt = _kernel(repeats, num_prefix, 0, interpret)
    prompt_out = jax.vmap(jax.vmap(lambda *qkv: of_prompt(*qkv)))(prompt_q, *prompt)
    of_own = _kernel(repeats, own_q.shape[-2], num_prefix, interpret)
    over_heads = jax.vmap(of_own, (0, 0, 0, None))
    over_samples = jax.vmap(over_heads, (0, 0, 0, None))
    own_out = jax.vmap(over_samples)(own_q, *joined, _segments(lengths, num_prefix, own_q.shape[-2]))
    own_out = jnp.moveaxis(own_out, 1, 3).reshape(*prompt_out.shape[:3], -1, q.shape[-1])
    out = jnp.concatenate([prompt_out, own_out], axis=3)  # [P K R T H]
    return jnp.moveaxis(out, 3, 1).reshape(num_rows, out.shape[3], -1, q.shape[-1])


def _by_sample(a, num_samples: int):
    """[P ... G*Tc H] -> [P G ... Tc H]."""
    return jnp.moveaxis(a.reshape(*a.shape[:-2], num_samples, -1, a.shape[-1]), -3, 1)


def _behind_prompt(prompt, own):
    """Each completion's keys (or values) behind its prompt's: [P K Tp H] and [P G K Tc H] -> [P G K Tp+Tc H]."""
    shared = jnp.broadcast_to(prompt[:, None], (*own.shape[:2], *prompt.shape[1:]))
    return jnp.concatenate([shared, own], axis=3)


def _segments(lengths, num_prefix: int, num_own: int) -> kernel.SegmentIds:
    """Real slots are segment 1 for all queries, the prompt's padding is segment 0 for none."""
    slots = jnp.arange(num_prefix + num_own)
    real = (slots < lengths[:, None]) | (slots >= num_prefix)
    return kernel.SegmentIds(q=jnp.ones((lengths.shape[0], num_own), jnp.int32), kv=real.astype(jnp.int32))


def _kernel(num_heads: int, num_queries: int, offset: int, interpret: bool) -> Callable[..., Any]:
    """Queries of `num_heads` heads over offset + num_queries keys of one head, each seeing up to its own place."""
    shape = (num_queries, offset + num_queries)
    block_q, block_kv = (next(block for block in _BLOCKS if size % block == 0) for size in shape)
    sizes = kernel.BlockSizes(
        block_q=block_q,
        block_kv=block_kv,
        block_q_dkv=block_q,
        block_kv_dkv=block_kv,
        block_kv_dkv_compute=block_kv,
        block_q_dq=block_q,
        block_kv_dq=block_kv,
    )
    mask = masks.MultiHeadMask([masks.CausalMask(shape, offset=offset)] * num_heads)
    return kernel.make_splash_mqa(mask, block_sizes=sizes, head_shards=1, q_seq_shards=1, interpret=interpret)
