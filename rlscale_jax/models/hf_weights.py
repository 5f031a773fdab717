"""Published checkpoints (config.json and *.safetensors) to a Model on a mesh, and back.

Weights stream: one tensor is read (and the next one, meanwhile, by a thread), placed on the mesh, and written into its
layer's slot of the stacked array on the devices. The host never holds more than that, however deep the model.
"""

import concurrent.futures
import functools
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from jax import lax
from jax.sharding import Mesh, NamedSharding, Sharding, SingleDeviceSharding
from jax.sharding import PartitionSpec as P

from rlscale_jax.models import hf_names, sharding, tensor_files
from rlscale_jax.models.architecture import Architecture, from_hf_config, to_hf_config
from rlscale_jax.models.decoder import Params
from rlscale_jax.models.hf_names import Leaf
from rlscale_jax.models.model import Model
from rlscale_jax.models.tensor_files import StoredTensor

_BITS = {2: jnp.uint16, 4: jnp.uint32}


def load_architecture(path: epath.PathLike) -> Architecture:
    """What the directory's config.json says.

    Raises:
      FileNotFoundError: no such directory or file.
      ValueError: a model that is not supported, naming the field.
    """
    config = epath.Path(path) / "config.json"
    if not config.exists():
        raise FileNotFoundError(f"{config} is not there; give a Hugging Face model directory (local or gs://)")
    return from_hf_config(tensor_files.read_json(config))


def load_pretrained(path: epath.PathLike, *, dtype: Any, mesh: Mesh | None = None) -> Model:
    """A Hugging Face directory (local or gs://) as a Model, each parameter laid out over the mesh.

    `dtype` is the parameters' (None: as each tensor is stored); without a mesh all lies on the first local device.

    Raises:
      FileNotFoundError: no such directory, config.json or weights.
      ValueError: an unsupported model, an impossible mesh (both before any weight is read), broken files, or tensors
        that do not fit config.json (one message lists them all).
    """
    architecture = load_architecture(path)
    shardings = _shardings(architecture, mesh)
    stored = _checked(architecture, path)
    leaves = hf_names.leaves(architecture)
    params: Params = {}
    tensors = _read_ahead(stored[name] for leaf in leaves for name in leaf.names)
    for leaf, place in zip(leaves, jax.tree.leaves(shardings), strict=True):
        kinds = [stored[name].dtype for name in leaf.names]
        target = np.dtype(functools.reduce(jnp.promote_types, kinds) if dtype is None else dtype)
        node = functools.reduce(lambda tree, key: tree.setdefault(key, {}), leaf.path[:-1], params)
        node[leaf.path[-1]] = _place(leaf, tensors, target, place)
    return Model(architecture, params)


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

    `dtype` (None: as held) is what is written, `config` a config.json to keep (its dtype fields follow);
    `tokenizer_files` go in as they are. All hosts of a pod call this together; the first one writes.
    """
    directory = epath.Path(directory)
    leaves = hf_names.leaves(model.architecture)
    held = {leaf.path: _leaf_of(model.params, leaf.path) for leaf in leaves}
    kinds = {leaf.path: np.dtype(dtype or held[leaf.path].dtype) for leaf in leaves}
    layout = {name: (kinds[leaf.path], leaf.shape) for leaf in leaves for name in leaf.names}
    tensors = (
        _fetch(held[leaf.path], layer if leaf.stacked else None, leaf.transposed, kinds[leaf.path])
        for leaf in leaves
        for layer, _ in enumerate(leaf.names)
    )
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
        config[field] = kinds["embed", "embedding"].name
    (directory / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def _shardings(architecture: Architecture, mesh: Mesh | None) -> Any:
    if mesh is not None:
        return sharding.param_shardings(architecture, mesh)
    single = SingleDeviceSharding(jax.local_devices()[0])
    return jax.tree.map(lambda _: single, sharding.decoder.abstract_params(architecture))


def _checked(architecture: Architecture, path: epath.PathLike) -> dict[str, StoredTensor]:
    """The tensors of the directory, known to fit the architecture."""
    stored = tensor_files.find(path)
    if architecture.tie_embeddings and _is_copy(stored, "lm_head.weight", "model.embed_tokens.weight"):
        del stored["lm_head.weight"]
    hf_names.check(hf_names.leaves(architecture), {name: tensor.shape for name, tensor in stored.items()}, str(path))
    return stored


def _is_copy(stored: dict[str, StoredTensor], name: str, original: str) -> bool:
    """Some tools store a tied head a second time; it must then be the table itself."""
    if name not in stored or original not in stored:
        return False
    return np.array_equal(stored[name].read().view(np.uint8), stored[original].read().view(np.uint8))


def _read_ahead(stored: Iterable[StoredTensor]) -> Iterator[np.ndarray]:
    """Reads tensor n + 1 while n is in use."""
    with concurrent.futures.ThreadPoolExecutor(1) as reader:
        pending = None
        for tensor in stored:
            following = reader.submit(tensor.read)
            if pending is not None:
                yield pending.result()
            pending = following
        if pending is not None:
            yield pending.result()


def _place(leaf: Leaf, tensors: Iterator[np.ndarray], dtype: np.dtype, place: Sharding) -> jax.Array:
    """The next `len(leaf.names)` tensors as one array of the params."""
    if not leaf.stacked:
        return _cast(_put(next(tensors), leaf.transposed, place), dtype)
    one = leaf.shape[::-1] if leaf.transposed else leaf.shape
    shape = (len(leaf.names), *one)
    slot = NamedSharding(place.mesh, P(*place.spec[1:])) if isinstance(place, NamedSharding) else place
    array = jax.jit(lambda: jnp.zeros(shape, dtype), out_shardings=place)()
    fill = jax.jit(_fill, donate_argnums=0, out_shardings=place)
    for layer in range(shape[0]):
        array = fill(array, layer, _put(next(tensors), leaf.transposed, slot))
        array.block_until_ready()  # bounds what the host holds
    return array


def _put(tensor: np.ndarray, transposed: bool, place: Sharding) -> jax.Array:
    tensor = tensor.T if transposed else tensor  # a view: the runtime transposes while it copies
    return jax.make_array_from_callback(tensor.shape, place, lambda index: tensor[index])


def _cast(array: jax.Array, dtype: np.dtype) -> jax.Array:
    if array.dtype == dtype:
        return array
    return jax.jit(lambda a: a.astype(dtype), out_shardings=array.sharding)(array)


def _fill(stacked: jax.Array, layer: jax.Array, values: jax.Array) -> jax.Array:
    """Writes one layer. As integers: XLA on CPU would widen the whole of a bfloat16 array, not write in place."""
    values = _to_bits(values.astype(stacked.dtype))
    return lax.bitcast_convert_type(lax.dynamic_update_index_in_dim(_to_bits(stacked), values, layer, 0), stacked.dtype)


def _to_bits(array: jax.Array) -> jax.Array:
    return lax.bitcast_convert_type(array, _BITS[array.dtype.itemsize])


def _leaf_of(params: Params, path: tuple[str, ...]) -> jax.Array:
    return functools.reduce(lambda tree, key: tree[key], path, params)


def _fetch(array: jax.Array, layer: int | None, transposed: bool, dtype: np.dtype) -> np.ndarray:
    """One published tensor, gathered to this host."""
    place = array.sharding
    whole = NamedSharding(place.mesh, P()) if isinstance(place, NamedSharding) else place
    bits = jax.jit(_to_bits if layer is None else _layer_bits, out_shardings=whole)
    tensor = np.asarray(bits(array) if layer is None else bits(array, layer)).view(array.dtype)
    tensor = tensor.T if transposed else tensor
    return np.ascontiguousarray(tensor.astype(dtype, copy=False))


def _layer_bits(array: jax.Array, layer: jax.Array) -> jax.Array:
    return lax.dynamic_index_in_dim(_to_bits(array), layer, 0, keepdims=False)


def _write_shards(
    directory: epath.Path,
    layout: dict[str, tuple[np.dtype, tuple[int, ...]]],
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
