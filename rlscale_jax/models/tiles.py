"""Kernels cut into tiles of columns: how a CPU multiplies few rows by large weights at the speed of its memory.

A product of few rows reads a kernel [D F] from memory once and does little else. Row by row the reads jump by F
elements; a tile lies in one piece, and 48 columns fill the registers of Eigen's inner loop (three AVX-512 vectors).
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

COLUMNS = 48
MANY_ROWS = 32  # from here on the product, not the memory, takes the time: whole kernels multiply faster


def cut(kernel: Float[Array, "D F"]) -> Float[Array, "tiles D 48"]:
    """The kernel's columns in tiles, the last one filled up with zeros."""
    rows, columns = kernel.shape
    padded = jnp.pad(kernel, ((0, 0), (0, -columns % COLUMNS)))
    return padded.reshape(rows, -1, COLUMNS).swapaxes(0, 1)


def has_tiles(params: dict[str, Any]) -> bool:
    """Whether kernels of these parameters were cut; all of them are, or none."""
    return "lm_head" in params and params["lm_head"]["kernel"].ndim == 3


def joined(tiles: Float[Array, "tiles D 48"]) -> Float[Array, "D columns"]:
    """The kernel that was cut, with the zeros that filled up its last tile."""
    return tiles.swapaxes(0, 1).reshape(tiles.shape[1], -1)


def product(x: Float[Array, "*rows D"], tiles: Float[Array, "tiles D 48"], size: int) -> Float[Array, "*rows F"]:
    """x @ kernel for the kernel of `size` columns that was cut."""
    num_tiles, depth, _ = tiles.shape
    if x.size // depth >= MANY_ROWS:
        return x @ joined(tiles)[:, :size]
    flat = jnp.broadcast_to(x.reshape(-1, depth), (num_tiles, x.size // depth, depth))
    each = jax.lax.dot_general(flat, tiles, (((2,), (1,)), ((0,), (0,))), preferred_element_type=x.dtype)
    return each.swapaxes(0, 1).reshape(*x.shape[:-1], -1)[..., :size]
