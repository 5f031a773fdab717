"""The device mesh, and the one table from logical axes to its axes `data`, `fsdp`, `tensor`.

Parameters are split over `fsdp` along the embedding axis and over `tensor` along heads, feed-forward and vocabulary;
batches over `data` and `fsdp`; activations over the batch and over heads. Axes are of type Auto: the compiler places
what is not named here. A program is run under `jax.set_mesh(mesh)` for `constrain` to see the mesh.

A sampler that splits weights more ways than the trainer has a mesh of its own, of the same devices in the same order
(`for_sampling`). The axis by which they differ, `fsdp_inner`, is a part of `fsdp` in training and of `tensor` in
sampling; it comes last, so that a device's heads in sampling are some of those that it trains.
"""

import contextlib
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.experimental import mesh_utils
from jax.flatten_util import ravel_pytree
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from rlscale_jax.experiment.config import MeshConfig

AXES = ("data", "fsdp", "tensor")
_SMALL = 2**20  # elements of an array that is sent with others
INNER = "fsdp_inner"  # only of a trainer's mesh that differs from its sampler's
TABLE: dict[str, tuple[str, ...]] = {
    "batch": ("data", "fsdp", INNER),
    "lookup_batch": ("data",),  # of embedding look-ups, whose `fsdp` axis still splits D
    "embed": ("fsdp", INNER),
    "sequence": ("tensor",),
    "heads": ("tensor",),
    "kv_heads": ("tensor",),
    "mlp": ("tensor",),
    "vocab": ("tensor",),
}

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

    With a `sampler_tensor` other than `tensor`, `fsdp` is two axes, so that `for_sampling` can join the inner one to
    `tensor`. Neighbours are together along `tensor` first, whose traffic in training is the heaviest.

    Raises:
      ValueError: the sizes do not multiply to the number of devices, or a sampler that cannot be.
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
    data, fsdp, tensor = sizes
    inner = _inner(config, fsdp, tensor)
    # jax.make_mesh refuses to split a physical axis, which tensor=4 on an 8x8x8 slice needs
    grid = mesh_utils.create_device_mesh([data, fsdp // inner, inner * tensor], devices, allow_split_physical_axes=True)
    if inner == 1:
        return _auto(grid, AXES)
    return _auto(grid.reshape(data, fsdp // inner, inner, tensor).swapaxes(2, 3), (*AXES, INNER))


def _inner(config: MeshConfig, fsdp: int, tensor: int) -> int:
    """Size of the axis that is `fsdp` in training and `tensor` in sampling."""
    wanted = config.sampler_tensor or tensor
    if wanted % tensor or fsdp % (wanted // tensor):
        raise ValueError(
            f"mesh.sampler_tensor={config.sampler_tensor} with fsdp={fsdp}, tensor={tensor}: give 0 (as tensor) or a "
            f"multiple of tensor that divides fsdp*tensor={fsdp * tensor}"
        )
    return wanted // tensor


def _auto(grid: Any, names: Sequence[str]) -> Mesh:
    return Mesh(grid, tuple(names), axis_types=(AxisType.Auto,) * len(names))


def for_sampling(mesh: Mesh) -> Mesh:
    """The mesh on which a trainer's weights are laid out for its sampler; often the same."""
    if INNER not in mesh.axis_names:
        return mesh
    return _auto(mesh.devices.reshape(mesh.shape["data"], mesh.shape["fsdp"], -1), AXES)


def adopted(mesh: Mesh) -> Mesh:
    """A mesh made elsewhere as one of ours: axes that it lacks have size 1, and all are of type Auto.

    Raises:
      ValueError: an axis with another name.
    """
    names = (*AXES, INNER) if INNER in mesh.axis_names else AXES
    strange = [name for name in mesh.axis_names if name not in names]
    if strange:
        raise ValueError(f"mesh axes {strange} are not known; name them {', '.join(AXES)}")
    order = [mesh.axis_names.index(name) for name in names if name in mesh.axis_names]
    grid = mesh.devices.transpose(order).reshape([mesh.shape.get(name, 1) for name in names])
    return _auto(grid, names)


def of(params: Any, *, to_sample: bool = False) -> contextlib.AbstractContextManager:
    """A context in which programs see the mesh that these arrays lie on, or that they are laid out on `to_sample`;
    empty where they lie on one device."""
    mesh = _mesh_of(params)
    if mesh is None:
        return contextlib.nullcontext()
    return jax.set_mesh(for_sampling(mesh) if to_sample else mesh)


def trained_on(params: Any) -> Mesh | None:
    """The mesh of a trainer's arrays, where its sampler has another; None where one is both's."""
    mesh = _mesh_of(params)
    return mesh if mesh is not None and INNER in mesh.axis_names else None


def _mesh_of(params: Any) -> Mesh | None:
    place = getattr(jax.tree.leaves(params)[0], "sharding", None)
    mesh = place.mesh if isinstance(place, NamedSharding) else None
    return mesh if isinstance(mesh, Mesh) else None


def traced_under() -> AbstractMesh:
    """The mesh of the program that is traced; an empty one where a device is by itself, as within `by_rows`."""
    mesh = jax.sharding.get_abstract_mesh()
    return AbstractMesh((), ()) if AxisType.Manual in mesh.axis_types else mesh


def axes(mesh: Any, logical: str) -> tuple[str, ...]:
    """The axes of a mesh, abstract or of devices, that split a logical axis."""
    return tuple(axis for axis in TABLE[logical] if axis in mesh.axis_names)


def ways(mesh: Any, logical: str) -> int:
    """Into how many parts a mesh, abstract or of devices, splits a logical axis."""
    return math.prod(mesh.shape[axis] for axis in axes(mesh, logical))


def rows() -> P:
    """Of an array whose leading axis is the batch, on the mesh that a program is traced under."""
    return P(axes(traced_under(), "batch"))


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Of arrays whose leading axis is the batch; that axis must divide over `ways(mesh, "batch")`."""
    return NamedSharding(mesh, P(axes(mesh, "batch")))


def constrain(x: jax.Array, *logical: str | None, on: Mesh | None = None) -> jax.Array:
    """Inside a traced program: x laid out by the table. Without a mesh, or within `by_rows`, x itself.

    An axis named None is whole on every device; so is one whose size does not divide, except the batch, which is
    then left to the compiler. `on` is another mesh of the same devices than the one that the program runs under.
    """
    mesh = traced_under() if on is None else on
    if not set(AXES) <= set(mesh.axis_names):
        return x
    pairs = zip(x.shape, logical, strict=True)
    spec = P(*(_entry(mesh, size, axis) for size, axis in pairs))
    return jax.lax.with_sharding_constraint(x, spec if on is None else NamedSharding(on, spec))


def by_rows(function: Callable, in_specs: Any, out_specs: Any) -> Callable:
    """`function` on every device's own rows, with no talk between devices, where a mesh splits nothing else.

    The specs are `rows()` (the leading axis is the batch's), `P(None, *rows())` or P() (whole everywhere); a device's
    loop then ends with its own rows. Where `tensor` splits the weights, or without a mesh, `function` as it is.
    """
    mesh = traced_under()
    if not set(AXES) <= set(mesh.axis_names) or ways(mesh, "batch") == 1 or mesh.shape["tensor"] > 1:
        return function
    return jax.shard_map(function, in_specs=in_specs, out_specs=out_specs, check_vma=False)


def splits_rows_alone() -> bool:
    """Whether the mesh of the program that is traced splits the batch, and weights not at all."""
    mesh = traced_under()
    return ways(mesh, "batch") > 1 and ways(mesh, "embed") == ways(mesh, "heads") == 1


def sum_over_rows(arrays: Any, names: tuple[str, ...]) -> Any:
    """Within `by_rows`: every device's arrays added up, over axes of these names. Small ones travel as one.

    An exchange has a price of its own, up to 4 ms between processes of one machine, in which 20 MB could be sent.
    """
    leaves, structure = jax.tree.flatten(arrays)
    is_small = [leaf.size <= _SMALL for leaf in leaves]
    small, split = ravel_pytree([leaf for leaf, joins in zip(leaves, is_small, strict=True) if joins])
    parts = iter(split(jax.lax.psum(small, names)))
    summed = [next(parts) if joins else jax.lax.psum(leaf, names) for leaf, joins in zip(leaves, is_small, strict=True)]
    return jax.tree.unflatten(structure, summed)


def constrain_rows(x: jax.Array, *last: str | None) -> jax.Array:
    """`constrain` for activations: the first axis is the batch, the last ones are named, those between are whole."""
    return constrain(x, "batch", *[None] * (x.ndim - 1 - len(last)), *last)


def constrain_residual(x: jax.Array) -> jax.Array:
    """`constrain` for the residual stream [batch, ..., T, D] between blocks: tokens of a row over `tensor`.

    Attention and feed-forward need whole rows of some heads or columns; what is saved for the backward pass is not.
    """
    return constrain_rows(x, None) if x.ndim < 3 else constrain_rows(x, "sequence", None)


def _entry(mesh: Any, size: int, logical: str | None):
    if logical is None:
        return None
    if size % ways(mesh, logical):
        return P.UNCONSTRAINED if "batch" in logical else None
    return axes(mesh, logical)
