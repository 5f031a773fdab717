"""A model: its architecture and its parameters; next-token logits of right-padded batches."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
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
    """Next-token logits, float32, computed in the parameters' dtype; zero at and after each row's length.

    Raises:
      ValueError: shapes that do not belong together, or ids outside the vocabulary (where they are on the host).
    """
    vocab_size = model.architecture.vocab_size
    if isinstance(tokens, np.ndarray) and tokens.size and not 0 <= tokens.min() <= tokens.max() < vocab_size:
        raise ValueError(f"token ids {tokens.min()} to {tokens.max()}; the model's vocabulary is 0 to {vocab_size - 1}")
    tokens, lengths = jnp.asarray(tokens), jnp.asarray(lengths)
    if tokens.ndim != 2 or lengths.shape != tokens.shape[:1]:
        raise ValueError(f"tokens {tokens.shape} and lengths {lengths.shape}; give [rows, tokens] and [rows]")
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
