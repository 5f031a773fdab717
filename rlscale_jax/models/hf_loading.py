"""Published checkpoints (config.json and *.safetensors) to a Model on a mesh.

Weights stream: a thread reads the next tensor while this one is cut, transposed and written into its layer's slot of
the host's own shards of a stacked array; full shards go to their devices before the next array is begun (on CPU they
are the array, uncopied). The host holds two tensors beside the local shards, however deep the model.
"""

import concurrent.futures
import functools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from jax.sharding import Mesh, Sharding

from rlscale_jax.models import hf_names, sharding, tensor_files
from rlscale_jax.models.architecture import Architecture, from_hf_config
from rlscale_jax.models.decoder import Params
from rlscale_jax.models.hf_names import TIED_COPY, Leaf
from rlscale_jax.models.model import Model
from rlscale_jax.models.tensor_files import StoredTensor

_ALIGNMENT = 64  # bytes; what XLA on CPU asks of memory that it takes over uncopied
_BLOCK = 128  # columns transposed at a time, to stay in the cache


def load_architecture(path: epath.PathLike) -> Architecture:
    """What the directory's config.json says.

    Raises:
      FileNotFoundError: no such directory or file.
      ValueError: a model that is not supported, naming the field.
    """
    directory = epath.Path(path)
    config = directory / "config.json"
    if not config.exists():
        what = "holds no config.json" if directory.exists() else "no such directory"
        raise FileNotFoundError(f"{directory}: {what}; give a Hugging Face model directory (local or gs://)")
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
    places = [array.sharding for array in jax.tree.leaves(sharding.placed_shapes(architecture, mesh))]
    stored = _checked(architecture, path)
    leaves = hf_names.leaves(architecture)
    params: Params = {}
    tensors = _read_ahead([stored[name] for leaf in leaves for name in leaf.names])
    for leaf, place in zip(leaves, places, strict=True):
        kinds = [stored[name].dtype for name in leaf.names]
        target = np.dtype(functools.reduce(jnp.promote_types, kinds) if dtype is None else dtype)
        node = functools.reduce(lambda tree, key: tree.setdefault(key, {}), leaf.path[:-1], params)
        node[leaf.path[-1]] = _place(leaf, tensors, target, place)
    return Model(architecture, params)


def _checked(architecture: Architecture, path: epath.PathLike) -> dict[str, StoredTensor]:
    """The tensors of the directory, known to fit the architecture."""
    stored = tensor_files.find(path)
    if architecture.tie_embeddings and _is_copy(stored, TIED_COPY, "model.embed_tokens.weight"):
        del stored[TIED_COPY]
    hf_names.check(hf_names.leaves(architecture), {name: tensor.shape for name, tensor in stored.items()}, str(path))
    return stored


def _is_copy(stored: dict[str, StoredTensor], name: str, original: str) -> bool:
    """A tied head that is stored all the same must be the table itself."""
    if name not in stored or original not in stored:
        return False
    return np.array_equal(stored[name].read().view(np.uint8), stored[original].read().view(np.uint8))


def _read_ahead(stored: Sequence[StoredTensor]) -> Iterator[np.ndarray]:
    """Tensor after tensor; each is overwritten when the next but one is asked for."""
    scratch = [np.empty(max(tensor.num_bytes for tensor in stored), np.uint8) for _ in range(2)]
    with concurrent.futures.ThreadPoolExecutor(1) as reader:
        pending = reader.submit(stored[0].read, scratch[0])
        for number, following in enumerate([*stored[1:], None], start=1):
            tensor = pending.result()
            if following is not None:
                pending = reader.submit(following.read, scratch[number % 2])
            yield tensor


def _place(leaf: Leaf, tensors: Iterator[np.ndarray], dtype: np.dtype, place: Sharding) -> jax.Array:
    """The next `len(leaf.names)` tensors as one array of the params."""
    one = leaf.shape[::-1] if leaf.transposed else leaf.shape
    shape = (len(leaf.names), *one) if leaf.stacked else one
    indices = {device: index or () for device, index in place.addressable_devices_indices_map(shape).items()}
    shards = {str(index): (index, _aligned(place.shard_shape(shape), dtype)) for index in indices.values()}
    for layer in range(len(leaf.names)):
        tensor = next(tensors)
        tensor = tensor.T if leaf.transposed else tensor
        for index, shard in shards.values():
            if leaf.stacked:
                _copy(tensor[index[1:]], shard[layer])
            else:
                _copy(tensor[index], shard)
    arrays = [jax.device_put(shards[str(index)][1], device) for device, index in indices.items()]
    return jax.make_array_from_single_device_arrays(shape, place, jax.block_until_ready(arrays))


def _aligned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    num_bytes = math.prod(shape) * dtype.itemsize
    memory = np.empty(num_bytes + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + num_bytes].view(dtype).reshape(shape)


def _copy(source: np.ndarray, target: np.ndarray) -> None:
    """Copies and casts; the source may be a transposed view."""
    if source.dtype == target.dtype:  # as integers: numpy moves those faster than bfloat16
        kind = np.dtype(f"u{source.dtype.itemsize}")
        source, target = source.view(kind), target.view(kind)
    if source.flags.c_contiguous:
        target[...] = source
        return
    for start in range(0, source.shape[-1], _BLOCK):
        target[..., start : start + _BLOCK] = source[..., start : start + _BLOCK]
