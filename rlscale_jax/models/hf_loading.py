"""Published checkpoints (config.json and *.safetensors) to a Model on a mesh.

Weights stream: two threads each read one tensor, cut and transpose it, and write it into its layer's slot of the
host's own shards of a stacked array; full shards go to their devices before the next array is begun (on CPU they are
the array, uncopied). The host holds two tensors beside the local shards, however deep the model.
"""

import concurrent.futures
import contextlib
import dataclasses
import functools
import math
import mmap
import queue
from collections.abc import Iterator
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

_NUM_THREADS = 2
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
    with _readers(max(tensor.num_bytes for tensor in stored.values())) as readers:
        for leaf, place in zip(leaves, places, strict=True):
            kinds = [stored[name].dtype for name in leaf.names]
            target = np.dtype(functools.reduce(jnp.promote_types, kinds) if dtype is None else dtype)
            node = functools.reduce(lambda tree, key: tree.setdefault(key, {}), leaf.path[:-1], params)
            node[leaf.path[-1]] = _load_leaf(leaf, stored, target, place, readers)
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


@dataclasses.dataclass(frozen=True)
class _Readers:
    """Threads, and one piece of memory for each, used again and again: fresh pages cost as much as reading."""

    threads: concurrent.futures.Executor
    scratch: queue.SimpleQueue


@contextlib.contextmanager
def _readers(largest_bytes: int) -> Iterator[_Readers]:
    scratch = queue.SimpleQueue()
    for _ in range(_NUM_THREADS):
        scratch.put(_memory((largest_bytes,), np.dtype(np.uint8)))
    with concurrent.futures.ThreadPoolExecutor(_NUM_THREADS) as threads:
        yield _Readers(threads, scratch)


def _load_leaf(
    leaf: Leaf, stored: dict[str, StoredTensor], dtype: np.dtype, place: Sharding, readers: _Readers
) -> jax.Array:
    """The leaf's tensors as one array of the params."""
    one = leaf.shape[::-1] if leaf.transposed else leaf.shape
    shape = (len(leaf.names), *one) if leaf.stacked else one
    indices = {device: index or () for device, index in place.addressable_devices_indices_map(shape).items()}
    shards = {str(index): (index, _memory(place.shard_shape(shape), dtype)) for index in indices.values()}

    def fill(layer: int) -> None:
        scratch = readers.scratch.get()
        try:
            tensor = stored[leaf.names[layer]].read(scratch)
            tensor = tensor.T if leaf.transposed else tensor
            for index, shard in shards.values():
                _copy(tensor[index[1:]] if leaf.stacked else tensor[index], shard[layer] if leaf.stacked else shard)
        finally:
            readers.scratch.put(scratch)

    for _ in readers.threads.map(fill, range(len(leaf.names))):
        pass  # raises what went wrong in a thread
    arrays = [jax.device_put(shards[str(index)][1], device) for device, index in indices.items()]
    return jax.make_array_from_single_device_arrays(shape, place, jax.block_until_ready(arrays))


def _memory(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Fresh whole pages: XLA on CPU takes aligned memory over uncopied; numpy's own asks for huge pages, which a
    busy machine must first compact."""
    return np.frombuffer(mmap.mmap(-1, math.prod(shape) * dtype.itemsize), dtype).reshape(shape)


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
