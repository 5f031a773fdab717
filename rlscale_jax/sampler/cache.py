"""The keys and values of a rollout: shared prompts, whole segments, and the segment being written.

A row decodes in segments of a fixed number of steps. Within a segment the prompts and the earlier segments
("history") are only read, and new tokens go to a buffer of one segment at one index for all rows, whatever their age:
a step writes a small contiguous piece and copies nothing large. Between segments the buffer is folded into the
history, which grows in buckets, and rows may be dropped, moved or added.

Rows are laid out as units of lanes, B = U * W: a unit is one prompt, its lanes decode samples of that prompt and meet
the prompt's keys in one product. Keys are stored [K H S] and values [K S H]: on CPU both products then run along
contiguous memory.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


class KeysValues(NamedTuple):
    keys: jax.Array  # [rows K H S]
    values: jax.Array  # [rows K S H]


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


def empty(num_rows: int, num_kv_heads: int, head_dim: int, slots: int, dtype: jnp.dtype) -> KeysValues:
    shape = (num_rows, num_kv_heads)
    return KeysValues(jnp.zeros((*shape, head_dim, slots), dtype), jnp.zeros((*shape, slots, head_dim), dtype))


def from_sequence(keys: Float[Array, "rows T K H"], values: Float[Array, "rows T K H"]) -> KeysValues:
    """A prefill's keys and values in the cache's layout."""
    return KeysValues(keys.transpose(0, 2, 3, 1), values.transpose(0, 2, 1, 3))


def write(cache: KeysValues, key: Float[Array, "B K H"], value: Float[Array, "B K H"], slot: jax.Array) -> KeysValues:
    """One token for every row, all at the same slot."""
    return KeysValues(
        jax.lax.dynamic_update_slice_in_dim(cache.keys, key[..., None], slot, axis=3),
        jax.lax.dynamic_update_slice_in_dim(cache.values, value[:, :, None], slot, axis=2),
    )


def fold(history: KeysValues, recent: KeysValues, ages: Int[Array, " B"], slots: int) -> KeysValues:
    """History with the segment just written placed after each row's `ages` earlier tokens; `slots` is its new size.

    A select over the whole history, not a scatter: once per segment, in every layout and on every device fast.
    """
    return KeysValues(
        _fold(history.keys, recent.keys, ages, slots, axis=3),
        _fold(history.values, recent.values, ages, slots, axis=2),
    )


def _fold(history, recent, ages, slots, axis):
    segment = recent.shape[axis]
    change = slots - history.shape[axis]  # negative where the longest rows have left
    grown = jax.lax.pad(history, jnp.zeros((), history.dtype), [(0, change if a == axis else 0, 0) for a in range(4)])
    tiled = jnp.concatenate([recent] * (slots // segment), axis=axis)
    shape = [1] * 4
    shape[axis] = slots
    index = jnp.arange(slots).reshape(shape)
    begin = ages.reshape(-1, 1, 1, 1)
    return jnp.where((index >= begin) & (index < begin + segment), tiled, grown)


def take(tree: Any, rows: Int[Array, " rows"]) -> Any:
    """The given rows of every array."""
    return jax.tree.map(lambda a: jnp.take(a, rows, axis=0), tree)
