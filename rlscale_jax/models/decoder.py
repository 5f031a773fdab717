"""The forward pass that everything shares: tokens and positions to hidden states, with the caller's attention.

A plain forward, a prefill, a decode step and the update's shared-prefix pass differ only in `attend` and in what
it reads and writes per layer (`layer_inputs`, `layer_outputs`).
"""

import contextlib
import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx

from rlscale_jax.models import rotary, tiles
from rlscale_jax.models.architecture import Architecture
from rlscale_jax.models.layers import Attend, Block, Decoder, RMSNorm
from rlscale_jax.models.mesh import constrain, constrain_residual

Params = dict[str, Any]

# A loop stacks what each layer keeps for its backward pass: buffers filled with zeros, then copied into and out of.
# So few layers compile fast without one. (Not with remat: straight code would have its recomputation merged away.)
_UNROLLED_LAYERS = 4

REMAT_POLICIES = {
    "full": jax.checkpoint_policies.nothing_saveable,
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
}


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
) -> tuple[jax.Array, Any]:
    """`hidden_states` from tokens already looked up, x [..., T, D] (see `embed`); computes in x's dtype."""
    cos_sin = rotary.tables(architecture, positions)
    return transform_at(architecture, params, x, cos_sin, attend, layer_inputs, remat=remat)


def transform_at(
    architecture: Architecture,
    params: Params,
    x: jax.Array,
    cos_sin: tuple[jax.Array, jax.Array],
    attend: Attend,
    layer_inputs: Any = None,
    *,
    remat: str = "none",
) -> tuple[jax.Array, Any]:
    """`transform` with the positions' rotary tables already made: a loop of steps makes those of all at once."""
    block_def, norm_def = _definitions(architecture)

    def layer(x, inputs):
        layer_params, layer_input = inputs
        return nnx.merge(block_def, layer_params)(x, cos_sin, attend, layer_input)

    if remat != "none":
        layer = jax.checkpoint(layer, policy=REMAT_POLICIES[remat], prevent_cse=False)
    with _precision(x.dtype):
        x, outputs = _run_layers(layer, x, params["layers"], layer_inputs, may_unroll=remat == "none")
    return nnx.merge(norm_def, params["final_norm"])(x), outputs


def _precision(compute_dtype: jnp.dtype):
    """float32 means float32: accelerators would otherwise multiply in fewer bits."""
    return jax.default_matmul_precision("highest") if compute_dtype == jnp.float32 else contextlib.nullcontext()


def embed(params: Params, tokens: jax.Array, compute_dtype: jnp.dtype) -> jax.Array:
    """Rows of the table. Each device looks up its slice of D for all rows, then slices are exchanged for rows."""
    x = _whole_rows(params["embed"]["embedding"][tokens])
    return constrain_residual(x.astype(compute_dtype))


def add_embed_grad(table_grad: jax.Array, tokens: jax.Array, x_grad: jax.Array) -> jax.Array:
    """The table's gradient [V D] plus what `embed` sends back for x_grad [..., T, D].

    Written out so that it is added where a tied head's gradient already lies; automatic differentiation would make
    a second table of zeros for it.
    """
    return table_grad.at[tokens].add(_whole_rows(x_grad.astype(table_grad.dtype)))


def _whole_rows(x: jax.Array) -> jax.Array:
    return constrain(x, "lookup_batch", *[None] * (x.ndim - 2), "embed")


def _run_layers(layer, x, layer_params, layer_inputs, *, may_unroll: bool):
    if not isinstance(layer_params, list):
        few = may_unroll and jax.tree.leaves(layer_params)[0].shape[0] <= _UNROLLED_LAYERS
        return jax.lax.scan(layer, x, (layer_params, layer_inputs), unroll=few)
    outputs = []
    for index, one in enumerate(layer_params):
        x, output = layer(x, (one, None if layer_inputs is None else layer_inputs[index]))
        outputs.append(output)
    return x, outputs


def lm_head(params: Params) -> tuple[jax.Array, Literal["dv", "vd"]]:
    """The output matrix and how it lies: the model's own kernel [D V], or its embedding table [V D] when tied.

    Not of a head in `tiles`.
    """
    if "lm_head" in params:
        return constrain(params["lm_head"]["kernel"], None, "vocab"), "dv"
    return constrain(params["embed"]["embedding"], "vocab", None), "vd"


def unembed(params: Params, hidden: jax.Array) -> jax.Array:
    """Logits [..., V] in float32 of hidden states [..., D]."""
    with _precision(hidden.dtype):
        if "lm_head" in params and params["lm_head"]["kernel"].ndim == 3:
            return tiles.product(hidden, params["lm_head"]["kernel"], params["embed"]["embedding"].shape[0])
        head, axes = lm_head(params)
        return jnp.einsum(f"...d,{axes}->...v", hidden, head.astype(hidden.dtype), preferred_element_type=jnp.float32)


def unstack(params: Params) -> Params:
    """The same parameters with `layers` as a list of per-layer dicts."""
    stacked = params["layers"]
    num_layers = stacked["attn_norm"]["scale"].shape[0]
    layers = [jax.tree.map(lambda a, i=i: a[i], stacked) for i in range(num_layers)]
    return {**params, "layers": layers}
