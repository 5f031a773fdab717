"""The device mesh, and the one table from logical axes to its axes `data`, `fsdp`, `tensor`.

Parameters are split over `fsdp` along the embedding axis and over `tensor` along heads, feed-forward and vocabulary;
batches over `data` and `fsdp`; activations over the batch and over heads. Axes are of type Auto: the compiler places
what is not named here. A program is run under `jax.set_mesh(mesh)` for `constrain` to see the mesh.
"""

import contextlib
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from rlscale_jax.experiment.config import MeshConfig

AXES = ("data", "fsdp", "tensor")
TABLE: dict[str, tuple[str, ...]] = {
    "batch": ("data", "fsdp"),
    "lookup_batch": ("data",),  # of embedding look-ups, whose `fsdp` axis still splits D
    "embed": ("fsdp",),
    "sequence": ("tensor",),
    "heads": ("tensor",),
    "kv_heads": ("tensor",),
    "mlp": ("tensor",),
    "vocab": ("tensor",),
}

ROWS = P(TABLE["batch"])

PARAM_AXES: dict[str, tuple[str | None, ...]] = {  # module/array -> logical axes, without the stacked layer axis
    "embed/embedding": ("vocab", "embed"),
    "q/kernel": ("embed", "heads"),
    "q/bias": ("heads",),
    "k/kernel": ("embed", "kv_heads"),
    "k/bias": ("kv_heads",),
    "v/kernel": ("embed", "kv_heads"),
    "v/bias": ("kv_heads",),
    "o/kernel": ("heads", "embed"),
    "o/bias": (None,),
    "gate/kernel": ("embed", "mlp"),
    "up/kernel": ("embed", "mlp"),
    "down/kernel": ("mlp", "embed"),
    "lm_head/kernel": ("embed", "vocab"),
    "attn_norm/scale": (None,),
    "mlp_norm/scale": (None,),
    "final_norm/scale": (None,),
}


def make_mesh(config: MeshConfig, devices: Sequence[Any] | None = None) -> Mesh:
    """Devices (all, by default) laid out as data x fsdp x tensor; -1 for one axis takes what is left.

    Raises:
      ValueError: the sizes do not multiply to the number of devices.
    """
    devices = jax.devices() if devices is None else list(devices)
    sizes = [config.data, config.fsdp, config.tensor]
    given = f"mesh data={config.data}, fsdp={config.fsdp}, tensor={config.tensor}"
    if sizes.count(-1) > 1 or any(size < 1 and size != -1 for size in sizes):
        raise ValueError(f"{given}: sizes are 1 or more, and one of them may be -1 (what is left)")
    known = math.prod(size for size in sizes if size != -1)
    if len(devices) % known or (-1 not in sizes and known != len(devices)):
        needed = f"a multiple of {known}" if -1 in sizes else str(known)
        raise ValueError(f"{given} needs {needed} devices; there are {len(devices)}")
    sizes = [len(devices) // known if size == -1 else size for size in sizes]
    # jax.make_mesh refuses to split a physical axis, which tensor=4 on an 8x8x8 slice needs
    grid = mesh_utils.create_device_mesh(sizes, devices, allow_split_physical_axes=True)
    return Mesh(grid, AXES, axis_types=(AxisType.Auto,) * len(AXES))


def adopted(mesh: Mesh) -> Mesh:
    """A mesh made elsewhere as one of ours: axes that it lacks have size 1, and all are of type Auto.

    Raises:
      ValueError: an axis with another name.
    """
    strange = [name for name in mesh.axis_names if name not in AXES]
    if strange:
        raise ValueError(f"mesh axes {strange} are not known; name them {', '.join(AXES)}")
    order = [mesh.axis_names.index(name) for name in AXES if name in mesh.axis_names]
    grid = mesh.devices.transpose(order).reshape([mesh.shape.get(name, 1) for name in AXES])
    return Mesh(grid, AXES, axis_types=(AxisType.Auto,) * len(AXES))


def of(params: Any) -> contextlib.AbstractContextManager:
    """A context in which programs see the mesh that these arrays lie on; empty where they lie on one device."""
    place = getattr(jax.tree.leaves(params)[0], "sharding", None)
    mesh = place.mesh if isinstance(place, NamedSharding) else None
    return jax.set_mesh(mesh) if isinstance(mesh, Mesh) else contextlib.nullcontext()


def ways(mesh: Any, logical: str) -> int:
    """Into how many parts the table splits a logical axis on a mesh, abstract or of devices."""
    return math.prod(mesh.shape.get(axis, 1) for axis in TABLE[logical])


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Of arrays whose leading axis is the batch; that axis must divide over `ways(mesh, "batch")`."""
    return NamedSharding(mesh, P(TABLE["batch"]))


def constrain(x: jax.Array, *logical: str | None) -> jax.Array:
    """Inside a traced program: x laid out by the table. Without a mesh, or within `by_rows`, x itself.

    An axis named None is whole on every device; so is one whose size does not divide, except the batch, which is
    then left to the compiler.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if not set(AXES) <= set(mesh.axis_names) or AxisType.Manual in mesh.axis_types:
        return x
    pairs = zip(x.shape, logical, strict=True)
    return jax.lax.with_sharding_constraint(x, P(*(_entry(mesh, size, axis) for size, axis in pairs)))


def by_rows(function: Callable, in_specs: Any, out_specs: Any) -> Callable:
    """`function` on every device's own rows, with no talk between devices, where a mesh splits nothing else.

    The specs are `ROWS` (the leading axis is the batch's), `P(None, *ROWS)` or P() (the same everywhere); a device's
    loop then ends with its own rows. Where `tensor` splits the weights, or without a mesh, `function` as it is.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if not set(AXES) <= set(mesh.axis_names) or ways(mesh, "batch") == 1 or mesh.shape["tensor"] > 1:
        return function
    return jax.shard_map(function, in_specs=in_specs, out_specs=out_specs, check_vma=False)


def constrain_rows(x: jax.Array, *last: str | None) -> jax.Array:
    """`constrain` for activations: the first axis is the batch, the last ones are named, those between are whole."""
    return constrain(x, "batch", *[None] * (x.ndim - 1 - len(last)), *last)


def constrain_residual(x: jax.Array) -> jax.Array:
    """`constrain` for the residual stream [batch, ..., T, D] between blocks: tokens of a row over `tensor`.

    Attention and feed-forward need whole rows of some heads or columns; what is saved for the backward pass is not.
    """
    return constrain_rows(x, None) if x.ndim < 3 else constrain_rows(x, "sequence", None)


def _entry(mesh: jax.sharding.AbstractMesh, size: int, logical: str | None):
    if logical is None:
        return None
    if size % ways(mesh, logical):
        return P.UNCONSTRAINED if "batch" in logical else None
    return TABLE[logical]
