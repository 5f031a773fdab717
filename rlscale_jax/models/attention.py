"""Ways for queries to meet keys: the `attend` functions of a plain forward and of groups that share a prompt.

Shapes: q [..., T, N, H], k and v [..., S, K, H] with N a multiple of K.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P

from rlscale_jax.models.blockwise import causal_attention
from rlscale_jax.models.layers import Attend
from rlscale_jax.models.mesh import axes, traced_under, ways


def causal_attend() -> Attend:
    """Each token sees itself and what is before it. Right padding needs no mask: nothing real looks at it."""

    def attend(q, k, v, _):
        own_q, own_k, own_v = (a.reshape(-1, *a.shape[-3:]) for a in (q, k, v))
        return causal_attention(own_q, own_k, own_v, _all_visible(own_k)).reshape(q.shape), None

    return attend


def shared_prefix_attend(prefix_lengths: jax.Array, num_prefix: int, num_samples: int) -> Attend:
    """A row is one prompt (`num_prefix` slots, `prefix_lengths` [P] real) followed by its completions.

    The row has num_prefix + num_samples * Tc tokens. Prompt tokens are causal among themselves; a completion's tokens
    see the whole prompt, computed once for all the group, and their own past.
    """

    def attend(q, k, v, _):
        num_prompts = q.shape[0]
        prompt, own = [a[:, :num_prefix] for a in (q, k, v)], [a[:, num_prefix:] for a in (q, k, v)]
        own_q, own_k, own_v = (a.reshape(num_prompts * num_samples, -1, *a.shape[2:]) for a in own)
        keys, values = (_behind(a, b, num_samples) for a, b in zip(prompt[1:], (own_k, own_v), strict=True))
        places = jnp.arange(keys.shape[1])
        visible = (places < prefix_lengths[:, None]) | (places >= num_prefix)  # [P S+Tc]
        prompt_out = causal_attention(prompt[0], prompt[1], prompt[2], _all_visible(prompt[1]))
        own_out = causal_attention(own_q, keys, values, jnp.repeat(visible, num_samples, axis=0))
        return jnp.concatenate([prompt_out, own_out.reshape(num_prompts, -1, *q.shape[2:])], axis=1), None

    return attend


def _behind(prompt, own, num_samples: int):
    """Every completion's keys (or values) behind its prompt's: [P S K H] and [P*G Tc K H] -> [P*G S+Tc K H]."""
    return jnp.concatenate([jnp.repeat(prompt, num_samples, axis=0), own], axis=1)


def _all_visible(k) -> jax.Array:
    return jnp.ones(k.shape[:2], bool)


def even_heads(k: jax.Array, v: jax.Array) -> tuple[jax.Array, jax.Array]:
    """k and v with their heads repeated until they divide over `tensor`, for `by_device`."""
    mesh = traced_under()
    split = 1 if mesh.empty else ways(mesh, "heads")
    copies = math.lcm(k.shape[2], split) // k.shape[2]
    return jnp.repeat(k, copies, axis=2), jnp.repeat(v, copies, axis=2)


def by_device(local: Callable[..., jax.Array], q, k, v, lengths) -> jax.Array:
    """`local(q, k, v, lengths)`, a kernel that the compiler cannot split, on every device's own rows and heads."""
    mesh = traced_under()
    if mesh.empty:
        return local(q, k, v, lengths)
    rows = axes(mesh, "batch") if q.shape[0] % ways(mesh, "batch") == 0 else None
    heads = P(rows, None, axes(mesh, "heads"), None)
    specs = (heads, heads, heads, P(rows))
    return jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=heads, check_vma=False)(q, k, v, lengths)
