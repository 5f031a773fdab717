"""The arrays of a run as shapes, dtypes and shardings: parameters, optimiser state, batches, caches. No memory is used.

What is built here goes into the run's own programs (`training.update`, `sampler.programs`) in place of arrays.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from rlscale_jax.experiment.config import Experiment
from rlscale_jax.models import Architecture, decoder, sharding
from rlscale_jax.models.mesh import PARAM_AXES, axes, batch_sharding, ways
from rlscale_jax.sampler import cache as kv_cache
from rlscale_jax.sampler import programs as sampler
from rlscale_jax.sampler.cache import KeysValues
from rlscale_jax.training.batch import RolloutBatch


def array(shape: tuple[int, ...], dtype: Any, place: NamedSharding) -> Any:
    """A ShapeDtypeStruct; to the types it is an array, in whose place it stands."""
    return jax.ShapeDtypeStruct(shape, dtype, sharding=place)


def replicated(tree: Any, mesh: Mesh) -> Any:
    return jax.tree.map(lambda a: array(a.shape, a.dtype, NamedSharding(mesh, P())), tree)


@functools.cache  # a search asks again and again
def params(architecture: Architecture, mesh: Mesh, dtype: Any) -> decoder.Params:
    """Stacked parameters as training holds them."""
    places = sharding.param_shardings(architecture, mesh)
    return jax.tree.map(lambda a, s: array(a.shape, dtype, s), decoder.abstract_params(architecture), places)


@functools.cache
def sampler_params(architecture: Architecture, mesh: Mesh, dtype: Any) -> decoder.Params:
    """Parameters as `sampler.programs.lay_out` gives them: a list of layers, whole along `embed`."""
    stacked = bare(params(architecture, mesh, dtype))

    def place(path, a):
        logical = PARAM_AXES["/".join(key.key for key in path[-2:])]
        entries = (
            None if axis == "embed" else split(mesh, size, axis) for size, axis in zip(a.shape, logical, strict=True)
        )
        return array(a.shape, a.dtype, NamedSharding(mesh, P(*entries)))

    return jax.tree.map_with_path(place, jax.eval_shape(lambda p: sampler.lay_out(p, dtype=dtype), stacked))


def split(mesh: Mesh, size: int, axis: str | None):
    """The mesh axes of a logical axis of this size, None where it is whole."""
    return None if axis is None or size % ways(mesh, axis) else axes(mesh, axis)


def bare(tree: Any) -> Any:
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), tree)


def opt_state(programs: Any, state_params: decoder.Params, mesh: Mesh) -> Any:
    """The whole training state: moments lie as their parameters do, counters everywhere."""
    state = jax.eval_shape(programs.init_state, bare(state_params))
    by_shape = {(a.shape, path): a.sharding for path, a in _leaves(state_params)}

    def place(path, a):
        for (shape, suffix), found in by_shape.items():
            if a.shape == shape and _ends_with(path, suffix):
                return array(a.shape, a.dtype, found)
        return array(a.shape, a.dtype, NamedSharding(mesh, P()))

    return jax.tree.map_with_path(place, state)


def _leaves(tree: Any):
    return ((tuple(map(str, path)), a) for path, a in jax.tree.leaves_with_path(tree))


def _ends_with(path, suffix: tuple[str, ...]) -> bool:
    return tuple(map(str, path))[-len(suffix) :] == suffix


def group_rows(experiment: Experiment, mesh: Mesh, num_prompts: int) -> tuple[int, int]:
    """Rows of a micro-batch and completions in each: as `training.batch.split_groups` cuts groups over the shards.

    Raises:
      ValueError: groups that cannot be cut evenly.
    """
    samples, shards = experiment.grpo.group_size, ways(mesh, "batch")
    parts = shards // math.gcd(shards, num_prompts)
    if samples % parts:
        raise ValueError(
            f"a micro-batch of {num_prompts} prompts with {samples} samples does not divide over data*fsdp={shards}; "
            f"set --config.grpo.micro_batch_prompts to a multiple of {shards // math.gcd(shards, samples)}"
        )
    return num_prompts * parts, samples // parts


def batch(experiment: Experiment, mesh: Mesh, num_prompts: int, *, old: bool, ref: bool) -> RolloutBatch:
    """`num_prompts` groups, cut over the shards, at the config's full widths."""
    width = experiment.sampling.max_new_tokens
    num_prompts, samples = group_rows(experiment, mesh, num_prompts)
    place = batch_sharding(mesh)
    per_token = array((num_prompts, samples, width), jnp.float32, place)
    return RolloutBatch(
        prompt_tokens=array((num_prompts, experiment.data.max_prompt_tokens), jnp.int32, place),
        prompt_lengths=array((num_prompts,), jnp.int32, place),
        completion_tokens=array(per_token.shape, jnp.int32, place),
        completion_lengths=array((num_prompts, samples), jnp.int32, place),
        advantages=array((num_prompts, samples), jnp.float32, place),
        sampler_logprobs=per_token,
        loss_mask=array((num_prompts, samples), jnp.bool_, place),
        old_logprobs=per_token if old else None,
        ref_logprobs=per_token if ref else None,
    )


def layer_cache(architecture: Architecture, mesh: Mesh, num_rows: int, slots: int, dtype: Any) -> KeysValues:
    """One layer's keys and values for `num_rows` rows, placed as `sampler.cache` places them."""
    empty = functools.partial(kv_cache.empty, num_rows, architecture.num_kv_heads, architecture.head_dim, slots, dtype)

    def place(a):
        heads = (split(mesh, a.shape[1], "kv_heads"),) if len(a.shape) == 4 else ()
        return array(a.shape, a.dtype, NamedSharding(mesh, P(split(mesh, num_rows, "batch"), *heads)))

    return jax.tree.map(place, jax.eval_shape(empty))


@functools.cache
def cache(architecture: Architecture, mesh: Mesh, num_rows: int, slots: int, dtype: Any) -> list[KeysValues]:
    """Every layer's."""
    return [layer_cache(architecture, mesh, num_rows, slots, dtype)] * architecture.num_layers


def rows(mesh: Mesh, num_rows: int) -> sampler.Rows:
    place = batch_sharding(mesh)
    ints = array((num_rows,), jnp.int32, place)
    return sampler.Rows(
        ints, ints, ints, ints, array((num_rows,), jnp.bool_, place), array((num_rows, 2), jnp.uint32, place)
    )


def device_bytes(tree: Any) -> int:
    """Bytes of a tree's arrays on one device (the largest shard); what is no array counts nothing."""
    leaves = [a for a in jax.tree.leaves(tree) if isinstance(a, jax.ShapeDtypeStruct)]
    return sum(_shard_bytes(a.shape, np.dtype(a.dtype), a.sharding) for a in leaves)


@functools.cache
def _shard_bytes(shape: tuple[int, ...], dtype: np.dtype, place: Any) -> int:
    return int(np.prod(place.shard_shape(shape))) * dtype.itemsize
