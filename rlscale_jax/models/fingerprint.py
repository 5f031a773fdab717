"""A fingerprint of arrays: every bit counts, where they lie and who holds them does not.

A trainer's parameters (layers stacked) and a sampler's copy of them (a list of layers, cast, kernels perhaps in tiles)
have the same fingerprint when they are the same weights; so have a state that is saved and the one that is read back.
"""

import functools
import hashlib
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from rlscale_jax.models import tiles


def fingerprint(tree: Any, *, dtype: Any = None) -> str:
    """16 hexadecimal digits of a pytree of arrays, cast to `dtype` first where one is given."""
    sums = jax.tree.map(np.asarray, _checksums(tree, dtype=None if dtype is None else jnp.dtype(dtype)))
    named = sorted((jax.tree_util.keystr(path), int(value)) for path, value in jax.tree.leaves_with_path(sums))
    return hashlib.sha256(json.dumps(named).encode()).hexdigest()[:16]


@functools.partial(jax.jit, static_argnames="dtype")
def _checksums(tree: Any, *, dtype: jnp.dtype | None) -> Any:
    def of(array: jax.Array, first: int = 0) -> jax.Array:
        return _checksum(array if dtype is None else array.astype(dtype), first)

    if isinstance(tree, dict) and isinstance(tree.get("layers"), list):
        tree = jax.tree.map_with_path(_without_tiles, tree)
        rest = {name: jax.tree.map(of, part) for name, part in tree.items() if name != "layers"}
        layers = [jax.tree.map(functools.partial(of, first=i), layer) for i, layer in enumerate(tree["layers"])]
        return rest | {"layers": jax.tree.map(lambda *sums: functools.reduce(jnp.add, sums), *layers)}
    return jax.tree.map(of, tree)


def _without_tiles(path: tuple[Any, ...], array: jax.Array) -> jax.Array:
    """A kernel [D F] from its tiles; the zeros behind its columns change no sum."""
    return tiles.joined(array) if path[-1].key == "kernel" and array.ndim == 3 else array


def _checksum(array: jax.Array, first: int) -> jax.Array:
    """Sum of bits times an odd number made of the place, modulo 2^32: exact, so the same in any order of adding.

    `first` is the index along a leading axis that the array has been taken from; 0 where it has not.
    """
    bits = lax.bitcast_convert_type(array, jnp.dtype(f"uint{8 * array.dtype.itemsize}")).astype(jnp.uint32)
    place = jnp.full(array.shape, first, jnp.uint32)
    for axis in range(array.ndim):
        place = place * jnp.uint32(2_654_435_761) + lax.broadcasted_iota(jnp.uint32, array.shape, axis)
    return jnp.sum(bits * (2 * place + 1), dtype=jnp.uint32)
