"""A Model as a Hugging Face directory: config.json and *.safetensors, written one tensor at a time."""

import functools
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from jax import lax
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from rlscale_jax.models import hf_names, tensor_files
from rlscale_jax.models.architecture import to_hf_config
from rlscale_jax.models.decoder import Params
from rlscale_jax.models.hf_names import TABLE, TIED_COPY, Leaf
from rlscale_jax.models.model import Model

_BITS = {2: jnp.uint16, 4: jnp.uint32}
Layout = dict[str, tuple[np.dtype, tuple[int, ...]]]


def save_pretrained(
    model: Model,
    directory: epath.PathLike,
    *,
    dtype: Any = None,
    tokenizer_files: Mapping[str, bytes] | None = None,
    config: Mapping[str, Any] | None = None,
    max_shard_bytes: int = 5 * 10**9,
) -> None:
    """Writes a directory that `load_pretrained` and transformers read; config.json comes last and marks it complete.

    `dtype` (None: as held) is what is written; a mapping from published names writes just these tensors. `config` is
    a config.json to keep (its dtype fields follow); `tokenizer_files` go in as they are. All hosts of a pod call this
    together; the first one writes.
    """
    directory = epath.Path(directory)
    layout, tensors = _contents(model, dtype)
    if jax.process_index():
        for _ in tensors:  # the other hosts only take part in the gathering
            pass
        return
    directory.mkdir(parents=True, exist_ok=True)
    for old in [directory / "config.json", *directory.glob("*.safetensors"), directory / tensor_files.INDEX]:
        old.unlink(missing_ok=True)
    _write_shards(directory, layout, tensors, max_shard_bytes)
    for name, data in (tokenizer_files or {}).items():
        (directory / name).write_bytes(data)
    config = dict(config or to_hf_config(model.architecture))
    for field in {"torch_dtype", "dtype"} & set(config):
        config[field] = layout[TABLE if TABLE in layout else TIED_COPY][0].name
    (directory / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def _contents(model: Model, dtype: Any) -> tuple[Layout, Iterator[np.ndarray]]:
    """What is to be written, and the tensors themselves in that order."""
    sources: dict[str, tuple[Leaf, int]] = {}
    for leaf in hf_names.leaves(model.architecture):
        sources |= {name: (leaf, layer) for layer, name in enumerate(leaf.names)}
    named = dict(dtype) if isinstance(dtype, Mapping) else {}
    if named:
        sources[TIED_COPY] = sources[TABLE if model.architecture.tie_embeddings else TIED_COPY]
        sources = {name: source for name, source in sources.items() if name in named}

    def kind(name: str, leaf: Leaf) -> np.dtype:
        uniform = None if isinstance(dtype, Mapping) else dtype
        return np.dtype(named.get(name, uniform or _leaf_of(model.params, leaf.path).dtype))

    layout = {name: (kind(name, leaf), leaf.shape) for name, (leaf, _) in sources.items()}
    tensors = (
        _fetch(_leaf_of(model.params, leaf.path), layer if leaf.stacked else None, leaf.transposed, layout[name][0])
        for name, (leaf, layer) in sources.items()
    )
    return layout, tensors


def _leaf_of(params: Params, path: tuple[str, ...]) -> Any:
    return functools.reduce(lambda tree, key: tree[key], path, params)


def _fetch(array: jax.Array, layer: int | None, transposed: bool, dtype: np.dtype) -> np.ndarray:
    """One published tensor, gathered to this host."""
    array = jnp.asarray(array)
    place = array.sharding
    whole = NamedSharding(place.mesh, P()) if isinstance(place, NamedSharding) else place
    bits = jax.jit(_to_bits if layer is None else _layer_bits, out_shardings=whole)
    tensor = np.asarray(bits(array) if layer is None else bits(array, layer)).view(array.dtype)
    tensor = tensor.T if transposed else tensor
    return np.ascontiguousarray(tensor.astype(dtype, copy=False))


def _to_bits(array: jax.Array) -> jax.Array:
    """As integers: XLA on CPU would widen the whole of a bfloat16 array for the sake of one layer."""
    return lax.bitcast_convert_type(array, _BITS[array.dtype.itemsize])


def _layer_bits(array: jax.Array, layer: jax.Array) -> jax.Array:
    return lax.dynamic_index_in_dim(_to_bits(array), layer, 0, keepdims=False)


def _write_shards(
    directory: epath.Path,
    layout: Layout,
    tensors: Iterator[np.ndarray],
    max_shard_bytes: int,
) -> None:
    sizes = {name: math.prod(shape) * dtype.itemsize for name, (dtype, shape) in layout.items()}
    shards: list[list[str]] = [[]]
    filled = 0
    for name, size in sizes.items():
        if shards[-1] and filled + size > max_shard_bytes:
            shards.append([])
            filled = 0
        shards[-1].append(name)
        filled += size
    if len(shards) == 1:
        tensor_files.write(directory / tensor_files.SINGLE, layout, tensors)
        return
    files = [f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors" for i in range(len(shards))]
    for file, names in zip(files, shards, strict=True):
        part = (next(tensors) for _ in names)
        tensor_files.write(directory / file, {name: layout[name] for name in names}, part)
    weight_map = {name: file for file, names in zip(files, shards, strict=True) for name in names}
    index = {"metadata": {"total_size": sum(sizes.values())}, "weight_map": weight_map}
    (directory / tensor_files.INDEX).write_text(json.dumps(index, indent=2) + "\n")
