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
from rlscale_jax.models import mesh as meshes
from rlscale_jax.models.architecture import Architecture, from_hf_config
from rlscale_jax.models.decoder import Params
from rlscale_jax.models.hf_names import DERIVED, TABLE, TIED_COPY, Leaf
from rlscale_jax.models.model import Model
from rlscale_jax.models.tensor_files import StoredTensor

_NUM_THREADS = 2
_CAST_ROWS = 256  # rows turned before they are cast: some MB, which stay in the processor's cache
_BLOCK = 32  # columns transposed at a time: a cache line of bfloat16
_COMPARED = 1 << 24  # values compared at a time


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

    `dtype` is the parameters': float32, bfloat16 or float16 (None: as each tensor is stored). The mesh has axes named
    data, fsdp or tensor (see `mesh.adopted`); without one all lies on the first local device.

    Raises:
      FileNotFoundError: no such directory, config.json or weights.
      ValueError: an unsupported model or dtype, an impossible mesh (all before any weight is read), broken files, or
        tensors that do not fit config.json (one message lists them all).
    """
    if dtype is not None and jnp.dtype(dtype) not in tensor_files.CODES:
        allowed = ", ".join(kind.name for kind in tensor_files.CODES)
        raise ValueError(f"dtype {jnp.dtype(dtype)} is not supported; use one of {allowed}")
    architecture = load_architecture(path)
    mesh = None if mesh is None else meshes.adopted(mesh)
    places = [array.sharding for array in jax.tree.leaves(sharding.placed_shapes(architecture, mesh))]
    stored = _checked(architecture, path)
    leaves = hf_names.leaves(architecture)
    params: Params = {}
    with _readers(max(tensor.num_bytes for tensor in stored.values())) as readers:
        for leaf, place in zip(leaves, places, strict=True):
            kinds = [stored[name].dtype for name in leaf.names]
            target = jnp.dtype(functools.reduce(jnp.promote_types, kinds) if dtype is None else dtype)
            node = functools.reduce(lambda tree, key: tree.setdefault(key, {}), leaf.path[:-1], params)
            node[leaf.path[-1]] = _load_leaf(leaf, stored, target, place, readers)
    return Model(architecture, params)


def _checked(architecture: Architecture, path: epath.PathLike) -> dict[str, StoredTensor]:
    """The tensors of the directory, known to fit the architecture."""
    stored = {name: tensor for name, tensor in tensor_files.find(path).items() if DERIVED not in name}
    shapes = {name: tensor.shape for name, tensor in stored.items()}
    head = None
    if architecture.tie_embeddings and TIED_COPY in stored:
        head, _ = stored.pop(TIED_COPY), shapes.pop(TIED_COPY)
        shapes.setdefault(TABLE, head.shape)  # some tools keep the head's name and drop the table's
        stored.setdefault(TABLE, head)
    lines = hf_names.misfits(hf_names.leaves(architecture), shapes)
    lines += [
        f"dtype {tensor.code} is not supported, only {', '.join(tensor_files.DTYPES)}: {name}"
        for name, tensor in stored.items()
        if tensor.code not in tensor_files.DTYPES
    ]
    if head and not lines and stored[TABLE] is not head and not _same_values(head, stored[TABLE]):
        lines.append(f"surplus: {TIED_COPY} {list(head.shape)} is not {TABLE}, though tie_word_embeddings is true")
    if lines:
        raise ValueError(f"{path}: {len(lines)} tensors do not fit its config.json:\n  " + "\n  ".join(lines))
    return stored


def _same_values(first: StoredTensor, second: StoredTensor) -> bool:
    """Compared in pieces, and as float32, which holds every supported dtype exactly."""
    if first.shape != second.shape or first.code not in tensor_files.DTYPES:
        return False
    rows = max(1, _COMPARED // max(1, math.prod(first.shape[1:])))

    def bits(tensor: StoredTensor, start: int) -> np.ndarray:
        return tensor.rows(start, start + rows).read().astype(np.float32).view(np.uint32)

    return all(np.array_equal(bits(first, row), bits(second, row)) for row in range(0, first.shape[0], rows))


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
    """Fresh whole pages, which XLA on CPU takes over uncopied. Private ones, as shared ones take longer to touch first;
    not huge ones, as numpy's own: with free memory in pieces the system takes seconds to make them."""
    memory = mmap.mmap(-1, math.prod(shape) * dtype.itemsize, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return np.frombuffer(memory, dtype).reshape(shape)


def _copy(source: np.ndarray, target: np.ndarray) -> None:
    """Copies and casts; the source may be a transposed view."""
    if source.dtype == target.dtype:  # as integers: numpy moves those faster than bfloat16
        kind = np.dtype(f"u{source.dtype.itemsize}")
        source, target = source.view(kind), target.view(kind)
    if source.flags.c_contiguous:
        target[...] = source
        return
    if source.dtype != target.dtype:  # turned first, cast then: a cast of columns takes twice as long
        for start in range(0, len(target), _CAST_ROWS):
            rows = source[start : start + _CAST_ROWS]
            turned = np.empty(rows.shape, source.dtype)
            _copy(rows, turned)
            target[start : start + _CAST_ROWS] = turned
        return
    for start in range(0, source.shape[-1], _BLOCK):
        target[..., start : start + _BLOCK] = source[..., start : start + _BLOCK]
