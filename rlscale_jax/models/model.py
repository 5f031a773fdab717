"""A model: its architecture and its parameters; next-token logits of right-padded batches."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from rlscale_jax.models import attention, decoder, mesh
from rlscale_jax.models.architecture import Architecture


@dataclasses.dataclass(frozen=True)
class Model:
    """An architecture and its parameters (nested dict of arrays, sharded or not)."""

    architecture: Architecture
    params: decoder.Params

    @property
    def dtype(self) -> jnp.dtype:
        return self.params["embed"]["embedding"].dtype


def logits(model: Model, tokens: Int[Array, "B T"], lengths: Int[Array, " B"]) -> Float[Array, "B T V"]:
    """Next-token logits, float32, computed in the parameters' dtype; zero at and after each row's length."""
    tokens, lengths = jnp.asarray(tokens), jnp.asarray(lengths)
    with mesh.of(model.params):
        return _logits(model.architecture, model.params, tokens, lengths)


def _plain(architecture: Architecture, params: decoder.Params, tokens: jax.Array, lengths: jax.Array) -> jax.Array:
    positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
    dtype = params["embed"]["embedding"].dtype
    hidden, _ = decoder.hidden_states(
        architecture, params, tokens, positions, attention.causal_attend(), compute_dtype=dtype
    )
    real = positions < lengths[:, None]
    return jnp.where(real[..., None], decoder.unembed(params, hidden), 0.0)


_logits = jax.jit(_plain, static_argnums=0)
