"""How a model's parameters lie on a mesh: logical axes of every array, and which meshes are possible.

Key/value heads and vocabularies that do not divide `tensor` are replicated; anything else that does not divide is
refused, before a weight is read.
"""

import math
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, SingleDeviceSharding
from jax.sharding import PartitionSpec as P

from rlscale_jax.models import decoder
from rlscale_jax.models.architecture import Architecture
from rlscale_jax.models.mesh import PARAM_AXES, axes, for_sampling, ways


def check_mesh(architecture: Architecture, mesh: Mesh) -> None:
    """Raises ValueError, with the numbers, for a mesh that this architecture cannot be split over."""
    needed = {
        "heads": ("num_attention_heads", architecture.num_heads),
        "mlp": ("intermediate_size", architecture.intermediate_size),
        "embed": ("hidden_size", architecture.hidden_size),
    }
    problems = [
        f"{field} {size} does not divide over {'*'.join(axes(one, logical))}={ways(one, logical)}"
        for one in dict.fromkeys((mesh, for_sampling(mesh)))
        for logical, (field, size) in needed.items()
        if size % ways(one, logical)
    ]
    if problems:
        tensor = math.gcd(architecture.num_heads, architecture.intermediate_size)
        raise ValueError(
            f"impossible mesh {dict(mesh.shape)}: {'; '.join(problems)}. "
            f"Use a tensor size that divides {tensor} and an fsdp size that divides {architecture.hidden_size}"
        )


def param_shardings(architecture: Architecture, mesh: Mesh) -> dict[str, Any]:
    """A NamedSharding for every parameter, in the params' own structure.

    Raises:
      ValueError: an impossible mesh, see `check_mesh`.
    """
    check_mesh(architecture, mesh)
    split = {"embed", "heads", "mlp"}
    split |= {"kv_heads"} if architecture.num_kv_heads % ways(mesh, "kv_heads") == 0 else set()
    split |= {"vocab"} if architecture.vocab_size % ways(mesh, "vocab") == 0 else set()

    def place(path, array: jax.ShapeDtypeStruct) -> NamedSharding:
        logical = PARAM_AXES["/".join(key.key for key in path[-2:])]
        entries = [axes(mesh, axis) if axis in split else None for axis in logical]
        return NamedSharding(mesh, P(*[None] * (len(array.shape) - len(logical)), *entries))

    return jax.tree.map_with_path(place, decoder.abstract_params(architecture))


def placed_shapes(architecture: Architecture, mesh: Mesh | None) -> dict[str, Any]:
    """Shape, dtype (float32) and sharding of every parameter; without a mesh, all on the first local device.

    Raises:
      ValueError: an impossible mesh, see `check_mesh`.
    """
    shapes = decoder.abstract_params(architecture)
    single = SingleDeviceSharding(jax.local_devices()[0])
    places = jax.tree.map(lambda _: single, shapes) if mesh is None else param_shardings(architecture, mesh)
    return jax.tree.map(lambda a, place: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=place), shapes, places)
