"""The device mesh, and the one table from logical axes to its axes `data`, `fsdp`, `tensor`.

Parameters are split over `fsdp` along the embedding axis and over `tensor` along heads, feed-forward and vocabulary;
batches over `data` and `fsdp`; activations over the batch and over heads. Axes are of type Auto: the compiler places
what is not named here. A program is run under `jax.set_mesh(mesh)` for `constrain` to see the mesh.
"""

import math
from collections.abc import Sequence

import jax
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from rlscale_jax.experiment.config import MeshConfig

AXES = ("data", "fsdp", "tensor")
TABLE: dict[str, tuple[str, ...]] = {
    "batch": ("data", "fsdp"),
    "embed": ("fsdp",),
    "heads": ("tensor",),
    "kv_heads": ("tensor",),
    "mlp": ("tensor",),
    "vocab": ("tensor",),
}


def make_mesh(config: MeshConfig, devices: Sequence[jax.Device] | None = None) -> Mesh:
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
    return jax.make_mesh(tuple(sizes), AXES, axis_types=(AxisType.Auto,) * len(AXES), devices=devices)


def ways(mesh: Mesh | jax.sharding.AbstractMesh, logical: str) -> int:
    """Into how many parts the table splits a logical axis on this mesh."""
    return math.prod(mesh.shape.get(axis, 1) for axis in TABLE[logical])


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Of arrays whose leading axis is the batch; that axis must divide over `ways(mesh, "batch")`."""
    return NamedSharding(mesh, P(TABLE["batch"]))


def constrain(x: jax.Array, *logical: str | None) -> jax.Array:
    """Inside a traced program: x laid out by the table, leading axes first. Without a mesh, x itself.

    An axis named None is whole on every device; so is one whose size does not divide, except the batch, which is
    then left to the compiler.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or not all(mesh.shape.get(axis) for axis in AXES):
        return x
    return jax.lax.with_sharding_constraint(x, P(*(_entry(mesh, *pair) for pair in zip(x.shape, logical, strict=True))))


def _entry(mesh: jax.sharding.AbstractMesh, size: int, logical: str | None):
    if logical is None:
        return None
    if size % ways(mesh, logical):
        return P.UNCONSTRAINED if logical == "batch" else None
    return TABLE[logical]
