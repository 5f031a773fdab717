"""Published checkpoints (config.json and *.safetensors) to a Model on a mesh.

Weights stream: one tensor is read (and the next one, meanwhile, by a thread), placed on the mesh, and written into its
layer's slot of the stacked array on the devices. The host never holds more than that, however deep the model.
"""

import concurrent.futures
import functools
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from jax import lax
from jax.sharding import Mesh, NamedSharding, Sharding
from jax.sharding import PartitionSpec as P

from rlscale_jax.models import hf_names, sharding, tensor_files
from rlscale_jax.models.architecture import Architecture, from_hf_config
from rlscale_jax.models.decoder import Params
from rlscale_jax.models.hf_names import TIED_COPY, Leaf
from rlscale_jax.models.model import Model
from rlscale_jax.models.tensor_files import StoredTensor

_BITS = {2: jnp.uint16, 4: jnp.uint32}


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
    tensors = _read_ahead(stored[name] for leaf in leaves for name in leaf.names)
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
    values = to_bits(values.astype(stacked.dtype))
    return lax.bitcast_convert_type(lax.dynamic_update_index_in_dim(to_bits(stacked), values, layer, 0), stacked.dtype)


def to_bits(array: jax.Array) -> jax.Array:
    """The same bytes as unsigned integers."""
    return lax.bitcast_convert_type(array, _BITS[array.dtype.itemsize])
