"""The compiled programs of a rollout: weights laid out, prompts prefilled, a segment of steps, rows moved.

Each is a jitted function of arrays (or `jax.ShapeDtypeStruct`s, to lower it ahead of time): nothing depends on weights
as constants, and each combination of bucketed shapes compiles once. What moves a cache works on one layer, so that the
old one can be freed before the next is made.
"""

import functools
import inspect
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec as P

from rlscale_jax.models import attention as full_attention
from rlscale_jax.models import decoder, mesh, rotary, runtime, sharding, tiles
from rlscale_jax.models.architecture import Architecture
from rlscale_jax.sampler import cache, choice
from rlscale_jax.sampler.attention import decode_attend
from rlscale_jax.sampler.cache import KeysValues, LayerCache, Visible
from rlscale_jax.sampler.choice import Choice, Method, Parameters

Prefix = History = Recent = list[KeysValues]  # one entry a layer


Values = jax.Array | np.ndarray


class Rows(NamedTuple):
    """The rows of a batch when a segment begins, each [B]."""

    token: Values  # int32, chosen but not yet fed
    prompt_length: Values  # int32
    age: Values  # int32: completion tokens fed so far
    limit: Values  # int32: most completion tokens
    live: Values  # bool
    key: Values  # uint32 [B 2]: key data of (seed, step, prompt id, sample)


class Written(NamedTuple):
    """What a segment produced: arrays [segment B], of which a row's first `num_steps` are real."""

    choices: Choice
    num_steps: jax.Array  # [B] int32


def lay_out(
    params: decoder.Params,
    *,
    dtype: jnp.dtype,
    own_head: bool = False,
    cut: bool = False,
    trained_on: jax.sharding.Mesh | None = None,
) -> decoder.Params:
    """Parameters for decoding: cast, one dict a layer, whole along `embed` (a step cannot wait for weights of other
    devices) and split over `tensor`. Once per policy version.

    Stacked layers are moved one by one: in one program all would be gathered before the first is in its place, which
    takes the weights' memory twice. `own_head` gives a tied model its output matrix [D V] beside the embedding table,
    `cut` lays kernels out in tiles: both for CPUs, whose products want columns side by side. `trained_on` is the mesh
    that the parameters lie on where it is not the one that this runs under.
    """
    how = {"dtype": dtype, "cut": cut, "trained_on": trained_on}
    layers = params["layers"]
    if not isinstance(layers, list):
        num_layers = layers["attn_norm"]["scale"].shape[0]
        layers = [lay_out_layer(layers, np.int32(index), **how) for index in range(num_layers)]
    else:
        layers = lay_out_arrays(layers, **how)
    rest = {name: part for name, part in params.items() if name != "layers"}
    return {**lay_out_arrays(rest, own_head=own_head, **how), "layers": layers}


@functools.partial(jax.jit, static_argnames=("dtype", "cut", "trained_on"))
def lay_out_layer(
    layers: decoder.Params, index: Values, *, dtype, cut: bool = False, trained_on=None
) -> decoder.Params:
    """One layer of stacked ones, in its own place."""
    return _placed(jax.tree.map(lambda a: a[index], layers), dtype, cut, trained_on)


@functools.partial(jax.jit, static_argnames=("dtype", "own_head", "cut", "trained_on"))
def lay_out_arrays(params: Any, *, dtype, own_head: bool = False, cut: bool = False, trained_on=None) -> Any:
    """Parameters that are not stacked: embedding, last norm, LM head, or a list of layers."""
    if own_head and "lm_head" not in params:
        params = params | {"lm_head": {"kernel": params["embed"]["embedding"].T}}
    return _placed(params, dtype, cut, trained_on)


def _placed(params: Any, dtype: jnp.dtype, cut: bool, trained_on: jax.sharding.Mesh | None) -> Any:
    def place(path, array):
        name = "/".join(key.key for key in path[-2:])
        axes = [None if axis == "embed" else axis for axis in sharding.PARAM_AXES[name]]
        array = array.astype(dtype)
        if trained_on is not None:  # gathered along `embed` first: the compiler would gather all of it everywhere
            array = mesh.constrain(array, *axes, on=trained_on)
        if cut and name.endswith("/kernel"):
            return mesh.constrain(tiles.cut(array), axes[1], axes[0], None)
        return mesh.constrain(array, *axes)

    return jax.tree.map_with_path(place, params)


@jax.jit
def row_keys(seed: Values, step: Values, prompt_ids: Values, num_samples: Values) -> jax.Array:
    """Key data [P G 2] of every sample; `num_samples` is arange(G), `seed` is [2]: its high and low 32 bits.

    `jax.random.key` would keep only the low ones.
    """
    key = jax.random.fold_in(jax.random.wrap_key_data(jnp.asarray(seed)), step)
    fold = jax.vmap(jax.vmap(jax.random.fold_in, (None, 0)), (0, None))
    keys = fold(jax.vmap(jax.random.fold_in, (None, 0))(key, prompt_ids), num_samples)
    return jax.random.key_data(keys)


@functools.partial(jax.jit, static_argnums=(0, 1))
def prefill(
    architecture: Architecture,
    method: Method,
    params: decoder.Params,
    parameters: Parameters,
    tokens: jax.Array,
    lengths: jax.Array,
    keys: jax.Array,
) -> tuple[Prefix, Choice]:
    """Prompts [P Tp] through the model once; the first token of each of their samples [P G] (keys [P G 2])."""

    def attend(q, k, v, _):
        return full_attention.causal_attend()(q, k, v, None)[0], cache.from_sequence(k, v)

    tokens = mesh.constrain(tokens, "batch", None)
    positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
    dtype = params["embed"]["embedding"].dtype
    x = decoder.embed(params, tokens, dtype, is_whole=True)
    hidden, prefix = decoder.transform(architecture, params, x, positions, attend)
    last = jnp.take_along_axis(hidden, (lengths - 1)[:, None, None], axis=1)[:, 0]
    logits = decoder.unembed(params, last)
    uniforms = choice.uniforms(keys, jnp.zeros(keys.shape[:2], jnp.int32)).swapaxes(0, 1)
    choices = jax.lax.map(lambda one: choice.choose(method, parameters, logits, one), uniforms)  # sample by sample
    return prefix, jax.tree.map(lambda a: _whole(a.swapaxes(0, 1)), choices)


prefill_from_tiles = jax.jit(inspect.unwrap(prefill), static_argnums=(0, 1), compiler_options=runtime.IN_ORDER)


def _whole(array):
    """The array on every device, so that every host can read it."""
    return mesh.constrain(array, *[None] * array.ndim)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def segment(
    architecture: Architecture,
    method: Method,
    num_steps: int,
    params: decoder.Params,
    parameters: Parameters,
    eos_ids: jax.Array,
    prefix_lengths: jax.Array,
    prefix: Prefix,
    history: History,
    rows: Rows,
) -> tuple[Recent, Written]:
    """Up to `num_steps` decode steps of every row on the device; ends early when no row is live.

    A mesh that splits rows alone lets every device decode its own, without a word from the others until the end.
    """
    same, own = P(), mesh.rows()
    decode = functools.partial(_decode, architecture, method, num_steps)
    decode = mesh.by_rows(decode, (same, same, same, own, own, own, own), (own, P(None, *own), own))
    recent, *written = decode(params, parameters, eos_ids, prefix_lengths, prefix, history, rows)
    return recent, jax.tree.map(_whole, Written(*written))


def _decode(architecture, method, num_steps, params, parameters, eos_ids, prefix_lengths, prefix, history, rows):
    """The steps of `segment`: the segment's caches, and what is Written, apart."""
    num_rows = rows.token.shape[0]
    dtype = params["embed"]["embedding"].dtype
    kv_shape = (num_rows, architecture.num_kv_heads, architecture.head_dim, num_steps, dtype)
    recent = [cache.empty(*kv_shape) for _ in prefix]
    ints, floats = (jnp.zeros((num_steps, num_rows), kind) for kind in (jnp.int32, jnp.float32))
    written = Written(Choice(ints, floats, floats), jnp.zeros((num_rows,), jnp.int32))

    positions = jnp.asarray(rows.age) + 1 + jnp.arange(num_steps)[:, None]
    uniforms = choice.uniforms(jnp.broadcast_to(rows.key, (*positions.shape, 2)), positions)  # all of the segment
    # in the loop each layer would make them
    tables = rotary.tables(architecture, jnp.asarray(rows.prompt_length) + positions - 1)

    def step(state):
        index, token, live, recent, written = state
        token = mesh.constrain(token, "batch")
        attend = decode_attend(Visible(prefix_lengths, jnp.asarray(rows.age), index))
        caches = [LayerCache(*layer) for layer in zip(prefix, history, recent, strict=True)]
        cos_sin = (tables[0][index], tables[1][index])
        x = decoder.embed(params, token, dtype, is_whole=True)
        hidden, recent = decoder.transform_at(architecture, params, x, cos_sin, attend, caches)
        logits = decoder.unembed(params, hidden)
        chosen = choice.choose(method, parameters, logits, uniforms[index])
        written = Written(
            jax.tree.map(lambda all_, one: all_.at[index].set(one), written.choices, chosen), written.num_steps + live
        )
        ended = jnp.any(chosen.token[:, None] == eos_ids, axis=-1) | (rows.age + index + 2 >= rows.limit)
        return index + 1, chosen.token, live & ~ended, recent, written

    def going(state):
        return (state[0] < num_steps) & jnp.any(state[2])

    state = jax.lax.while_loop(going, step, (jnp.int32(0), rows.token, rows.live, recent, written))
    return state[3], *state[4]


@functools.partial(jax.jit, static_argnames="slots")
def fold(history: KeysValues, recent: KeysValues, ages: jax.Array, *, slots: int) -> KeysValues:
    """One layer's history with the last segment added, in a cache of `slots`."""
    return cache.fold(history, recent, ages, slots)


@jax.jit
def take(caches: list[KeysValues], rows: jax.Array) -> KeysValues:
    """The given rows of one layer's caches, joined."""
    return cache.take(caches, rows)
