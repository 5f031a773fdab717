"""The forward pass that everything shares: tokens and positions to hidden states, with the caller's attention.

A plain forward, a prefill, a decode step and the update's shared-prefix pass differ only in `attend` and in what
it reads and writes per layer (`layer_inputs`, `layer_outputs`).
"""

import contextlib
import functools
import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import PartitionSpec as P

from rlscale_jax.models import mesh as meshes
from rlscale_jax.models import rotary, tiles
from rlscale_jax.models.architecture import Architecture
from rlscale_jax.models.layers import Attend, Block, Decoder, RMSNorm
from rlscale_jax.models.mesh import constrain, constrain_residual, ways

Params = dict[str, Any]

_HEAD_SLICES = 8  # of the vocabulary, in which devices sum the head's gradient

# A loop stacks what each layer keeps for its backward pass: buffers filled with zeros, then copied into and out of.
# So few layers compile fast without one.
_UNROLLED_LAYERS = 4


def _save_products(primitive, *args: Any, **kwargs: Any) -> Any:
    """Keeps products of weights and what cuDNN's attention kernel gives out, which is small beside its scores."""
    is_kernel = str(primitive).startswith("dot_product_attention_fwd")
    return is_kernel or jax.checkpoint_policies.dots_with_no_batch_dims_saveable(primitive, *args, **kwargs)


REMAT_POLICIES = {"full": jax.checkpoint_policies.nothing_saveable, "dots": _save_products}


@functools.cache
def _definitions(architecture: Architecture):
    """Graph definitions of one block and of the final norm: structure without arrays."""
    block = nnx.eval_shape(lambda: Block(architecture, rngs=nnx.Rngs(0)))
    norm = nnx.eval_shape(lambda: RMSNorm(architecture.hidden_size, eps=architecture.rms_norm_eps))
    return nnx.split(block)[0], nnx.split(norm)[0]


def abstract_params(architecture: Architecture) -> Params:
    """Shapes and dtypes (float32) of every parameter, without allocating one."""
    decoder = nnx.eval_shape(lambda: Decoder(architecture, rngs=nnx.Rngs(0)))
    return nnx.to_pure_dict(nnx.split(decoder)[1])


def init_params(architecture: Architecture, seed: int) -> Params:
    """Fresh parameters, normal(0.02), float32."""
    return nnx.to_pure_dict(nnx.split(Decoder(architecture, rngs=nnx.Rngs(seed)))[1])


def hidden_states(
    architecture: Architecture,
    params: Params,
    tokens: jax.Array,
    positions: jax.Array,
    attend: Attend,
    layer_inputs: Any = None,
    *,
    compute_dtype: jnp.dtype,
    remat: str = "none",
) -> tuple[jax.Array, Any]:
    """Final-normed hidden states [..., T, D] in compute_dtype, and attend's outputs of every layer.

    `tokens` and `positions` are int32 [..., T]. With `params["layers"]` stacked, layers run under `lax.scan` and
    `layer_inputs` / outputs carry a leading L axis; with a list of layers they are unrolled and these are lists.
    """
    x = embed(params, tokens, compute_dtype)
    return transform(architecture, params, x, positions, attend, layer_inputs, remat=remat)


def transform(
    architecture: Architecture,
    params: Params,
    x: jax.Array,
    positions: jax.Array,
    attend: Attend,
    layer_inputs: Any = None,
    *,
    remat: str = "none",
    unroll: bool = False,
) -> tuple[jax.Array, Any]:
    """`hidden_states` from tokens already looked up, x [..., T, D] (see `embed`); computes in x's dtype.

    `unroll` makes straight code of stacked layers too.
    """
    cos_sin = rotary.tables(architecture, positions)
    return transform_at(architecture, params, x, cos_sin, attend, layer_inputs, remat=remat, unroll=unroll)


def transform_at(
    architecture: Architecture,
    params: Params,
    x: jax.Array,
    cos_sin: tuple[jax.Array, jax.Array],
    attend: Attend,
    layer_inputs: Any = None,
    *,
    remat: str = "none",
    unroll: bool = False,
) -> tuple[jax.Array, Any]:
    """`transform` with the positions' rotary tables already made: a loop of steps makes those of all at once."""
    block_def, norm_def = _definitions(architecture)

    def layer(x, inputs):
        layer_params, layer_input = inputs
        return nnx.merge(block_def, layer_params)(x, cos_sin, attend, layer_input)

    if remat != "none":  # in straight code a compiler may merge what is made again with what was made
        is_straight = unroll or isinstance(params["layers"], list)
        layer = jax.checkpoint(layer, policy=REMAT_POLICIES[remat], prevent_cse=is_straight)
    unroll = unroll or (remat == "none" and architecture.num_layers <= _UNROLLED_LAYERS)
    with _precision(x.dtype):
        x, outputs = _run_layers(layer, x, params["layers"], layer_inputs, unroll=unroll)
    return nnx.merge(norm_def, params["final_norm"])(x), outputs


def _precision(compute_dtype: jnp.dtype):
    """float32 means float32: accelerators would otherwise multiply in fewer bits."""
    return jax.default_matmul_precision("highest") if compute_dtype == jnp.float32 else contextlib.nullcontext()


def embed(params: Params, tokens: jax.Array, compute_dtype: jnp.dtype, *, is_whole: bool = False) -> jax.Array:
    """Rows of the table. Each device looks up its slice of D for all rows, then slices are exchanged for rows.

    `is_whole`: the table is not split along D, as a sampler's, and each device looks up its own rows.
    """
    table = params["embed"]["embedding"]
    if is_whole:
        return constrain_residual(table[tokens].astype(compute_dtype))
    if meshes.traced_under().size > 1:  # halves what is exchanged; one device casts the rows alone
        table = table.astype(compute_dtype)
    return constrain_residual(_whole_rows(table[tokens]).astype(compute_dtype))


def add_embed_grad(table_grad: jax.Array, tokens: jax.Array, x_grad: jax.Array) -> jax.Array:
    """The table's gradient [V D] plus what `embed` sends back for x_grad [..., T, D].

    Written out so that it is added where a tied head's gradient already lies; automatic differentiation would make
    a second table of zeros for it.
    """
    return table_grad.at[tokens].add(_whole_rows(x_grad.astype(table_grad.dtype)))


def _whole_rows(x: jax.Array) -> jax.Array:
    return constrain(x, "lookup_batch", *[None] * (x.ndim - 2), "embed")


def _run_layers(layer, x, layer_params, layer_inputs, *, unroll: bool):
    if not isinstance(layer_params, list):
        return jax.lax.scan(layer, x, (layer_params, layer_inputs), unroll=unroll)
    outputs = []
    for index, one in enumerate(layer_params):
        x, output = layer(x, (one, None if layer_inputs is None else layer_inputs[index]))
        outputs.append(output)
    return x, outputs


def lm_head(params: Params) -> tuple[jax.Array, Literal["dv", "vd"]]:
    """The output matrix and its axes: the model's own kernel [D V], or its embedding table [V D] when tied.

    Not of a head in `tiles`. It lies as training holds it; products want it as `whole_head` has it.
    """
    if "lm_head" in params:
        return params["lm_head"]["kernel"], "dv"
    return params["embed"]["embedding"], "vd"


def whole_head(axes: Literal["dv", "vd"], head: jax.Array) -> jax.Array:
    """An output matrix gathered along D; cast it before, so that half is sent."""
    return constrain(head, *(None if axis == "d" else "vocab" for axis in axes))


def sum_head(axes: Literal["dv", "vd"], gradients: jax.Array) -> jax.Array:
    """The sum of gradients [S, *head], one of each of the batch's S parts, as the parameter lies.

    Scattered by name and in slices of the vocabulary: where all devices take part, the TPU compiler makes a whole sum
    on each of them before it is cut.
    """
    mesh = meshes.traced_under()
    if mesh.empty or gradients.shape[0] != ways(mesh, "batch"):
        return gradients.sum(axis=0)
    d, v = axes.index("d"), axes.index("v")
    vocab = meshes.axes(mesh, "vocab") if gradients.shape[1 + v] % ways(mesh, "vocab") == 0 else None
    embed, batch = meshes.axes(mesh, "embed"), meshes.axes(mesh, "batch")
    parts, whole = (P(*(vocab if axis == "v" else place for axis in axes)) for place in (embed, None))

    def local(gradient):
        num_slices = math.gcd(gradient.shape[1 + v], _HEAD_SLICES)
        size = gradient.shape[1 + v] // num_slices

        def add(index, summed):
            part = jax.lax.dynamic_slice_in_dim(gradient[0], index * size, size, axis=v)
            part = jax.lax.psum_scatter(part, embed, scatter_dimension=d, tiled=True)
            part = jax.lax.psum(part, meshes.axes(mesh, "lookup_batch"))
            return jax.lax.dynamic_update_slice_in_dim(summed, part, index * size, axis=v)

        shape = list(gradient.shape[1:])
        shape[d] //= ways(mesh, "embed")
        return jax.lax.fori_loop(0, num_slices, add, jnp.zeros(shape, gradient.dtype))

    placed = jax.shard_map(local, mesh=mesh, in_specs=P(batch, *whole), out_specs=parts, check_vma=False)
    return placed(gradients)


def unembed(params: Params, hidden: jax.Array) -> jax.Array:
    """Logits [..., V] in float32 of hidden states [..., D]."""
    with _precision(hidden.dtype):
        if "lm_head" in params and params["lm_head"]["kernel"].ndim == 3:
            return tiles.product(hidden, params["lm_head"]["kernel"], params["embed"]["embedding"].shape[0])
        head, axes = lm_head(params)
        head = whole_head(axes, head.astype(hidden.dtype))
        return jnp.einsum(f"...d,{axes}->...v", hidden, head, preferred_element_type=jnp.float32)


def unstack(params: Params) -> Params:
    """The same parameters with `layers` as a list of per-layer dicts."""
    stacked = params["layers"]
    num_layers = stacked["attn_norm"]["scale"].shape[0]
    layers = [jax.tree.map(lambda a, i=i: a[i], stacked) for i in range(num_layers)]
    return {**params, "layers": layers}
