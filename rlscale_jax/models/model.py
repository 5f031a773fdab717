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


def logits(
    model: Model, tokens: Int[Array | np.ndarray, "B T"], lengths: Int[Array | np.ndarray, " B"]
) -> Float[Array, "B T V"]:
    """Next-token logits, float32, computed in the parameters' dtype; zero at and after each row's length.

    Raises:
      ValueError: shapes that do not belong together, or ids outside the vocabulary (where they are on the host).
    """
    if np.ndim(tokens) != 2 or np.shape(lengths) != np.shape(tokens)[:1]:
        raise ValueError(f"tokens {np.shape(tokens)} and lengths {np.shape(lengths)}; give [rows, tokens] and [rows]")
    if isinstance(tokens, np.ndarray):
        _check_ids(tokens[np.arange(tokens.shape[1]) < np.asarray(lengths)[:, None]], model.architecture.vocab_size)
    with mesh.of(model.params):
        return _logits(model.architecture, model.params, jnp.asarray(tokens), jnp.asarray(lengths))


def _check_ids(ids: np.ndarray, vocab_size: int) -> None:
    if ids.size and not 0 <= ids.min() <= ids.max() < vocab_size:
        raise ValueError(f"token ids {ids.min()} to {ids.max()}; the model's vocabulary is 0 to {vocab_size - 1}")


def _plain(architecture: Architecture, params: decoder.Params, tokens: jax.Array, lengths: jax.Array) -> jax.Array:
    positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
    dtype = params["embed"]["embedding"].dtype
    hidden, _ = decoder.hidden_states(
        architecture, params, tokens, positions, attention.causal_attend(), compute_dtype=dtype
    )
    real = positions < lengths[:, None]
    return jnp.where(real[..., None], decoder.unembed(params, hidden), 0.0)


_logits = jax.jit(_plain, static_argnums=0)
