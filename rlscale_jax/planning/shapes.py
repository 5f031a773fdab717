"""The arrays of a run as shapes, dtypes and shardings: parameters, optimiser state, batches, caches. No memory is used.

What is built here goes into the run's own programs (`training.update`, `sampler.programs`) in place of arrays.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from rlscale_jax.experiment.config import Experiment
from rlscale_jax.models import Architecture, decoder, sharding
from rlscale_jax.models.mesh import TABLE, batch_sharding, ways
from rlscale_jax.sampler import cache as kv_cache
from rlscale_jax.sampler import programs as sampler
from rlscale_jax.sampler.cache import KeysValues
from rlscale_jax.training.batch import RolloutBatch


def array(shape: tuple[int, ...], dtype: Any, place: NamedSharding) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype, sharding=place)


def replicated(tree: Any, mesh: Mesh) -> Any:
    return jax.tree.map(lambda a: array(a.shape, a.dtype, NamedSharding(mesh, P())), tree)


def params(architecture: Architecture, mesh: Mesh, dtype: Any) -> decoder.Params:
    """Stacked parameters as training holds them."""
    places = sharding.param_shardings(architecture, mesh)
    return jax.tree.map(lambda a, s: array(a.shape, dtype, s), decoder.abstract_params(architecture), places)


def sampler_params(architecture: Architecture, mesh: Mesh, dtype: Any) -> decoder.Params:
    """Parameters as `sampler.programs.lay_out` gives them, each sharded by the same table over the sampler's mesh."""
    stacked = params(architecture, mesh, dtype)
    laid_out = jax.eval_shape(lambda p: sampler.lay_out(p, dtype=dtype), bare(stacked))
    places = {name: jax.tree.map(lambda a: a.sharding, stacked[name]) for name in ("embed", "final_norm")}
    places["layers"] = [_unstacked_places(stacked["layers"], mesh)] * architecture.num_layers
    if "lm_head" in laid_out:
        places["lm_head"] = {"kernel": NamedSharding(mesh, P(*_head_spec(architecture, mesh)))}
    return jax.tree.map(lambda a, s: array(a.shape, a.dtype, s), laid_out, places)


def bare(tree: Any) -> Any:
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), tree)


def _unstacked_places(layers: Any, mesh: Mesh) -> Any:
    return jax.tree.map(lambda a: NamedSharding(mesh, P(*a.sharding.spec[1:])), layers)


def _head_spec(architecture: Architecture, mesh: Mesh) -> tuple:
    split = architecture.vocab_size % ways(mesh, "vocab") == 0
    return (TABLE["embed"], TABLE["vocab"] if split else None)


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


def batch(experiment: Experiment, mesh: Mesh, num_prompts: int, *, old: bool, ref: bool) -> RolloutBatch:
    """`num_prompts` groups at the config's full widths."""
    width, samples = experiment.sampling.max_new_tokens, experiment.grpo.group_size
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


def cache(architecture: Architecture, mesh: Mesh, num_rows: int, slots: int, dtype: Any) -> list[KeysValues]:
    """Every layer's keys and values for `num_rows` rows: rows over the batch axes, heads over `tensor`."""
    heads = TABLE["kv_heads"] if architecture.num_kv_heads % ways(mesh, "kv_heads") == 0 else None
    place = NamedSharding(mesh, P(TABLE["batch"], heads))
    empty = functools.partial(kv_cache.empty, num_rows, architecture.num_kv_heads, architecture.head_dim, slots, dtype)
    one = jax.tree.map(lambda a: array(a.shape, a.dtype, place), jax.eval_shape(empty))
    return [one] * architecture.num_layers


def rows(mesh: Mesh, num_rows: int) -> sampler.Rows:
    place = batch_sharding(mesh)
    ints = array((num_rows,), jnp.int32, place)
    return sampler.Rows(
        ints, ints, ints, ints, array((num_rows,), jnp.bool_, place), array((num_rows, 2), jnp.uint32, place)
    )


def device_bytes(tree: Any) -> int:
    """Bytes of a tree's arrays on one device (the largest shard); what is no array counts nothing."""
    leaves = [a for a in jax.tree.leaves(tree) if isinstance(a, jax.ShapeDtypeStruct)]
    return sum(int(np.prod(a.sharding.shard_shape(a.shape))) * np.dtype(a.dtype).itemsize for a in leaves)
