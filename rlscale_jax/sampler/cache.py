"""The keys and values of a rollout: shared prompts, whole segments, and the segment being written.

A row decodes in segments of a fixed number of steps. Within a segment the prompts and the earlier segments
("history") are only read, and new tokens go to a buffer of one segment at one index for all rows, whatever their age:
a step writes a small contiguous piece and copies nothing large. Between segments the buffer is folded into the
history, which grows in buckets, and rows may be dropped, moved or added.

Rows are laid out as units of lanes, B = U * W: a unit is one prompt, its lanes decode samples of that prompt and meet
the prompt's keys in one product. Keys are stored [K H S] and values [K S H]: on CPU both products then run along
contiguous memory.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from rlscale_jax.models import mesh


class KeysValues(NamedTuple):
    """Arrays of one layer; [rows K ...] is [rows ...] where K is 1."""

    keys: jax.Array | np.ndarray  # [rows K H S]
    values: jax.Array | np.ndarray  # [rows K S H]


class LayerCache(NamedTuple):
    """One layer's caches."""

    prefix: KeysValues  # rows: U units; S: prompt slots
    history: KeysValues  # rows: B; S: whole segments
    recent: KeysValues  # rows: B; S: one segment


class Visible(NamedTuple):
    """How far each part of the cache is filled. Everything before is visible."""

    prefix: jax.Array  # [U] prompt lengths
    history: jax.Array  # [B] tokens of whole segments
    recent: jax.Array  # [] steps done in this segment


def rows_shape(num_rows: int, num_kv_heads: int) -> tuple[int, ...]:
    """Leading axes of a cache: [rows K], or [rows] for one head.

    An axis of size 1 would be squeezed away by XLA on one of the cache's uses, which then copies it every step.
    """
    return (num_rows, num_kv_heads) if num_kv_heads > 1 else (num_rows,)


def placed(cache: KeysValues) -> KeysValues:
    """The cache on a mesh: rows over the batch's axes, heads over `tensor`. Without a mesh, the cache itself."""
    heads = ("kv_heads",) if cache.keys.ndim == 4 else ()
    return KeysValues(*(mesh.constrain(jnp.asarray(a), "batch", *heads, None, None) for a in cache))


def empty(num_rows: int, num_kv_heads: int, head_dim: int, slots: int, dtype: jnp.dtype) -> KeysValues:
    shape = rows_shape(num_rows, num_kv_heads)
    return placed(KeysValues(jnp.zeros((*shape, head_dim, slots), dtype), jnp.zeros((*shape, slots, head_dim), dtype)))


def from_sequence(keys: Float[Array, "rows T K H"], values: Float[Array, "rows T K H"]) -> KeysValues:
    """A prefill's keys and values in the cache's layout."""
    shape = rows_shape(keys.shape[0], keys.shape[2])
    keys, values = keys.transpose(0, 2, 3, 1), values.transpose(0, 2, 1, 3)
    return placed(KeysValues(keys.reshape(*shape, *keys.shape[2:]), values.reshape(*shape, *values.shape[2:])))


def write(cache: KeysValues, key: Float[Array, "B K H"], value: Float[Array, "B K H"], slot: jax.Array) -> KeysValues:
    """One token for every row, all at the same slot."""
    shape = cache.keys.shape[:-2]
    key, value = key.reshape(*shape, -1, 1), value.reshape(*shape, 1, -1)
    return KeysValues(
        jax.lax.dynamic_update_slice_in_dim(cache.keys, key, slot, axis=cache.keys.ndim - 1),
        jax.lax.dynamic_update_slice_in_dim(cache.values, value, slot, axis=cache.values.ndim - 2),
    )


def fold(history: KeysValues, recent: KeysValues, ages: Int[Array, " B"], slots: int) -> KeysValues:
    """History with the segment just written placed after each row's `ages` earlier tokens; `slots` is its new size.

    A select over the whole history, not a scatter: once per segment, in every layout and on every device fast.
    """
    rank = history.keys.ndim
    keys = _fold(history.keys, recent.keys, ages, slots, axis=rank - 1)
    return placed(KeysValues(keys, _fold(history.values, recent.values, ages, slots, axis=rank - 2)))


def _fold(history, recent, ages, slots, axis):
    segment, rank = recent.shape[axis], recent.ndim
    change = slots - history.shape[axis]  # negative where the longest rows have left
    grown = jax.lax.pad(history, jnp.zeros((), history.dtype), [(0, change * (a == axis), 0) for a in range(rank)])
    tiled = jnp.concatenate([recent] * (slots // segment), axis=axis)
    index = jnp.arange(slots).reshape([slots if a == axis else 1 for a in range(rank)])
    begin = ages.reshape(-1, *[1] * (rank - 1))
    return jnp.where((index >= begin) & (index < begin + segment), tiled, grown)


def take(caches: Sequence[KeysValues], rows: Int[Array, " rows"]) -> KeysValues:
    """The given rows of caches joined along their rows."""
    joined = caches[0] if len(caches) == 1 else jax.tree.map(lambda *a: jnp.concatenate(a), *caches)
    return placed(jax.tree.map(lambda a: jnp.take(a, rows, axis=0), joined))
